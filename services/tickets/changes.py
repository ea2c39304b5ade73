"""What changes in the inbox: the kinds of change, and places in the log of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

_LARGEST = 2**63 - 1


class Kind(StrEnum):
    """What happened to a ticket, as its watchers are told."""

    CREATED = "created"
    UPDATED = "updated"
    MOVED = "moved"
    CLOSED = "closed"
    REOPENED = "reopened"
    SNOOZED = "snoozed"
    WOKEN = "woken"
    MERGED = "merged"
    PINNED = "pinned"
    UNPINNED = "unpinned"
    ESCALATED = "escalated"
    DEESCALATED = "deescalated"
    DUE = "due"
    BREACHED = "breached"
    TOPIC_SPIKE = "topic_spike"


class Position(NamedTuple):
    """A place in the log: behind the change with this transaction and number, before the next one."""

    xid: int
    number: int

    @property
    def text(self) -> str:
        """The place as text."""
        return f"{self.xid}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Return the place that a text names.

        Raises:
            ValueError: it names none.
        """
        xid, _, number = text.partition(".")
        place = cls(int(xid), int(number))
        if not (0 <= place.xid <= _LARGEST and 0 <= place.number <= _LARGEST):
            raise ValueError("out of range")
        return place


class Marks(NamedTuple):
    """What agents marked a ticket with: until when it sleeps, whether another one goes on in its stead, its tiers."""

    snooze_until: datetime | None = None
    merged_into: UUID | None = None
    pinned: bool = False
    escalated: bool = False


UNMARKED = Marks()


@dataclass(frozen=True, slots=True)
class Placing:
    """How a ticket stands in the inbox: its status, the key of its rank, its revision, and its marks where known."""

    status: str
    rank_key: float
    revision: int
    marks: Marks = UNMARKED


@dataclass(frozen=True, slots=True)
class InboxChange:
    """One change of one ticket, with how it stood before (None: it is new) and stands now; no content."""

    position: Position
    tenant_id: UUID
    kind: Kind
    ticket_id: UUID
    number: int
    before: tuple[str, float] | None
    after: Placing
    start_time: datetime
    change_time: datetime
    tier: int = 0

    def concerns(self, status: str) -> bool:
        """Tell whether a list of tickets with this status (empty: all) changes by it."""
        return not status or status == self.after.status or (self.before is not None and status == self.before[0])


def kind_of(before: Placing | None, after: Placing) -> Kind | None:
    """Return what happened between two standings of a ticket, the most telling of it; None when nothing did."""
    if before is None:
        return Kind.CREATED
    if (before.status == "closed") != (after.status == "closed"):
        if after.status != "closed":
            return Kind.REOPENED
        return Kind.CLOSED if after.marks.merged_into is None else Kind.MERGED
    if (marked := _marked(before.marks, after.marks)) is not None:
        return marked
    if before.revision != after.revision or before.status != after.status:
        return Kind.UPDATED
    return Kind.MOVED if before.rank_key != after.rank_key else None


def _marked(before: Marks, after: Marks) -> Kind | None:
    if after.merged_into is not None and before.merged_into is None:
        return Kind.MERGED
    if after.snooze_until != before.snooze_until:
        return Kind.WOKEN if after.snooze_until is None else Kind.SNOOZED
    if after.pinned != before.pinned:
        return Kind.PINNED if after.pinned else Kind.UNPINNED
    if after.escalated != before.escalated:
        return Kind.ESCALATED if after.escalated else Kind.DEESCALATED
    return None
