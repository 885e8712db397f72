"""pylibmc, which is libmemcached, over binary with SASL: pylibmc_sasl.py HOST PORT."""

import pylibmc

from checks import address, equal, raises

HOST = ":".join(map(str, address()))


def connect(user, password):
    return pylibmc.Client([HOST], binary=True, username=user, password=password)


root = connect("root", "all")
equal(True, root.set("key", "value"), "set")
equal("value", root.get("key"), "get")
many = {f"many{number}": "x" * number for number in range(200)}
equal([], root.set_multi(many), "set_multi")
equal(many, root.get_multi(list(many)), "get_multi")
equal(True, root.set("large", b"x" * 900_000), "a set of 900 KB")
equal(b"x" * 900_000, root.get("large"), "a get of 900 KB")

for user, password in [("root", "wrong"), ("nobody", "all"), ("root", "")]:
    raises(pylibmc.Error, connect(user, password).set, "key", "bad")
# Of a server that hangs up the library makes a miss.
equal(None, pylibmc.Client([HOST], binary=True).get("key"), "get by a stranger")

# Who may only read is told so, and goes on.
reader = connect("reader", "r")
equal("value", reader.get("key"), "get by one who may read")
raises(pylibmc.Error, reader.set, "key", "bad")
raises(pylibmc.Error, connect("reader", "r").delete, "key")
# Of what is answered to this the library says nothing.
connect("reader", "r").flush_all()
equal("value", connect("reader", "r").get("key"), "get after what was refused")

web = connect("web", "pass word: and all")
equal(True, web.set("shop:1", "mine"), "set of a key that is his")
equal("mine", web.get("shop:1"), "get of a key that is his")
raises(pylibmc.Error, web.get, "key")
equal("value", root.get("key"), "in the end")
