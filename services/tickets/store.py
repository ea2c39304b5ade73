"""What the tickets service keeps: every statement on its tables but those of the two hot reads (inbox_store.py)."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    func,
    or_,
    select,
    text,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database, driver_of
from servicekit.doorbell import Doorbell
from servicekit.errors import DomainError
from servicekit.ids import uuid7
from services.tickets import row_store
from services.tickets.alerts import MAX_SEARCHABLE
from services.tickets.cards import CARD_VERSION, LastMessage
from services.tickets.changes import Marks, Placing, kind_of
from services.tickets.conversations import HEAD, READ_BACK, Conversation
from services.tickets.facts import Customer
from services.tickets.history import Entry
from services.tickets.history import entry as entry_of
from services.tickets.keyword_store import KeywordStore
from services.tickets.language import MAX_ANALYSED, Signals
from services.tickets.list_store import ListStore
from services.tickets.migration_store import MigrationStore
from services.tickets.place_store import PlaceStore
from services.tickets.places import Place, Rankings
from services.tickets.placing_store import before_placing
from services.tickets.policy_store import KnownPolicies, PolicyStore
from services.tickets.ranking_store import RankingStore
from services.tickets.row_store import PLACED, STORED
from services.tickets.rows import Stored, message_of, note_of
from services.tickets.scoring import Rank
from services.tickets.sla import Said
from services.tickets.sla_rows import clock_columns
from services.tickets.sla_store import TIMER_BELL, SlaStore
from services.tickets.tables import (
    advice_copies,
    applied_requests,
    customer_copies,
    messages,
    notes,
    ticket_history,
    ticket_numbers,
    tickets,
)
from services.tickets.tickets import Message, Note, Ticket
from services.tickets.topic_store import TopicStore
from services.tickets.word_store import add_said, replace_said

Family = Sequence[UUID]
"""A ticket and those that were merged into it: their messages and notes are one conversation."""

EntryPlace = tuple[datetime, int, UUID]
"""A place among messages or notes: time, sequence, id."""

_MESSAGES = "FROM tickets.messages WHERE tenant_id = $1 AND ticket_id = {wanted}"
_NEWEST_FIRST = "ORDER BY create_time DESC, sequence DESC, id DESC"
_CONVERSATION = f"""
SELECT said.visible, said.moments, said.by_agent, newest.head, newest.create_time, newest.from_agent,
    ARRAY(
        SELECT left(content, {MAX_ANALYSED}) {_MESSAGES} AND hide_time IS NULL AND NOT from_agent
        {_NEWEST_FIRST} LIMIT {READ_BACK}
    ) AS texts
FROM (
    SELECT count(*) FILTER (WHERE hide_time IS NULL) AS visible,
        array_agg(create_time ORDER BY create_time, sequence, id) AS moments,
        array_agg(from_agent ORDER BY create_time, sequence, id) AS by_agent {_MESSAGES}
) AS said
LEFT JOIN (
    SELECT left(content, {HEAD}) AS head, create_time, from_agent {_MESSAGES} AND hide_time IS NULL
    {_NEWEST_FIRST} LIMIT 1
) AS newest ON true
"""  # noqa: S608 - only names and numbers of ours
# For one id, an index gives the messages in order.
_CONVERSATION_OF_ONE = _CONVERSATION.format(wanted="$2")
_CONVERSATION_OF_SEVERAL = _CONVERSATION.format(wanted="ANY ($2::uuid[])")


@dataclass(frozen=True, slots=True)
class Placement:
    """What is derived of a ticket and stored with it. `searchable` replaces what is searched, unless it is None.

    `rank` is the one of the active ranking; `places` are those of all rankings in which the ticket stands.
    """

    signals: Signals
    rank: Rank
    places: Sequence[Place]
    rankings: Rankings
    card: str
    conversation: Conversation
    searchable: str | None = None


@dataclass(frozen=True, slots=True)
class CustomerCopy:
    """A customer as recommendations last told: the figures for the order, and the profile as JSON text."""

    customer_id: str
    customer: Customer
    profile: str
    update_time: datetime | None


@dataclass(frozen=True, slots=True)
class AdviceCopy:
    """A ticket's recommendation and draft as JSON texts; empty where there is none."""

    ticket_id: UUID
    recommendation: str
    draft: str


class Store:
    """Opens transactions inside a tenant."""

    def __init__(self, database: Database, doorbell: Doorbell | None = None) -> None:
        """Keep it in a database; the doorbell wakes who waits for timers when one is set that rings soon."""
        self.database = database
        self._doorbell = doorbell
        self.known_policies = KnownPolicies()

    @asynccontextmanager
    async def shop(self, tenant_id: UUID) -> AsyncIterator["Shop"]:
        """Run one transaction inside a tenant; a clean exit commits."""
        async with self.database.tenant(tenant_id) as connection:
            shop = Shop(connection, tenant_id, self.known_policies)
            yield shop
        if shop.sla.wakes_soon and self._doorbell is not None:
            await self._doorbell.ring(TIMER_BELL)
        if shop.crowded:
            # What was asked for is done and committed; the counts are right with or without this.
            with contextlib.suppress(DomainError):
                async with self.database.tenant(tenant_id) as connection:
                    await PlaceStore(connection, tenant_id).fold()

    @asynccontextmanager
    async def alone(self, task: str) -> AsyncIterator[Callable[[], Awaitable[bool]] | None]:
        """Be the only process that does a task, for as long as the context lasts; None when another one does it.

        The value asks whether that still holds: the lock goes with its connection.
        """
        async with self.database.alone(task) as still:
            yield still

    async def tenants_with_rankings_to_do(self, retired_before: datetime) -> list[UUID]:
        """Return the tenants that have a ranking to be built, or one that was retired before a moment."""
        async with self.database.spanning() as connection:
            statement = text("SELECT tickets.tenants_with_rankings_to_do(:before)")
            return list(await connection.scalars(statement, {"before": retired_before}))

    async def tenants_with_topics_to_do(self, now: datetime) -> tuple[list[UUID], list[UUID]]:
        """Return the tenants of whose topic alerts tickets are to be placed anew, and those in which topics spike."""
        async with self.database.spanning() as connection:
            statement = text("SELECT tenant_id, alerts FROM tickets.tenants_with_topics_to_do(:now)")
            rows = (await connection.execute(statement, {"now": now})).all()
        return [row.tenant_id for row in rows if row.alerts], [row.tenant_id for row in rows if not row.alerts]

    async def log_position(self, log: str) -> str:
        """Return where the reading of another service's log stands; empty at its beginning."""
        async with self.database.spanning() as connection:
            position = await connection.scalar(text("SELECT tickets.log_position(:log)"), {"log": log})
        return str(position)

    async def tenants_to_learn_from(self, every: timedelta, at_most: int) -> list[UUID]:
        """Return tenants with tickets from which nothing was learned for so long, those that wait longest first."""
        statement = text("SELECT tickets.tenants_to_learn_from(now() - CAST(:every AS interval), :at_most)")
        async with self.database.spanning() as connection:
            return list(await connection.scalars(statement, {"every": every, "at_most": at_most}))

    async def set_log_position(self, log: str, cursor: str) -> None:
        """Remember where the reading of another service's log stands."""
        async with self.database.spanning() as connection:
            await connection.execute(
                text("SELECT tickets.set_log_position(:log, :cursor)"), {"log": log, "cursor": cursor}
            )


class Shop:
    """One transaction on one tenant's rows."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID, known_policies: KnownPolicies) -> None:
        self._connection = connection
        self._driver = driver_of(connection)
        self._tenant_id = tenant_id
        self.places = PlaceStore(connection, tenant_id)
        self.policies = PolicyStore(connection, tenant_id, known_policies)
        self.lists = ListStore(connection, tenant_id, self.policies)
        self.rankings = RankingStore(connection, tenant_id)
        self.sla = SlaStore(connection, tenant_id)
        self.keywords = KeywordStore(connection, tenant_id)
        self.topics = TopicStore(connection, tenant_id)
        self.imports = MigrationStore(connection, tenant_id)
        self.crowded = False
        self._placing = False

    def _mine(self, table: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        """Return the condition for rows of the tenant: row security says it too, and the planner needs to hear it."""
        return and_(table.c.tenant_id == self._tenant_id, *conditions)

    # Tickets

    async def next_number(self) -> int:
        """Take the tenant's next ticket number; two transactions never get the same, and the later one waits."""
        statement = insert(ticket_numbers).values(tenant_id=self._tenant_id, last_number=1)
        statement = statement.on_conflict_do_update(
            index_elements=[ticket_numbers.c.tenant_id], set_={"last_number": ticket_numbers.c.last_number + 1}
        )
        result = await self._connection.execute(statement.returning(ticket_numbers.c.last_number))
        return int(result.scalar_one())

    async def find(self, reference: UUID | int, *, lock: bool = False) -> Stored | None:
        """Return the ticket with this id or number; `lock` keeps others from changing it until the transaction ends."""
        found = await self.policies.stored(await row_store.find(self._driver, self._tenant_id, reference, lock=lock))
        return found[0] if found else None

    async def find_unmerged(self, reference: UUID | int) -> Stored | None:
        """Return the ticket with this id or number, locked; None as well when another one goes on in its stead."""
        rows = await row_store.find(self._driver, self._tenant_id, reference, lock=True, unmerged=True)
        found = await self.policies.stored(rows)
        return found[0] if found else None

    async def find_all(self, references: Collection[UUID | int]) -> list[Stored]:
        """Return the tickets with these ids or numbers, locked in the order in which everybody locks."""
        ids = [reference for reference in references if isinstance(reference, UUID)]
        numbers = [reference for reference in references if not isinstance(reference, UUID)]
        return await self._several(self._mine(tickets, or_(tickets.c.id.in_(ids), tickets.c.number.in_(numbers))))

    async def find_external(self, connection_id: UUID, external_id: str) -> Stored | None:
        """Return the ticket that a provider knows by this id; it is locked, and so are those that go on in its stead.

        They are locked in the order in which everybody locks.
        """
        known = self._mine(tickets, tickets.c.connection_id == connection_id, tickets.c.external_id == external_id)
        named = select(tickets.c.id, tickets.c.merged_into).where(known).cte(recursive=True)
        onward = select(tickets.c.id, tickets.c.merged_into)
        named = named.union(onward.where(self._mine(tickets, tickets.c.id == named.c.merged_into)))
        found = await self._several(self._mine(tickets, tickets.c.id.in_(select(named.c.id))))
        name = (connection_id, external_id)
        return next((one for one in found if (one.ticket.connection_id, one.ticket.external_id) == name), None)

    async def open_tickets_of(self, customer_id: str) -> list[Stored]:
        """Return a customer's tickets that are not closed, locked in the order in which everybody locks."""
        wanted = self._mine(tickets, tickets.c.customer_id == customer_id, tickets.c.status != "closed")
        return await self._several(wanted)

    async def _several(self, wanted: ColumnElement[bool]) -> list[Stored]:
        query = select(*STORED).select_from(PLACED).where(wanted).order_by(tickets.c.id).with_for_update(of=tickets)
        return await self.policies.stored((await self._connection.execute(query)).mappings().all())

    async def find_many(self, ids: Collection[UUID]) -> dict[UUID, Stored]:
        """Return the tickets with these ids."""
        query = select(*STORED).select_from(PLACED).where(self._mine(tickets, tickets.c.id.in_(list(ids))))
        found = await self.policies.stored((await self._connection.execute(query)).mappings().all())
        return {stored.ticket.id: stored for stored in found}

    async def insert(self, ticket: Ticket) -> None:
        """Add a ticket; it is placed when its messages have been added."""
        blank = {"signals": {}, "rank_key": 0.0, "parts": [], "searchable": "", "card": "", "card_version": 0}
        values = {**ticket_columns(ticket), **blank, "message_count": 0}
        await self._connection.execute(insert(tickets).values(tenant_id=self._tenant_id, **values))

    async def update(self, ticket: Ticket, placement: Placement, added: str = "") -> None:
        """Store a ticket with what is derived of it, and log the change; `added` is appended to what is searched."""
        values = {
            **ticket_columns(ticket),
            "last_message_time": placement.conversation.last.create_time if placement.conversation.last else None,
            "signals": asdict(placement.signals),
            "rank_key": placement.rank.key,
            "parts": [asdict(part) for part in placement.rank.parts],
            "card": placement.card,
            "card_version": CARD_VERSION,
            "message_count": placement.conversation.count,
        }
        old = await row_store.update(
            self._driver, self._tenant_id, ticket.id, values, searchable=placement.searchable, added=added
        )
        moved = await self.places.put(ticket, placement.places, placement.rankings)
        self.crowded = self.crowded or moved.crowded
        key_before = old["rank_key"] if moved.key_before is None else moved.key_before
        marked = Marks(*(old[name] for name in Marks._fields))
        before = Placing(old["status"], key_before, old["revision"], marked) if old["card_version"] else None
        marks = Marks(*(getattr(ticket, name) for name in Marks._fields))
        await self._log_change(ticket, before, Placing(ticket.status, placement.rank.key, ticket.revision, marks))

    async def _log_change(self, ticket: Ticket, before: Placing | None, after: Placing) -> None:
        """Tell the watchers of the inbox, in the transaction that makes the change."""
        kind = kind_of(before, after)
        if kind is not None:
            was = (before.status, before.rank_key) if before else (None, None)
            now = (after.status, after.rank_key, after.revision, ticket.tier)
            subject = (kind.value, ticket.id, ticket.number, ticket.start_time)
            await row_store.log(self._driver, self._tenant_id, *subject, *was, *now)

    # Messages and notes

    async def add_message(self, *added: Message) -> None:
        """Add a message, or several, to a ticket that is locked."""
        rows = [{"tenant_id": self._tenant_id, "hide_time": None, **entry_columns(message)} for message in added]
        await self._connection.execute(insert(messages).values(rows))
        for message in added:
            if message.from_agent:
                await add_said(self._connection, self._tenant_id, message.ticket_id, message.content)

    async def find_by(self, ticket_id: UUID, message: Message) -> None:
        """Let another ticket, which shows it, be found by a message of the shop as well."""
        await add_said(self._connection, self._tenant_id, ticket_id, message.content)

    async def add_note(self, note: Note) -> None:
        """Add a note to a ticket that is locked."""
        await self._connection.execute(insert(notes).values(tenant_id=self._tenant_id, **entry_columns(note)))

    async def known_entries(self, ticket_id: UUID, external_ids: Collection[str]) -> set[str]:
        """Return which of these external ids belong to a message or a note of the ticket."""
        queries = [
            select(table.c.external_id).where(
                self._mine(table, table.c.ticket_id == ticket_id, table.c.external_id.in_(external_ids))
            )
            for table in (messages, notes)
        ]
        return set(await self._connection.scalars(union_all(*queries)))

    async def message_of_request(self, family: Family, external_id: str) -> Message | None:
        """Return the message of a ticket with this external id."""
        wanted = self._mine(messages, _of(messages, family), messages.c.external_id == external_id)
        row = (await self._connection.execute(select(messages).where(wanted))).mappings().first()
        return message_of(row) if row else None

    async def note_of_request(self, family: Family, external_id: str) -> Note | None:
        """Return the note of a ticket with this external id."""
        wanted = self._mine(notes, _of(notes, family), notes.c.external_id == external_id)
        row = (await self._connection.execute(select(notes).where(wanted))).mappings().first()
        return note_of(row) if row else None

    async def messages(
        self, family: Family, *, after: EntryPlace | None = None, limit: int | None = None
    ) -> list[Message]:
        """Return the visible messages of a ticket, oldest first, after a place in that order."""
        query = self._entries(messages, family, after, limit).where(messages.c.hide_time.is_(None))
        return [message_of(row) for row in (await self._connection.execute(query)).mappings()]

    async def newest_messages(self, family: Family, limit: int) -> list[Message]:
        """Return the newest visible messages of a ticket, oldest first."""
        wanted = self._mine(messages, _of(messages, family), messages.c.hide_time.is_(None))
        query = select(messages).where(wanted).limit(limit)
        query = query.order_by(messages.c.create_time.desc(), messages.c.sequence.desc(), messages.c.id.desc())
        return [message_of(row) for row in (await self._connection.execute(query)).mappings()][::-1]

    async def notes(self, family: Family, *, after: EntryPlace | None = None, limit: int | None = None) -> list[Note]:
        """Return the notes of a ticket, oldest first, after a place in that order."""
        query = self._entries(notes, family, after, limit)
        return [note_of(row) for row in (await self._connection.execute(query)).mappings()]

    def _entries(self, table: Any, family: Family, after: EntryPlace | None, limit: int | None) -> Select[Any]:
        query = select(table).where(self._mine(table, _of(table, family)))
        order = (table.c.create_time, table.c.sequence, table.c.id)
        if after is not None:
            query = query.where(tuple_(*order) > after)
        return query.order_by(*order).limit(limit)

    async def conversation(self, family: Family) -> Conversation:
        """Return a ticket's messages in brief."""
        one = len(family) == 1
        statement = _CONVERSATION_OF_ONE if one else _CONVERSATION_OF_SEVERAL
        arguments = (self._tenant_id, family[0] if one else list(family))
        row = (await self._driver.fetch(statement, *arguments))[0]
        said = [Said(*both) for both in zip(row["moments"] or (), row["by_agent"] or (), strict=True)]
        last = LastMessage(row["head"], row["create_time"], row["from_agent"]) if row["visible"] else None
        return Conversation(row["visible"], last, row["texts"], said)

    async def customer_texts(self, family: Family) -> list[str]:
        """Return what the customer wrote and is visible, oldest first: the newest of it, more than is searched."""
        wanted = self._mine(messages, _of(messages, family), messages.c.hide_time.is_(None), ~messages.c.from_agent)
        newest_first = (messages.c.create_time.desc(), messages.c.sequence.desc(), messages.c.id.desc())
        size = func.octet_length(messages.c.content)
        newer = (func.sum(size).over(order_by=newest_first, rows=(None, 0)) - size).label("newer")
        # A character has at most four bytes.
        known = select(messages, newer).where(wanted).subquery()
        query = select(known.c.content).where(known.c.newer < 4 * MAX_SEARCHABLE)
        return list(await self._connection.scalars(query.order_by(known.c.create_time, known.c.sequence, known.c.id)))

    async def find_said_anew(self, ticket: Ticket) -> None:
        """Let a ticket be found by those messages of the shop that are visible now."""
        family = messages.c.ticket_id.in_(ticket.family)
        wanted = self._mine(messages, family, messages.c.hide_time.is_(None), messages.c.from_agent)
        query = select(messages.c.content).where(wanted).order_by(messages.c.create_time, messages.c.sequence)
        contents = await self._connection.scalars(query)
        await replace_said(self._connection, self._tenant_id, ticket.id, contents)

    async def hide_all_but_first(self, family: Family, now: datetime) -> list[UUID]:
        """Hide every visible message but the oldest; return which were hidden by this."""
        visible = self._mine(messages, _of(messages, family), messages.c.hide_time.is_(None))
        first = select(messages.c.id).where(visible).order_by(messages.c.create_time, messages.c.sequence).limit(1)
        others = visible & (messages.c.id != first.scalar_subquery())
        hidden = await self._connection.scalars(
            update(messages).where(others).values(hide_time=now).returning(messages.c.id)
        )
        return list(hidden)

    async def restore_all(self, family: Family) -> list[UUID]:
        """Show every hidden message again; return which were shown by this."""
        hidden = self._mine(messages, _of(messages, family), messages.c.hide_time.is_not(None))
        restored = await self._connection.scalars(
            update(messages).where(hidden).values(hide_time=None).returning(messages.c.id)
        )
        return list(restored)

    # History and repetition

    async def record(
        self, ticket_id: UUID, action: str, principal: str, now: datetime, details: Mapping[str, Any] | None = None
    ) -> None:
        """Write down who did what to a ticket."""
        told = (uuid7(), ticket_id, action, principal, details or {}, now)
        await row_store.record(self._driver, self._tenant_id, *told)

    async def history(self, ticket_id: UUID, *, before: UUID | None, limit: int) -> list[Entry]:
        """Return what was written down of a ticket, newest first, from before an entry on."""
        wanted = self._mine(ticket_history, ticket_history.c.ticket_id == ticket_id)
        query = select(ticket_history).where(wanted).order_by(ticket_history.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(ticket_history.c.id < before)
        rows = (await self._connection.execute(query)).all()
        return [entry_of(row.id, row.action, row.principal, row.create_time, row.details) for row in rows]

    async def last(self, ticket_id: UUID, action: str) -> Entry | None:
        """Return the last time that something was done to a ticket."""
        wanted = self._mine(ticket_history, ticket_history.c.ticket_id == ticket_id, ticket_history.c.action == action)
        query = select(ticket_history).where(wanted).order_by(ticket_history.c.id.desc()).limit(1)
        row = (await self._connection.execute(query)).first()
        return entry_of(row.id, row.action, row.principal, row.create_time, row.details) if row else None

    async def known_requests(self, request_ids: Collection[str]) -> set[str]:
        """Return which of these requests were applied before."""
        wanted = self._mine(applied_requests, applied_requests.c.request_id.in_(request_ids))
        return set(await self._connection.scalars(select(applied_requests.c.request_id).where(wanted)))

    async def ticket_of_request(self, request_id: str) -> UUID | None:
        """Return the ticket that a request or an event was applied to; None when it was not applied before."""
        wanted = self._mine(applied_requests, applied_requests.c.request_id == request_id)
        found: UUID | None = await self._connection.scalar(select(applied_requests.c.ticket_id).where(wanted))
        return found

    async def remember_request(self, request_id: str, ticket_id: UUID, now: datetime) -> bool:
        """Note that a request or an event was applied; False when somebody else has, for whose commit this waited."""
        values = {"request_id": request_id, "ticket_id": ticket_id, "create_time": now}
        statement = insert(applied_requests).values(tenant_id=self._tenant_id, **values).on_conflict_do_nothing()
        return (await self._connection.execute(statement)).rowcount > 0

    # Copies of what other services know

    async def customer(self, customer_id: str) -> Customer:
        """Return what is known of a customer, and know all else that placing needs; unknown figures without a copy.

        The transaction counts as one that places tickets from here to its end (see `wait_for_placers`).
        """
        if not self._placing:
            await row_store.lock_placing(self._driver, self._placing_name)
            self._placing = True
        known = await before_placing(self._driver, self._tenant_id, customer_id, datetime.now(UTC))
        if known is None:
            await self.places.rankings()
            return await self.customer(customer_id)
        self.places.know(known.rankings)
        self.sla.know(known.sla)
        self.keywords.know(known.rules)
        self.topics.know(known.alerts)
        return known.customer

    async def put_customers(self, copies: Sequence[CustomerCopy]) -> None:
        """Store copies of customers in place of those that are here."""
        names = ("lifetime_value", "churn_probability", "origin", "profile", "update_time")
        rows = [
            {
                "tenant_id": self._tenant_id,
                "customer_id": copy.customer_id,
                "lifetime_value": copy.customer.lifetime_value,
                "churn_probability": copy.customer.churn_probability,
                "origin": copy.customer.origin,
                "profile": copy.profile,
                "update_time": copy.update_time,
            }
            for copy in copies
        ]
        if rows:
            statement = insert(customer_copies).values(rows)
            keys = [customer_copies.c.tenant_id, customer_copies.c.customer_id]
            values = {name: statement.excluded[name] for name in names}
            await self._connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))

    async def forget_customers(self, customer_ids: Collection[str]) -> None:
        """Drop the copies of customers who are unknown now."""
        if customer_ids:
            wanted = self._mine(customer_copies, customer_copies.c.customer_id.in_(customer_ids))
            await self._connection.execute(customer_copies.delete().where(wanted))

    async def wait_for_placers(self) -> None:
        """Wait until every transaction that may have placed a ticket by older copies has ended.

        Whoever places a ticket takes the tenant's lock together with others (`customer`); this takes it alone. So after
        copies were committed and this has returned, a ticket either was placed by them or can be seen to be re-ranked.
        """
        lock = func.hashtextextended(self._placing_name, 0)
        await self._connection.execute(select(func.pg_advisory_xact_lock(lock)))

    async def with_open_tickets(self, customer_ids: Collection[str]) -> list[str]:
        """Return which of these customers have tickets that are not closed."""
        wanted = self._mine(tickets, tickets.c.customer_id.in_(customer_ids), tickets.c.status != "closed")
        return list(await self._connection.scalars(select(tickets.c.customer_id).where(wanted).distinct()))

    @property
    def _placing_name(self) -> str:
        return f"rapport.tickets.placing:{self._tenant_id}"

    async def put_advice(self, copy: AdviceCopy) -> None:
        """Store a copy of a ticket's advice."""
        values = {"recommendation": copy.recommendation, "draft": copy.draft}
        statement = insert(advice_copies).values(tenant_id=self._tenant_id, ticket_id=copy.ticket_id, **values)
        keys = [advice_copies.c.tenant_id, advice_copies.c.ticket_id]
        await self._connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))

    async def forget_advice(self, ticket_id: UUID) -> None:
        """Drop the copy of a ticket's advice."""
        wanted = self._mine(advice_copies, advice_copies.c.ticket_id == ticket_id)
        await self._connection.execute(advice_copies.delete().where(wanted))


def _of(table: Any, family: Family) -> ColumnElement[bool]:
    """Return the condition for the messages or notes of a ticket; for one id, an index gives them in order."""
    condition: ColumnElement[bool] = table.c.ticket_id == family[0]
    return condition if len(family) == 1 else table.c.ticket_id.in_(family)


def ticket_columns(ticket: Ticket) -> dict[str, Any]:
    """Return a ticket's own columns."""
    values = {name: getattr(ticket, name) for name in Ticket.__slots__}
    return {
        **values,
        "tags": list(ticket.tags),
        "merged_from": list(ticket.merged_from),
        "metadata": dict(ticket.metadata),
        "field_times": dict(ticket.field_times),
        **clock_columns(ticket.clocks),
    }


def entry_columns(entry: Message | Note) -> dict[str, Any]:
    """Return the columns of a message or a note."""
    return {name: getattr(entry, name) for name in type(entry).__slots__}
