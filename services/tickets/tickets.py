"""Tickets, messages and notes, and every change that a ticket can go through. Plain values in, plain values out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from services.tickets.errors import (
    ConversationFullError,
    NothingToChangeError,
    TagsInvalidError,
    TicketAlreadyClosedError,
    TicketNotClosedError,
)
from services.tickets.numbers import number_text
from services.tickets.sla import Clocks

STATUSES = ("open", "pending", "closed")

MAX_TAGS = 50
MAX_TAG_LENGTH = 100
MAX_ENTRIES = 5_000
"""How many messages and notes, hidden ones included, a ticket may hold."""

OLDEST_START = timedelta(days=365)
"""A ticket that claims to be older counts as waiting for this long when it arrives: clocks of others may be broken."""

_ADVISED_BY = {"subject", "customer_id"}
_NUL = "\x00"
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Message:
    """A message; `sequence` keeps the order of those with equal times. `external_id` is the provider's id, if any."""

    id: UUID
    ticket_id: UUID
    from_agent: bool
    content: str
    author_name: str
    create_time: datetime
    sequence: int
    author_email: str = ""
    author_id: str = ""
    external_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """A note that the customer never sees."""

    id: UUID
    ticket_id: UUID
    content: str
    author_name: str
    create_time: datetime
    sequence: int
    author_id: str = ""
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket.

    Attributes:
        start_time: since when it counts as waiting; never in the future.
        field_times: for each field, when the value that it has came to be; an older event does not overwrite it.
        entry_count: how many messages and notes it was ever given; the last sequence number.
        conversation_version: rises with every message that is added, hidden or restored, and with a new subject or
            customer: what was advised before may be wrong now.
        revision: rises with every change.
        connection_id: the helpdesk connection that it came by, None for a ticket that was opened here.
        external_id: the provider's id of it.
        snooze_until: when it wakes; only a pending ticket sleeps.
        pinned: it stands above all that are not.
        escalated: it stands above all that are neither pinned nor escalated.
        merged_into: the ticket that goes on in its stead; only a closed ticket has one.
        merged_from: the tickets whose messages are read as this one's, those merged into them included.
        clocks: what is due when; placing brings it up to date.
    """

    id: UUID
    number: int
    customer_id: str
    subject: str
    channel: str
    status: str
    priority: str
    create_time: datetime
    update_time: datetime
    start_time: datetime
    assigned_to: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    close_time: datetime | None = None
    field_times: Mapping[str, str] = field(default_factory=dict)
    entry_count: int = 0
    conversation_version: int = 0
    revision: int = 1
    connection_id: UUID | None = None
    external_id: str | None = None
    snooze_until: datetime | None = None
    pinned: bool = False
    escalated: bool = False
    merged_into: UUID | None = None
    merged_from: tuple[UUID, ...] = ()
    clocks: Clocks = Clocks()  # noqa: RUF009 - it is frozen

    @property
    def number_text(self) -> str:
        """The number as people write it."""
        return number_text(self.number)

    @property
    def tier(self) -> int:
        """What counts before the rank: 2 pinned, 1 escalated, 0 neither."""
        return 2 if self.pinned else int(self.escalated)

    @property
    def family(self) -> tuple[UUID, ...]:
        """The tickets whose messages and notes make its conversation: itself and those merged into it."""
        return (self.id, *self.merged_from)


@dataclass(frozen=True, slots=True)
class Change:
    """New values for a ticket's fields; None leaves a field as it is. Tags are replaced, then added, then removed."""

    subject: str | None = None
    status: str | None = None
    priority: str | None = None
    assigned_to: str | None = None
    tags: Sequence[str] | None = None
    add_tags: Sequence[str] = ()
    remove_tags: Sequence[str] = ()

    def is_empty(self) -> bool:
        """Tell whether the change names nothing."""
        return self == Change()


def open_ticket(
    ticket_id: UUID,
    number: int,
    now: datetime,
    *,
    customer_id: str,
    channel: str,
    subject: str = "",
    status: str = "open",
    priority: str = "normal",
    tags: Sequence[str] = (),
) -> Ticket:
    """Return a new ticket.

    Raises:
        TagsInvalidError: a tag is empty or too long, or there are too many.
    """
    return Ticket(
        id=ticket_id,
        number=number,
        customer_id=customer_id,
        subject=subject,
        channel=channel,
        status=status,
        priority=priority,
        tags=tidy_tags(tags),
        create_time=now,
        update_time=now,
        start_time=now,
        close_time=now if status == "closed" else None,
    )


def start_of_waiting(created: datetime | None, now: datetime) -> datetime:
    """Return since when a ticket counts as waiting: its creation, but neither in the future nor over a year ago."""
    return now if created is None else min(max(created, now - OLDEST_START), now)


def plausible(moment: datetime | None, now: datetime) -> datetime:
    """Return a moment that somebody else told, moved into the time between 1970 and now; now where none was told."""
    return now if moment is None else min(max(moment, _BEGINNING), now)


def tidy_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Return the tags without repetitions, in their order.

    Raises:
        TagsInvalidError: a tag is empty or too long, or there are too many.
    """
    tidy = tuple(dict.fromkeys(tags))
    if len(tidy) > MAX_TAGS:
        raise TagsInvalidError(f"a ticket has at most {MAX_TAGS} tags")
    for tag in tidy:
        if not tag.strip() or len(tag) > MAX_TAG_LENGTH or _NUL in tag:
            raise TagsInvalidError(f"a tag has 1 to {MAX_TAG_LENGTH} characters")
    return tidy


def changed(ticket: Ticket, change: Change, now: datetime) -> Ticket:
    """Return the ticket after a change; closing sets the closing time, opening again clears it.

    Raises:
        NothingToChangeError: the change names nothing.
        TagsInvalidError: a tag is empty or too long, or there would be too many.
    """
    if change.is_empty():
        raise NothingToChangeError
    tags: Sequence[str] = ticket.tags if change.tags is None else tidy_tags(change.tags)
    tags = tidy_tags((*tags, *change.add_tags))
    tags = tuple(tag for tag in tags if tag not in change.remove_tags)
    values = {
        "subject": ticket.subject if change.subject is None else change.subject,
        "priority": change.priority or ticket.priority,
        "assigned_to": ticket.assigned_to if change.assigned_to is None else change.assigned_to,
        "tags": tags,
        "status": change.status or ticket.status,
    }
    return touched(with_values(ticket, values, now), now)


def with_values(ticket: Ticket, values: Mapping[str, Any], moment: datetime) -> Ticket:
    """Return the ticket with these values, which came to be at `moment`; equal values keep their time."""
    different = {name: value for name, value in values.items() if getattr(ticket, name) != value}
    if not different:
        return ticket
    times = {**ticket.field_times, **dict.fromkeys(different, time_text(moment))}
    close_time = ticket.close_time
    snooze_until = ticket.snooze_until
    if "status" in different:
        close_time = moment if different["status"] == "closed" else None
        snooze_until = None
    version = ticket.conversation_version + (1 if _ADVISED_BY & different.keys() else 0)
    ticket = replace(ticket, **different, close_time=close_time, field_times=times, conversation_version=version)
    return replace(ticket, snooze_until=snooze_until)


def touched(ticket: Ticket, now: datetime) -> Ticket:
    """Return the ticket as changed now: a new revision, and an update time that never goes back."""
    return replace(ticket, revision=ticket.revision + 1, update_time=max(now, ticket.update_time))


def closed(ticket: Ticket, now: datetime) -> Ticket:
    """Close a ticket.

    Raises:
        TicketAlreadyClosedError: it is closed.
    """
    if ticket.status == "closed":
        raise TicketAlreadyClosedError(ticket.number_text)
    return changed(ticket, Change(status="closed"), now)


def reopened(ticket: Ticket, now: datetime) -> Ticket:
    """Open a closed ticket again; its closing time is cleared.

    Raises:
        TicketNotClosedError: it is not closed.
    """
    if ticket.status != "closed":
        raise TicketNotClosedError(ticket.number_text)
    return changed(ticket, Change(status="open"), now)


def with_entry(ticket: Ticket, *, visible: bool) -> Ticket:
    """Return the ticket with room for one more message (`visible`) or note: its `entry_count` is the new sequence.

    Raises:
        ConversationFullError: it holds as many as it may.
    """
    if ticket.entry_count >= MAX_ENTRIES:
        raise ConversationFullError(ticket.number_text, MAX_ENTRIES)
    version = ticket.conversation_version + (1 if visible else 0)
    return replace(ticket, entry_count=ticket.entry_count + 1, conversation_version=version)


def time_text(moment: datetime) -> str:
    """Return a moment as text that sorts like the moment: ISO 8601 with microseconds in UTC, ending in "Z"."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def without_nul(text: str) -> str:
    """Return a text that came from outside with its NUL characters replaced, which the database cannot hold."""
    return text.replace(_NUL, "\ufffd")
