"""How long tickets take a shop: learned from its own closed tickets, drawn towards the usual time where there are few.

What an agent does between two answers is taken as work on the second one, unless it is an hour or more: a break. That
is a measure of work, not a record of it; it is good enough to tell quick matters from slow ones.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta

from services.tickets.language import HANDLING_MINUTES, UNKNOWN
from services.tickets.policies import Learned

TICKETS = 2_000
"""How many closed tickets are looked at, the newest ones."""
LONGEST_GAP = timedelta(minutes=60)
FEWEST = 10
"""Fewer tickets of an intent than this say nothing about it."""
PRIOR_TICKETS = 30
"""The usual time counts as much as this many tickets."""
LONGEST_MINUTES = 90.0
WORTH_IT = math.log(1.1)
"""Times that differ by less than a tenth are not worth putting a whole inbox in order anew."""


def learned(efforts: Iterable[tuple[str, float]]) -> dict[str, Learned]:
    """Return the handling times that follow from tickets of these intents and minutes of work."""
    minutes: dict[str, list[float]] = defaultdict(list)
    for intent, taken in efforts:
        if intent in HANDLING_MINUTES and math.isfinite(taken):
            minutes[intent].append(min(max(taken, 0.0), LONGEST_MINUTES))
    return {intent: _shrunk(intent, taken) for intent, taken in minutes.items() if len(taken) >= FEWEST}


def different(before: Mapping[str, Learned], after: Mapping[str, Learned]) -> bool:
    """Tell whether an intent's time has changed so much that it is worth another version of the policy."""
    for intent in before.keys() | after.keys():
        usual = HANDLING_MINUTES.get(intent, HANDLING_MINUTES[UNKNOWN])
        times = [known[intent].minutes if intent in known else usual for known in (before, after)]
        if abs(math.log(times[0] / times[1])) > WORTH_IT:
            return True
    return False


def _shrunk(intent: str, taken: list[float]) -> Learned:
    total = sum(taken) + PRIOR_TICKETS * HANDLING_MINUTES[intent]
    return Learned(round(total / (len(taken) + PRIOR_TICKETS), 2), len(taken))
