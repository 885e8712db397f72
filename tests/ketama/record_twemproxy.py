"""Records where twemproxy (nutcracker in PATH) really sends each key, for every hash and distribution.

One nutcracker with a pool, and so a listening port, for every combination; behind it servers that answer a get
with their own index. Usage: python3 record_twemproxy.py [--check]
"""

import re
import socket
import subprocess
import tempfile
import time

import owners

HASHES = "one_at_a_time md5 crc16 crc32 crc32a fnv1_64 fnv1a_64 fnv1_32 fnv1a_32 hsieh murmur jenkins".split()
FIRST_PORT = 22300
# A batch of keys fits one of nutcracker's buffers.
BATCH_BYTES = 6000


def combinations():
    """(set, preset, hash or None for the default, distribution or None, hash tag or "-")"""
    for set_name in ["equal5", "weights12345", "port11211", "weights11211"]:
        for hash_name in HASHES:
            yield set_name, f"twemproxy-{hash_name}", hash_name, "ketama", "-"
            yield set_name, f"twemproxy-modula-{hash_name}", hash_name, "modula", "-"
    for hash_name in ["md5", "fnv1a_64"]:
        yield "named5", f"twemproxy-{hash_name}", hash_name, "ketama", "-"
        yield "equal25", f"twemproxy-{hash_name}", hash_name, "ketama", "-"
        yield "equal5", f"twemproxy-{hash_name}", hash_name, "ketama", "{}"
        yield "equal5", f"twemproxy-modula-{hash_name}", hash_name, "modula", "$$"
    for set_name in ["equal5", "weights12345", "named5"]:
        yield set_name, "twemproxy", None, None, "-"
    yield "equal5", "twemproxy-modula", None, "modula", "-"


def pool(port, servers, hash_name, distribution, tag):
    lines = [f"pool{port}:", f"  listen: 127.0.0.1:{port}", "  timeout: 20000", "  preconnect: false"]
    if hash_name:
        lines.append(f"  hash: {hash_name}")
    if distribution:
        lines.append(f"  distribution: {distribution}")
    if tag != "-":
        lines.append(f'  hash_tag: "{tag}"')
    lines.append("  servers:")
    for server in servers:
        name = f" {server.name}" if server.name != "-" else ""
        lines.append(f"   - {server.host}:{server.port}:{server.weight}{name}")
    return "\n".join(lines) + "\n"


def ask(port, keys):
    """The index of the owner of each key, through the proxy."""
    found = {}
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        replies = connection.makefile("rb")
        todo = list(dict.fromkeys(keys))
        while todo:
            size, count = 0, 0
            while count < len(todo) and size < BATCH_BYTES:
                size += len(todo[count]) + 1
                count += 1
            connection.sendall(b"get " + b" ".join(todo[:count]) + b"\r\n")
            while (line := replies.readline()) != b"END\r\n":
                if not line.startswith(b"VALUE "):
                    raise RuntimeError(f"port {port}: {line!r}")
                found[line.split()[1]] = replies.readline().strip().decode()
            todo = todo[count:]
    return "".join(found[key] for key in keys)


def main():
    sets = owners.server_sets()
    version = re.search(r"[\d.]+\d", subprocess.run(["nutcracker", "-V"], capture_output=True, text=True).stderr)
    library = f"twemproxy {version.group()}"
    # The sets share addresses, so one listener serves an address in all of them: its index must be the same.
    listeners = owners.serve(sets["equal25"])
    listeners += owners.serve(sets["port11211"][:1])
    plan = [(FIRST_PORT + i, *combination) for i, combination in enumerate(combinations())]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as config:
        for port, set_name, _, hash_name, distribution, tag in plan:
            config.write(pool(port, sets[set_name], hash_name, distribution, tag))
        config.flush()
        proxy = subprocess.Popen(["nutcracker", "-c", config.name, "-s", "22299"], stderr=subprocess.DEVNULL)
        try:
            while proxy.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", plan[-1][0]), timeout=1).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            plain, tagged = owners.keys(), owners.tagged_keys()
            rows = [
                (set_name, preset, tag, library, ask(port, plain if tag == "-" else tagged))
                for port, set_name, preset, _, _, tag in plan
            ]
        finally:
            proxy.kill()
            proxy.wait()
            owners.stop(listeners)
    owners.finish("twemproxy", rows)


main()
