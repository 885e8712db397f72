"""emcache over the text protocol with a login: emcache_login.py HOST PORT."""

import asyncio
import sys

import emcache

from checks import equal, raises_async

HOST = emcache.MemcachedHostAddress(sys.argv[1], int(sys.argv[2]))


async def connect(user, password):
    return await emcache.create_client([HOST], username=user, password=password)


async def main():
    root = await connect("root", "all")
    await root.set(b"key", b"value")
    equal(b"value", (await root.get(b"key")).value, "get")
    reader = await connect("reader", "r")
    equal(b"value", (await reader.get(b"key")).value, "get by one who may read")
    await raises_async(emcache.CommandError, reader.set(b"key", b"bad"))
    web = await connect("web", "pass word: and all")
    await web.set(b"shop:1", b"mine")
    equal(b"mine", (await web.get(b"shop:1")).value, "get of a key that is his")
    await raises_async(emcache.CommandError, web.set(b"key", b"bad"))
    equal(b"value", (await root.get(b"key")).value, "in the end")
    for client in (root, reader, web):
        await client.close()


asyncio.run(main())
