"""pylibmc with a ketama ring over several servers, of which one dies: what each request comes to, order by order.

    pylibmc_failover.py SETTINGS HOST:PORT[:WEIGHT] ...

Every line read is an order, every line written its outcome: the kinds of outcome, then a letter for each key.
"""

import sys

import pylibmc

from checks import equal

KEYS = [f"key:{number * 7919}" for number in range(200)]
# Long: nothing expires while rounds are recorded, however slow the machine.
LONG = 300
SETTINGS = {
    "kept": {"retry_timeout": LONG},
    "removed": {"remove_failed": 1, "retry_timeout": LONG, "dead_timeout": LONG},
    "returns": {"remove_failed": 1, "retry_timeout": 1, "dead_timeout": 1},
}


def value(key):
    return f"value of {key}".encode()


def outcome(call, *arguments):
    try:
        return call(*arguments)
    except pylibmc.Error as error:
        return type(error).__name__


def spell(outcomes):
    """The different outcomes, and which of them each key had, as letters."""
    kinds = sorted(set(outcomes))
    return ",".join(kinds) + " " + "".join(chr(ord("a") + kinds.index(it)) for it in outcomes)


def judged(key, got):
    """A value (which is bytes) must be the right one; the rest is None, or the name of a complaint."""
    if isinstance(got, bytes):
        equal(value(key), got, key)
        return "hit"
    return "miss" if got is None else got


def sets(client):
    return spell([str(outcome(client.set, key, value(key))) for key in KEYS])


def gets(client):
    return spell([judged(key, outcome(client.get, key)) for key in KEYS])


def multi(client):
    found = outcome(client.get_multi, KEYS)
    if isinstance(found, str):
        return found
    return spell([judged(key, found.get(key)) for key in KEYS])


def main():
    settings, *servers = sys.argv[1:]
    client = pylibmc.Client(servers, behaviors={"ketama_weighted": True, **SETTINGS[settings]})
    orders = {"sets": sets, "gets": gets, "multi": multi}
    for order in sys.stdin:
        print(orders[order.strip()](client), flush=True)


main()
