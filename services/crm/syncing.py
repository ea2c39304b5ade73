"""Reading tickets by a provider's list API: the states of a run, its progress, and when the next one begins.

A connection has two: a backfill, which a person starts, and a reconciliation, which comes again and again. What a run
has read is behind its cursor; what is read goes the way of webhooks, where the newer of two states wins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.crm.events import TicketEvent

BACKFILL_REACH = timedelta(days=90)
"""How far back a backfill reads when nobody says."""

DEFAULT_INTERVAL = timedelta(hours=1)
LEAST_LOOK_BACK = timedelta(days=1)

MOST_ATTEMPTS = 12
"""How often one page is tried before a run has failed."""

CURSOR_ATTEMPTS = 4
"""After how many failures a cursor is given up, and all is read once more: the vendor may have forgotten it."""

MOST_BYTES = 1_000_000
"""About how large the messages in one call may be together; one takes 2 MiB."""

_ALMOST = 0.99


class Kind(StrEnum):
    """What a sync is for; the values are those that are stored."""

    BACKFILL = "backfill"
    RECONCILIATION = "reconciliation"


class State(StrEnum):
    """Where a sync stands; the values are those that are stored."""

    IDLE = "idle"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Counts:
    """What was read: pages, changes in them, those that told something new, and those that could not be taken in."""

    pages: int = 0
    read: int = 0
    changed: int = 0
    refused: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Return the sums."""
        return Counts(
            self.pages + other.pages,
            self.read + other.read,
            self.changed + other.changed,
            self.refused + other.refused,
        )


@dataclass(frozen=True, slots=True)
class Sync:
    """A sync as people see it, with its cursor, which they do not see.

    `repaired` sums what all runs changed; `covered` is when the last run began that came to its end; `every` is zero
    where no run comes by itself; `next_time` is None where none will come.
    """

    connection_id: UUID
    kind: Kind
    state: State = State.IDLE
    reason: str = ""
    since: datetime | None = None
    cursor: str | None = None
    started: datetime | None = None
    cursor_time: datetime | None = None
    ended: datetime | None = None
    counts: Counts = Counts()
    repaired: int = 0
    covered: datetime | None = None
    every: timedelta = timedelta(0)
    look_back: timedelta = LEAST_LOOK_BACK
    next_time: datetime | None = None

    @property
    def progress(self) -> float:
        """About how much of the time between `since` and the start of the run was read, from 0 to 1.

        A vendor that lists several kinds of things comes to its newest change more than once.
        """
        if self.state is State.DONE:
            return 1.0
        if self.since is None or self.started is None or self.cursor_time is None or self.started <= self.since:
            return 0.0
        return min(_ALMOST, max(0.0, (self.cursor_time - self.since) / (self.started - self.since)))


def begun(sync: Sync, now: datetime, since: datetime) -> Sync:
    """Return a sync at the beginning of a run that reads what changed since then."""
    return replace(
        sync,
        state=State.RUNNING,
        reason="",
        since=since,
        cursor=None,
        started=now,
        cursor_time=None,
        ended=None,
        counts=Counts(),
    )


def resumed(sync: Sync, now: datetime, since: datetime | None, *, restart: bool) -> Sync:
    """Return a backfill that was started: one that runs stays as it is, one that ended early goes on where it was."""
    if sync.state is State.RUNNING and not restart and since in (None, sync.since):
        return sync
    may_go_on = sync.state in (State.STOPPED, State.FAILED) and sync.since is not None
    if may_go_on and not restart and since in (None, sync.since):
        return replace(sync, state=State.RUNNING, reason="", ended=None)
    return begun(sync, now, since or now - BACKFILL_REACH)


def advanced(sync: Sync, page: Counts, newest: datetime | None, cursor: str | None, now: datetime) -> Sync:
    """Return a run after a page; without a cursor for the next one it is done."""
    cursor_time = max((time for time in (sync.cursor_time, newest) if time is not None), default=None)
    repaired = sync.repaired + (page.changed if sync.kind is Kind.RECONCILIATION else 0)
    moved = replace(
        sync,
        cursor=cursor,
        cursor_time=cursor_time,
        counts=sync.counts.plus(page),
        repaired=repaired,
        reason="",
    )
    if cursor is not None:
        return moved
    return replace(moved, state=State.DONE, ended=now, covered=moved.started)


def reconciles_since(sync: Sync, now: datetime) -> datetime:
    """Return how far back the next reconciliation looks: also over the time in which none came to its end."""
    start = now - sync.look_back
    return start if sync.covered is None else max(min(start, sync.covered), now - BACKFILL_REACH)


def look_back_for(every: timedelta) -> timedelta:
    """Return how far back each reconciliation looks when nobody says."""
    return max(every * 2, LEAST_LOOK_BACK)


def in_calls(events: Sequence[TicketEvent], most: int) -> Iterator[list[TicketEvent]]:
    """Put events together that fit into one call, in their order."""
    group: list[TicketEvent] = []
    size = 0
    for event in events:
        length = sum(len(message.content.encode()) for message in event.messages)
        if group and (len(group) >= most or size + length > MOST_BYTES):
            yield group
            group, size = [], 0
        group.append(event)
        size += length
    if group:
        yield group
