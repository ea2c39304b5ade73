"""What takes more than one ticket at a time: merging and parting, bulk work, and reading histories."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from servicekit.errors import DomainError, InvalidArgumentError, PreconditionError
from servicekit.etag import require
from services.tickets import life
from services.tickets.desk import Caller, Clock, etag_of, take, utc_now
from services.tickets.errors import TicketNotFoundError, TicketNotMergedError
from services.tickets.history import Entry, differences
from services.tickets.inbox import Inbox
from services.tickets.numbers import parse_reference
from services.tickets.placing import find, locked_chain, place
from services.tickets.rows import Stored
from services.tickets.sla import Said
from services.tickets.store import Shop, Store
from services.tickets.tickets import Ticket

AT_ONCE = 50
"""How many tickets of a bulk call are written in one transaction."""


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of one ticket of a bulk call: the ticket afterwards, or why it was refused."""

    reference: str
    stored: Stored | None = None
    refusal: DomainError | None = None


class Work:
    """Works on several tickets at a time."""

    def __init__(self, store: Store, inbox: Inbox, clock: Clock = utc_now) -> None:
        self._store = store
        self._inbox = inbox
        self._clock = clock

    async def merge(self, caller: Caller, reference: str, into: str, expected: str = "") -> Stored:
        """Let a ticket go on in another one, and return that one; see `life.merged`.

        Raises:
            TicketNotFoundError, MergeInvalidError, TicketMergedError, TooManyMergedError, EtagMismatchError: see there.
        """
        now = self._clock()
        async with self._store.shop(caller.tenant_id) as shop:
            first, second = [(await find(shop, one)).ticket.id for one in (reference, into)]
            known = {stored.ticket.id: stored.ticket for stored in await shop.find_all([first, second])}
            if first not in known or second not in known:
                raise TicketNotFoundError(reference)
            source, target = known[first], known[second]
            if expected:
                require(expected, etag_of(source))
            closed, onward = life.merged(source, target, now)
            await _settle(shop, caller, "merge", (source, closed), target, now)
            stored = await _settle(shop, caller, "take_in", (target, onward), source, now)
        await self._inbox.changed(caller.tenant_id)
        return stored

    async def unmerge(self, caller: Caller, reference: str, expected: str = "") -> Stored:
        """Let a merged ticket go on by itself with the status that it had, and return it; see `life.unmerged`.

        Raises:
            TicketNotFoundError, TicketNotMergedError, EtagMismatchError: see there.
        """
        now = self._clock()
        async with self._store.shop(caller.tenant_id) as shop:
            chain = await locked_chain(shop, (await find(shop, reference)).ticket)
            source, *onward = (stored.ticket for stored in chain)
            if expected:
                require(expected, etag_of(source))
            if source.merged_into is None:
                raise TicketNotMergedError(source.number_text)
            said = (await shop.conversation(source.family)).said
            was = _status_before(await shop.last(source.id, "merge"), said[-1] if said else None)
            alone, rest = life.unmerged(source, onward, was, now)
            stored = await _settle(shop, caller, "unmerge", (source, alone), onward[0] if onward else None, now)
            for before, after in zip(onward, rest, strict=True):
                await _settle(shop, caller, "give_back", (before, after), source, now)
        await self._inbox.changed(caller.tenant_id)
        return stored

    async def change_all(
        self, caller: Caller, references: Sequence[str], step: life.Step, request_id: str = ""
    ) -> list[Handled]:
        """Take many tickets through a step, each for itself, and return what became of each.

        A ticket that an earlier call with the `request_id` took through it stays as it is.
        """
        handled: dict[UUID, Handled] = {}
        outcomes: list[Handled] = []
        for start in range(0, len(references), AT_ONCE):
            async with self._store.shop(caller.tenant_id) as shop:
                chunk = references[start : start + AT_ONCE]
                outcomes += await self._chunk(shop, caller, chunk, step, request_id, handled)
            await self._inbox.changed(caller.tenant_id)
        return outcomes

    async def _chunk(
        self,
        shop: Shop,
        caller: Caller,
        references: Sequence[str],
        step: life.Step,
        request_id: str,
        handled: dict[UUID, Handled],
    ) -> list[Handled]:
        parsed = {reference: parse_reference(reference) for reference in references}
        found = await shop.find_all([name for name in parsed.values() if name is not None])
        ids: Mapping[UUID | int, UUID] = {
            name: stored.ticket.id for stored in found for name in (stored.ticket.id, stored.ticket.number)
        }
        tickets = {stored.ticket.id: stored for stored in found}
        keys = {one: f"bulk:{request_id}:{step.action}:{one}" for one in tickets} if request_id else {}
        done = await shop.known_requests(keys.values()) if keys else set()
        outcomes = []
        for reference, name in parsed.items():
            ticket_id = ids.get(name) if name is not None else None
            if ticket_id is None:
                outcomes.append(Handled(reference, refusal=TicketNotFoundError(reference)))
                continue
            # The same ticket may be named twice, by its id and its number.
            if ticket_id not in handled:
                handled[ticket_id] = await self._handle(shop, caller, tickets[ticket_id], step, keys, done)
            outcomes.append(replace(handled[ticket_id], reference=reference))
        return outcomes

    async def _handle(
        self,
        shop: Shop,
        caller: Caller,
        before: Stored,
        step: life.Step,
        keys: Mapping[UUID, str],
        done: Collection[str],
    ) -> Handled:
        """Take a ticket that is locked through a step, unless its key says that this was done."""
        now, key = self._clock(), keys.get(before.ticket.id)
        if key in done:
            return Handled("", before)
        try:
            stored = await take(shop, caller, before, step, now)
        except (InvalidArgumentError, PreconditionError) as error:
            # A step refuses before anything is written, so the transaction goes on.
            return Handled("", refusal=error)
        if key:
            await shop.remember_request(key, before.ticket.id, now)
        return Handled("", stored)

    async def history(self, caller: Caller, reference: str, before: UUID | None, limit: int) -> list[Entry]:
        """Return what happened to a ticket, newest first, from before an entry on.

        Raises:
            TicketNotFoundError: there is no such ticket.
        """
        async with self._store.shop(caller.tenant_id) as shop:
            stored = await find(shop, reference)
            return await shop.history(stored.ticket.id, before=before, limit=limit)


async def _settle(
    shop: Shop, caller: Caller, action: str, pair: tuple[Ticket, Ticket], other: Ticket | None, now: datetime
) -> Stored:
    """Write down what became of a ticket in a merge, as it was and is, and place it."""
    before, after = pair
    details = {"other_ticket": other.number_text if other else "", "fields": differences(before, after)}
    await shop.record(after.id, action, caller.principal, now, details)
    return await place(shop, after, search_anew=True)


def _status_before(merge: Entry | None, said: Said | None) -> str:
    """Return the status that a ticket goes on with after a merge, given what was last said in it.

    It is the one from before, but open when it slept, since its time may be over, or when its customer wrote since.
    """
    if merge is None:
        return "open"
    was = {field.name: field.before for field in merge.fields}
    asked = said is not None and not said.from_agent and said.moment >= merge.create_time
    return "open" if asked or was.get("snooze_until") else was.get("status", "closed")
