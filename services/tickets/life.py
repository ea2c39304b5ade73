"""The steps that agents take tickets through, and what a customer's message does to one: plain values in, values out.

A step is a value itself, so that one ticket or two hundred can be taken through it and the history can name it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.tickets.errors import (
    MergeInvalidError,
    SnoozeTimeInvalidError,
    TicketAlreadyClosedError,
    TicketMergedError,
    TicketNotSnoozedError,
    TooManyMergedError,
)
from services.tickets.tickets import Change, Ticket, changed, closed, reopened, time_text, touched, with_values

LONGEST_SNOOZE = timedelta(days=366)
MAX_MERGED = 50
"""How many tickets may go on in one: their messages are read together."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is done to a ticket.

    Attributes:
        action: how the history names it.
        apply: gives the ticket afterwards; the very ticket that it was given when there is nothing to do.
        details: what the history keeps beside the fields that change.
    """

    action: str
    apply: Callable[[Ticket, datetime], Ticket]
    details: Mapping[str, Any] = field(default_factory=dict)


def changing(change: Change) -> Step:
    """Give fields new values.

    Applying it raises NothingToChangeError and TagsInvalidError as `changed` does, and TicketMergedError for a status
    other than closed when another ticket goes on in its stead.
    """

    def apply(ticket: Ticket, now: datetime) -> Ticket:
        if change.status not in {None, "closed"}:
            _require_unmerged(ticket)
        return changed(ticket, change, now)

    return Step("update", apply)


def snoozing(until: datetime) -> Step:
    """Set a ticket aside until a moment; one that sleeps already sleeps until then instead.

    Applying it raises SnoozeTimeInvalidError for a moment that is not in the next 366 days, TicketMergedError and
    TicketAlreadyClosedError.
    """

    def apply(ticket: Ticket, now: datetime) -> Ticket:
        if not now < until <= now + LONGEST_SNOOZE:
            raise SnoozeTimeInvalidError(LONGEST_SNOOZE.days)
        _require_unmerged(ticket)
        if ticket.status == "closed":
            raise TicketAlreadyClosedError(ticket.number_text)
        if ticket.snooze_until == until:
            return ticket
        return touched(replace(with_values(ticket, {"status": "pending"}, now), snooze_until=until), now)

    return Step("snooze", apply)


def escalating(reason: str) -> Step:
    """Put a ticket above all that are not escalated; the reason stands in its history."""
    return Step("escalate", lambda ticket, now: _marked(ticket, now, escalated=True), {"reason": reason})


def _reopen(ticket: Ticket, now: datetime) -> Ticket:
    _require_unmerged(ticket)
    return reopened(ticket, now)


def _wake(ticket: Ticket, now: datetime) -> Ticket:
    if ticket.snooze_until is None:
        raise TicketNotSnoozedError(ticket.number_text)
    # Older code opens a ticket without ending its sleep: that alone would be no change of the status.
    return touched(replace(with_values(ticket, {"status": "open"}, now), snooze_until=None), now)


def _wake_when_due(ticket: Ticket, now: datetime) -> Ticket:
    return ticket if ticket.snooze_until is None or ticket.snooze_until > now else _wake(ticket, now)


def _marked(ticket: Ticket, now: datetime, *, pinned: bool | None = None, escalated: bool | None = None) -> Ticket:
    marked = replace(
        ticket,
        pinned=ticket.pinned if pinned is None else pinned,
        escalated=ticket.escalated if escalated is None else escalated,
    )
    return ticket if marked == ticket else touched(marked, now)


CLOSING = Step("close", closed)
REOPENING = Step("reopen", _reopen)
WAKING = Step("wake", _wake)
WAKING_WHEN_DUE = Step("wake", _wake_when_due)
PINNING = Step("pin", lambda ticket, now: _marked(ticket, now, pinned=True))
UNPINNING = Step("unpin", lambda ticket, now: _marked(ticket, now, pinned=False))
DEESCALATING = Step("deescalate", lambda ticket, now: _marked(ticket, now, escalated=False))


STEPS = {
    "close": CLOSING,
    "reopen": REOPENING,
    "wake": WAKING,
    "pin": PINNING,
    "unpin": UNPINNING,
    "deescalate": DEESCALATING,
}
"""The steps that need nothing else to be known, by their actions."""


def heard(ticket: Ticket, written: datetime | None, now: datetime) -> Ticket:
    """Return the ticket after its customer wrote: awake, and open again.

    What was written before the ticket got its status changes nothing, where a time was told at all: clocks differ. A
    helpdesk says itself what a message does to the status of its tickets, except that it does not know of their sleep.
    """
    asleep = ticket.snooze_until is not None
    others = ticket.connection_id is not None or ticket.merged_into is not None
    if ticket.status == "open" or (others and not asleep):
        return ticket
    since = ticket.field_times.get("status", time_text(ticket.create_time))
    if written is not None and time_text(written) < since:
        return ticket
    return with_values(ticket, {"status": "open"}, now)


def merged(source: Ticket, target: Ticket, now: datetime) -> tuple[Ticket, Ticket]:
    """Return two tickets after the first was merged into the second, which shows the messages of both.

    The question of an open ticket stays one to be answered: the second is open then, and awake.

    Raises:
        MergeInvalidError: they are the same ticket.
        TicketMergedError: one of them was merged into another ticket before.
        TooManyMergedError: more tickets would go on in one than may.
    """
    if source.id == target.id:
        raise MergeInvalidError(source.number_text)
    _require_unmerged(source)
    _require_unmerged(target)
    family = (*target.merged_from, *source.family)
    if len(family) > MAX_MERGED:
        raise TooManyMergedError(target.number_text, MAX_MERGED)
    if source.status == "open":
        target = with_values(target, {"status": "open"}, now)
    source = replace(with_values(source, {"status": "closed"}, now), merged_into=target.id)
    return touched(source, now), touched(_with_family(target, family), now)


def unmerged(source: Ticket, onward: Sequence[Ticket], status: str, now: datetime) -> tuple[Ticket, Sequence[Ticket]]:
    """Return a merged ticket as it goes on by itself with a status, and those that went on in its stead without it.

    `onward` is the ticket that it was merged into, the one into which that was merged since, and so on.
    """
    alone = with_values(replace(source, merged_into=None), {"status": status}, now)
    rest = []
    for ticket in onward:
        family = tuple(member for member in ticket.merged_from if member not in source.family)
        rest.append(touched(_with_family(ticket, family), now))
    return touched(alone, now), rest


def _with_family(target: Ticket, family: tuple[UUID, ...]) -> Ticket:
    """Return a ticket that shows the messages of others; what was advised before may be wrong now."""
    return replace(target, merged_from=family, conversation_version=target.conversation_version + 1)


def _require_unmerged(ticket: Ticket) -> None:
    if ticket.merged_into is not None:
        raise TicketMergedError(ticket.number_text, ticket.merged_into)
