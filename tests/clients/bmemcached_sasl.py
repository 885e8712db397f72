"""python-binary-memcached with SASL, over TLS if there is an authority: bmemcached_sasl.py HOST PORT [AUTHORITY]."""

import ssl
import sys

import bmemcached
from bmemcached.exceptions import InvalidCredentials, MemcachedException

from checks import address, equal, raises

HOST = ":".join(map(str, address()))
CONTEXT = ssl.create_default_context(cafile=sys.argv[3]) if len(sys.argv) > 3 else None


def connect(user, password):
    return bmemcached.Client([HOST], user, password, tls_context=CONTEXT)


root = connect("root", "all")
equal(True, root.set("key", "value"), "set")
equal("value", root.get("key"), "get")
many = {f"many{number}": "x" * number for number in range(200)}
equal([], root.set_multi(many), "set_multi")
equal(many, root.get_multi(list(many)), "get_multi")
equal(True, root.set("large", b"x" * 900_000, compress_level=0), "a set of 900 KB")
equal(b"x" * 900_000, root.get("large"), "a get of 900 KB")

for user, password in [("root", "wrong"), ("nobody", "all")]:
    raises((InvalidCredentials, MemcachedException), connect(user, password).set, "key", "bad")

# Who may only read is told so, and the connection goes on.
reader = connect("reader", "r")
equal("value", reader.get("key"), "get by one who may read")
raises(MemcachedException, reader.set, "key", "bad")
raises(MemcachedException, reader.delete, "key")
raises(MemcachedException, reader.incr, "key", 1)
equal("value", reader.get("key"), "get after what was refused")

web = connect("web", "pass word: and all")
equal(True, web.set("shop:1", "mine"), "set of a key that is his")
equal("mine", web.get("shop:1"), "get of a key that is his")
raises(MemcachedException, web.get, "key")
equal("value", root.get("key"), "in the end")
