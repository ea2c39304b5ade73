"""The life of a delivery: its states, when it is tried again, and the sum that must always add up."""

import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.crm.errors import DeliveryErasedError, DeliveryStateError


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

MOST_REPLAYS_SHOWN = 20
"""How many replays of a delivery are shown with it, the newest first."""

DEDUPE_MARGIN = timedelta(days=8)
"""How much longer than deliveries, and than any vendor repeats them, the keys are kept that find their copies."""

FIRST_RETRY = timedelta(milliseconds=500)
LONGEST_RETRY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Replay:
    """One replay of a delivery: which one it is, and what the run before it had come to."""

    id: UUID
    number: int
    state_before: State
    reason_before: str
    attempts_before: int
    created: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as people see it; `duplicates` counts its further copies, `reason` is a fixed word or empty.

    `replay_id` is the nonce of the last of its `replay_count` replays; `erased` is when its content was.
    """

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
    replay_count: int = 0
    replay_id: UUID | None = None
    erased: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sought:
    """Which deliveries are asked for; None asks for all. Times are half-open: `received_from` is part of it."""

    state: State | None = None
    connection_id: UUID | None = None
    provider: str | None = None
    reason: str | None = None
    received_from: datetime | None = None
    received_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """What became of every webhook of a tenant, counted at one moment; `refused` ones were never admitted.

    `retired` of those that are counted are not stored any more.
    """

    admitted: int
    processed: int
    superseded: int
    duplicate: int
    quarantined: int
    pending: int
    dead: int
    discarded: int
    refused: int
    retired: int = 0

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


def require_content(delivery: Delivery) -> None:
    """Allow a replay only while there is something to process.

    Raises:
        DeliveryErasedError: the content was erased with a customer.
    """
    if delivery.erased is not None:
        raise DeliveryErasedError("The delivery's content was erased.", metadata={"delivery": str(delivery.id)})


def dedupe_period(kept: timedelta, horizons: Collection[timedelta]) -> timedelta:
    """Return how long keys are kept: longer than deliveries are, and than the most patient vendor sends copies."""
    return max(kept, *horizons) + DEDUPE_MARGIN


def retry_delay(attempts: int, *, chance: random.Random) -> timedelta:
    """Return how long to wait after failed attempt number `attempts` (from 1).

    The wait doubles from half a second up to five minutes; the upper half of it is left to chance, so that what failed
    together does not come back together.
    """
    doubled = FIRST_RETRY * 2.0 ** min(attempts - 1, 30)
    return min(doubled, LONGEST_RETRY) * (0.5 + 0.5 * chance.random())
