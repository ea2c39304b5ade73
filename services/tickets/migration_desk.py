"""Takes whole tickets of a predecessor in, many in one transaction, and tells what became of them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from uuid import UUID

import orjson

from servicekit.ids import uuid7
from services.tickets import cards, scoring
from services.tickets.alerts import searchable
from services.tickets.clocking import rules_of, situation_of, with_snooze
from services.tickets.conversations import Conversation, conversation_of
from services.tickets.desk import Caller, Clock, utc_now
from services.tickets.errors import ImportInvalidError
from services.tickets.facts import Customer, Facts, Tier
from services.tickets.history import differences
from services.tickets.inbox import Inbox
from services.tickets.keyword_rules import KeywordRules, applied
from services.tickets.language import Signals, analyse
from services.tickets.migration import (
    CHANGED_HERE,
    Arrived,
    Outcome,
    Result,
    Whole,
    arrived,
    brought_up,
    check,
    numbers_for,
)
from services.tickets.migration_forms import digest_here
from services.tickets.migration_store import Imported, Remembered, StandingPlace, StoredWhole
from services.tickets.places import SETTLED, Place, Ranking, Rankings
from services.tickets.placing import locked_chain, place
from services.tickets.policies import Policy, settled
from services.tickets.scoring import Rank
from services.tickets.sla import advanced
from services.tickets.sla_store import SOON
from services.tickets.store import Shop, Store, entry_columns, ticket_columns
from services.tickets.targets import SlaSettings
from services.tickets.tickets import Ticket, touched
from services.tickets.topics import TopicAlert

_KNOWN_AT_ONCE = 10
"""How many tickets that are known are brought up in one transaction: people who work on them wait for it."""

_PAGE_BYTES = 1_000_000
"""About how large a page of whole tickets may be; a ticket that is larger comes alone."""


@dataclass(frozen=True, slots=True)
class _Text:
    """What the text of a new ticket says, and what it is found by."""

    conversation: Conversation
    signals: Signals
    asked: str
    said: str


@dataclass(frozen=True, slots=True)
class _Shop:
    """What a shop has set, as far as places depend on it."""

    rules: KeywordRules
    sla: SlaSettings
    rankings: Rankings
    policies: Mapping[Ranking, Policy]
    customers: Mapping[str, Customer]


@dataclass(frozen=True, slots=True)
class _Derived:
    """A new ticket with everything that is derived of it."""

    ticket: Ticket
    text: _Text
    rank: Rank
    places: Sequence[Place]
    card: str


class Importing:
    """Imports tickets and reads them back."""

    def __init__(self, store: Store, inbox: Inbox, clock: Clock = utc_now) -> None:
        self._store = store
        self._inbox = inbox
        self._clock = clock

    async def take_in(self, caller: Caller, given: Sequence[Whole], reserve_numbers_up_to: int) -> list[Result]:
        """Bring tickets to what their source says and return what became of each.

        Raises:
            ImportInvalidError, ConversationFullError: see there.
        """
        check(given)
        async with self._store.shop(caller.tenant_id) as shop:
            known = await _known(shop, given)
        rest = [one for one in given if _already(known.get(one.legacy_id), one) is None]
        new = [one for one in rest if one.legacy_id not in known]
        old = sorted((one for one in rest if one.legacy_id in known), key=lambda one: one.ticket.id)
        # Before anything is locked: this is most of the work.
        texts = await asyncio.to_thread(_read, new)
        results: dict[str, Result] = {}
        if new:
            async with self._store.shop(caller.tenant_id) as shop:
                results = await self._apply(shop, caller, new, texts, reserve_numbers_up_to)
        for start in range(0, len(old), _KNOWN_AT_ONCE):
            async with self._store.shop(caller.tenant_id) as shop:
                results |= await self._bring_all_up(shop, caller, old[start : start + _KNOWN_AT_ONCE])
        if rest:
            await self._inbox.changed(caller.tenant_id)
        return [results.get(one.legacy_id) or _settled_before(known[one.legacy_id], one) for one in given]

    async def page(self, caller: Caller, after: str, limit: int) -> list[Imported]:
        """Return what is kept of imports, by legacy id, from behind one on."""
        async with self._store.shop(caller.tenant_id) as shop:
            return await shop.imports.page(after, limit)

    async def wholes(self, caller: Caller, after: str, limit: int) -> list[tuple[Imported, StoredWhole | None]]:
        """Return imported tickets as they stand here, None for an erased one, by legacy id, from behind one on."""
        async with self._store.database.snapshot(caller.tenant_id) as connection:
            shop = Shop(connection, caller.tenant_id, self._store.known_policies)
            found = await shop.imports.page(after, limit)
            rows = await shop.imports.wholes([one.ticket_id for one in found])
        return [(one, rows.get(one.ticket_id)) for one in found]

    async def changed(
        self, caller: Caller, after: UUID, limit: int
    ) -> tuple[list[tuple[str, bool, StoredWhole]], UUID | None]:
        """Return tickets that are not as they were imported (legacy id, whether imported, rows), by id.

        They are those from behind an id on, as many as fit into a page, and the id behind which the others are.
        """
        async with self._store.database.snapshot(caller.tenant_id) as connection:
            shop = Shop(connection, caller.tenant_id, self._store.known_policies)
            found = await shop.imports.changed(after, limit + 1)
            page: list[tuple[str, bool, StoredWhole]] = []
            size = 0
            for ticket_id, legacy_id, imported in found[:limit]:
                rows = (await shop.imports.wholes([ticket_id]))[ticket_id]
                page.append((legacy_id, imported, rows))
                size += sum(len(row["content"]) for row in (*rows.messages, *rows.notes))
                if size > _PAGE_BYTES:
                    break
        more = len(page) < len(found)
        return page, found[len(page) - 1][0] if more else None

    async def _apply(
        self, shop: Shop, caller: Caller, given: Sequence[Whole], texts: Mapping[str, _Text], reserve: int
    ) -> dict[str, Result]:
        now = self._clock()
        # Whoever imports or opens a ticket of the tenant waits here for the one before.
        last = await shop.imports.reserve_numbers(max(reserve, *(one.number for one in given), 0))
        known = await _known(shop, given)
        here = await shop.imports.present([one.ticket.id for one in given])
        results: dict[str, Result] = {}
        new: list[Whole] = []
        for one in sorted(given, key=lambda each: each.ticket.id):
            kept = known.get(one.legacy_id)
            if kept is not None and (done := _already(kept, one)) is not None:
                results[one.legacy_id] = Result(done, kept.ticket_id, kept.number)
            elif one.ticket.id in here:
                results[one.legacy_id] = await self._bring_up(shop, caller, one, now)
            else:
                new.append(one)
        if new:
            for whole, result in zip(new, await self._add(shop, caller, new, texts, last, now), strict=True):
                results[whole.legacy_id] = result
        return results

    async def _add(
        self,
        shop: Shop,
        caller: Caller,
        given: Sequence[Whole],
        texts: Mapping[str, _Text],
        last: int,
        now: datetime,
    ) -> list[Result]:
        """Add tickets that are new here."""
        wanted = [one.number for one in given]
        numbers = list(numbers_for(wanted, await shop.imports.taken_numbers(wanted), last))
        if max(numbers) > last:
            await shop.imports.reserve_numbers(max(numbers))
        come = [arrived(one, number, now) for one, number in zip(given, numbers, strict=True)]
        missing = [one for one in given if one.legacy_id not in texts]
        texts = {**texts, **_read(missing)}
        known = await _shop(shop, [one.ticket.customer_id for one in come])
        topics = [await shop.topics.lifting(one.ticket.id, "", texts[one.whole.legacy_id].asked) for one in come]
        derived = await asyncio.to_thread(_derived, known, come, [texts[one.legacy_id] for one in given], topics, now)
        await self._write(shop, caller, come, derived, now)
        return [Result(Outcome.CREATED, one.ticket.id, one.ticket.number) for one in come]

    async def _write(
        self, shop: Shop, caller: Caller, come: Sequence[Arrived], derived: Sequence[_Derived], now: datetime
    ) -> None:
        await shop.imports.insert_tickets([_row(one) for one in derived])
        messages = [message for one in come for message in one.messages]
        await shop.imports.insert_messages([{**entry_columns(one), "hide_time": None} for one in messages])
        await shop.imports.insert_notes([entry_columns(note) for one in come for note in one.notes])
        await shop.imports.find_by_shop({one.ticket.id: one.text.said for one in derived if one.text.said})
        await shop.imports.put_places(
            [
                StandingPlace(one.ticket.id, each.ranking, each.tier, each.key, orjson.dumps(each.reasons).decode())
                for one in derived
                for each in one.places
            ]
        )
        alarms = {one.ticket.id: alarm for one in derived if (alarm := one.ticket.clocks.alarm) is not None}
        await shop.imports.set_timers(alarms)
        shop.sla.wakes_soon = shop.sla.wakes_soon or any(alarm < now + SOON for alarm in alarms.values())
        entries = [(one.ticket.id, uuid7(), {"added": one.ticket.entry_count}) for one in derived]
        await shop.imports.record(entries, caller.principal, now)
        await shop.imports.tell([one.ticket.id for one in derived])
        await shop.imports.remember([_remembered(one.whole, one.ticket.revision) for one in come], now)
        shop.crowded = True

    async def _bring_all_up(self, shop: Shop, caller: Caller, given: Sequence[Whole]) -> dict[str, Result]:
        """Bring tickets up that were imported before: each one's rows are locked, but no number is waited for."""
        now = self._clock()
        known = await _known(shop, given)
        results: dict[str, Result] = {}
        for one in given:
            kept = known[one.legacy_id]
            if (done := _already(kept, one)) is not None:
                results[one.legacy_id] = Result(done, kept.ticket_id, kept.number)
            else:
                results[one.legacy_id] = await self._bring_up(shop, caller, one, now)
        return results

    async def _bring_up(self, shop: Shop, caller: Caller, whole: Whole, now: datetime) -> Result:
        """Bring a ticket that is here to what its source says that is newer."""
        ticket_id = whole.ticket.id
        stored = await shop.find(ticket_id, lock=True)
        if stored is None:
            raise ImportInvalidError(whole.legacy_id, "it is being erased")
        before = stored.ticket
        if await _same(shop, whole):
            await shop.imports.remember([_remembered(whole, before.revision)], now)
            return Result(Outcome.UNCHANGED, ticket_id, before.number)
        known = await shop.imports.entry_ids(ticket_id)
        come = brought_up(before, whole, known, now)
        ticket = come.ticket
        if come.messages:
            await shop.add_message(*come.messages)
        for note in come.notes:
            await shop.add_note(note)
        edits = [
            (one.id, one.content, one.author_name, one.author_email, one.author_id)
            for one in whole.messages
            if one.id in known
        ]
        edited = await shop.imports.edit_messages(ticket_id, edits)
        hidden = await shop.imports.hide_all_but(ticket_id, [one.id for one in whole.messages], now)
        if edited or hidden:
            ticket = replace(ticket, conversation_version=ticket.conversation_version + 1)
        added = len(come.messages) + len(come.notes)
        await shop.record(
            ticket_id, "import", caller.principal, now, {"added": added, "fields": differences(before, ticket)}
        )
        asked = searchable(one.content for one in come.messages if not one.from_agent)
        anew = edited or hidden or ticket.subject != before.subject
        await place(shop, ticket, added=asked, search_anew=anew)
        if ticket.merged_into is not None:
            await _place_onward(shop, ticket, now)
        revision = ticket.revision if await _same(shop, whole) else CHANGED_HERE
        await shop.imports.remember([_remembered(whole, revision)], now)
        return Result(Outcome.UPDATED, ticket_id, ticket.number)


async def _known(shop: Shop, given: Sequence[Whole]) -> dict[str, Imported]:
    """Return what is kept of these tickets, by legacy id.

    Raises:
        ImportInvalidError: a ticket is known by another id on one of both sides.
    """
    ids = {one.legacy_id: one.ticket.id for one in given}
    legacy_ids = {ticket_id: legacy_id for legacy_id, ticket_id in ids.items()}
    kept = await shop.imports.known(list(ids), list(legacy_ids))
    for one in kept:
        if ids.get(one.legacy_id) != one.ticket_id:
            legacy_id = one.legacy_id if one.legacy_id in ids else legacy_ids[one.ticket_id]
            raise ImportInvalidError(legacy_id, "it was imported with another id")
    return {one.legacy_id: one for one in kept}


def _already(kept: Imported | None, whole: Whole) -> Outcome | None:
    """Return what a ticket came to with which there is nothing to do."""
    if kept is None:
        return None
    if kept.number is None:
        return Outcome.ERASED
    return Outcome.UNCHANGED if kept.digest == whole.digest else None


def _settled_before(kept: Imported, whole: Whole) -> Result:
    return Result(_already(kept, whole) or Outcome.UNCHANGED, kept.ticket_id, kept.number)


async def _same(shop: Shop, whole: Whole) -> bool:
    """Tell whether a ticket says here what its source says."""
    rows = await shop.imports.wholes([whole.ticket.id])
    return digest_here(rows[whole.ticket.id]) == whole.digest


async def _place_onward(shop: Shop, source: Ticket, now: datetime) -> None:
    """Place the ticket that goes on in the stead of a merged one: it shows what was added to that."""
    onward = (await locked_chain(shop, source))[-1].ticket
    if onward.id != source.id and onward.merged_into is None:
        version = onward.conversation_version + 1
        await place(shop, touched(replace(onward, conversation_version=version), now), search_anew=True)


async def _shop(shop: Shop, customer_ids: Sequence[str]) -> _Shop:
    # The first customer's reading takes the lock of those who place tickets, and brings all that the shop has set.
    await shop.customer(customer_ids[0])
    rankings = await shop.places.rankings()
    return _Shop(
        (await shop.keywords.get()).rules,
        await shop.sla.settings(),
        rankings,
        {ranking: await shop.policies.policy(ranking.policy_version) for ranking in rankings.live},
        await shop.imports.customers(set(customer_ids)),
    )


def _read(given: Sequence[Whole]) -> dict[str, _Text]:
    """Read the texts of new tickets."""
    found = {}
    for one in given:
        conversation = conversation_of(one.messages)
        ordered = sorted(one.messages, key=lambda each: (each.create_time, each.id))
        found[one.legacy_id] = _Text(
            conversation,
            analyse(one.ticket.subject, conversation.customer_texts),
            searchable([one.ticket.subject, *(each.content for each in ordered if not each.from_agent)]),
            searchable(each.content for each in ordered if each.from_agent),
        )
    return found


def _derived(
    shop: _Shop,
    come: Sequence[Arrived],
    texts: Sequence[_Text],
    topics: Sequence[Sequence[TopicAlert]],
    now: datetime,
) -> list[_Derived]:
    """Return everything that is derived of new tickets."""
    return [_derive(shop, one, text, alerts, now) for one, text, alerts in zip(come, texts, topics, strict=True)]


def _derive(shop: _Shop, come: Arrived, text: _Text, topics: Sequence[TopicAlert], now: datetime) -> _Derived:
    ticket, said = come.ticket, text.conversation.said
    heard = text.conversation.customer_texts
    text = replace(text, signals=applied(shop.rules, text.signals, ticket.subject, heard, ticket.tags))
    hours, origin = shop.sla.answer(ticket.priority, ticket.tags)
    facts = Facts(
        ticket.start_time,
        ticket.priority,
        shop.customers.get(ticket.customer_id, Customer()),
        text.signals,
        hours,
        origin,
        topic_weight=topics[0].weight if topics else 0.0,
        topics=tuple(one.text for one in topics),
        tier=Tier(ticket.tier),
    )
    clocks, _ = advanced(ticket.clocks, situation_of(ticket, said, now), rules_of(shop.sla, ticket), now)
    ticket = replace(ticket, clocks=with_snooze(clocks, ticket))
    if ticket.status == "closed":
        rank = scoring.rank(settled(shop.policies[shop.rankings.active]), facts)
        ranks = {SETTLED: rank}
    else:
        ranks = {ranking.number: scoring.rank(policy, facts) for ranking, policy in shop.policies.items()}
        rank = ranks[shop.rankings.active.number]
    places = [Place(number, one.tier, one.key, one.reasons()) for number, one in ranks.items()]
    card = cards.card(ticket, text.conversation.count, text.conversation.last)
    return _Derived(ticket, text, rank, places, card)


def _row(one: _Derived) -> dict[str, object]:
    last = one.text.conversation.last
    return {
        **ticket_columns(one.ticket),
        "last_message_time": last.create_time if last else None,
        "signals": asdict(one.text.signals),
        "rank_key": one.rank.key,
        "parts": [asdict(part) for part in one.rank.parts],
        "searchable": one.text.asked,
        "card": one.card,
        "card_version": cards.CARD_VERSION,
        "message_count": one.text.conversation.count,
    }


def _remembered(whole: Whole, revision: int) -> Remembered:
    return Remembered(whole.legacy_id, whole.ticket.id, whole.number, whole.digest, revision)
