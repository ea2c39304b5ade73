"""Where tickets stand: rankings, of which a tenant has one at a time, and the places of tickets in them.

A ranking is one complete order of a tenant's tickets that are not closed, all of whose keys were made by one version of
one policy. When the policy changes, another ranking is built beside the active one, and takes its turn in one moment
when it is complete; nobody ever sees keys of two policies in one list. A closed ticket keeps, in the ranking `SETTLED`,
the place that it had when it was closed.

In a ranking higher tiers come first, in a tier higher keys, then the older ticket, then the smaller id.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

SETTLED = 0
"""The ranking of closed tickets, which no change of a policy touches."""

KEPT_FOR = timedelta(minutes=15)
"""How long a list that was begun in a ranking can be gone on with when another one has taken over."""

STEPS = 16
"""Into so many steps a unit of the key is divided, to count how many tickets are above a place without reading them."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """One order of a tenant's inbox: its number, and the version of the policy that it is made by."""

    number: int
    policy_version: int


@dataclass(frozen=True, slots=True)
class Rankings:
    """The ranking that lists are read from, and the one that is being built to take its turn."""

    active: Ranking
    building: Ranking | None = None

    @property
    def live(self) -> Sequence[Ranking]:
        """The rankings in which every change of a ticket counts."""
        return (self.active,) if self.building is None else (self.active, self.building)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ticket stands in a ranking, and in a few words why."""

    ranking: int
    tier: int
    key: float
    reasons: Sequence[str] = ()


def step_of(key: float) -> int:
    """Return the step that a key lies in; a key of a higher step is always the higher one."""
    return math.floor(key * STEPS)
