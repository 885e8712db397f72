"""Records where php-memcached (Debian: php-cli, php-memcached) really sends each key.

Usage: python3 record_php.py [--check]
"""

import subprocess
import tempfile

import owners


def main():
    version = subprocess.run(
        ["php", "-r", 'echo phpversion("memcached");'], capture_output=True, text=True, check=True
    ).stdout
    sets, rows = owners.server_sets(), []
    with tempfile.NamedTemporaryFile() as keys:
        keys.write(b"".join(key + b"\n" for key in owners.keys()))
        keys.flush()
        for set_name in ["equal5", "weights12345", "port11211", "weights11211"]:
            servers = sets[set_name]
            listeners = owners.serve(servers)
            try:
                names = [f"{s.host}:{s.port}:{s.weight}" for s in servers]
                run = subprocess.run(
                    ["php", str(owners.HERE / "record_php.php"), keys.name, *names],
                    capture_output=True, text=True, check=True,
                )
            finally:
                owners.stop(listeners)
            for line in run.stdout.splitlines():
                preset, places = line.split("\t")
                rows.append((set_name, preset, "-", f"php-memcached {version}", places))
    owners.finish("php", rows)


main()
