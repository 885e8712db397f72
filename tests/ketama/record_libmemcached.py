"""Records libmemcached's placements through its own memcached_generate_hash.

Needs a C compiler and libmemcached's headers (Debian: libmemcached-dev). Usage: python3 record_libmemcached.py
[--check]
"""

import pathlib
import subprocess
import tempfile

import owners

# libmemcached's memcached_hash_t. HSIEH is left out: Debian builds the library without it.
HASHES = {
    "one_at_a_time": 0, "md5": 1, "crc32": 2, "fnv1_64": 3, "fnv1a_64": 4, "fnv1_32": 5, "fnv1a_32": 6,
    "murmur": 8, "jenkins": 9,
}
SETS = ["equal5", "names5", "port11211", "weights12345", "weights11211", "equal25"]


def combinations():
    """(set, preset, order, behaviours, hash)"""
    for set_name in SETS:
        yield set_name, "libmemcached", "last", "ketama", -1
        yield set_name, "libmemcached-weighted", "last", "weighted", -1
        yield set_name, "libmemcached-servers-first", "first", "ketama", -1
        yield set_name, "libmemcached-spy", "last", "weighted,spy", -1
        yield set_name, "libmemcached-spy-plain", "last", "spy", -1
        yield set_name, "libmemcached-modula", "last", "none", -1
        yield set_name, "php-consistent", "last", "consistent", -1
        yield set_name, "libmemcached-md5", "last", "ketama", HASHES["md5"]
    for hash_name, number in HASHES.items():
        for set_name in ["equal5", "weights12345", "port11211"]:
            yield set_name, f"libmemcached-{hash_name}", "last", "ketama", number
        yield "equal5", f"libmemcached-modula-{hash_name}", "last", "none", number


def main():
    sets, keys = owners.server_sets(), b"".join(key + b"\n" for key in owners.keys())
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "record"
        source = owners.HERE / "record_libmemcached.c"
        subprocess.run(["cc", "-O1", str(source), "-o", str(program), "-lmemcached"], check=True)
        for set_name, preset, order, behaviours, number in combinations():
            servers = [f"{s.host}:{s.port}:{s.weight}" for s in sets[set_name]]
            run = subprocess.run(
                [str(program), order, behaviours, str(number), *servers], input=keys, capture_output=True, check=True
            )
            version = run.stderr.decode().strip()
            row = (set_name, preset, "-", f"libmemcached {version}", run.stdout.decode())
            rows[row[:4]] = row
    owners.finish("libmemcached", list(rows.values()))


main()
