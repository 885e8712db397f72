"""python-memcached over the text protocol: it sends a blank at the end of most of its lines."""

import memcache

from checks import address, equal


def verbs(client):
    equal(True, bool(client.set("key", "value")), "set")
    equal("value", client.get("key"), "get")
    equal(None, client.get("nothing"), "get of nothing")
    equal(False, bool(client.add("key", "other")), "add of a key that is there")
    equal(True, bool(client.add("fresh", "1")), "add")
    equal(False, bool(client.replace("nothing", "x")), "replace of nothing")
    equal(True, bool(client.replace("fresh", "2")), "replace")
    equal(True, bool(client.append("key", "!")), "append")
    equal(True, bool(client.prepend("key", "?")), "prepend")
    equal("?value!", client.get("key"), "after append and prepend")
    equal(True, bool(client.touch("key", 100)), "touch")
    equal(1, client.delete("key"), "delete")
    equal(None, client.get("key"), "after delete")
    equal(0, client.delete("key"), "delete of nothing")
    equal(True, bool(client.set("past", "x", time=-1)), "set in the past")
    equal(None, client.get("past"), "get of the past")


def types(client):
    for value in ["text", "\u00fcml\u00e4ut", b"bytes", 42, 2**70, 3.5, [1, 2], {"a": None}, "", True]:
        equal(True, bool(client.set("typed", value)), "set")
        equal(value, client.get("typed"), "a value with its type in the flags")
    large = "x" * 100_000
    equal(True, bool(client.set("packed", large, min_compress_len=100)), "set compressed")
    equal(large, client.get("packed"), "get compressed")


def counting(client):
    client.set("count", 10)
    equal(11, client.incr("count"), "incr")
    equal(16, client.incr("count", 5), "incr by 5")
    equal(6, client.decr("count", 10), "decr")
    equal(0, client.decr("count", 10), "decr below zero")
    equal(None, client.incr("nothing"), "incr of nothing")


def comparing(client):
    client.set("cas", "1")
    equal("1", client.gets("cas"), "gets")
    equal(True, bool(client.cas("cas", "2")), "cas")
    client.gets("cas")
    other = memcache.Client(client.servers_names)
    other.set("cas", "3")
    equal(False, bool(client.cas("cas", "4")), "cas with an old unique")
    equal("3", client.get("cas"), "after cas")


def many(client):
    values = {f"many{number}": f"value {number}" for number in range(1000)}
    equal([], client.set_multi(values), "set_multi")
    equal(values, client.get_multi(list(values)), "get_multi")
    equal([], client.set_multi({"1": "a", "2": "b"}, key_prefix="p"), "set_multi with a prefix")
    equal({"1": "a", "2": "b"}, client.get_multi(["1", "2"], key_prefix="p"), "get_multi with a prefix")
    equal(1, client.delete_multi(list(values)), "delete_multi")
    equal({}, client.get_multi(list(values)), "get_multi after delete_multi")


def silent(client):
    for number in range(1000):
        client.set("silent", str(number), noreply=True)
    client.append("silent", "+", noreply=True)
    client.prepend("silent", "-", noreply=True)
    equal("-999+", client.get("silent"), "the read behind a thousand silent sets")
    client.set("count", 1, noreply=True)
    client.incr("count", 5, noreply=True)
    client.decr("count", 2, noreply=True)
    client.touch("count", 100, noreply=True)
    equal(4, client.get("count"), "silent counting")
    client.delete("silent", noreply=True)
    equal(None, client.get("silent"), "silent delete")


def large(client):
    value = "x" * (1024 * 1024 - 1024)
    equal(True, bool(client.set("large", value)), "set of nearly 1 MiB")
    equal(value, client.get("large"), "get of nearly 1 MiB")
    equal(False, bool(client.set("large", "x" * (1024 * 1024 + 1024))), "set of more than 1 MiB")
    equal(True, bool(client.set("small", "x")), "the connection is still good")
    equal("x", client.get("small"), "the connection is still good")


def server(client):
    (_, statistics), = client.get_stats()
    equal(True, "curr_items" in statistics and "pid" in statistics, "stats")
    equal(True, bool(client.flush_all() is None), "flush_all")
    equal(None, client.get("small"), "after flush_all")


def main():
    host, port = address()
    name = f"{host}:{port}"
    client = memcache.Client([name], debug=0, socket_timeout=20, cache_cas=True, server_max_value_length=4 << 20)
    client.servers_names = [name]
    client.flush_all()
    for part in [verbs, types, counting, comparing, many, silent, large, server]:
        part(client)


main()
