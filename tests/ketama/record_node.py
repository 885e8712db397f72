"""Packs what record_node.js prints. Needs node, and npm hashring below NODE_PATH. Usage: python3 record_node.py
[--check]
"""

import subprocess

import owners

run = subprocess.run(["node", str(owners.HERE / "record_node.js")], stdout=subprocess.PIPE, check=True)
owners.finish("node", [tuple(line.split("\t")) for line in run.stdout.decode().splitlines()])
