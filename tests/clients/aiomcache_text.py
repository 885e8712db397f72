"""aiomcache over the text protocol: gets for every read of many keys, and a pool of connections."""

import asyncio

import aiomcache

from checks import address, equal, raises_async


async def verbs(client):
    equal(True, await client.set(b"key", b"value"), "set")
    equal(b"value", await client.get(b"key"), "get")
    equal(None, await client.get(b"nothing"), "get of nothing")
    equal(b"default", await client.get(b"nothing", b"default"), "get with a default")
    equal(False, await client.add(b"key", b"other"), "add of a key that is there")
    equal(True, await client.add(b"fresh", b"1"), "add")
    equal(False, await client.replace(b"nothing", b"x"), "replace of nothing")
    equal(True, await client.replace(b"fresh", b"2"), "replace")
    equal(True, await client.append(b"key", b"!"), "append")
    equal(True, await client.prepend(b"key", b"?"), "prepend")
    equal(b"?value!", await client.get(b"key"), "after append and prepend")
    equal(False, await client.append(b"nothing", b"x"), "append to nothing")
    equal(True, await client.touch(b"key", 100), "touch")
    equal(False, await client.touch(b"nothing", 100), "touch of nothing")
    equal(True, await client.delete(b"key"), "delete")
    equal(False, await client.delete(b"key"), "delete of nothing")


async def counting(client):
    await client.set(b"count", b"10")
    equal(11, await client.incr(b"count"), "incr")
    equal(16, await client.incr(b"count", 5), "incr by 5")
    equal(6, await client.decr(b"count", 10), "decr")
    equal(0, await client.decr(b"count", 10), "decr below zero")
    await raises_async(aiomcache.ClientException, client.incr(b"nothing"))
    await client.set(b"count", b"text")
    await raises_async(aiomcache.ClientException, client.incr(b"count"))
    equal(b"text", await client.get(b"count"), "after a refused incr")


async def comparing(client):
    await client.set(b"cas", b"1")
    value, cas = await client.gets(b"cas")
    equal(b"1", value, "gets")
    equal(True, await client.cas(b"cas", b"2", cas), "cas")
    equal(False, await client.cas(b"cas", b"3", cas), "cas with an old unique")
    equal(b"2", await client.get(b"cas"), "after cas")
    equal((None, None), await client.gets(b"nothing"), "gets of nothing")


async def many(client):
    keys = [b"many%d" % number for number in range(1000)]
    stored = await asyncio.gather(*(client.set(key, key * 10) for key in keys))
    equal([True] * 1000, stored, "a thousand sets over the pool")
    equal(tuple(key * 10 for key in keys), await client.multi_get(*keys), "multi_get")
    equal((None, keys[0] * 10, None), await client.multi_get(b"nothing1", keys[0], b"nothing2"), "multi_get with gaps")
    equal([True] * 1000, await asyncio.gather(*(client.delete(key) for key in keys)), "a thousand deletes")
    equal((None,) * 1000, await client.multi_get(*keys), "multi_get after the deletes")


async def large(client):
    every = bytes(range(256))
    for value in [b"", b"\r\n", b"END\r\n", every * 1000, b"x" * (1024 * 1024 - 1024)]:
        equal(True, await client.set(b"large", value), "set")
        equal(value, await client.get(b"large"), f"a value of {len(value)} bytes")
    await raises_async(aiomcache.ClientException, client.set(b"large", b"x" * (1024 * 1024 + 1024)))
    equal(None, await client.get(b"large"), "a refused set takes the old value with it")
    equal(True, await client.set(b"large", b"again"), "the connection is still good")
    for key in [b"k" * 250, b"a:b/c?d=e&f", "\u043a\u043b\u044e\u0447".encode()]:
        equal(True, await client.set(key, b"x"), "set")
        equal(b"x", await client.get(key), key)


async def server(client):
    equal(True, (await client.version()).startswith(b"1."), "version")
    statistics = await client.stats()
    equal(True, b"curr_items" in statistics and b"pid" in statistics, "stats")
    equal(True, b"item_size_max" in await client.stats(b"settings"), "stats settings")
    await client.flush_all()
    equal(None, await client.get(b"large"), "after flush_all")


async def main():
    client = aiomcache.Client(*address(), pool_size=4)
    await client.flush_all()
    for part in [verbs, counting, comparing, many, large, server]:
        await part(client)
    await client.close()


asyncio.run(main())
