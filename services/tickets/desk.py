"""What agents and programs do with tickets: each method is one transaction, and whoever calls it sees it at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from servicekit.errors import InternalError
from servicekit.etag import etag, require
from servicekit.ids import uuid7
from services.tickets import life
from services.tickets.alerts import searchable
from services.tickets.history import differences
from services.tickets.inbox import Inbox
from services.tickets.placing import find, find_going_on, place
from services.tickets.rows import Stored
from services.tickets.store import EntryPlace, Shop, Store
from services.tickets.tickets import (
    Change,
    Message,
    Note,
    Ticket,
    changed,
    open_ticket,
    plausible,
    touched,
    with_entry,
)

Clock = Callable[[], datetime]

TIMER = "timer"
"""Whom the history names for what came due."""


def utc_now() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom something is done: the tenant, and the principal that the history names."""

    tenant_id: UUID
    principal: str


@dataclass(frozen=True, slots=True)
class NewTicket:
    """A ticket to be opened with its first message."""

    customer_id: str
    channel: str
    initial_message: str
    subject: str = ""
    status: str = "open"
    priority: str = "normal"
    tags: Sequence[str] = ()
    author_name: str = ""
    author_email: str = ""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A message or a note to be added; a note has neither an author's address nor a side."""

    content: str
    author_name: str = ""
    author_email: str = ""
    author_id: str = ""
    from_agent: bool = False
    create_time: datetime | None = None


def etag_of(ticket: Ticket) -> str:
    """Return the etag of a ticket's present state."""
    return etag(str(ticket.id), str(ticket.revision))


async def take(
    shop: Shop, caller: Caller, before: Stored, step: life.Step, now: datetime, expected: str = ""
) -> Stored:
    """Take a ticket that is locked through a step and write it down; where there is nothing to do, nothing changes.

    Raises:
        EtagMismatchError: it is not the state that `expected` stands for, unless that is empty.
        DomainError: what the step raises.
    """
    if expected:
        require(expected, etag_of(before.ticket))
    after = step.apply(before.ticket, now)
    if after is before.ticket:
        return before
    fields = differences(before.ticket, after)
    await shop.record(after.id, step.action, caller.principal, now, {**step.details, "fields": fields})
    return await place(shop, after, search_anew="subject" in fields)


class Desk:
    """Opens, reads and changes tickets."""

    def __init__(self, store: Store, inbox: Inbox, clock: Clock = utc_now) -> None:
        self._store = store
        self._inbox = inbox
        self._clock = clock

    async def open(self, caller: Caller, new: NewTicket, request_id: str = "") -> tuple[Stored, list[Message]]:
        """Open a ticket; with the `request_id` of an earlier call return that call's ticket.

        Raises:
            TagsInvalidError: a tag is empty or too long, or there are too many.
        """
        now = self._clock()
        async with self._store.shop(caller.tenant_id) as shop:
            if earlier := await self._earlier(shop, request_id):
                return earlier, await shop.messages(earlier.ticket.family)
            ticket = open_ticket(
                uuid7(),
                await shop.next_number(),
                now,
                customer_id=new.customer_id,
                channel=new.channel,
                subject=new.subject,
                status=new.status,
                priority=new.priority,
                tags=new.tags,
            )
            # Two calls with one request_id meet here: the later one has waited for the earlier one's commit.
            if request_id and not await shop.remember_request(f"request:{request_id}", ticket.id, now):
                stored = await self._earlier(shop, request_id)
                if stored is None:
                    raise InternalError("a remembered request has no ticket")
                return stored, await shop.messages(stored.ticket.family)
            ticket = with_entry(ticket, visible=True)
            await shop.insert(ticket)
            entry = NewEntry(new.initial_message, new.author_name, new.author_email)
            message = _message(ticket, entry, now)
            await shop.add_message(message)
            await shop.record(ticket.id, "create", caller.principal, now, {"message": str(message.id)})
            stored = await place(shop, ticket, written=[message])
        await self._inbox.changed(caller.tenant_id)
        return stored, [message]

    async def get(self, caller: Caller, reference: str) -> Stored:
        """Return a ticket.

        Raises:
            TicketNotFoundError: there is no such ticket.
        """
        async with self._store.shop(caller.tenant_id) as shop:
            return await find(shop, reference)

    async def conversation(self, caller: Caller, reference: str, limit: int) -> tuple[Stored, list[Message]]:
        """Return a ticket and its newest visible messages, oldest first.

        Raises:
            TicketNotFoundError: there is no such ticket.
        """
        async with self._store.shop(caller.tenant_id) as shop:
            stored = await find(shop, reference)
            return stored, await shop.newest_messages(stored.ticket.family, limit)

    async def change(self, caller: Caller, reference: str, change: Change, expected: str = "") -> Stored:
        """Change a ticket's fields; `expected` is the etag that the caller has seen, empty for any.

        Raises:
            TicketNotFoundError, EtagMismatchError: see there.
            NothingToChangeError, TagsInvalidError, TicketMergedError: see `life.changing`.
        """
        return await self.take(caller, reference, life.changing(change), expected)

    async def take(self, caller: Caller, reference: str, step: life.Step, expected: str = "") -> Stored:
        """Take a ticket through a step; `expected` is the etag that the caller has seen, empty for any.

        Raises:
            TicketNotFoundError, EtagMismatchError: see there.
            DomainError: what the step raises.
        """
        now = self._clock()
        async with self._store.shop(caller.tenant_id) as shop:
            before = await find(shop, reference, lock=True)
            stored = await take(shop, caller, before, step, now, expected)
        if stored is not before:
            await self._inbox.changed(caller.tenant_id)
        return stored

    async def wake_due(self, tenant_id: UUID, ticket_id: UUID) -> None:
        """Wake a ticket whose time has come; one that sleeps longer, is awake or is gone stays as it is."""
        now = self._clock()
        async with self._store.shop(tenant_id) as shop:
            before = await shop.find(ticket_id, lock=True)
            if before is None:
                return
            stored = await take(shop, Caller(tenant_id, TIMER), before, life.WAKING_WHEN_DUE, now)
        if stored is not before:
            await self._inbox.changed(tenant_id)

    async def add_message(
        self,
        caller: Caller,
        reference: str,
        entry: NewEntry,
        *,
        then: Change | None = None,
        action: str = "message",
        request_id: str = "",
        expected: str = "",
    ) -> tuple[Message, Stored]:
        """Add a message, and `then` change the ticket; with an earlier `request_id` return that message.

        A message that says no time gets the present one, or that of the newest message where a clock runs behind: what
        is added later is shown later. What is written to a merged ticket stays its own; it is shown in the one that
        goes on, and `then` changes that one, which is returned.

        Raises:
            TicketNotFoundError, ConversationFullError, EtagMismatchError: see there.
        """
        now = self._clock()
        external_id = f"request:{request_id}" if request_id else None
        async with self._store.shop(caller.tenant_id) as shop:
            chain = await find_going_on(shop, reference)
            stored, before = chain[-1], chain[-1].ticket
            if external_id and (known := await shop.message_of_request(before.family, external_id)):
                return known, stored
            if expected:
                require(expected, etag_of(before))
            told = None if entry.create_time is None else plausible(entry.create_time, now)
            holder, ticket = _with_room(chain, now, visible=True)
            if not entry.from_agent:
                ticket = life.heard(ticket, told, now)
            if then is not None and not then.is_empty():
                ticket = changed(ticket, then, now)
            message = _message(holder, entry, told or max(now, stored.last_message_time or now), external_id)
            await shop.add_message(message)
            kept = {"message": str(message.id)}
            if holder.id != ticket.id:
                await shop.record(holder.id, action, caller.principal, now, kept)
                await place(shop, holder, added=_asked([message]))
            changes = {**kept, "fields": differences(before, ticket)}
            await shop.record(ticket.id, action, caller.principal, now, changes)
            stored = await place_showing(shop, ticket, [message])
        await self._inbox.changed(caller.tenant_id)
        return message, stored

    async def add_note(
        self, caller: Caller, reference: str, entry: NewEntry, request_id: str = "", expected: str = ""
    ) -> Note:
        """Add a note; with an earlier `request_id` return that note.

        What is written to a merged ticket stays its own and is shown in the one that goes on.

        Raises:
            TicketNotFoundError, ConversationFullError, EtagMismatchError: see there.
        """
        now = self._clock()
        external_id = f"request:{request_id}" if request_id else None
        async with self._store.shop(caller.tenant_id) as shop:
            chain = await find_going_on(shop, reference)
            before = chain[-1].ticket
            if external_id and (known := await shop.note_of_request(before.family, external_id)):
                return known
            if expected:
                require(expected, etag_of(before))
            holder, ticket = _with_room(chain, now, visible=False)
            note = Note(
                id=uuid7(),
                ticket_id=holder.id,
                content=entry.content,
                author_name=entry.author_name,
                author_id=entry.author_id,
                create_time=now,
                sequence=holder.entry_count,
                external_id=external_id,
            )
            await shop.add_note(note)
            for one in {each.id: each for each in (holder, ticket)}.values():
                await shop.record(one.id, "note", caller.principal, now, {"note": str(note.id)})
                await place(shop, one)
        await self._inbox.changed(caller.tenant_id)
        return note

    async def messages(self, caller: Caller, reference: str, after: EntryPlace | None, limit: int) -> list[Message]:
        """Return visible messages, oldest first, after a place in that order.

        Raises:
            TicketNotFoundError: there is no such ticket.
        """
        async with self._store.shop(caller.tenant_id) as shop:
            stored = await find(shop, reference)
            return await shop.messages(stored.ticket.family, after=after, limit=limit)

    async def notes(
        self, caller: Caller, reference: str, after: EntryPlace | None = None, limit: int | None = None
    ) -> list[Note]:
        """Return notes, oldest first, after a place in that order.

        Raises:
            TicketNotFoundError: there is no such ticket.
        """
        async with self._store.shop(caller.tenant_id) as shop:
            stored = await find(shop, reference)
            return await shop.notes(stored.ticket.family, after=after, limit=limit)

    async def reset_conversation(self, caller: Caller, reference: str, expected: str = "") -> tuple[Ticket, int]:
        """Hide every message but the first; return the ticket and how many were hidden by this.

        Raises:
            TicketNotFoundError, EtagMismatchError: see there.
        """
        return await self._show_or_hide(caller, reference, expected, hide=True)

    async def restore_conversation(self, caller: Caller, reference: str, expected: str = "") -> tuple[Ticket, int]:
        """Show all hidden messages again; return the ticket and how many were shown by this.

        Raises:
            TicketNotFoundError, EtagMismatchError: see there.
        """
        return await self._show_or_hide(caller, reference, expected, hide=False)

    async def _show_or_hide(self, caller: Caller, reference: str, expected: str, *, hide: bool) -> tuple[Ticket, int]:
        now = self._clock()
        async with self._store.shop(caller.tenant_id) as shop:
            chain = await find_going_on(shop, reference)
            ticket, shown = chain[0].ticket, chain[-1].ticket
            if expected:
                require(expected, etag_of(ticket))
            moved = await (shop.hide_all_but_first(ticket.family, now) if hide else shop.restore_all(ticket.family))
            if not moved:
                return ticket, 0
            details = {"messages": [str(message_id) for message_id in moved]}
            action = "reset_conversation" if hide else "restore_conversation"
            # When it was merged, the one that goes on shows the same messages no longer, or again.
            for one in {each.id: each for each in (shown, ticket)}.values():
                ticket = replace(touched(one, now), conversation_version=one.conversation_version + 1)
                await shop.record(ticket.id, action, caller.principal, now, details)
                await place(shop, ticket, search_anew=True)
        await self._inbox.changed(caller.tenant_id)
        return ticket, len(moved)

    async def _earlier(self, shop: Shop, request_id: str) -> Stored | None:
        """Return the ticket that an earlier call with this request id opened."""
        ticket_id = await shop.ticket_of_request(f"request:{request_id}") if request_id else None
        return await shop.find(ticket_id) if ticket_id else None


async def place_showing(shop: Shop, ticket: Ticket, written: Sequence[Message]) -> Stored:
    """Place a ticket that shows messages that were just written, to itself or to one that was merged into it."""
    for message in written:
        if message.from_agent and message.ticket_id != ticket.id:
            await shop.find_by(ticket.id, message)
    return await place(shop, ticket, added=_asked(written))


def _asked(written: Sequence[Message]) -> str:
    """Return what these messages add to what is searched."""
    return searchable(message.content for message in written if not message.from_agent)


def _with_room(chain: Sequence[Stored], now: datetime, *, visible: bool) -> tuple[Ticket, Ticket]:
    """Return the ticket that is written to, with room for a message or note, and the one that goes on in its stead.

    They are the same one unless it was merged.
    """
    holder, shown = touched(with_entry(chain[0].ticket, visible=visible), now), chain[-1].ticket
    if len(chain) == 1:
        return holder, holder
    return holder, touched(replace(shown, conversation_version=shown.conversation_version + visible), now)


def _message(ticket: Ticket, entry: NewEntry, moment: datetime, external_id: str | None = None) -> Message:
    """Return the message for which a ticket has just made room."""
    return Message(
        id=uuid7(),
        ticket_id=ticket.id,
        from_agent=entry.from_agent,
        content=entry.content,
        author_name=entry.author_name,
        author_email=entry.author_email,
        author_id=entry.author_id,
        create_time=moment,
        sequence=ticket.entry_count,
        external_id=external_id,
    )
