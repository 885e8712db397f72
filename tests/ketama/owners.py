"""What the recorders share: the keys, the server sets, servers that answer with their own index, and the files.

The servers here store nothing. Asked for a key they answer with a value that is their place in the set, so that
a client which gets a value has said by that where it places the key. Loopback only, and gone with the process.
"""

import argparse
import gzip
import pathlib
import socketserver
import sys
import threading

HERE = pathlib.Path(__file__).parent
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
# Stands for a key that the client refused to send.
REFUSED = "."


def keys():
    return gzip.decompress((HERE / "keys.gz").read_bytes()).split(b"\n")[:-1]


def tagged_keys():
    """Every key of up to 200 bytes inside braces; tests/ketama/main.rs builds the same."""
    return [b"a{%s}%d" % (key, i) if len(key) <= 200 else key for i, key in enumerate(keys())]


class Server:
    def __init__(self, host, port, weight, name):
        self.host, self.port, self.weight, self.name = host, int(port), int(weight), name


def server_sets():
    sets = {}
    for line in (HERE / "servers.tsv").read_text().splitlines():
        if not line.startswith("#"):
            set_name, host, port, weight, name, _ = line.split("\t")
            sets.setdefault(set_name, []).append(Server(host, port, weight, name))
    return sets


class _Owner(socketserver.StreamRequestHandler):
    def handle(self):
        index = self.server.index
        while line := self.rfile.readline():
            words = line.split()
            if words[:1] in ([b"get"], [b"gets"]):
                cas = b" 1" if words[0] == b"gets" else b""
                values = [b"VALUE %s 0 %d%s\r\n%s\r\n" % (key, len(index), cas, index) for key in words[1:]]
                # One write: in pieces, Nagle's algorithm and delayed acknowledgements cost 40 ms a reply.
                self.wfile.write(b"".join(values) + b"END\r\n")
            elif words[:1] == [b"version"]:
                self.wfile.write(b"VERSION 1.6.0\r\n")
            elif words[:1] in ([b"set"], [b"add"]):
                self.rfile.read(int(words[4]) + 2)
                self.wfile.write(b"STORED\r\n")
            elif words[:1] == [b"touch"]:
                self.wfile.write(b"TOUCHED\r\n")
            elif words[:1] == [b"quit"]:
                return
            else:
                self.wfile.write(b"ERROR\r\n")


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512


def serve(servers):
    """Starts a listener for each server of a set; their indexes are what they answer."""
    listeners = []
    for index, server in enumerate(servers):
        listener = _Listener((server.host, server.port), _Owner)
        listener.index = DIGITS[index].encode()
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        listeners.append(listener)
    return listeners


def stop(listeners):
    for listener in listeners:
        listener.shutdown()
        listener.server_close()


def finish(name, rows):
    """Writes the rows (set, preset, hash tag or "-", library, owners), or with --check compares them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    path = HERE / f"{name}.tsv.gz"
    text = "".join("\t".join(row) + "\n" for row in rows)
    if parser.parse_args().check:
        old = dict(line.rsplit("\t", 1) for line in gzip.decompress(path.read_bytes()).decode().splitlines())
        new = dict(line.rsplit("\t", 1) for line in text.splitlines())
        wrong = [row for row in old.keys() | new.keys() if old.get(row) != new.get(row)]
        for row in sorted(wrong):
            print("differs:", row.replace("\t", " "))
        print(f"{name}: {len(new)} rows compared, {len(wrong)} differ")
        sys.exit(bool(wrong))
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{name}: {len(rows)} rows, {path.stat().st_size} bytes")
