"""The log between services: what changed, written with the change, read in commit order.

Ids alone are not commit order: a transaction that began early may commit late, behind a reader that has passed its id.
So each row carries its transaction's id, and a reader sees only rows whose transactions are all behind it: those below
`pg_snapshot_xmin`, in the order (transaction, row). Any open writing transaction of the whole server, of whatever
database, holds back what is newer than itself: a change is visible to readers a moment after its commit, not with it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import sqlalchemy as sa
import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import UserDefinedType

from servicekit.doorbell import Doorbell
from servicekit.errors import InvalidArgumentError

if TYPE_CHECKING:
    from servicekit.migrate import Operations

_log = structlog.get_logger(__name__)
READ = Counter("rapport_log_changes_total", "Changes of another service's log that were applied, by log.", ("log",))
FAILURES = Counter("rapport_log_failures_total", "Interruptions of following another service's log, by log.", ("log",))
CURRENT = Gauge(
    "rapport_log_current_time_seconds",
    "When a log was last read to its end, in seconds since 1970; 0 before it was; none where nobody follows it.",
    ("log",),
)

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_SOON_SECONDS = 0.03
_IDLE_SECONDS = 2.0
_LARGEST = 2**63 - 1

Change = TypeVar("Change")


class CursorInvalidError(InvalidArgumentError):
    """The cursor is none that this log gave out."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change: a kind and a subject of a tenant; no content."""

    tenant_id: UUID
    kind: str
    subject: str


class Xid8(UserDefinedType[int]):
    """The type of transaction ids that never wrap around."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the name of the type."""
        return "xid8"


def outbox_table(metadata: sa.MetaData) -> sa.Table:
    """Return the table `outbox` as SQLAlchemy knows it; migrations make it by `create`."""
    return sa.Table(
        "outbox",
        metadata,
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("xid", Xid8, nullable=False, server_default=sa.text("pg_current_xact_id()")),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("create_time", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
    )


def create(op: Operations, schema: str) -> None:
    """Make the table in a migration (expand), with its policies and the function that reads it across tenants."""
    # Late: a serving process has no use for the migration tools.
    from servicekit.migrate import create_spanning_function, enable_row_security, grant, let_spanning_read

    op.execute(f"""
        CREATE TABLE {schema}.outbox (
            tenant_id uuid NOT NULL,
            id bigint GENERATED ALWAYS AS IDENTITY,
            xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
            kind text NOT NULL,
            subject text NOT NULL,
            create_time timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant_id, id)
        )""")
    op.execute(f"CREATE INDEX outbox_in_commit_order ON {schema}.outbox (xid, id)")
    enable_row_security(op, schema, "outbox")
    grant(op, schema, "outbox", "SELECT, INSERT")
    let_spanning_read(op, schema, "outbox")
    create_spanning_function(
        op,
        schema,
        "read_outbox(text, bigint, integer)",
        f"""
        CREATE FUNCTION {schema}.read_outbox(after_xid text, after_id bigint, at_most integer)
        RETURNS TABLE (xid text, id bigint, tenant_id uuid, kind text, subject text)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
            SELECT entry.xid::text, entry.id, entry.tenant_id, entry.kind, entry.subject
            FROM {schema}.outbox AS entry
            WHERE (entry.xid, entry.id) > (after_xid::xid8, after_id)
              AND entry.xid < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())
            ORDER BY entry.xid, entry.id
            LIMIT at_most
        $$""",  # noqa: S608 - the schema is a name of ours
    )


async def append(connection: AsyncConnection, tenant_id: UUID, kind: str, subject: str) -> None:
    """Write a change in the transaction that makes it; ring the doorbell after the commit."""
    await append_all(connection, tenant_id, [(kind, subject)])


async def append_all(connection: AsyncConnection, tenant_id: UUID, changes: Sequence[tuple[str, str]]) -> None:
    """Write many changes (kind, subject) of one tenant in one statement."""
    if changes:
        await connection.exec_driver_sql(
            "INSERT INTO outbox (tenant_id, kind, subject) SELECT $1::uuid, * FROM unnest($2::text[], $3::text[])",
            (str(tenant_id), [kind for kind, _ in changes], [subject for _, subject in changes]),
        )


async def read(connection: AsyncConnection, cursor: str, limit: int) -> tuple[list[Entry], str]:
    """Return the changes after the cursor across tenants, in commit order, and the cursor behind them.

    The empty cursor is the beginning. Meant for a transaction of its own (`Database.spanning`): a long one holds back
    what everyone may read.

    Raises:
        CursorInvalidError: the cursor is malformed.
    """
    xid, row = _parse(cursor)
    result = await connection.exec_driver_sql(
        "SELECT xid, id, tenant_id, kind, subject FROM read_outbox($1, $2, $3)", (str(xid), row, limit)
    )
    rows = result.all()
    entries = [Entry(UUID(str(found.tenant_id)), found.kind, found.subject) for found in rows]
    return entries, f"{rows[-1].xid}.{rows[-1].id}" if rows else cursor


def _parse(cursor: str) -> tuple[int, int]:
    if not cursor:
        return 0, 0
    xid, _, row = cursor.partition(".")
    if not (xid.isascii() and xid.isdigit() and row.isascii() and row.isdigit() and int(row) <= _LARGEST >= int(xid)):
        raise CursorInvalidError("The cursor is not one that this log gave out.")
    return int(xid), int(row)


async def follow(
    name: str,
    *,
    fetch: Callable[[str], Awaitable[tuple[Sequence[Change], str]]],
    apply: Callable[[Sequence[Change]], Awaitable[None]],
    load_cursor: Callable[[], Awaitable[str]],
    save_cursor: Callable[[str], Awaitable[None]],
    doorbell: Doorbell,
) -> None:
    """Follow another service's log for ever, from the cursor that was saved; runs until it is cancelled.

    `fetch` returns changes after a cursor and the next cursor; `apply` may see a change twice (the cursor is saved
    after it). A failure is logged and tried again with growing pauses. `name` is the bell that rings when it grows.
    """
    CURRENT.labels(name)
    pause = _FIRST_PAUSE
    # What a ring announced may still be held back by an open transaction: look again soon, then ever less often.
    quiet = _SOON_SECONDS
    while True:
        try:
            cursor = await load_cursor()
            while True:
                changes, following = await fetch(cursor)
                if changes:
                    await apply(changes)
                    READ.labels(name).inc(len(changes))
                else:
                    CURRENT.labels(name).set_to_current_time()
                if following != cursor:
                    await save_cursor(following)
                    cursor = following
                pause = _FIRST_PAUSE
                busy = bool(changes) or await doorbell.wait(name, quiet)
                quiet = _SOON_SECONDS if busy else min(quiet * 2, _IDLE_SECONDS)
        except Exception as error:  # noqa: BLE001 - a follower outlives every failure of what it talks to
            FAILURES.labels(name).inc()
            _log.warning("log_follower_failed", log=name, error=f"{type(error).__name__}", retry_seconds=pause)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        pause = min(pause * 2, _LONGEST_PAUSE)
