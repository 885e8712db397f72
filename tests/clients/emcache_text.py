"""emcache over the text protocol: gat and gats with many keys, noreply, and flags."""

import asyncio

import emcache

from checks import address, equal, raises_async


async def verbs(client):
    await client.set(b"key", b"value")
    equal(b"value", (await client.get(b"key")).value, "get")
    equal(None, await client.get(b"nothing"), "get of nothing")
    await raises_async(emcache.NotStoredStorageCommandError, client.add(b"key", b"other"))
    await client.add(b"fresh", b"1")
    await raises_async(emcache.NotStoredStorageCommandError, client.replace(b"nothing", b"x"))
    await client.replace(b"fresh", b"2")
    await client.append(b"key", b"!")
    await client.prepend(b"key", b"?")
    equal(b"?value!", (await client.get(b"key")).value, "after append and prepend")
    await raises_async(emcache.NotStoredStorageCommandError, client.append(b"nothing", b"x"))
    await client.touch(b"key", 100)
    await raises_async(emcache.NotFoundCommandError, client.touch(b"nothing", 100))
    equal(b"?value!", (await client.gat(200, b"key")).value, "gat")
    equal(None, await client.gat(200, b"nothing"), "gat of nothing")
    item = await client.gats(300, b"key")
    equal((await client.gets(b"key")).cas, item.cas, "a touch leaves the unique alone")
    await client.delete(b"key")
    equal(None, await client.get(b"key"), "after delete")
    await raises_async(emcache.NotFoundCommandError, client.delete(b"key"))


async def types(client):
    for flags in [0, 1, 65535, 65536]:
        await client.set(b"typed", b"x", flags=flags)
        equal(flags, (await client.get(b"typed", return_flags=True)).flags, "flags")


async def counting(client):
    await client.set(b"count", b"10")
    equal(11, await client.increment(b"count", 1), "increment")
    equal(1, await client.decrement(b"count", 10), "decrement")
    equal(0, await client.decrement(b"count", 10), "decrement below zero")
    await raises_async(emcache.NotFoundCommandError, client.increment(b"nothing", 1))
    await client.set(b"count", b"text")
    await raises_async(ValueError, client.increment(b"count", 1))
    equal(b"text", (await client.get(b"count")).value, "after a refused increment")


async def comparing(client):
    await client.set(b"cas", b"1")
    cas = (await client.gets(b"cas")).cas
    await client.cas(b"cas", b"2", cas)
    await raises_async(emcache.StorageCommandError, client.cas(b"cas", b"3", cas))
    await raises_async(emcache.StorageCommandError, client.cas(b"nothing", b"3", cas))
    equal(b"2", (await client.get(b"cas")).value, "after cas")


async def many(client):
    keys = [b"many%d" % number for number in range(1000)]
    await asyncio.gather(*(client.set(key, key * 10) for key in keys))
    for read in [client.get_many, client.gets_many]:
        found = await read(keys)
        equal({key: key * 10 for key in keys}, {key: item.value for key, item in found.items()}, read.__name__)
    for read in [client.gat_many, client.gats_many]:
        found = await read(1000, [*keys[:100], b"nothing"])
        equal({key: key * 10 for key in keys[:100]}, {key: item.value for key, item in found.items()}, read.__name__)
    equal({}, await client.get_many([b"nothing1", b"nothing2"]), "get_many of nothing")


async def silent(client):
    for number in range(1000):
        await client.set(b"silent", b"%d" % number, noreply=True)
    await client.append(b"silent", b"+", noreply=True)
    await client.prepend(b"silent", b"-", noreply=True)
    equal(b"-999+", (await client.get(b"silent")).value, "the read behind a thousand silent sets")
    await client.set(b"count", b"1", noreply=True)
    await client.increment(b"count", 5, noreply=True)
    await client.decrement(b"count", 2, noreply=True)
    await client.touch(b"count", 100, noreply=True)
    equal(b"4", (await client.get(b"count")).value, "silent counting")
    await client.add(b"count", b"x", noreply=True)
    await client.delete(b"silent", noreply=True)
    equal(None, await client.get(b"silent"), "silent delete")


async def large(client):
    every = bytes(range(256))
    for value in [b"", b"\r\n", b"END\r\n", every * 1000, b"x" * (1024 * 1024 - 1024)]:
        await client.set(b"large", value)
        equal(value, (await client.get(b"large")).value, f"a value of {len(value)} bytes")
    await raises_async(emcache.StorageCommandError, client.set(b"large", b"x" * (1024 * 1024 + 1024)))
    equal(None, await client.get(b"large"), "a refused set takes the old value with it")
    await client.set(b"large", b"again")
    equal(b"again", (await client.get(b"large")).value, "the connection is still good")


async def server(client, host):
    equal(True, (await client.version(host)).startswith("1."), "version")
    statistics = await client.stats(host)
    equal(True, "curr_items" in statistics and "pid" in statistics, "stats")
    equal(True, "item_size_max" in await client.stats(host, "settings"), "stats settings")
    await client.verbosity(host, 0)
    await client.cache_memlimit(host, 256)
    await client.flush_all(host, delay=1000)
    equal(b"again", (await client.get(b"large")).value, "before the delayed flush")
    await client.flush_all(host)
    equal(None, await client.get(b"large"), "after flush_all")


async def main():
    host = emcache.MemcachedHostAddress(*address())
    # One connection: what is said silently is then in order with what is asked behind it.
    client = await emcache.create_client([host], max_connections=1, timeout=20)
    await client.flush_all(host)
    for part in [verbs, types, counting, comparing, many, silent, large]:
        await part(client)
    await server(client, host)
    await client.close()


asyncio.run(main())
