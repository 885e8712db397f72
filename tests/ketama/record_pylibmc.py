"""Records where pylibmc really sends each key: servers on loopback that answer with their own index.

Needs pylibmc (its wheel brings a libmemcached of its own, older than Debian's). Usage: python3 record_pylibmc.py
[--check]

With a file of keys and servers (KEYFILE HOST:PORT:WEIGHT ...) it asks those instead, and prints "preset<TAB>owners" a
line: tests/it/placement.rs does so.
"""

import pathlib
import sys

import pylibmc

import owners

BATCH = 200
PRESETS = {
    "pylibmc": {},
    "pylibmc-ketama": {"ketama": True},
    "pylibmc-weighted": {"ketama_weighted": True},
    "libmemcached-md5": {"ketama": True, "hash": "md5"},
    "libmemcached-spy": {"ketama_weighted": True, "distribution": "consistent ketama spy"},
    "libmemcached-spy-plain": {"distribution": "consistent ketama spy"},
    "libmemcached-crc32": {"ketama": True, "hash": "crc"},
    "libmemcached-fnv1a_32": {"ketama": True, "hash": "fnv1a_32"},
    "libmemcached-murmur": {"ketama": True, "hash": "murmur"},
    "libmemcached-jenkins": {"ketama": True, "hash": "jenkins"},
}


def ask(client, keys):
    found = {}
    todo = [key for key in dict.fromkeys(keys) if key.isascii()]
    for start in range(0, len(todo), BATCH):
        found.update(client.get_multi([key.decode() for key in todo[start : start + BATCH]]))
    return "".join(_text(found.get(key.decode(), owners.REFUSED)) for key in keys)


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def place(names, keys):
    """Yields each preset, and the owners of all keys among these servers."""
    for preset, behaviors in PRESETS.items():
        # pylibmc reads host:port:weight, and sets the behaviours before it adds the servers.
        client = pylibmc.Client(names, behaviors=behaviors)
        yield preset, ask(client, keys)
        client.disconnect_all()


def main():
    if len(sys.argv) > 2:
        keys = pathlib.Path(sys.argv[1]).read_bytes().split(b"\n")[:-1]
        for preset, places in place(sys.argv[2:], keys):
            print(preset, places, sep="\t")
        return
    sets, keys, rows = owners.server_sets(), owners.keys(), []
    library = f"pylibmc {pylibmc.__version__}, libmemcached {pylibmc.libmemcached_version}"
    for set_name in ["equal5", "weights12345", "port11211", "weights11211", "equal25"]:
        servers = sets[set_name]
        listeners = owners.serve(servers)
        try:
            names = [f"{s.host}:{s.port}:{s.weight}" for s in servers]
            for preset, places in place(names, keys):
                rows.append((set_name, preset, "-", library, places))
        finally:
            owners.stop(listeners)
    owners.finish("pylibmc", rows)


main()
