"""pymemcache through a proxy that goes on while servers die: every line read is a round of sets and multi-gets.

Values are functions of their keys. A refusal is counted; a wrong value ends the script. Answers with a line for each
round: requests, errors, hits, misses.
"""

import sys

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

from checks import address, equal

KEYS = [f"{{tag{number // 4}}}:key{number}" for number in range(600)]
WIDTH = 60


def value(key):
    return f"value of {key}".encode()


class Round:
    def __init__(self):
        self.requests = self.errors = self.hits = self.misses = 0

    def attempt(self, call, *arguments):
        """What a call returns, or None where it was refused or its connection was lost."""
        self.requests += 1
        try:
            return call(*arguments)
        except (MemcacheError, ConnectionError):
            self.errors += 1
            return None

    def run(self, client):
        for start in range(0, len(KEYS), WIDTH):
            keys = KEYS[start : start + WIDTH]
            self.attempt(client.set, keys[0], value(keys[0]))
            found = self.attempt(client.get_many, keys)
            if found is None:
                continue
            for key, got in found.items():
                equal(value(key), got, key)
            self.hits += len(found)
            for key in keys:
                if key not in found:
                    self.misses += 1
                    self.attempt(client.set, key, value(key))


def main():
    client = Client(address(), default_noreply=False, connect_timeout=20, timeout=60)
    for _ in sys.stdin:
        it = Round()
        it.run(client)
        print(it.requests, it.errors, it.hits, it.misses, flush=True)


main()
