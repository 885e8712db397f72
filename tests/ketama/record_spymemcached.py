"""Records spymemcached's placements through its own ketama locator. Needs a JDK of 17 or later and the library.

Usage: python3 record_spymemcached.py [--check], with CLASSPATH naming spymemcached.jar (Debian:
libspymemcached-java, /usr/share/java/spymemcached.jar).
"""

import os
import subprocess
import tempfile

import owners


def main():
    jar = os.environ.get("CLASSPATH", "/usr/share/java/spymemcached.jar")
    query = ["dpkg-query", "-W", "-f=${Version}", "libspymemcached-java"]
    version = subprocess.run(query, capture_output=True, text=True).stdout.partition("+")[0] or "of unknown version"
    with tempfile.NamedTemporaryFile() as keys:
        keys.write(b"".join(key + b"\n" for key in owners.keys()))
        keys.flush()
        recorder, servers = owners.HERE / "RecordSpymemcached.java", owners.HERE / "servers.tsv"
        run = subprocess.run(
            ["java", "-cp", jar, str(recorder), keys.name, str(servers)], stdout=subprocess.PIPE, check=True
        )
    rows = [line.split("\t") for line in run.stdout.decode().splitlines()]
    owners.finish("spymemcached", [(name, preset, "-", f"spymemcached {version}", row) for name, preset, row in rows])


main()
