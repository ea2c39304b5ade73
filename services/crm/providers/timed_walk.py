"""Walking through all tickets changed since a time, where the vendor lists them by numbered pages.

Pages by number shift while tickets change, so that some would never be seen. The walk therefore goes on at the time of
the last ticket of a page, which it sees twice, instead of at the next number.
"""

import re
from collections.abc import Sequence
from datetime import datetime

from services.crm.providers.api import ApiError

_CURSOR = re.compile(r"([0-9T:.+-]{19,40})/([1-9][0-9]{0,8})", re.ASCII)


def opened(cursor: str | None, since: datetime) -> tuple[datetime, int]:
    """Return from which time, and at which page of it, a walk goes on.

    Raises:
        ApiError: the cursor is none of this walk (`CURSOR_INVALID`).
    """
    if cursor is None:
        return since, 1
    found = _CURSOR.fullmatch(cursor)
    try:
        time = datetime.fromisoformat(found[1]) if found else None
    except ValueError:
        time = None
    if found is None or time is None or time.tzinfo is None:
        raise ApiError("CURSOR_INVALID", "the cursor is not one of this walk")
    return time, int(found[2])


def following(since: datetime, page: int, times: Sequence[datetime]) -> str:
    """Return the cursor after a full page of tickets that changed at `times`, in the vendor's order.

    Only where a page brought no later time, or is not in order, the next number is asked for.
    """
    if times and list(times) == sorted(times) and times[-1] > since:
        return f"{times[-1].isoformat()}/1"
    return f"{since.isoformat()}/{page + 1}"
