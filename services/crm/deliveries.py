"""The life of a delivery: its states, when it is tried again, and the sum that must always add up."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.crm.errors import DeliveryStateError


class State(StrEnum):
    """Where a delivery stands; the values are those that are stored."""

    PENDING = "pending"
    PROCESSED = "processed"
    SUPERSEDED = "superseded"
    QUARANTINED = "quarantined"
    DEAD = "dead"
    DISCARDED = "discarded"


STUCK = frozenset({State.QUARANTINED, State.DEAD})
"""The states in which a delivery waits for a person."""

FIRST_RETRY = timedelta(milliseconds=500)
LONGEST_RETRY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as people see it; `duplicates` counts its further copies, `reason` is a fixed word or empty."""

    id: UUID
    connection_id: UUID
    provider: str
    state: State
    reason: str
    attempts: int
    secret_version: int
    duplicates: int
    received: datetime
    state_time: datetime


@dataclass(frozen=True, slots=True)
class Balance:
    """What became of every webhook of a tenant, counted at one moment; `refused` ones were never admitted."""

    admitted: int
    processed: int
    superseded: int
    duplicate: int
    quarantined: int
    pending: int
    dead: int
    discarded: int
    refused: int

    @property
    def adds_up(self) -> bool:
        """Return whether everything that was admitted is accounted for."""
        return self.admitted == (
            self.processed
            + self.superseded
            + self.duplicate
            + self.quarantined
            + self.pending
            + self.dead
            + self.discarded
        )


def require_stuck(state: State) -> None:
    """Allow a person's decision only where one is asked for.

    Raises:
        DeliveryStateError: the delivery is neither dead nor quarantined.
    """
    if state not in STUCK:
        raise DeliveryStateError(f"The delivery is {state}.", metadata={"state": state})


def retry_delay(attempts: int, *, chance: random.Random) -> timedelta:
    """Return how long to wait after failed attempt number `attempts` (from 1).

    The wait doubles from half a second up to five minutes; the upper half of it is left to chance, so that what failed
    together does not come back together.
    """
    doubled = FIRST_RETRY * 2.0 ** min(attempts - 1, 30)
    return min(doubled, LONGEST_RETRY) * (0.5 + 0.5 * chance.random())
