"""What is kept of promises: a tenant's settings, what its tickets' clocks need, and the timers across tenants."""

# ruff: noqa: S608 - only a number of ours is written into a statement; every value is an argument

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, and_, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database, driver_of
from servicekit.ids import uuid7
from services.tickets.changes import Kind
from services.tickets.places import SETTLED
from services.tickets.sla import Clocks, News, Said
from services.tickets.sla_rows import clock_columns, clocks_of, settings_columns, settings_of
from services.tickets.tables import messages, sla_settings, ticket_history, tickets, timers
from services.tickets.targets import SlaSettings

TIMER_BELL = "tickets.timers"
"""The doorbell that rings when a timer was set that rings soon, or promises have changed."""

TIMER = "timer"
"""Whom the history names for what came due."""

SOON = timedelta(seconds=60)
"""The longest that the process that waits for timers sleeps without looking."""

_DUES = ("first_response_due", "next_response_due", "resolution_due", "due_time")
_PUT_CLOCKS = """
UPDATE tickets.tickets SET first_response_due = given.first_due, next_response_due = given.next_due,
    resolution_due = given.last_due, due_time = given.due, breached = given.breached::text[],
    breached_count = cardinality(given.breached::text[]), clocks = given.clocks::jsonb, clock_revision = given.revision
FROM unnest($2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[], $7::text[],
    $8::text[], $9::bigint[]) AS given (id, first_due, next_due, last_due, due, breached, clocks, revision)
WHERE tickets.tenant_id = $1 AND tickets.id = given.id
"""
_PUT_TIMERS = """
WITH given AS (SELECT * FROM unnest($2::uuid[], $3::timestamptz[]) AS g (id, alarm)), silent AS (
    DELETE FROM tickets.timers WHERE tenant_id = $1 AND ticket_id IN (SELECT id FROM given WHERE alarm IS NULL)
)
INSERT INTO tickets.timers (tenant_id, ticket_id, wake_time) SELECT $1, id, alarm FROM given WHERE alarm IS NOT NULL
ON CONFLICT (tenant_id, ticket_id) DO UPDATE SET wake_time = excluded.wake_time
"""
_SET_TIMER = """
INSERT INTO tickets.timers (tenant_id, ticket_id, wake_time) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, ticket_id) DO UPDATE SET wake_time = excluded.wake_time
"""
# Where the ticket stands is what its place in the active ranking says, or its settled one.
_TELL = f"""
INSERT INTO tickets.changes (tenant_id, kind, ticket_id, number, revision, status, previous_status, rank_key,
    previous_rank_key, start_time, tier)
SELECT t.tenant_id, given.kind, t.id, t.number, t.revision, t.status, t.status, coalesce(p.rank_key, t.rank_key),
    coalesce(p.rank_key, t.rank_key), t.start_time, coalesce(p.tier, 0)
FROM unnest($2::uuid[], $3::text[]) WITH ORDINALITY AS given (id, kind, nth)
JOIN tickets.tickets t ON t.tenant_id = $1 AND t.id = given.id
LEFT JOIN tickets.rankings active ON active.tenant_id = $1 AND active.state = 'active'
LEFT JOIN tickets.places p ON p.tenant_id = $1 AND p.ticket_id = t.id AND p.ranking IN (active.number, {SETTLED})
ORDER BY given.nth
"""
_CLOCKED = [
    tickets.c[name]
    for name in (
        *("id", "merged_from", "status", "priority", "tags", "start_time", "field_times", "snooze_until"),
        *("merged_into", "clocks", "clock_revision", "first_response_due", "next_response_due", "resolution_due"),
    )
]


class Told(NamedTuple):
    """What is told of a ticket's clock, and when that was due."""

    ticket_id: UUID
    news: News
    clock: str
    due: datetime


@dataclass(frozen=True, slots=True)
class Clocked:
    """What of a ticket its clocks depend on; `family` is the tickets whose messages are its own."""

    id: UUID
    family: tuple[UUID, ...]
    status: str
    priority: str
    tags: tuple[str, ...]
    start_time: datetime
    field_times: Mapping[str, str]
    snooze_until: datetime | None
    merged_into: UUID | None
    clocks: Clocks


class SlaStore:
    """A tenant's settings, and what its tickets' clocks need, in one transaction.

    `wakes_soon` tells whether a timer was set that may ring before the process that waits for timers looks again.
    """

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._settings: SlaSettings | None = None
        self.wakes_soon = False

    async def settings(self) -> SlaSettings:
        """Return what the tenant promises, and its calendar; read once in a transaction."""
        if self._settings is None:
            query = select(sla_settings).where(sla_settings.c.tenant_id == self._tenant_id)
            row = (await self._connection.execute(query)).mappings().first()
            self._settings = settings_of(row) if row else SlaSettings()
        return self._settings

    def know(self, settings: SlaSettings) -> None:
        """Use settings that were read in this transaction, unless others were before."""
        self._settings = self._settings or settings

    async def settings_to_change(self, now: datetime) -> SlaSettings:
        """Return the same, locked: two who change them at once do so one after the other."""
        first = {**settings_columns(SlaSettings()), "applied_revision": 1, "update_time": now}
        statement = insert(sla_settings).values(tenant_id=self._tenant_id, **first).on_conflict_do_nothing()
        await self._connection.execute(statement)
        query = select(sla_settings).where(sla_settings.c.tenant_id == self._tenant_id).with_for_update()
        return settings_of((await self._connection.execute(query)).mappings().one())

    async def put_settings(self, settings: SlaSettings) -> None:
        """Store changed settings; the clocks follow in the background."""
        mine = sla_settings.c.tenant_id == self._tenant_id
        await self._connection.execute(update(sla_settings).where(mine).values(settings_columns(settings)))
        self._settings = settings
        self.wakes_soon = True

    async def applied(self, revision: int) -> None:
        """Note that all clocks are by the settings of this revision or later ones."""
        mine = sla_settings.c.tenant_id == self._tenant_id
        await self._connection.execute(update(sla_settings).where(mine).values(applied_revision=revision))

    async def said(self, ticket_ids: Collection[UUID]) -> dict[UUID, list[Said]]:
        """Return when and by whom messages were written, hidden ones included, for each ticket oldest first."""
        query = (
            select(messages.c.ticket_id, messages.c.create_time, messages.c.from_agent)
            .where(messages.c.tenant_id == self._tenant_id, messages.c.ticket_id.in_(list(ticket_ids)))
            .order_by(messages.c.create_time, messages.c.sequence)
        )
        said: dict[UUID, list[Said]] = {}
        for row in await self._connection.execute(query):
            said.setdefault(row.ticket_id, []).append(Said(row.create_time, row.from_agent))
        return said

    async def set_timer(self, ticket_id: UUID, moment: datetime | None, now: datetime) -> None:
        """Let a ticket be looked at again at a moment; None for never."""
        if moment is None:
            await self._connection.execute(delete(timers).where(self._timer(ticket_id)))
            return
        await driver_of(self._connection).execute(_SET_TIMER, self._tenant_id, ticket_id, moment)
        self.wakes_soon = self.wakes_soon or moment < now + SOON

    async def postpone(self, ticket_ids: Collection[UUID], rung: datetime, until: datetime) -> None:
        """Let timers that have rung by a moment, and are not set anew, ring later once more."""
        late = (timers.c.tenant_id == self._tenant_id) & timers.c.ticket_id.in_(list(ticket_ids))
        await self._connection.execute(update(timers).where(late, timers.c.wake_time <= rung).values(wake_time=until))

    async def tell(self, told: Sequence[Told], now: datetime) -> None:
        """Tell the watchers of the inbox of clocks, and write down in the tickets' histories what was broken."""
        if not told:
            return
        kinds = list(dict.fromkeys((one.ticket_id, Kind(one.news.value)) for one in told))
        ids, names = [ticket_id for ticket_id, _ in kinds], [kind.value for _, kind in kinds]
        await self._connection.exec_driver_sql(_TELL, (self._tenant_id, ids, names))
        broken = [
            {
                "tenant_id": self._tenant_id,
                "ticket_id": one.ticket_id,
                "id": uuid7(),
                "action": "sla_breached",
                "principal": TIMER,
                "details": {"clock": one.clock, "due": one.due.isoformat()},
                "create_time": now,
            }
            for one in told
            if one.news is News.BREACHED
        ]
        if broken:
            await self._connection.execute(insert(ticket_history).values(broken))

    async def locked(self, ticket_ids: Collection[UUID]) -> Sequence[Clocked]:
        """Return tickets in the order of their ids, locked."""
        query = select(*_CLOCKED).where(tickets.c.tenant_id == self._tenant_id, tickets.c.id.in_(list(ticket_ids)))
        query = query.order_by(tickets.c.id).with_for_update()
        return [_clocked(row) for row in (await self._connection.execute(query)).mappings()]

    async def behind(self, revision: int, after: UUID, limit: int) -> Sequence[Clocked]:
        """Return tickets that are not closed and have clocks by older settings, in the order of their ids, locked."""
        query = (
            select(*_CLOCKED)
            .where(tickets.c.tenant_id == self._tenant_id, tickets.c.id > after)
            .where(tickets.c.status != "closed", tickets.c.clock_revision < revision)
            .order_by(tickets.c.id)
            .limit(limit)
            .with_for_update()
        )
        return [_clocked(row) for row in (await self._connection.execute(query)).mappings()]

    async def put_clocks(self, clocks: Mapping[UUID, Clocks]) -> None:
        """Store tickets' clocks and set their timers."""
        rows = [(ticket_id, clock_columns(one), one.alarm) for ticket_id, one in clocks.items()]
        columns = [[row[name] for _, row, _ in rows] for name in _DUES]
        broken = [f"{{{','.join(row['breached'])}}}" for _, row, _ in rows]
        kept = [orjson.dumps(row["clocks"]).decode() for _, row, _ in rows]
        revisions = [row["clock_revision"] for _, row, _ in rows]
        ids, alarms = [ticket_id for ticket_id, _, _ in rows], [alarm for _, _, alarm in rows]
        await self._connection.exec_driver_sql(_PUT_CLOCKS, (self._tenant_id, ids, *columns, broken, kept, revisions))
        await self._connection.exec_driver_sql(_PUT_TIMERS, (self._tenant_id, ids, alarms))

    def _timer(self, ticket_id: UUID) -> ColumnElement[bool]:
        return and_(timers.c.tenant_id == self._tenant_id, timers.c.ticket_id == ticket_id)


class TimerStore:
    """Reads the timers of all tenants, by names only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, until: datetime, refused: Collection[UUID], limit: int) -> Sequence[tuple[UUID, UUID]]:
        """Return the tickets, with their tenants, whose timers have rung by a moment, the longest ago first."""
        query = text("SELECT tenant_id, ticket_id FROM tickets.due_timers(:until, :refused, :limit)")
        async with self._database.spanning() as connection:
            rows = await connection.execute(query, {"until": until, "refused": list(refused), "limit": limit})
            return [(row.tenant_id, row.ticket_id) for row in rows]

    async def next(self, refused: Collection[UUID]) -> datetime | None:
        """Return when the next timer rings; None when there is none."""
        async with self._database.spanning() as connection:
            moment: datetime | None = await connection.scalar(
                text("SELECT tickets.next_timer(:refused)"), {"refused": list(refused)}
            )
        return moment

    async def tenants_with_new_targets(self, refused: Collection[UUID]) -> Sequence[UUID]:
        """Return the tenants whose tickets have clocks by older settings."""
        query = text("SELECT * FROM tickets.tenants_with_new_targets(:refused)")
        async with self._database.spanning() as connection:
            return list(await connection.scalars(query, {"refused": list(refused)}))


def _clocked(row: Any) -> Clocked:
    names = ("id", "status", "priority", "start_time", "snooze_until", "merged_into")
    return Clocked(
        **{name: row[name] for name in names},
        family=(row["id"], *row["merged_from"]),
        tags=tuple(row["tags"]),
        field_times=row["field_times"],
        clocks=clocks_of(row),
    )
