"""python-binary-memcached: deletes and stores with cas, multi-gets that end in a GETK, batches of quiet sets."""

import bmemcached
from bmemcached.exceptions import MemcachedException

from checks import address, equal, raises


def verbs(client):
    equal(True, client.set("key", "value"), "set")
    equal("value", client.get("key"), "get")
    equal(None, client.get("nothing"), "get of nothing")
    equal("default", client.get("nothing", "default"), "get with a default")
    equal(False, client.add("key", "other"), "add of a key that is there")
    equal(True, client.add("fresh", "1"), "add")
    equal(False, client.replace("nothing", "x"), "replace of nothing")
    equal(True, client.replace("fresh", "2"), "replace")
    equal("2", client.get("fresh"), "after replace")
    equal(True, client.delete("key"), "delete")
    equal(None, client.get("key"), "after delete")
    # The library takes "not found" for success here.
    equal(True, client.delete("key"), "delete of nothing")
    equal(True, client.set("long", "x", time=1000), "set with an exptime")
    equal("x", client.get("long"), "get before its exptime")


def types(client):
    for value in ["text", "\u00fcml\u00e4ut", b"bytes", b"", 42, 2**40, 3.5, [1, 2], {"a": None}, True, bytes(range(256))]:
        equal(True, client.set("typed", value), "set")
        equal(value, client.get("typed"), "a value with its type in the flags")
    large = "x" * 100_000
    equal(True, client.set("packed", large, compress_level=6), "set compressed")
    equal(large, client.get("packed"), "get compressed")


def counting(client):
    equal(10, client.incr("count", 5, default=10), "incr of nothing stores the default")
    equal(15, client.incr("count", 5), "incr")
    equal(12, client.decr("count", 3), "decr")
    equal(0, client.decr("count", 100), "decr below zero")
    equal(7, client.decr("fresh count", 1, default=7), "decr of nothing stores the default")
    client.set("count", "18446744073709551615")
    equal(0, client.incr("count", 1), "incr wraps")


def comparing(client):
    client.set("cas", "1")
    value, cas = client.gets("cas")
    equal("1", value, "gets")
    equal(True, client.cas("cas", "2", cas), "cas")
    equal(False, client.cas("cas", "3", cas), "cas with an old unique")
    equal("2", client.get("cas"), "after cas")
    equal(False, client.cas("nothing", "3", cas), "cas of nothing")
    equal((None, None), client.gets("nothing"), "gets of nothing")
    stored, cas = client.set("cas", "4", get_cas=True)
    equal(True, stored, "set")
    equal(cas, client.gets("cas")[1], "the unique that a set answers")
    equal(False, client.delete("cas", cas=cas + 1), "delete with a wrong unique")
    equal("4", client.get("cas"), "after a refused delete")
    equal(True, client.delete("cas", cas=cas), "delete with the right unique")
    equal(None, client.get("cas"), "after delete")


def many(client):
    values = {f"many{number}": f"value {number}" for number in range(1100)}
    equal([], client.set_multi(values), "set_multi")
    equal(values, client.get_multi(list(values)), "get_multi")
    found = client.get_multi([*list(values)[:50], "nothing"], get_cas=True)
    equal(50, len(found), "get_multi with cas")
    equal(50, len({cas for _, cas in found.values()}), "every item has its own unique")
    equal({}, client.get_multi(["nothing1", "nothing2"]), "get_multi of nothing")
    # Quiet stores with a unique: the refused ones are answered all the same.
    first, second = found["many0"][1], found["many1"][1]
    stores = {("many0", first): "new", ("many1", second + 1): "new", ("many2", 0): "new", "many3": "new"}
    refused = client.set_multi(stores)
    equal({"many1", "many2"}, {key for key, _ in refused}, "set_multi names what was refused")
    values.update({"many0": "new", "many3": "new"})
    equal(values, client.get_multi(list(values)), "after set_multi with uniques")
    uniques = client.set_multi_cas({("many1", second + 1): "newer", "many3": "newer"})
    equal({"many1": None, "many3": client.gets("many3")[1]}, uniques, "set_multi_cas")
    equal(True, client.delete_multi(list(values)), "delete_multi")
    equal({}, client.get_multi(list(values)), "get_multi after delete_multi")


def large(client):
    value = b"x" * (1024 * 1024 - 1024)
    equal(True, client.set("large", value, compress_level=0), "set of nearly 1 MiB")
    equal(value, client.get("large"), "get of nearly 1 MiB")
    raises(MemcachedException, client.set, "large", value + b"x" * 2048, compress_level=0)
    equal(None, client.get("large"), "a refused set takes the old value with it")
    equal(True, client.set("large", b"again"), "the connection is still good")
    for key in ["k" * 250, "a b", "a\r\nb", "a\0b", "\u043a\u043b\u044e\u0447"]:
        equal(True, client.set(key, key), "set")
        equal(key, client.get(key), repr(key))


def server(client):
    (statistics,) = client.stats().values()
    equal(True, "curr_items" in statistics and "pid" in statistics, "stats")
    (settings,) = client.stats("settings").values()
    equal(True, "item_size_max" in settings, "stats settings")
    equal(True, client.flush_all(), "flush_all")
    equal(None, client.get("large"), "after flush_all")
    client.disconnect_all()
    equal(None, client.get("large"), "a new connection")


def main():
    client = bmemcached.Client(["%s:%d" % address()], socket_timeout=20)
    client.flush_all()
    for part in [verbs, types, counting, comparing, many, large, server]:
        part(client)
    # Last for this client: the server hangs up on such a key.
    raises(MemcachedException, client.set, "k" * 251, "x")
    # With a name and a password it first asks for the mechanisms; a server that has none is used without.
    named = bmemcached.Client(["%s:%d" % address()], "name", "password", socket_timeout=20)
    equal(True, named.set("key", "value"), "set where there is nobody to log in to")
    equal("value", named.get("key"), "get where there is nobody to log in to")


main()
