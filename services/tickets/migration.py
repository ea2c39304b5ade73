"""Tickets of a predecessor: what they become here, and what becomes of those that are here already.

What comes in is whole: a ticket with all its messages and notes, and their ids. A message that came by an import is
known by its external id, so that one that the source drops later can be told from one that was written here.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from uuid import UUID

from services.tickets import life
from services.tickets.errors import ConversationFullError, ImportInvalidError
from services.tickets.tickets import (
    MAX_ENTRIES,
    Message,
    Note,
    Ticket,
    start_of_waiting,
    time_text,
    with_entry,
    with_values,
)

ORIGIN = "legacy:"
"""How the external ids of imported messages and notes begin."""

CHANGED_HERE = -1
"""The revision that no ticket has: both sides have something that the other one lacks."""

_FIELDS = ("customer_id", "subject", "channel", "status", "priority", "assigned_to", "tags")


class Outcome(Enum):
    """What importing a ticket came to."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a ticket; an erased one has no number."""

    outcome: Outcome
    ticket_id: UUID
    number: int | None


@dataclass(frozen=True, slots=True)
class Whole:
    """A ticket as its source has it; `number` is 0 for none. Its messages and notes have no sequence yet."""

    legacy_id: str
    number: int
    digest: str
    ticket: Ticket
    messages: Sequence[Message]
    notes: Sequence[Note]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A ticket as it is to be stored, and what of its messages and notes is new."""

    whole: Whole
    ticket: Ticket
    messages: Sequence[Message]
    notes: Sequence[Note]


def check(tickets: Sequence[Whole]) -> None:
    """Refuse tickets that contradict themselves or each other.

    Raises:
        ImportInvalidError, ConversationFullError: see there.
    """
    for names in ([one.legacy_id for one in tickets], [str(one.ticket.id) for one in tickets]):
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ImportInvalidError(twice, "the batch names it twice")
    for whole in tickets:
        if (whole.ticket.status == "closed") != (whole.ticket.close_time is not None):
            raise ImportInvalidError(whole.legacy_id, "a closed ticket, and only that, has a closing time")
        if len(whole.messages) + len(whole.notes) > MAX_ENTRIES:
            raise ConversationFullError(whole.legacy_id, MAX_ENTRIES)
        ids = [*(one.id for one in whole.messages), *(one.id for one in whole.notes)]
        if len(set(ids)) < len(ids):
            raise ImportInvalidError(whole.legacy_id, "two of its messages or notes have one id")


def arrived(whole: Whole, number: int, now: datetime) -> Arrived:
    """Return a ticket that is new here, with this number."""
    told = whole.ticket
    entries = _in_order([*whole.messages, *whole.notes], after=0)
    ticket = replace(
        told,
        number=number,
        start_time=start_of_waiting(told.create_time, now),
        field_times=dict.fromkeys(_FIELDS, time_text(told.update_time)) | {"status": _status_time(told)},
        entry_count=len(entries),
        conversation_version=len(whole.messages),
    )
    return Arrived(whole, ticket, *_apart(entries))


def brought_up(ticket: Ticket, whole: Whole, known: Collection[UUID], now: datetime) -> Arrived:
    """Return a ticket that is here with what its source says that is newer; `known` is the ids of what it holds.

    Raises:
        ConversationFullError: it would hold more messages and notes than it may.
    """
    told = whole.ticket
    moment = time_text(told.update_time)
    fresh = {name: getattr(told, name) for name in _FIELDS if ticket.field_times.get(name, "") <= moment}
    if "status" in fresh and _held(ticket, fresh["status"]):
        del fresh["status"]
    after = with_values(ticket, fresh, told.update_time)
    times = dict.fromkeys(fresh, moment) | ({"status": _status_time(told)} if "status" in fresh else {})
    after = replace(after, field_times={**after.field_times, **times}, metadata=told.metadata)
    after = replace(after, create_time=told.create_time)
    if "status" in fresh and told.close_time is not None:
        after = replace(after, close_time=told.close_time)
    entries: list[Message | Note] = [*whole.messages, *whole.notes]
    added = _in_order([one for one in entries if one.id not in known], after=ticket.entry_count)
    for entry in added:
        after = with_entry(after, visible=isinstance(entry, Message))
        if after.snooze_until is not None and isinstance(entry, Message) and not entry.from_agent:
            after = life.heard(after, entry.create_time, now)
    update_time = max(ticket.update_time, told.update_time)
    after = replace(after, revision=ticket.revision + 1, update_time=update_time)
    return Arrived(whole, after, *_apart(added))


def numbers_for(wanted: Sequence[int], taken: Collection[int], last: int) -> Iterator[int]:
    """Yield the number that each ticket gets: the one that it wants (0: any) if that is free, else a new one."""
    given = set(taken)
    for number in wanted:
        if number and number not in given:
            given.add(number)
            yield number
        else:
            last += 1
            yield last


def _held(ticket: Ticket, status: str) -> bool:
    """Tell whether a status has to wait: a source knows nothing of merges and of sleep, which only an end ends."""
    return ticket.merged_into is not None or (ticket.snooze_until is not None and status != "closed")


def _status_time(told: Ticket) -> str:
    return time_text(told.close_time or told.update_time)


def _in_order(entries: Sequence[Message | Note], *, after: int) -> list[Message | Note]:
    """Return messages and notes in the order of their times, numbered from behind `after` on."""
    ordered = sorted(entries, key=lambda one: (one.create_time, one.id))
    return [replace(one, sequence=after + place) for place, one in enumerate(ordered, 1)]


def _apart(entries: Sequence[Message | Note]) -> tuple[list[Message], list[Note]]:
    messages = [one for one in entries if isinstance(one, Message)]
    return messages, [one for one in entries if isinstance(one, Note)]
