"""meta-memcache, which speaks the meta protocol alone: leases, stale values, vivification, batches that end in mn."""

from random import Random

from meta_memcache import (
    CacheClient,
    Key,
    LeasePolicy,
    MemcacheServerError,
    RecachePolicy,
    RequestFlags,
    ServerAddress,
    SetMode,
    StalePolicy,
    Value,
    connection_pool_factory_builder,
)

from checks import address, equal, raises


def verbs(client):
    equal(True, client.set("key", "value", ttl=1000), "set")
    equal("value", client.get("key"), "get")
    equal(None, client.get("nothing"), "get of nothing")
    equal(False, client.set("key", "other", ttl=1000, set_mode=SetMode.ADD), "add of a key that is there")
    equal(True, client.set("fresh", "1", ttl=1000, set_mode=SetMode.ADD), "add")
    equal(False, client.refill("fresh", "2", ttl=1000), "refill of a key that is there")
    equal(False, client.set("nothing", "x", ttl=1000, set_mode=SetMode.REPLACE), "replace of nothing")
    equal(True, client.set("fresh", "2", ttl=1000, set_mode=SetMode.REPLACE), "replace")
    equal(True, client.set("key", "!", ttl=1000, set_mode=SetMode.APPEND), "append")
    equal(True, client.set("key", "?", ttl=1000, set_mode=SetMode.PREPEND), "prepend")
    equal("?value!", client.get("key"), "after append and prepend")
    equal(False, client.set("nothing", "x", ttl=1000, set_mode=SetMode.APPEND), "append to nothing")
    equal(True, client.touch("key", ttl=2000), "touch")
    equal(False, client.touch("nothing", ttl=2000), "touch of nothing")
    equal("?value!", client.get("key", touch_ttl=3000), "get and touch")
    left = client.meta_get(Key("key"), RequestFlags(return_ttl=True)).flags.ttl
    equal(True, 2900 < left <= 3000, "the time that is left")
    equal(True, client.delete("key"), "delete")
    equal(False, client.delete("key"), "delete of nothing")
    equal(True, client.invalidate("key"), "invalidate of nothing")


def types(client):
    for value in ["text", "\u00fcml\u00e4ut", b"bytes", b"", 42, 2**70, 3.5, [1, 2], {"a": None}, True, bytes(range(256))]:
        equal(True, client.set("typed", value, ttl=1000), "set")
        equal(value, client.get("typed"), "a value with its type in the flags")
    packed = "x" * 100_000
    equal(True, client.set("packed", packed, ttl=1000), "set compressed")
    equal(packed, client.get("packed"), "get compressed")
    equal("2", client.get_typed("fresh", str, error_on_type_mismatch=True), "get_typed")


def counting(client):
    equal(False, client.delta("count", 1), "delta of nothing")
    equal(10, client.delta_initialize_and_get("count", 1, initial_value=10, initial_ttl=1000), "a first value")
    equal(11, client.delta_initialize_and_get("count", 1, initial_value=10, initial_ttl=1000), "a second one")
    equal(16, client.delta_and_get("count", 5), "delta up")
    equal(6, client.delta_and_get("count", -10), "delta down")
    equal(0, client.delta_and_get("count", -10), "delta below zero")
    equal(True, client.delta("count", 3), "delta without the value")
    equal(4, client.delta_and_get("count", 1, refresh_ttl=500), "delta that touches")
    client.delta("count", 2, no_reply=True)
    equal(6, int(client.get("count")), "the read behind a silent delta")
    client.set("text", "text", ttl=1000)
    raises(MemcacheServerError, client.delta, "text", 1)
    equal("text", client.get("text"), "after a refused delta")


def comparing(client):
    client.set("cas", "1", ttl=1000)
    value, cas = client.get_cas("cas")
    equal("1", value, "get_cas")
    equal(True, client.set("cas", "2", ttl=1000, cas_token=cas), "set with a unique")
    equal(False, client.set("cas", "3", ttl=1000, cas_token=cas), "set with an old unique")
    equal("2", client.get("cas"), "after set")
    cas = client.set_cas("cas", "4", ttl=1000)
    equal(("4", cas), client.get_cas("cas"), "the unique that a set answers")
    equal(False, client.delete("cas", cas_token=cas + 1), "delete with a wrong unique")
    equal(True, client.delete("cas", cas_token=cas), "delete with the right unique")
    equal((None, None), client.get_cas("cas"), "get_cas of nothing")


def leases(client):
    """A miss makes an empty item and a winner, who is to fill it."""
    policy = LeasePolicy(ttl=30, miss_retries=2, miss_retry_wait=0)
    value, cas = client.get_or_lease_cas("leased", lease_policy=policy)
    equal((None, True), (value, cas is not None), "the winner")
    equal(None, client.get_or_lease("leased", lease_policy=policy), "another one waits in vain")
    equal(True, client.set("leased", "value", ttl=1000, cas_token=cas), "the winner fills it")
    equal("value", client.get_or_lease("leased", lease_policy=policy), "what it filled in")


def staleness(client):
    """A deletion that leaves the old value to be had, and one winner who is to renew it."""
    policy = StalePolicy(mark_stale_on_deletion_ttl=30, mark_stale_on_cas_mismatch=True)
    client.set("stale", "old", ttl=1000)
    equal(True, client.delete("stale", stale_policy=policy), "delete that marks")
    value, cas = client.get_cas("stale")
    equal(None, value, "the winner gets a miss")
    equal("old", client.get("stale"), "the others get the old value")
    equal(True, client.set("stale", "new", ttl=1000, cas_token=cas, stale_policy=policy), "the winner renews it")
    equal("new", client.get("stale"), "after that")
    late = client.set("stale", "late", ttl=1000, cas_token=1, stale_policy=policy)
    equal(True, late, "a store with an older unique than the item's is taken, and marked")
    equal((None, "late"), (client.get("stale"), client.get("stale")), "there is a winner again")
    client.set("recached", "value", ttl=20)
    recache = RecachePolicy(ttl=30)
    equal(None, client.get("recached", recache_policy=recache), "the one who is to renew what ends soon")
    equal("value", client.get("recached", recache_policy=recache), "the others")


def many(client):
    values = {Key(f"many{number}"): f"value {number}" for number in range(1000)}
    for key, value in values.items():
        equal(True, client.set(key, value, ttl=1000), "set")
    nothing = [Key("nothing1"), Key("nothing2")]
    equal({**values, **dict.fromkeys(nothing)}, client.multi_get([*values, *nothing]), "multi_get")
    found = client.multi_get_cas(list(values))
    equal(1000, len({cas for _, cas in found.values()}), "every item has its own unique")
    equal(len(values), len(client.multi_get(values, touch_ttl=500)), "multi_get that touches")


def silent(client):
    for number in range(1000):
        client.set("silent", number, ttl=1000, no_reply=True)
    equal(999, client.get("silent"), "the read behind a thousand silent sets")
    client.touch("silent", ttl=500, no_reply=True)
    client.delete("silent", no_reply=True)
    equal(None, client.get("silent"), "silent delete")
    client.delete("silent", no_reply=True)
    equal(None, client.get("silent"), "silent delete of nothing")


def large(client):
    # Random, because the library packs what can be packed.
    key = Key("large")
    value = Random(1).randbytes(1024 * 1024 - 1024)
    equal(True, client.set(key, value, ttl=1000), "set of nearly 1 MiB")
    equal(value, client.get(key), "get of nearly 1 MiB")
    raises(MemcacheServerError, client.set, key, Random(2).randbytes(1024 * 1024 + 1024), ttl=1000)
    equal(None, client.get(key), "a refused set takes the old value with it")
    equal(True, client.set(key, b"again", ttl=1000), "set")
    equal(b"again", client.get(key), "the connection is still good")
    # A key that is no plain text travels in base64.
    for name in ["\u043a\u043b\u044e\u0447", "a b", "k" * 250]:
        equal(True, client.set(Key(name), name, ttl=1000), "set")
        equal(name, client.get(Key(name)), name)


def server(client):
    """Flags as they are: what a read can tell of an item."""
    client.set("told", "value", ttl=1000)
    asked = RequestFlags(
        return_value=True,
        return_size=True,
        return_ttl=True,
        return_client_flag=True,
        return_cas_token=True,
        return_last_access=True,
        return_fetched=True,
        return_key=True,
        no_update_lru=True,
        opaque=b"mine",
    )
    answer = client.meta_get(Key("told"), asked)
    equal(True, isinstance(answer, Value), "meta_get")
    flags = answer.flags
    equal((5, False, b"mine"), (flags.size, flags.fetched, flags.opaque), "size, fetched, opaque")
    equal(True, 900 < flags.ttl <= 1000 and 0 <= flags.last_access < 100, "times")


def main():
    pool = connection_pool_factory_builder(connection_timeout=20, recv_timeout=20, read_buffer_size=1 << 20)
    client = CacheClient.cache_client_from_servers([ServerAddress(*address())], pool)
    for key in ["nothing", "fresh", "count", "leased"]:
        client.invalidate(key)
    for part in [verbs, types, counting, comparing, leases, staleness, many, silent, large, server]:
        part(client)


main()
