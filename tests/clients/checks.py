"""What the scripts of the Python clients share: two checks, and the address that they are told."""

import sys


def address():
    """The server that the command line names: (host, port)."""
    return sys.argv[1], int(sys.argv[2])


def equal(want, got, what=""):
    """Ends the script where two things differ."""
    if want != got:
        raise AssertionError(f"{what}: want {want!r:.300}, got {got!r:.300}")


def raises(kinds, call, *arguments, **options):
    """Ends the script where a call does not complain."""
    try:
        got = call(*arguments, **options)
    except kinds:
        return
    raise AssertionError(f"{call} {arguments!r:.200}: no complaint, but {got!r:.200}")


async def raises_async(kinds, call):
    """The same for a call that is awaited."""
    try:
        got = await call
    except kinds:
        return
    raise AssertionError(f"{call}: no complaint, but {got!r:.200}")
