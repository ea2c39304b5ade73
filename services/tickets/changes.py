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


@dataclass(frozen=True, slots=True)
class Placing:
    """How a ticket stands in the inbox: its status, the key of its rank, and its revision."""

    status: str
    rank_key: float
    revision: int


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

    def concerns(self, status: str) -> bool:
        """Tell whether a list of tickets with this status (empty: all) changes by it."""
        return not status or status == self.after.status or (self.before is not None and status == self.before[0])


def kind_of(before: Placing | None, after: Placing) -> Kind | None:
    """Return what happened between two standings of a ticket; None when nothing did."""
    if before is None:
        return Kind.CREATED
    if (before.status == "closed") != (after.status == "closed"):
        return Kind.CLOSED if after.status == "closed" else Kind.REOPENED
    if before.revision != after.revision or before.status != after.status:
        return Kind.UPDATED
    return Kind.MOVED if before.rank_key != after.rank_key else None
