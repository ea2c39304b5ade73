"""The log of the inbox's changes: read in commit order by those who watch, forgotten from its beginning on.

A transaction's number is given when it begins to write, and it may commit behind one that began later. So a change is
read only when every transaction with a smaller number has ended (`servicekit.outbox` does the same): what was read once
is complete up to there, and nothing can appear before it.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from servicekit.database import Database
from servicekit.errors import DomainError
from services.tickets.changes import InboxChange, Kind, Placing, Position
from services.tickets.errors import ResumeTokenExpiredError
from services.tickets.store import Store

_log = structlog.get_logger(__name__)

KEPT_FOR = timedelta(hours=24)
"""How long a change is kept, and so how long a watcher may be away without starting anew."""

KEPT_AT_MOST = 2_000_000
"""How many changes of all tenants are kept at most, about 400 MB of them."""

_SWEEP_SECONDS = 60.0
_SWEPT_AT_ONCE = 10_000
_PRESENT = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text"
_ALL = "SELECT * FROM tickets.read_changes($1::text, $2::bigint, $3::integer)"
_SWEEP = "SELECT tickets.sweep_changes($1::timestamptz, $2::bigint, $3::integer)"
_OF_TENANT = """
WITH present AS (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin)
SELECT present.xmin::text AS reached, c.*
FROM present LEFT JOIN LATERAL (
    SELECT tenant_id, xid::text, id, create_time, kind, ticket_id, number, revision, status, previous_status, rank_key,
        previous_rank_key, start_time, tier
    FROM tickets.changes
    WHERE tenant_id = $4 AND (changes.xid, changes.id) > ($1::text::xid8, $2::bigint) AND changes.xid < present.xmin
    ORDER BY changes.xid, changes.id
    LIMIT $3::integer
) AS c ON true
"""
_FORGOTTEN = """
SELECT ($1::text::xid8, $2::bigint) < (coalesce(max(xid), '0'::xid8), coalesce(max(id), 0))
    OR $1::text::xid8 > pg_snapshot_xmax(pg_current_snapshot())
FROM tickets.change_horizon
"""


class ChangeStore:
    """Reads the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def present(self) -> Position:
        """Return the place behind all changes that can be read now; what is committed later comes after it."""
        async with self._database.spanning() as connection:
            xmin = (await connection.exec_driver_sql(_PRESENT)).scalar_one()
        return Position(int(xmin), 0)

    async def read(self, after: Position, limit: int) -> tuple[Sequence[InboxChange], Position]:
        """Return the next changes of all tenants in commit order, and the place behind them."""
        async with self._database.spanning() as connection:
            rows = (await connection.exec_driver_sql(_ALL, (str(after.xid), after.number, limit))).mappings().all()
        return _read(rows, after, limit)

    async def read_tenant(self, tenant_id: UUID, after: Position, limit: int) -> tuple[Sequence[InboxChange], Position]:
        """Return the next changes of a tenant in commit order, and the place behind them.

        Raises:
            ResumeTokenExpiredError: some of what came after the place is no longer kept, or the place is of another
                life of the database.
        """
        async with self._database.driver_tenant(tenant_id) as connection:
            rows = await connection.fetch(_OF_TENANT, str(after.xid), after.number, limit, tenant_id)
            # Asked after the reading: what was forgotten in between is noticed, too.
            if await connection.fetchval(_FORGOTTEN, str(after.xid), after.number):
                raise ResumeTokenExpiredError
        return _read(rows, after, limit)

    async def sweep(self, older_than: datetime, keep_at_most: int) -> int:
        """Forget what is older, and more than so many of all tenants; return how many changes went."""
        removed = 0
        while True:
            async with self._database.spanning() as connection:
                result = await connection.exec_driver_sql(_SWEEP, (older_than, keep_at_most, _SWEPT_AT_ONCE))
            some: int = result.scalar_one()
            removed += some
            if some < _SWEPT_AT_ONCE:
                return removed


async def sweep_for_ever(store: Store, changes: ChangeStore) -> None:
    """Keep the log within its bounds; of all processes of the service one at a time does it."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        try:
            async with store.alone("tickets.sweep_changes") as still_alone:
                if still_alone is not None:
                    await changes.sweep(datetime.now(UTC) - KEPT_FOR, KEPT_AT_MOST)
        except (DomainError, OSError) as error:
            _log.warning("change_sweep_failed", error=type(error).__name__)
        except Exception:  # noqa: BLE001 - the next one may work
            _log.exception("change_sweep_failed")


def _read(rows: Sequence[Any], after: Position, limit: int) -> tuple[Sequence[InboxChange], Position]:
    """Return the changes of rows, whose first always exists, and how far they reach."""
    changes = [_change(row) for row in rows if row["xid"] is not None]
    if len(changes) == limit:
        return changes, changes[-1].position
    return changes, max(after, Position(int(rows[0]["reached"]), 0))


def _change(row: Any) -> InboxChange:
    previous = row["previous_status"]
    return InboxChange(
        position=Position(int(row["xid"]), row["id"]),
        tenant_id=UUID(str(row["tenant_id"])),
        kind=Kind(row["kind"]),
        ticket_id=UUID(str(row["ticket_id"])),
        number=row["number"],
        before=None if previous is None else (previous, row["previous_rank_key"]),
        after=Placing(row["status"], row["rank_key"], row["revision"]),
        start_time=row["start_time"],
        change_time=row["create_time"],
        tier=row["tier"],
    )
