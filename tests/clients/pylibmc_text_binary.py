"""pylibmc, which is libmemcached, over text or binary, as the third argument says; with its behaviors, too."""

import sys

import pylibmc

from checks import address, equal, raises

BINARY = sys.argv[3] == "binary"


def connect(host, **behaviors):
    return pylibmc.Client([host], binary=BINARY, behaviors=behaviors)


def refused(call, *arguments):
    """What the library answers with False over text and with an exception over binary."""
    if BINARY:
        raises(pylibmc.NotFound, call, *arguments)
    else:
        equal(False, call(*arguments), f"{arguments}")


def verbs(client):
    equal(True, client.set("key", "value"), "set")
    equal("value", client.get("key"), "get")
    equal(None, client.get("nothing"), "get of nothing")
    equal(False, client.add("key", "other"), "add of a key that is there")
    equal(True, client.add("fresh", "1"), "add")
    refused(client.replace, "nothing", "x")
    equal(True, client.replace("fresh", "2"), "replace")
    client.set("bytes", b"value")
    equal(True, client.append("bytes", b"!"), "append")
    equal(True, client.prepend("bytes", b"?"), "prepend")
    equal(b"?value!", client.get("bytes"), "after append and prepend")
    # Over binary the library waits five seconds for more than there is to an answer.
    if not BINARY:
        equal(True, client.touch("key", 100), "touch")
        equal(False, client.touch("nothing", 100), "touch of nothing")
    equal(True, client.delete("key"), "delete")
    equal(False, client.delete("key"), "delete of nothing")
    equal(True, "fresh" in client, "in")
    equal(False, "nothing" in client, "not in")
    client["mapping"] = [1, 2]
    equal([1, 2], client["mapping"], "as a mapping")
    del client["mapping"]
    raises(KeyError, lambda: client["mapping"])


def types(client):
    for value in ["text", "\u00fcml\u00e4ut", b"bytes", b"", 42, 3.5, [1, 2], {"a": None}, True, bytes(range(256))]:
        equal(True, client.set("typed", value), "set")
        equal(value, client.get("typed"), "a value with its type in the flags")
    large = b"x" * 100_000
    equal(True, client.set("packed", large, min_compress_len=100), "set compressed")
    equal(large, client.get("packed"), "get compressed")


def counting(client):
    client.set("count", 10)
    equal(11, client.incr("count"), "incr")
    equal(16, client.incr("count", 5), "incr by 5")
    equal(6, client.decr("count", 10), "decr")
    equal(0, client.decr("count", 10), "decr below zero")
    raises(pylibmc.NotFound, client.incr, "nothing")
    client.set_multi({"count1": 1, "count2": 2})
    client.incr_multi(["count1", "count2"], delta=10)
    equal({"count1": 11, "count2": 12}, client.get_multi(["count1", "count2"]), "incr_multi")
    # Over binary the library takes the refusal for a broken server and stays away from it for a while.
    if not BINARY:
        client.set("count", "text")
        raises(pylibmc.Error, client.incr, "count")


def comparing(client):
    client.behaviors["cas"] = True
    client.set("cas", "1")
    value, cas = client.gets("cas")
    equal("1", value, "gets")
    equal(True, client.cas("cas", "2", cas), "cas")
    equal(False, client.cas("cas", "3", cas), "cas with an old unique")
    raises(pylibmc.NotFound, client.cas, "nothing", "3", cas)
    equal("2", client.get("cas"), "after cas")


def many(client):
    values = {f"many{number}": f"value {number}" for number in range(1100)}
    equal([], client.set_multi(values), "set_multi")
    equal(values, client.get_multi(list(values)), "get_multi")
    equal([], client.add_multi({"fresh1": 1, "fresh2": 2}), "add_multi")
    equal({"1": 1, "2": 2}, client.get_multi(["1", "2"], key_prefix="fresh"), "key_prefix")
    equal(True, client.delete_multi(list(values)), "delete_multi")
    equal({}, client.get_multi(list(values)), "get_multi after delete_multi")


def large(client):
    value = b"x" * (1024 * 1024 - 1024)
    equal(True, client.set("large", value), "set of nearly 1 MiB")
    equal(value, client.get("large"), "get of nearly 1 MiB")
    raises(pylibmc.TooBig, client.set, "large", b"x" * (1024 * 1024 + 1024))
    equal(None, client.get("large"), "a refused set takes the old value with it")
    equal(True, client.set("large", b"again"), "the connection is still good")
    raises((pylibmc.Error, ValueError), client.set, "k" * 251, "x")
    equal(b"again", client.get("large"), "the connection is still good")


def buffer(call, *arguments):
    """A store that may still wait in the library's buffer: error 32 says so."""
    try:
        call(*arguments)
    except pylibmc.Error as error:
        equal(True, "error 32 " in str(error), error)


def buffered(host):
    """noreply and buffering: many stores in one piece, then a read that must see them all."""
    client = connect(host, no_block=True, _noreply=True, buffer_requests=True)
    for number in range(2000):
        buffer(client.set, f"buffered{number}", str(number))
    found = client.get_multi([f"buffered{number}" for number in range(2000)])
    equal(2000, len(found), "the read behind 2,000 buffered sets")
    equal("1999", found["buffered1999"], "the last of them")
    buffer(client.append, "buffered0", b"!")
    buffer(client.delete, "buffered1")
    equal({"buffered0": "0!"}, client.get_multi(["buffered0", "buffered1"]), "buffered append and delete")


def server(client):
    (_, statistics), = client.get_stats()
    equal(True, "curr_items" in statistics and "pid" in statistics, "stats")
    equal(True, client.flush_all(), "flush_all")
    equal(None, client.get("large"), "after flush_all")
    client.disconnect_all()
    equal(None, client.get("large"), "a new connection")


def main():
    host = "%s:%d" % address()
    client = connect(host, tcp_nodelay=True, **({} if BINARY else {"verify_keys": True}))
    client.flush_all()
    for part in [verbs, types, counting, comparing, many, large]:
        part(client)
    # Each of these changes how it sends or waits.
    behaviors = [{"cas": True}, {"no_block": True, "tcp_nodelay": True}, {"ketama": True}, {"ketama_weighted": True}]
    for behavior in [*behaviors, {"tcp_keepalive": True, "_io_key_prefetch": 10, "_io_msg_watermark": 10}]:
        other = connect(host, **behavior)
        other.flush_all()
        for part in [verbs, counting, many]:
            part(other)
    buffered(host)
    server(client)


main()
