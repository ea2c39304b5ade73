"""Takes a helpdesk's events in: each in a transaction of its own, and once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from servicekit.ids import uuid7
from services.tickets import life
from services.tickets.alerts import searchable
from services.tickets.desk import Caller, Clock, place_showing, utc_now
from services.tickets.history import differences
from services.tickets.inbox import Inbox
from services.tickets.ingest import Event, ExternalMessage, Outcome, Taken, applied, new_ticket, tells_more
from services.tickets.placing import locked_chain, place
from services.tickets.store import Shop, Store
from services.tickets.tickets import Message, Note, Ticket, plausible, touched, with_entry, without_nul


class Intake:
    """Applies events to tickets."""

    def __init__(self, store: Store, inbox: Inbox, clock: Clock = utc_now) -> None:
        self._store = store
        self._inbox = inbox
        self._clock = clock

    async def ingest(self, caller: Caller, events: Sequence[Event]) -> list[Taken]:
        """Apply events in their order and return what each came to.

        Raises:
            ConversationFullError: a ticket holds as many messages and notes as it may. What came before that event is
                applied, and a duplicate when the call is repeated; the event and those after it are not.
        """
        now = self._clock()
        results: list[Taken] = []
        try:
            for event in events:
                # Not one transaction for all: it would keep others waiting for its locks until its last event.
                async with self._store.shop(caller.tenant_id) as shop:
                    results.append(await self._apply(shop, caller, event, now))
        finally:
            if any(taken.outcome is not Outcome.DUPLICATE for taken in results):
                await self._inbox.changed(caller.tenant_id)
        return results

    async def _apply(self, shop: Shop, caller: Caller, event: Event, now: datetime) -> Taken:
        request_id = f"event:{event.event_id}"
        before, is_new = await self._ticket(shop, event, now)
        if not await shop.remember_request(request_id, before.id, now):
            return Taken(Outcome.DUPLICATE, await shop.ticket_of_request(request_id) or before.id)
        if is_new:
            await shop.insert(before)
        ticket, outcome = applied(before, event, now)
        ticket, written = await self._add_entries(shop, ticket, event.messages, now, is_new=is_new)
        texts = [one.content for one in written if not one.from_agent]
        ticket = _heard(ticket, written, now)
        subject_changed = ticket.subject != before.subject
        ticket = touched(ticket, plausible(event.occurred, now))
        told = is_new or tells_more(before, ticket)
        if told:
            added = ticket.entry_count - before.entry_count
            kept = {"provider": event.provider, "added": added, "fields": differences(before, ticket)}
            await shop.record(ticket.id, "ingest", caller.principal, now, kept)
        if is_new:
            await place(shop, ticket, written=written)
        else:
            await place(shop, ticket, added=searchable(texts), search_anew=subject_changed)
        if ticket.merged_into is not None and ticket.entry_count != before.entry_count:
            await self._tell(shop, caller, ticket, written, now)
        return Taken(outcome, ticket.id, told)

    async def _tell(
        self, shop: Shop, caller: Caller, source: Ticket, written: Sequence[Message], now: datetime
    ) -> None:
        """Place the ticket that goes on in the stead of an event's ticket: it shows what was added to that."""
        onward = (await locked_chain(shop, source))[-1].ticket
        if onward.merged_into is not None or onward.id == source.id:
            return
        version = onward.conversation_version + bool(written)
        ticket = touched(replace(_heard(onward, written, now), conversation_version=version), now)
        details = {"other_ticket": source.number_text, "fields": differences(onward, ticket)}
        await shop.record(ticket.id, "ingest", caller.principal, now, details)
        await place_showing(shop, ticket, written)

    async def _ticket(self, shop: Shop, event: Event, now: datetime) -> tuple[Ticket, bool]:
        """Return the event's ticket, locked, or a new one that is not stored yet."""
        if stored := await shop.find_external(event.connection_id, event.external_id):
            return stored.ticket, False
        number = await shop.next_number()
        # Taking the number waited for every other transaction that opens a ticket of this tenant; look again.
        if stored := await shop.find_external(event.connection_id, event.external_id):
            return stored.ticket, False
        return new_ticket(event, uuid7(), number, now), True

    async def _add_entries(
        self, shop: Shop, ticket: Ticket, entries: Sequence[ExternalMessage], now: datetime, *, is_new: bool
    ) -> tuple[Ticket, list[Message]]:
        """Add the messages and notes that are not known yet; return the ticket and the messages."""
        written: list[Message] = []
        known: set[str] = set()
        if entries and not is_new:
            known = await shop.known_entries(ticket.id, [one.external_id for one in entries])
        for one in entries:
            if one.external_id in known:
                continue
            known.add(one.external_id)
            ticket = with_entry(ticket, visible=not one.internal)
            if one.internal:
                await shop.add_note(_note(ticket, one, now))
                continue
            written.append(_message(ticket, one, now))
        if written:
            await shop.add_message(*written)
        return ticket, written


def _heard(ticket: Ticket, written: Sequence[Message], now: datetime) -> Ticket:
    """Return the ticket after its customer wrote these messages, if any."""
    newest = max((one.create_time for one in written if not one.from_agent), default=None)
    if newest is None:
        return ticket
    # What told no time, or a future one, was written just now, whatever the clocks of others say.
    return life.heard(ticket, newest if newest < now else None, now)


def _message(ticket: Ticket, one: ExternalMessage, now: datetime) -> Message:
    return Message(
        id=uuid7(),
        ticket_id=ticket.id,
        from_agent=one.from_agent,
        content=without_nul(one.content),
        author_name=without_nul(one.author_name),
        author_email=without_nul(one.author_email),
        create_time=plausible(one.created, now),
        sequence=ticket.entry_count,
        external_id=one.external_id,
    )


def _note(ticket: Ticket, one: ExternalMessage, now: datetime) -> Note:
    return Note(
        id=uuid7(),
        ticket_id=ticket.id,
        content=without_nul(one.content),
        author_name=without_nul(one.author_name),
        create_time=plausible(one.created, now),
        sequence=ticket.entry_count,
        external_id=one.external_id,
    )
