"""libmc over the text protocol: whole batches of sets, with and without noreply, in one write."""

import libmc

from checks import address, equal


def verbs(client):
    equal(True, client.set("key", "value"), "set")
    equal("value", client.get("key"), "get")
    equal(None, client.get("nothing"), "get of nothing")
    equal(False, client.add("key", "other"), "add of a key that is there")
    equal(True, client.add("fresh", "1"), "add")
    equal(False, client.replace("nothing", "x"), "replace of nothing")
    equal(True, client.replace("fresh", "2"), "replace")
    equal(True, client.set("bytes", b"value"), "set")
    equal(True, client.append("bytes", b"!"), "append")
    equal(True, client.prepend("bytes", b"?"), "prepend")
    equal(b"?value!", client.get("bytes"), "after append and prepend")
    equal(False, client.append("nothing", b"x"), "append to nothing")
    equal(True, client.touch("key", 100), "touch")
    equal(False, client.touch("nothing", 100), "touch of nothing")
    equal(True, client.delete("key"), "delete")
    # The library takes "not found" for success here.
    equal(True, client.delete("key"), "delete of nothing")
    equal(None, client.get("key"), "after delete")


def types(client):
    for value in ["text", "\u00fcml\u00e4ut", b"bytes", b"", 42, 2**40, 3.5, [1, 2], {"a": None}, True, bytes(range(256))]:
        equal(True, client.set("typed", value), "set")
        equal(value, client.get("typed"), "a value with its type in the flags")
    equal(True, client.set_raw("raw", b"value", 0, 2**31 + 1), "set with flags")
    equal((b"value", 2**31 + 1), client.get_raw("raw"), "flags")


def counting(client):
    client.set("count", 10)
    equal(11, client.incr("count"), "incr")
    equal(16, client.incr("count", 5), "incr by 5")
    equal(6, client.decr("count", 10), "decr")
    equal(0, client.decr("count", 10), "decr below zero")
    equal(None, client.incr("nothing"), "incr of nothing")
    client.set("count", "text")
    equal(None, client.incr("count"), "incr of a text")
    equal("text", client.get("count"), "after a refused incr")


def comparing(client):
    client.set("cas", "1")
    value, cas = client.gets("cas")
    equal("1", value, "gets")
    equal(True, client.cas("cas", "2", 0, cas), "cas")
    equal(False, client.cas("cas", "3", 0, cas), "cas with an old unique")
    equal("2", client.get("cas"), "after cas")
    equal(None, client.gets("nothing"), "gets of nothing")


def many(client):
    values = {f"many{number}": f"value {number}" for number in range(1000)}
    equal(True, client.set_multi(values), "set_multi")
    equal(values, client.get_multi(list(values)), "get_multi")
    equal(["value 7", None, "value 8"], client.get_list(["many7", "nothing", "many8"]), "get_list")
    keys = [f"many{number}" for number in range(100)]
    equal(True, client.set_multi(dict.fromkeys(keys, b"-")), "set_multi")
    equal(True, client.append_multi(keys, b"+"), "append_multi")
    equal(True, client.prepend_multi(keys, b"+"), "prepend_multi")
    equal(dict.fromkeys(keys, b"+-+"), client.get_multi(keys), "after append_multi and prepend_multi")
    equal(True, client.delete_multi(list(values)), "delete_multi")
    equal({}, client.get_multi(list(values)), "get_multi after delete_multi")


def silent(host):
    client = libmc.Client([host], noreply=True)
    client.config(libmc.MC_POLL_TIMEOUT, 20_000)
    values = {f"silent{number}": str(number) for number in range(1000)}
    client.set_multi(values)
    equal(values, client.get_multi(list(values)), "the read behind a thousand silent sets")
    client.delete_multi(list(values))
    equal({}, client.get_multi(list(values)), "the read behind a thousand silent deletes")
    client.set("count", 1)
    client.incr("count", 5)
    client.decr("count", 2)
    client.touch("count", 100)
    equal(4, client.get("count"), "silent counting")
    client.quit()


def large(client):
    value = b"x" * (1024 * 1024 - 1024)
    equal(True, client.set("large", value), "set of nearly 1 MiB")
    equal(value, client.get("large"), "get of nearly 1 MiB")
    for value in [b"\r\n", b"END\r\n", bytes(range(256)) * 1000]:
        equal(True, client.set("value", value), "set")
        equal(value, client.get("value"), f"a value of {len(value)} bytes")
    # Larger values than 1 MB it cuts into pieces of its own.
    value = b"y" * 3_000_000
    equal(True, client.set("pieces", value), "set of 3 MB in pieces")
    equal(value, client.get("pieces"), "get of 3 MB in pieces")


def server(client, host):
    equal(True, client.version()[host].startswith("1."), "version")
    statistics = client.stats()[host]
    equal(True, "curr_items" in statistics and "pid" in statistics, "stats")
    client.toggle_flush_all_feature(True)
    client.flush_all()
    equal(None, client.get("large"), "after flush_all")
    client.quit()
    equal(None, client.get("large"), "a new connection")


def main():
    host = "%s:%d" % address()
    client = libmc.Client([host])
    client.config(libmc.MC_POLL_TIMEOUT, 20_000)
    client.toggle_flush_all_feature(True)
    client.flush_all()
    for part in [verbs, types, counting, comparing, many]:
        part(client)
    silent(host)
    large(client)
    server(client, host)


main()
