"""All SQL of tickets that come in whole, in few statements however many they are, and of comparing them later.

Rows come as one JSON document for each table: the database takes it apart.
"""

# ruff: noqa: S608 - only names and numbers of ours are written into statements; every value is an argument

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import driver_of
from services.tickets.changes import Kind
from services.tickets.facts import Customer
from services.tickets.place_store import customer_of
from services.tickets.places import STEPS
from services.tickets.rows import Row
from services.tickets.tables import messages, notes, tickets

_RESERVE = """
INSERT INTO tickets.ticket_numbers AS n (tenant_id, last_number) VALUES ($1, $2)
ON CONFLICT (tenant_id) DO UPDATE SET last_number = greatest(n.last_number, excluded.last_number)
RETURNING last_number
"""
_KNOWN = """
SELECT i.legacy_id, i.ticket_id, i.digest, i.revision, t.number
FROM tickets.imported_tickets i LEFT JOIN tickets.tickets t ON t.tenant_id = $1 AND t.id = i.ticket_id
WHERE i.tenant_id = $1 AND (i.legacy_id = ANY ($2::text[]) OR i.ticket_id = ANY ($3::uuid[]))
"""
_CUSTOMERS = """
SELECT customer_id, lifetime_value, churn_probability, origin, update_time FROM tickets.customer_copies
WHERE tenant_id = $1 AND customer_id = ANY ($2::text[])
"""
_ENTRIES = """
SELECT id FROM tickets.messages WHERE tenant_id = $1 AND ticket_id = $2
UNION ALL SELECT id FROM tickets.notes WHERE tenant_id = $1 AND ticket_id = $2
"""
_SAID = """
INSERT INTO tickets.ticket_words AS known (tenant_id, ticket_id, asked, said)
SELECT $1, g.ticket_id, '', tickets.marked_words($1, 's', g.words)
FROM unnest($2::uuid[], $3::text[]) AS g (ticket_id, words)
ON CONFLICT (tenant_id, ticket_id) DO UPDATE SET said = excluded.said
"""
_PLACES = f"""
WITH given AS (
    SELECT p.*, t.status, t.priority, t.channel, t.assigned_to, t.customer_id, t.start_time
    FROM unnest($2::uuid[], $3::integer[], $4::smallint[], $5::float8[], $6::text[])
        AS p (ticket_id, ranking, tier, rank_key, reasons)
    JOIN tickets.tickets t ON t.tenant_id = $1 AND t.id = p.ticket_id
), put AS (
    INSERT INTO tickets.places (tenant_id, ranking, ticket_id, status, priority, channel, assigned_to, customer_id,
        tier, rank_key, start_time, reasons)
    SELECT $1, ranking, ticket_id, status, priority, channel, assigned_to, customer_id, tier, rank_key, start_time,
        reasons FROM given
), steps AS (
    INSERT INTO tickets.depths (tenant_id, ranking, status, tier, step, tickets)
    SELECT $1, ranking, status, tier, floor(rank_key * {STEPS})::integer, count(*) FROM given GROUP BY 2, 3, 4, 5
)
INSERT INTO tickets.totals (tenant_id, status, priority, channel, assigned_to, tickets)
SELECT $1, status, priority, channel, assigned_to, count(DISTINCT ticket_id) FROM given GROUP BY 2, 3, 4, 5
"""
_TIMERS = """
INSERT INTO tickets.timers (tenant_id, ticket_id, wake_time)
SELECT $1, * FROM unnest($2::uuid[], $3::timestamptz[])
"""
_HISTORY = """
INSERT INTO tickets.ticket_history (tenant_id, ticket_id, id, action, principal, details, create_time)
SELECT $1, g.ticket_id, g.id, 'import', $4, g.details::jsonb, $6
FROM unnest($2::uuid[], $3::uuid[], $5::text[]) AS g (ticket_id, id, details)
"""
_TELL = """
INSERT INTO tickets.changes (tenant_id, kind, ticket_id, number, start_time, status, rank_key, revision)
SELECT $1, $2, id, number, start_time, status, rank_key, revision
FROM tickets.tickets WHERE tenant_id = $1 AND id = ANY ($3::uuid[]) ORDER BY id
"""
_REMEMBER = """
INSERT INTO tickets.imported_tickets AS known (tenant_id, legacy_id, ticket_id, legacy_number, digest, revision,
    import_time)
SELECT $1, g.*, $7 FROM unnest($2::text[], $3::uuid[], $4::bigint[], $5::text[], $6::bigint[]) AS g
ON CONFLICT (tenant_id, legacy_id) DO UPDATE SET legacy_number = excluded.legacy_number, digest = excluded.digest,
    revision = excluded.revision, import_time = excluded.import_time
"""
_EDIT = """
UPDATE tickets.messages m SET content = g.content, author_name = g.author_name, author_email = g.author_email,
    author_id = g.author_id
FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS g (id, content, author_name, author_email, author_id)
WHERE m.tenant_id = $1 AND m.ticket_id = $2 AND m.id = g.id AND m.external_id LIKE 'legacy:%'
    AND (m.content, m.author_name, m.author_email, m.author_id)
        IS DISTINCT FROM (g.content, g.author_name, g.author_email, g.author_id)
RETURNING m.id
"""
_HIDE = """
UPDATE tickets.messages SET hide_time = $4
WHERE tenant_id = $1 AND ticket_id = $2 AND hide_time IS NULL AND external_id LIKE 'legacy:%'
    AND NOT id = ANY ($3::uuid[])
RETURNING id
"""
_LIST = """
SELECT i.legacy_id, i.ticket_id, i.legacy_number, i.digest, i.import_time, i.revision, t.number,
    t.revision AS present_revision
FROM tickets.imported_tickets i LEFT JOIN tickets.tickets t ON t.tenant_id = $1 AND t.id = i.ticket_id
WHERE i.tenant_id = $1 AND i.legacy_id > $2 COLLATE "C" ORDER BY i.legacy_id LIMIT $3
"""
_CHANGED = """
SELECT t.id, coalesce(i.legacy_id, t.id::text) AS legacy_id, i.legacy_id IS NOT NULL AS imported
FROM tickets.tickets t LEFT JOIN tickets.imported_tickets i ON i.tenant_id = $1 AND i.ticket_id = t.id
WHERE t.tenant_id = $1 AND t.id > $2 AND i.revision IS DISTINCT FROM t.revision ORDER BY t.id LIMIT $3
"""
_TICKET_ROWS = """
SELECT id, number, customer_id, subject, channel, status, priority, assigned_to, tags, metadata, create_time,
    update_time, close_time, snooze_until, pinned, escalated, merged_into
FROM tickets.tickets WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) ORDER BY id
"""
_MESSAGE_ROWS = """
SELECT ticket_id, id, from_agent, content, author_name, author_email, author_id, metadata, create_time, hide_time
FROM tickets.messages WHERE tenant_id = $1 AND ticket_id = ANY ($2::uuid[])
"""
_NOTE_ROWS = """
SELECT ticket_id, id, content, author_name, author_id, create_time FROM tickets.notes
WHERE tenant_id = $1 AND ticket_id = ANY ($2::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """What is kept of a ticket's import; `number` is the one that it has here, None for one that was erased."""

    legacy_id: str
    ticket_id: UUID
    digest: str
    revision: int
    number: int | None
    present_revision: int | None = None
    legacy_number: int = 0
    import_time: datetime | None = None

    @property
    def changed(self) -> bool:
        """Whether the ticket changed here since."""
        return self.number is not None and self.present_revision != self.revision


@dataclass(frozen=True, slots=True)
class StandingPlace:
    """A place of a new ticket, with the reasons as a JSON list."""

    ticket_id: UUID
    ranking: int
    tier: int
    key: float
    reasons: str


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is to be kept of a ticket's import."""

    legacy_id: str
    ticket_id: UUID
    legacy_number: int
    digest: str
    revision: int


@dataclass(frozen=True, slots=True)
class StoredWhole:
    """The rows of a ticket with all its messages, hidden ones included, and its notes."""

    ticket: Row
    messages: Sequence[Row]
    notes: Sequence[Row]


class MigrationStore:
    """The imported tickets of one tenant, in one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        self._driver = driver_of(connection)
        self._tenant_id = tenant_id

    async def reserve_numbers(self, up_to: int) -> int:
        """Give out no number up to this one again, and return the last one that was; others who open tickets wait."""
        return int(await self._driver.fetchval(_RESERVE, self._tenant_id, up_to))

    async def taken_numbers(self, wanted: Collection[int]) -> set[int]:
        """Return which of these numbers tickets have."""
        taken = "SELECT number FROM tickets.tickets WHERE tenant_id = $1 AND number = ANY ($2::bigint[])"
        return {row["number"] for row in await self._driver.fetch(taken, self._tenant_id, list(wanted))}

    async def known(self, legacy_ids: Collection[str], ticket_ids: Collection[UUID]) -> list[Imported]:
        """Return what is kept of these."""
        rows = await self._driver.fetch(_KNOWN, self._tenant_id, list(legacy_ids), list(ticket_ids))
        return [Imported(*row) for row in rows]

    async def present(self, ticket_ids: Collection[UUID]) -> set[UUID]:
        """Return which of these tickets are here."""
        here = "SELECT id FROM tickets.tickets WHERE tenant_id = $1 AND id = ANY ($2::uuid[])"
        return {row["id"] for row in await self._driver.fetch(here, self._tenant_id, list(ticket_ids))}

    async def customers(self, customer_ids: Collection[str]) -> Mapping[str, Customer]:
        """Return what is known of customers; the placing lock must be held."""
        rows = await self._driver.fetch(_CUSTOMERS, self._tenant_id, list(customer_ids))
        return {row["customer_id"]: customer_of(row) for row in rows}

    async def entry_ids(self, ticket_id: UUID) -> set[UUID]:
        """Return the ids of all messages and notes of a ticket."""
        return {row["id"] for row in await self._driver.fetch(_ENTRIES, self._tenant_id, ticket_id)}

    async def insert_tickets(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add tickets by all their columns."""
        await self._insert(tickets, rows)

    async def insert_messages(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add messages by all their columns."""
        await self._insert(messages, rows)

    async def insert_notes(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add notes by all their columns."""
        await self._insert(notes, rows)

    async def _insert(self, table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        columns = ", ".join(column.name for column in table.c)
        statement = f"INSERT INTO {table.fullname} ({columns}) SELECT {columns} FROM "
        statement += f"jsonb_populate_recordset(NULL::{table.fullname}, $1::text::jsonb)"
        document = orjson.dumps([{"tenant_id": self._tenant_id, **row} for row in rows]).decode()
        await self._driver.execute(statement, document)

    async def find_by_shop(self, said: Mapping[UUID, str]) -> None:
        """Let tickets be found by what the shop said in them: the words of it, by ticket."""
        if said:
            await self._driver.execute(_SAID, self._tenant_id, list(said), list(said.values()))

    async def put_places(self, places: Sequence[StandingPlace]) -> None:
        """Give new tickets their places and count them."""
        columns = zip(*((one.ticket_id, one.ranking, one.tier, one.key, one.reasons) for one in places), strict=True)
        await self._driver.execute(_PLACES, self._tenant_id, *(list(column) for column in columns))

    async def set_timers(self, alarms: Mapping[UUID, datetime]) -> None:
        """Let new tickets be looked at again at these moments."""
        if alarms:
            await self._driver.execute(_TIMERS, self._tenant_id, list(alarms), list(alarms.values()))

    async def record(
        self, entries: Sequence[tuple[UUID, UUID, Mapping[str, Any]]], principal: str, now: datetime
    ) -> None:
        """Write down that tickets were imported: ticket, id of the entry, details."""
        ids, entry_ids, details = zip(*entries, strict=True)
        kept = [orjson.dumps(one).decode() for one in details]
        await self._driver.execute(_HISTORY, self._tenant_id, ids, entry_ids, principal, kept, now)

    async def tell(self, ticket_ids: Collection[UUID]) -> None:
        """Tell the watchers of the inbox of new tickets."""
        await self._driver.execute(_TELL, self._tenant_id, Kind.CREATED.value, list(ticket_ids))

    async def remember(self, imported: Sequence[Remembered], now: datetime) -> None:
        """Keep what was imported."""
        if imported:
            rows = [(one.legacy_id, one.ticket_id, one.legacy_number, one.digest, one.revision) for one in imported]
            columns = (list(column) for column in zip(*rows, strict=True))
            await self._driver.execute(_REMEMBER, self._tenant_id, *columns, now)

    async def edit_messages(self, ticket_id: UUID, rows: Sequence[tuple[UUID, str, str, str, str]]) -> bool:
        """Bring imported messages to other texts (id, content, author's name, address, id); whether any changed."""
        if not rows:
            return False
        columns = [list(column) for column in zip(*rows, strict=True)]
        return bool(await self._driver.fetch(_EDIT, self._tenant_id, ticket_id, *columns))

    async def hide_all_but(self, ticket_id: UUID, kept: Collection[UUID], now: datetime) -> bool:
        """Hide the imported messages of a ticket that are not among these; tell whether there were any."""
        return bool(await self._driver.fetch(_HIDE, self._tenant_id, ticket_id, list(kept), now))

    async def page(self, after: str, limit: int) -> list[Imported]:
        """Return what is kept of imports, by legacy id, from behind one on."""
        rows = await self._driver.fetch(_LIST, self._tenant_id, after, limit)
        return [Imported(**row) for row in rows]

    async def changed(self, after: UUID, limit: int) -> list[tuple[UUID, str, bool]]:
        """Return tickets that are not as they were imported (id, legacy id, whether imported), from behind an id on."""
        rows = await self._driver.fetch(_CHANGED, self._tenant_id, after, limit)
        return [(row["id"], row["legacy_id"], row["imported"]) for row in rows]

    async def wholes(self, ticket_ids: Sequence[UUID]) -> dict[UUID, StoredWhole]:
        """Return the rows of tickets."""
        arguments = (self._tenant_id, list(ticket_ids))
        said: dict[UUID, tuple[list[Row], list[Row]]] = {}
        for place, statement in enumerate((_MESSAGE_ROWS, _NOTE_ROWS)):
            for row in await self._driver.fetch(statement, *arguments):
                said.setdefault(row["ticket_id"], ([], []))[place].append(row)
        rows = await self._driver.fetch(_TICKET_ROWS, *arguments)
        return {row["id"]: StoredWhole(row, *said.get(row["id"], ([], []))) for row in rows}
