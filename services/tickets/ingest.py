"""How a helpdesk's events change tickets: in any order, any number of times, to the same end.

A field takes the value of the newest event that named it, by the time at which the event occurred. Messages and notes
are added by their external ids. So a late event never undoes a newer one; it adds what is still missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from services.tickets.tickets import (
    MAX_TAG_LENGTH,
    MAX_TAGS,
    Ticket,
    plausible,
    start_of_waiting,
    time_text,
    with_values,
    without_nul,
)

_SEEN = ("customer_id", "subject", "channel", "status", "priority", "tags", "create_time", "entry_count")


class Outcome(Enum):
    """What an event came to."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class ExternalMessage:
    """A message, or with `internal` a note, as a provider gave it."""

    external_id: str
    content: str
    from_agent: bool = False
    internal: bool = False
    author_name: str = ""
    author_email: str = ""
    created: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one ticket at a provider; `fields` holds only the fields that the event named."""

    event_id: str
    connection_id: UUID
    provider: str
    external_id: str
    occurred: datetime
    fields: Mapping[str, Any]
    created: datetime | None = None
    messages: Sequence[ExternalMessage] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """What an event came to, its ticket, and whether it told anything that was not known."""

    outcome: Outcome
    ticket_id: UUID
    changed: bool = False


def new_ticket(event: Event, ticket_id: UUID, number: int, now: datetime) -> Ticket:
    """Return the ticket that an event is the first to name, without the event's fields."""
    told = event.created or event.occurred
    created = plausible(told, now)
    return Ticket(
        id=ticket_id,
        number=number,
        customer_id="",
        subject="",
        channel="email",
        status="open",
        priority="normal",
        create_time=created,
        update_time=created,
        start_time=start_of_waiting(told, now),
        metadata={"provider": event.provider, "external_id": event.external_id},
        connection_id=event.connection_id,
        external_id=event.external_id,
    )


def applied(ticket: Ticket, event: Event, now: datetime) -> tuple[Ticket, Outcome]:
    """Return the ticket with the event's fields, where nothing newer stands, and whether a newer event came first."""
    occurred = plausible(event.occurred, now)
    moment = time_text(occurred)
    newest = max(ticket.field_times.values(), default="")
    fresh = {
        name: _fitting(value) for name, value in event.fields.items() if ticket.field_times.get(name, "") <= moment
    }
    fresh = {name: value for name, value in fresh.items() if not _held(ticket, name, value)}
    changed = with_values(ticket, fresh, occurred)
    # A field that was told again keeps its value and gets the newer time, so that an older event cannot change it.
    times = {**changed.field_times, **dict.fromkeys(fresh, moment)}
    changed = replace(changed, field_times=times)
    if event.created is not None and (created := plausible(event.created, now)) < changed.create_time:
        start = min(changed.start_time, start_of_waiting(created, now))
        changed = replace(changed, create_time=created, start_time=start)
    outcome = Outcome.SUPERSEDED if moment < newest else Outcome.APPLIED
    return changed, outcome


def _held(ticket: Ticket, name: str, value: Any) -> bool:
    """Tell whether a helpdesk's value has to wait: it knows nothing of merges and of sleep, which only an end ends."""
    asleep = ticket.snooze_until is not None and value != "closed"
    return name == "status" and (asleep or ticket.merged_into is not None)


def tells_more(before: Ticket, after: Ticket) -> bool:
    """Return whether an event changed what people see of a ticket, and not only how recent it is."""
    return any(getattr(before, name) != getattr(after, name) for name in _SEEN)


def _fitting(value: Any) -> Any:
    """Return a provider's value as a ticket can hold it: text without NUL, tags within our limits."""
    if isinstance(value, str):
        return without_nul(value)
    tags = dict.fromkeys(without_nul(tag)[:MAX_TAG_LENGTH] for tag in value if tag.strip())
    return tuple(tags)[:MAX_TAGS]
