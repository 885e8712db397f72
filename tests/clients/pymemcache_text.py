"""pymemcache over the text protocol."""

import json
import threading

from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError, MemcacheUnknownCommandError

from checks import address, equal, raises


def verbs(client):
    equal(True, client.set("key", b"value"), "set")
    equal(b"value", client.get("key"), "get")
    equal(None, client.get("nothing"), "get of nothing")
    equal("default", client.get("nothing", "default"), "get with a default")
    equal(False, client.add("key", b"other"), "add of a key that is there")
    equal(True, client.add("fresh", b"1"), "add")
    equal(False, client.replace("nothing", b"x"), "replace of nothing")
    equal(True, client.replace("fresh", b"2"), "replace")
    equal(True, client.append("key", b"!"), "append")
    equal(True, client.prepend("key", b"?"), "prepend")
    equal(b"?value!", client.get("key"), "after append and prepend")
    equal(False, client.append("nothing", b"x"), "append to nothing")
    equal(True, client.delete("key"), "delete")
    equal(False, client.delete("key"), "delete of nothing")
    equal(True, client.set("short", b"x", expire=-1), "set in the past")
    equal(None, client.get("short"), "get of the past")
    equal(True, client.set("long", b"x", expire=1000), "set with an exptime")
    equal(True, client.touch("long", 2000), "touch")
    equal(False, client.touch("nothing", 1), "touch of nothing")
    # The library has no method for these two.
    answer = client.raw_command(b"gat 3000 long nothing", end_tokens=b"END\r\n")
    equal(b"VALUE long 0 1\r\nx\r\n", answer, "gat")
    _, cas = client.gets("long")
    answer = client.raw_command(b"gats 3000 long", end_tokens=b"END\r\n")
    equal(b"VALUE long 0 1 " + cas + b"\r\nx\r\n", answer, "gats")


def counting(client):
    client.set("count", b"10")
    equal(11, client.incr("count", 1), "incr")
    equal(1, client.decr("count", 10), "decr")
    equal(0, client.decr("count", 10), "decr below zero")
    equal(None, client.incr("nothing", 1), "incr of nothing")
    client.set("count", b"18446744073709551615")
    equal(0, client.incr("count", 1), "incr wraps")
    client.set("count", b"text")
    raises(MemcacheClientError, client.incr, "count", 1)
    equal(b"text", client.get("count"), "after a refused incr")


def comparing(client):
    client.set("cas", b"1")
    value, cas = client.gets("cas")
    equal(b"1", value, "gets")
    equal(True, client.cas("cas", b"2", cas), "cas")
    equal(False, client.cas("cas", b"3", cas), "cas with an old unique")
    equal(None, client.cas("nothing", b"3", cas), "cas of nothing")
    equal(b"2", client.get("cas"), "after cas")
    equal((None, None), client.gets("nothing"), "gets of nothing")


def many(client):
    values = {f"many{number}": str(number).encode() * 10 for number in range(1100)}
    equal([], client.set_many(values), "set_many")
    equal(values, client.get_many(list(values)), "get_many")
    found = client.gets_many(list(values)[:50])
    equal(50, len(found), "gets_many")
    equal({}, client.get_many(["nothing1", "nothing2"]), "get_many of nothing")
    equal({}, client.get_many([]), "get_many of no keys")
    client.delete_many(list(values), noreply=False)
    equal({}, client.get_many(list(values)), "get_many after delete_many")


def silent(client):
    for number in range(1000):
        client.set("silent", str(number).encode(), noreply=True)
    equal(b"999", client.get("silent"), "the read behind a thousand silent sets")
    client.add("silent", b"x", noreply=True)
    client.append("silent", b"+", noreply=True)
    client.prepend("silent", b"-", noreply=True)
    equal(b"-999+", client.get("silent"), "silent append and prepend")
    client.set("count", b"1", noreply=True)
    client.incr("count", 5, noreply=True)
    client.decr("count", 2, noreply=True)
    client.touch("count", 100, noreply=True)
    equal(b"4", client.get("count"), "silent counting")
    client.cas("count", b"x", b"1", noreply=True)
    client.delete("silent", noreply=True)
    equal(None, client.get("silent"), "silent delete")
    # A silent store that is refused stays silent, and its data is not obeyed.
    client.set("large", b"flush_all\r\n" * 110_000, noreply=True)
    equal(None, client.get("large"), "a silent store that is too large")
    client.flush_all(noreply=True)
    equal(None, client.get("count"), "silent flush_all")


def values_and_keys(client):
    every = bytes(range(256))
    for value in [b"", b"\r\n", b"END\r\n", every, every * 16, every * 1000, b"x" * (1024 * 1024 - 1024)]:
        equal(True, client.set("value", value), "set")
        equal(value, client.get("value"), f"a value of {len(value)} bytes")
    raises(MemcacheServerError, client.set, "value", b"x" * (1024 * 1024 + 1024))
    equal(None, client.get("value"), "a refused set takes the old value with it")
    equal(True, client.set("value", b"again"), "the connection is still good")
    for key in ["k" * 250, "a:b/c?d=e&f", "\u043a\u043b\u044e\u0447"]:
        equal(True, client.set(key, b"x"), "set")
        equal(b"x", client.get(key), key)


def server(client):
    equal(True, client.version().startswith(b"1."), "version")
    statistics = client.stats()
    for name in [b"pid", b"uptime", b"curr_items", b"cmd_get", b"bytes", b"evictions"]:
        equal(True, name in statistics, name)
    equal(1, int(client.stats()[b"curr_connections"] > 0), "curr_connections")
    raises(MemcacheUnknownCommandError, client._fetch_cmd, b"bogus", ["a"], False)
    client.set("flushed", b"x")
    equal(True, client.flush_all(delay=1000, noreply=False), "flush_all with a delay")
    equal(b"x", client.get("flushed"), "before the delayed flush")
    equal(True, client.flush_all(noreply=False), "flush_all")
    equal(None, client.get("flushed"), "after flush_all")
    client.quit()
    equal(None, client.get("flushed"), "a new connection after quit")


class Json:
    """Values with types, which travel in the flags."""

    def serialize(self, key, value):
        if isinstance(value, bytes):
            return value, 0
        return json.dumps(value).encode(), 4294967295

    def deserialize(self, key, value, flags):
        return json.loads(value) if flags == 4294967295 else value


def typed(host):
    client = Client(host, serde=Json(), default_noreply=False)
    client.set("typed", {"a": [1, 2, 3]})
    client.set("raw", b"raw")
    equal({"typed": {"a": [1, 2, 3]}, "raw": b"raw"}, client.get_many(["typed", "raw"]), "flags of 32 bits")


def together(host):
    """Eight threads on one pool and one ring of one."""
    client = PooledClient(host, max_pool_size=8, default_noreply=False)
    ring = HashClient([host], use_pooling=True, default_noreply=False)
    mistakes = []

    def work(number):
        try:
            for round_ in range(200):
                key = f"thread{number}-{round_ % 10}"
                client.set(key, str(round_))
                equal(str(round_).encode(), ring.get(key), key)
        except Exception as mistake:
            mistakes.append(mistake)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal([], mistakes, "threads")


def main():
    client = Client(address(), default_noreply=False, connect_timeout=10, timeout=20, allow_unicode_keys=True)
    for part in [verbs, counting, comparing, many, silent, values_and_keys, server]:
        part(client)
    typed(address())
    together(address())


main()
