"""What the tickets service keeps: every statement on its tables but those of the two hot reads (inbox_store.py)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, literal_column, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from servicekit.ids import uuid7
from services.tickets.alerts import MAX_SEARCHABLE
from services.tickets.cards import CARD_VERSION, Filters, LastMessage
from services.tickets.changes import Placing, kind_of
from services.tickets.facts import Customer
from services.tickets.language import MAX_ANALYSED, Signals
from services.tickets.rows import Stored, message_of, note_of, stored_of
from services.tickets.scoring import Rank
from services.tickets.tables import (
    LOADED,
    advice_copies,
    applied_requests,
    changes,
    customer_copies,
    messages,
    notes,
    ticket_history,
    ticket_numbers,
    tickets,
)
from services.tickets.tickets import Message, Note, Ticket

_HEAD = 101
_READ_BACK = 5
_BEFORE: list[ColumnElement[Any]] = [
    literal_column(f"old.{name}").label(name) for name in ("status", "rank_key", "revision", "card_version")
]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A ticket's visible messages in brief: how many, the newest, and what the customer last wrote, newest first."""

    count: int
    last: LastMessage | None
    customer_texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Placement:
    """What is derived of a ticket and stored with it. `searchable` replaces what is searched, unless it is None."""

    signals: Signals
    rank: Rank
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

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def shop(self, tenant_id: UUID) -> AsyncIterator["Shop"]:
        """Run one transaction inside a tenant; a clean exit commits."""
        async with self._database.tenant(tenant_id) as connection:
            yield Shop(connection, tenant_id)

    @asynccontextmanager
    async def alone(self, task: str) -> AsyncIterator[Callable[[], Awaitable[bool]] | None]:
        """Be the only process that does a task, for as long as the context lasts; None when another one does it.

        The value asks whether that still holds: the lock goes with its connection.
        """
        async with self._database.alone(task) as still:
            yield still

    async def log_position(self, log: str) -> str:
        """Return where the reading of another service's log stands; empty at its beginning."""
        async with self._database.spanning() as connection:
            position = await connection.scalar(text("SELECT tickets.log_position(:log)"), {"log": log})
        return str(position)

    async def set_log_position(self, log: str, cursor: str) -> None:
        """Remember where the reading of another service's log stands."""
        async with self._database.spanning() as connection:
            await connection.execute(
                text("SELECT tickets.set_log_position(:log, :cursor)"), {"log": log, "cursor": cursor}
            )


class Shop:
    """One transaction on one tenant's rows."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

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
        column = tickets.c.id if isinstance(reference, UUID) else tickets.c.number
        return await self._one(self._mine(tickets, column == reference), lock=lock)

    async def find_external(self, connection_id: UUID, external_id: str) -> Stored | None:
        """Return the ticket that a provider knows by this id, locked."""
        wanted = self._mine(tickets, tickets.c.connection_id == connection_id, tickets.c.external_id == external_id)
        return await self._one(wanted, lock=True)

    async def lock_external(self, names: Collection[tuple[UUID, str]]) -> None:
        """Lock the tickets that providers know by these ids, in one order for everybody."""
        known = tuple_(tickets.c.connection_id, tickets.c.external_id).in_(list(names))
        query = select(tickets.c.id).where(self._mine(tickets, known)).order_by(tickets.c.id).with_for_update()
        await self._connection.execute(query)

    async def open_tickets_of(self, customer_id: str) -> list[Stored]:
        """Return a customer's tickets that are not closed, locked in the order in which everybody locks."""
        wanted = self._mine(tickets, tickets.c.customer_id == customer_id, tickets.c.status != "closed")
        query = select(*LOADED).where(wanted).order_by(tickets.c.id).with_for_update()
        return [stored_of(row) for row in (await self._connection.execute(query)).mappings()]

    async def _one(self, wanted: ColumnElement[bool], *, lock: bool) -> Stored | None:
        query = select(*LOADED).where(wanted)
        row = (await self._connection.execute(query.with_for_update() if lock else query)).mappings().first()
        return stored_of(row) if row else None

    async def insert(self, ticket: Ticket) -> None:
        """Add a ticket; it is placed when its messages have been added."""
        blank = {"signals": {}, "rank_key": 0.0, "parts": [], "searchable": "", "card": "", "card_version": 0}
        values = {**_columns(ticket), **blank, "message_count": 0}
        await self._connection.execute(insert(tickets).values(tenant_id=self._tenant_id, **values))

    async def update(self, ticket: Ticket, placement: Placement, added: str = "") -> None:
        """Store a ticket with what is derived of it, and log the change; `added` is appended to what is searched."""
        searchable: Any = tickets.c.searchable
        if placement.searchable is not None:
            searchable = placement.searchable
        elif added:
            searchable = func.right(tickets.c.searchable + added, MAX_SEARCHABLE)
        values = {
            **_columns(ticket),
            "last_message_time": placement.conversation.last.create_time if placement.conversation.last else None,
            "signals": asdict(placement.signals),
            "rank_key": placement.rank.key,
            "parts": [asdict(part) for part in placement.rank.parts],
            "searchable": searchable,
            "card": placement.card,
            "card_version": CARD_VERSION,
            "message_count": placement.conversation.count,
        }
        statement = update(tickets).where(self._mine(tickets, tickets.c.id == ticket.id)).values(**values)
        old = (await self._connection.execute(statement.returning(*_BEFORE))).one()
        before = Placing(old.status, old.rank_key, old.revision) if old.card_version else None
        await self._log_change(ticket, before, Placing(ticket.status, placement.rank.key, ticket.revision))

    async def _log_change(self, ticket: Ticket, before: Placing | None, after: Placing) -> None:
        """Tell the watchers of the inbox, in the transaction that makes the change."""
        kind = kind_of(before, after)
        if kind is not None:
            values = {
                "kind": kind.value,
                "ticket_id": ticket.id,
                "number": ticket.number,
                "start_time": ticket.start_time,
                "previous_status": before.status if before else None,
                "previous_rank_key": before.rank_key if before else None,
                **asdict(after),
            }
            await self._connection.execute(insert(changes).values(tenant_id=self._tenant_id, **values))

    async def page(self, filters: Filters, *, smart: bool, after: Mapping[str, Any] | None, limit: int) -> list[Stored]:
        """Return tickets in order, from the place after a cursor (`key_of`) on."""
        conditions = [tickets.c[name] == value for name, value in filters.given().items()]
        query: Select[Any] = select(*LOADED).where(self._mine(tickets, *conditions)).limit(limit)
        if smart:
            query = query.order_by(tickets.c.rank_key.desc(), tickets.c.start_time, tickets.c.id)
        else:
            query = query.order_by(tickets.c.create_time.desc(), tickets.c.id)
        if after is not None:
            query = query.where(_after(after, smart=smart))
        return [stored_of(row) for row in (await self._connection.execute(query)).mappings()]

    # Messages and notes

    async def add_message(self, message: Message) -> None:
        """Add a message to a ticket that is locked."""
        await self._connection.execute(
            insert(messages).values(tenant_id=self._tenant_id, hide_time=None, **_entry(message))
        )

    async def add_note(self, note: Note) -> None:
        """Add a note to a ticket that is locked."""
        await self._connection.execute(insert(notes).values(tenant_id=self._tenant_id, **_entry(note)))

    async def known_entries(self, ticket_id: UUID, external_ids: Collection[str]) -> set[str]:
        """Return which of these external ids belong to a message or a note of the ticket."""
        found: set[str] = set()
        for table in (messages, notes):
            wanted = self._mine(table, table.c.ticket_id == ticket_id, table.c.external_id.in_(external_ids))
            found.update(await self._connection.scalars(select(table.c.external_id).where(wanted)))
        return found

    async def message_of_request(self, ticket_id: UUID, external_id: str) -> Message | None:
        """Return the message of a ticket with this external id."""
        wanted = self._mine(messages, messages.c.ticket_id == ticket_id, messages.c.external_id == external_id)
        row = (await self._connection.execute(select(messages).where(wanted))).mappings().first()
        return message_of(row) if row else None

    async def note_of_request(self, ticket_id: UUID, external_id: str) -> Note | None:
        """Return the note of a ticket with this external id."""
        wanted = self._mine(notes, notes.c.ticket_id == ticket_id, notes.c.external_id == external_id)
        row = (await self._connection.execute(select(notes).where(wanted))).mappings().first()
        return note_of(row) if row else None

    async def messages(
        self, ticket_id: UUID, *, after: tuple[datetime, int] | None = None, limit: int | None = None
    ) -> list[Message]:
        """Return the visible messages of a ticket, oldest first, after a place in that order."""
        query = self._entries(messages, ticket_id, after, limit).where(messages.c.hide_time.is_(None))
        return [message_of(row) for row in (await self._connection.execute(query)).mappings()]

    async def newest_messages(self, ticket_id: UUID, limit: int) -> list[Message]:
        """Return the newest visible messages of a ticket, oldest first."""
        wanted = self._mine(messages, messages.c.ticket_id == ticket_id, messages.c.hide_time.is_(None))
        query = select(messages).where(wanted).limit(limit)
        query = query.order_by(messages.c.create_time.desc(), messages.c.sequence.desc())
        return [message_of(row) for row in (await self._connection.execute(query)).mappings()][::-1]

    async def notes(
        self, ticket_id: UUID, *, after: tuple[datetime, int] | None = None, limit: int | None = None
    ) -> list[Note]:
        """Return the notes of a ticket, oldest first, after a place in that order."""
        query = self._entries(notes, ticket_id, after, limit)
        return [note_of(row) for row in (await self._connection.execute(query)).mappings()]

    def _entries(
        self, table: Any, ticket_id: UUID, after: tuple[datetime, int] | None, limit: int | None
    ) -> Select[Any]:
        query = select(table).where(self._mine(table, table.c.ticket_id == ticket_id))
        if after is not None:
            query = query.where(tuple_(table.c.create_time, table.c.sequence) > after)
        return query.order_by(table.c.create_time, table.c.sequence).limit(limit)

    async def conversation(self, ticket_id: UUID) -> Conversation:
        """Return a ticket's visible messages in brief."""
        visible = self._mine(messages, messages.c.ticket_id == ticket_id, messages.c.hide_time.is_(None))
        newest_first = (messages.c.create_time.desc(), messages.c.sequence.desc())
        query = select(
            func.left(messages.c.content, _HEAD).label("head"),
            messages.c.create_time,
            messages.c.from_agent,
            func.count().over().label("visible"),
        )
        newest = (await self._connection.execute(query.where(visible).order_by(*newest_first).limit(1))).first()
        if newest is None:
            return Conversation(0, None, ())
        texts = select(func.left(messages.c.content, MAX_ANALYSED)).where(visible, ~messages.c.from_agent)
        written = await self._connection.scalars(texts.order_by(*newest_first).limit(_READ_BACK))
        last = LastMessage(newest.head, newest.create_time, newest.from_agent)
        return Conversation(newest.visible, last, list(written))

    async def customer_texts(self, ticket_id: UUID) -> list[str]:
        """Return all that the customer wrote and that is visible, oldest first."""
        wanted = self._mine(
            messages, messages.c.ticket_id == ticket_id, messages.c.hide_time.is_(None), ~messages.c.from_agent
        )
        query = select(messages.c.content).where(wanted).order_by(messages.c.create_time, messages.c.sequence)
        return list(await self._connection.scalars(query))

    async def hide_all_but_first(self, ticket_id: UUID, now: datetime) -> list[UUID]:
        """Hide every visible message but the oldest; return which were hidden by this."""
        visible = self._mine(messages, messages.c.ticket_id == ticket_id, messages.c.hide_time.is_(None))
        first = select(messages.c.id).where(visible).order_by(messages.c.create_time, messages.c.sequence).limit(1)
        others = visible & (messages.c.id != first.scalar_subquery())
        hidden = await self._connection.scalars(
            update(messages).where(others).values(hide_time=now).returning(messages.c.id)
        )
        return list(hidden)

    async def restore_all(self, ticket_id: UUID) -> list[UUID]:
        """Show every hidden message again; return which were shown by this."""
        hidden = self._mine(messages, messages.c.ticket_id == ticket_id, messages.c.hide_time.is_not(None))
        restored = await self._connection.scalars(
            update(messages).where(hidden).values(hide_time=None).returning(messages.c.id)
        )
        return list(restored)

    # History and repetition

    async def record(
        self, ticket_id: UUID, action: str, principal: str, now: datetime, details: Mapping[str, Any] | None = None
    ) -> None:
        """Write down who did what to a ticket."""
        values = {"action": action, "principal": principal, "details": dict(details or {}), "create_time": now}
        await self._connection.execute(
            insert(ticket_history).values(tenant_id=self._tenant_id, ticket_id=ticket_id, id=uuid7(), **values)
        )

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
        """Return what is known of a customer; unknown figures when there is no copy.

        The transaction counts as one that places tickets from here to its end (see `wait_for_placers`).
        """
        await self._connection.execute(select(func.pg_advisory_xact_lock_shared(self._placing_lock())))
        wanted = self._mine(customer_copies, customer_copies.c.customer_id == customer_id)
        row = (await self._connection.execute(select(customer_copies).where(wanted))).first()
        if row is None:
            return Customer()
        return Customer(row.lifetime_value, row.churn_probability, row.origin, row.update_time)

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
        await self._connection.execute(select(func.pg_advisory_xact_lock(self._placing_lock())))

    async def with_open_tickets(self, customer_ids: Collection[str]) -> list[str]:
        """Return which of these customers have tickets that are not closed."""
        wanted = self._mine(tickets, tickets.c.customer_id.in_(customer_ids), tickets.c.status != "closed")
        return list(await self._connection.scalars(select(tickets.c.customer_id).where(wanted).distinct()))

    def _placing_lock(self) -> ColumnElement[int]:
        return func.hashtextextended(f"rapport.tickets.placing:{self._tenant_id}", 0)

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


def key_of(stored: Stored, *, smart: bool) -> dict[str, Any]:
    """Return the cursor of the place right after a ticket."""
    if smart:
        return {
            "rank_key": stored.rank.key.hex(),
            "start_time": stored.ticket.start_time.isoformat(),
            "id": str(stored.ticket.id),
        }
    return {"create_time": stored.ticket.create_time.isoformat(), "id": str(stored.ticket.id)}


def _after(cursor: Mapping[str, Any], *, smart: bool) -> ColumnElement[bool]:
    """Return the condition for tickets behind a cursor; its first part is a plain bound that the index can use."""
    ticket_id = UUID(cursor["id"])
    if smart:
        key = float.fromhex(cursor["rank_key"])
        start = datetime.fromisoformat(cursor["start_time"])
        later = tuple_(tickets.c.start_time, tickets.c.id) > (start, ticket_id)
        return and_(tickets.c.rank_key <= key, or_(tickets.c.rank_key < key, later))
    created = datetime.fromisoformat(cursor["create_time"])
    return and_(tickets.c.create_time <= created, or_(tickets.c.create_time < created, tickets.c.id > ticket_id))


def _columns(ticket: Ticket) -> dict[str, Any]:
    """Return a ticket's own columns."""
    values = {name: getattr(ticket, name) for name in Ticket.__slots__}
    return {
        **values,
        "tags": list(ticket.tags),
        "merged_from": list(ticket.merged_from),
        "metadata": dict(ticket.metadata),
        "field_times": dict(ticket.field_times),
    }


def _entry(entry: Message | Note) -> dict[str, Any]:
    """Return the columns of a message or a note."""
    return {name: getattr(entry, name) for name in type(entry).__slots__}
