"""Turns a table of placements recorded earlier, of libraries that are not at hand everywhere, into vectors.tsv.gz.

The table has a column per "set/implementation" and a row per key, the keys being those of keys.gz in their order.
Usage: python3 import_vectors.py TABLE [--check]
"""

import sys

import owners

PRESETS = {
    "libmemcached-1.1.4-consistent": "php-consistent",
    "libmemcached-1.1.4-ketama": "libmemcached",
    "libmemcached-1.1.4-ketama-md5": "libmemcached-md5",
    "libmemcached-1.1.4-ketama-servers-first": "libmemcached-servers-first",
    "libmemcached-1.1.4-spy": "libmemcached-spy",
    "libmemcached-1.1.4-weighted": "libmemcached-weighted",
    "node-hashring": "node-hashring",
    "node-hashring-ketama": "node-hashring-ketama",
    "php-consistent": "php-consistent",
    "php-libketama": "php",
    "spymemcached-ketama": "spymemcached",
    "spymemcached-ketama-libmemcached": "spymemcached-libmemcached",
    "twemproxy-default": "twemproxy",
    "twemproxy-fnv1a_64": "twemproxy-fnv1a_64",
    "twemproxy-md5": "twemproxy-md5",
}
# The table does not say which names its named pools used; record_twemproxy.py records such pools itself.
UNKNOWN = {"twemproxy-fnv1a_64-named", "twemproxy-md5-named"}
# Format.LIBMEMCACHED hashes what 127.0.0.1 is called: localhost where this was recorded.
REVERSE_LOOKED_UP = {"equal5": "localhost5", "port11211": "localhost11211"}


def main():
    lines = open(sys.argv.pop(1), "rb").read().split(b"\n")
    # Keys may begin with a number sign too, so only the first lines are remarks.
    head = next(i for i, line in enumerate(lines) if not line.startswith(b"# set\t"))
    columns = lines[head].decode().split("\t")[1:]
    table = [line.split(b"\t") for line in lines[head + 1 :] if line]
    assert [row[0] for row in table] == owners.keys(), "these are not the keys of keys.gz"
    rows = []
    for index, column in enumerate(columns):
        set_name, implementation = column.split("/")
        if implementation in UNKNOWN:
            continue
        preset = PRESETS[implementation]
        if preset == "spymemcached-libmemcached":
            set_name = REVERSE_LOOKED_UP[set_name]
        places = "".join(row[index + 1].decode() for row in table)
        rows.append((set_name, preset, "-", implementation, places))
    owners.finish("vectors", rows)


main()
