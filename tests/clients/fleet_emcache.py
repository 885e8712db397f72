"""emcache's discovery finds a fleet through one node."""

import asyncio
import sys

import emcache

from checks import address, equal


async def main():
    nodes = sorted(sys.argv[3].split(","))
    client = await emcache.create_client(
        [emcache.MemcachedHostAddress(*address())],
        autodiscovery=True,
        autodiscovery_timeout=10.0,
        timeout=10.0,
    )
    found = client.cluster_managment().nodes()
    equal(nodes, sorted(f"{node.address}:{node.port}" for node in found))
    for number in range(200):
        await client.set(b"emcache-%d" % number, b"value %d" % number)
    for number in range(200):
        item = await client.get(b"emcache-%d" % number)
        equal(b"value %d" % number, item.value)
    await client.close()


asyncio.run(main())
