"""pymemcache over TLS: pymemcache_tls.py HOST PORT AUTHORITY CERTIFICATE_AND_KEY."""

import ssl
import sys
import threading

from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient

from checks import address, equal, raises


def context(certificate):
    made = ssl.create_default_context(cafile=sys.argv[3])
    if certificate:
        made.load_cert_chain(certificate)
    return made


def verbs(client):
    equal(True, client.set("key", b"value"), "set")
    equal(b"value", client.get("key"), "get")
    large = bytes(range(256)) * 4000
    equal(True, client.set("large", large), "a set of a megabyte")
    equal(large, client.get("large"), "a get of a megabyte")
    values = {f"many{number}": str(number).encode() * 100 for number in range(1000)}
    equal([], client.set_many(values), "set_many")
    equal(values, client.get_many(list(values)), "get_many")
    equal(True, client.delete("key"), "delete")
    equal(None, client.get("key"), "get after delete")


def at_once(pool):
    def work(number):
        for round_ in range(50):
            value = f"{number} {round_}".encode() * 1000
            pool.set(f"thread{number}", value)
            equal(value, pool.get(f"thread{number}"), "from a thread")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


options = {"tls_context": context(sys.argv[4]), "timeout": 20, "connect_timeout": 20, "default_noreply": False}
verbs(Client(address(), **options))
verbs(HashClient([address()], **options))
at_once(PooledClient(address(), max_pool_size=4, **options))
raises((ssl.SSLError, OSError), Client(address(), **(options | {"tls_context": context(None)})).get, "key")
raises((ssl.SSLError, OSError), Client(address(), **(options | {"tls_context": ssl.create_default_context()})).get, "key")
