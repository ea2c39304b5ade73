"""A change that a vendor is asked for while the process that asks keeps dying."""

from collections.abc import Callable
from itertools import count

from services.crm.providers.api import Call, Steps
from tests.crm.walking import CrashError, Walk


def through_crashes(walk: Walk, make: Callable[[], Steps[bool]]) -> int:
    """Run steps again and again while the process ends in the midst of them; return how often it did.

    The first time it ends at the first call that changes something, done but unheard of, the next time at the second,
    and so on until the steps end by themselves.
    """
    for place in count(1):
        left = place

        def crashes(call: Call) -> bool:
            nonlocal left
            left -= changes(call)
            return left == 0 and changes(call)

        walk.crashes = crashes
        try:
            walk.run(make())
        except CrashError:
            continue
        walk.crashes = lambda _: False
        return place - 1
    raise AssertionError


def changes(call: Call) -> bool:
    """Return whether a call is to change something: searches and reads in batches are POSTs that do not."""
    return call.method != "GET" and not call.path.endswith(("/search", "/batch/read", "/token"))
