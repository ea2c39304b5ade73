"""The statements that every change of a ticket needs, as plain text on the driver's own connection.

They run in the transaction that SQLAlchemy has begun, but are not built by it: for a change of a ticket, building its
statements took longer than everything else, the database included.
"""

# ruff: noqa: S608 - only names of ours are written into statements; every value is an argument

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect

from services.tickets.alerts import MAX_SEARCHABLE
from services.tickets.changes import Marks
from services.tickets.places import SETTLED
from services.tickets.rows import Row
from services.tickets.tables import LOADED, places, rankings, tickets

_ACTIVE = rankings.alias("active")
# A ticket with the place that lists show, and the version of the policy that they are ordered by.
STORED: tuple[ColumnElement[Any], ...] = (
    *LOADED,
    places.c.ranking.label("place_ranking"),
    places.c.rank_key.label("place_key"),
    places.c.reasons.label("place_reasons"),
    _ACTIVE.c.policy_version,
)
PLACED = tickets.outerjoin(
    _ACTIVE, and_(_ACTIVE.c.tenant_id == tickets.c.tenant_id, _ACTIVE.c.state == "active")
).outerjoin(
    places,
    and_(
        places.c.tenant_id == tickets.c.tenant_id,
        places.c.ticket_id == tickets.c.id,
        or_(places.c.ranking == _ACTIVE.c.number, places.c.ranking == SETTLED),
    ),
)
_DIALECT = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]
_SELECT = select(*STORED).select_from(PLACED)
_FIND = (
    str(_SELECT.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))
    + " WHERE tickets.tickets.tenant_id = $1 AND tickets.tickets.{column} = $2"
)
_UNMERGED, _LOCK = " AND tickets.tickets.merged_into IS NULL", " FOR UPDATE OF tickets"

# What a ticket keeps for good, and what is searched, which is appended to.
_KEPT = {"tenant_id", "id", "number", "create_time", "connection_id", "external_id", "searchable"}
_WRITTEN = [column.name for column in tickets.c if column.name not in _KEPT]
_JSON = {"metadata", "field_times", "signals", "parts", "clocks"}
_BEFORE = ("status", "rank_key", "revision", "card_version", *Marks._fields)
# A text that stays is not written anew, however long it is.
_UPDATE = f"""
UPDATE tickets.tickets SET
    searchable = CASE WHEN $3::text IS NOT NULL THEN $3 WHEN $4::text <> '' THEN
        right(searchable || $4, {MAX_SEARCHABLE}) ELSE searchable END,
    {", ".join(f"{name} = ${number}" for number, name in enumerate(_WRITTEN, 5))}
WHERE tenant_id = $1 AND id = $2
RETURNING {", ".join(f"old.{name} AS {name}" for name in _BEFORE)}
"""
_RECORD = """
INSERT INTO tickets.ticket_history (tenant_id, ticket_id, id, action, principal, details, create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_LOG = """
INSERT INTO tickets.changes (tenant_id, kind, ticket_id, number, start_time, previous_status, previous_rank_key, status,
    rank_key, revision, tier)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
_LOCK_PLACING = "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))"


async def find(
    driver: asyncpg.Connection, tenant_id: UUID, reference: UUID | int, *, lock: bool, unmerged: bool = False
) -> list[Row]:
    """Return the rows (at most one) of the ticket with this id or number, of unmerged ones only if so wanted."""
    statement = _FIND.format(column="id" if isinstance(reference, UUID) else "number")
    statement += (_UNMERGED if unmerged else "") + (_LOCK if lock else "")
    return list(await driver.fetch(statement, tenant_id, reference))


async def update(
    driver: asyncpg.Connection,
    tenant_id: UUID,
    ticket_id: UUID,
    values: Mapping[str, Any],
    *,
    searchable: str | None,
    added: str,
) -> Row:
    """Write a ticket's columns and return what some of them were (`Placing`, `Marks`, `card_version`).

    `searchable` replaces what is searched unless it is None; `added` is appended to it.
    """
    written = (_json(values[name]) if name in _JSON else values[name] for name in _WRITTEN)
    before: Row | None = await driver.fetchrow(_UPDATE, tenant_id, ticket_id, searchable, added, *written)
    if before is None:
        raise LookupError("the ticket that was locked is gone")
    return before


async def record(
    driver: asyncpg.Connection,
    tenant_id: UUID,
    entry_id: UUID,
    ticket_id: UUID,
    action: str,
    principal: str,
    details: Mapping[str, Any],
    now: datetime,
) -> None:
    """Write down who did what to a ticket."""
    await driver.execute(_RECORD, tenant_id, ticket_id, entry_id, action, principal, _json(details), now)


async def log(driver: asyncpg.Connection, tenant_id: UUID, *values: object) -> None:
    """Tell the watchers of the inbox: the columns of `_LOG` after the tenant, in their order."""
    await driver.execute(_LOG, tenant_id, *values)


async def lock_placing(driver: asyncpg.Connection, name: str) -> None:
    """Take the lock of those who place tickets, together with others, until the transaction ends."""
    await driver.execute(_LOCK_PLACING, name)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
