"""Everything that one service keeps about a tenant: taken out as lines of JSON, or taken away for good.

Which tables there are is asked of the database itself, so that a new table is neither forgotten nor kept. A table takes
part when it has a column `tenant_id`; `servicekit.migrate.create_erasure` makes the function that removes rows.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa

from servicekit.cache import Cache
from servicekit.database import Database
from servicekit.errors import UnavailableError

CACHE = "cache"
"""What the cached values are called among the tables."""

_SUMS = "erased_rows"
_ROWS_AT_ONCE = 2000
_ROWS_PER_PART = 500
_BYTES_PER_PART = 256 * 1024
_WORK_SECONDS = 8.0

Row = dict[str, Any]
Opener = Callable[[UUID, Row], Awaitable[Row]]
"""Returns a row with its sealed columns opened, or without them; sealed values come as bytes."""


class CacheUnavailableError(UnavailableError):
    """What the cache holds cannot be removed now."""


@dataclass(frozen=True, slots=True)
class Erased:
    """How many rows were removed by all calls so far, by table, and whether the last one found nothing left."""

    counts: Mapping[str, int]
    complete: bool


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a table as lines of JSON, and the columns that they lack."""

    table: str
    lines: bytes = field(repr=False)
    row_count: int
    left_out: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: Sequence[str]
    sealed: Collection[str]
    readable: bool
    erasable: bool


def erased_rows_table(metadata: sa.MetaData) -> sa.Table:
    """Return the table of the sums as SQLAlchemy knows it; migrations make it by `create_erasure`."""
    return sa.Table(
        _SUMS,
        metadata,
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("table_name", sa.Text, primary_key=True),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        comment="How many rows of an erased tenant were removed from each table. Stays for good.",
    )


class TenantData:
    """What a service keeps, in its schema and in the cache.

    Args:
        opened: by table, what opens its sealed columns for an export; a table that is not named leaves them out.
        forget: told of a tenant that is being erased, to drop what this process itself remembers of it.
    """

    def __init__(
        self,
        database: Database,
        cache: Cache | None,
        *,
        opened: Mapping[str, Opener] | None = None,
        forget: Callable[[UUID], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._cache = cache
        self._opened = opened or {}
        self._forget = forget

    async def erase(self, tenant_id: UUID) -> Erased:
        """Remove rows for a few seconds, dependent ones first; see `EraseTenant` in the contract.

        Raises:
            CacheUnavailableError: the cache is out of reach.
            DatabaseUnavailableError: as for `Database.tenant`.
        """
        self._forget(tenant_id)
        end = time.monotonic() + _WORK_SECONDS
        found = False
        async with self._database.tenant(tenant_id) as connection:
            names = await self._dependent_first(connection)
        for name in names:
            # In a partitioned table a few rows more may go at once: each partition has rows at the same places.
            removed = _ROWS_AT_ONCE
            while removed >= _ROWS_AT_ONCE and time.monotonic() < end:
                async with self._database.tenant(tenant_id) as connection:
                    removed = await connection.scalar(
                        sa.text(f"SELECT {self._database.schema}.erase_rows(:name, :at_most)"),
                        {"name": name, "at_most": _ROWS_AT_ONCE},
                    )
                found = found or removed > 0
        found = await self._erase_cached(tenant_id) or found
        return Erased(await self._counts(tenant_id), complete=not found and time.monotonic() < end)

    async def export(self, tenant_id: UUID) -> AsyncIterator[Part]:
        """Yield all rows of all tables as they are at one moment; every table has at least one part."""
        async with self._database.snapshot(tenant_id) as connection:
            for table in await self._tables(connection):
                if table.name == _SUMS:
                    continue
                opener = self._opened.get(table.name)
                hidden = set(table.columns) if not table.readable else set(table.sealed if opener is None else ())
                left_out = sorted(hidden)
                if not table.readable:
                    yield Part(table.name, b"", 0, left_out)
                    continue
                async for lines in self._lines(connection, tenant_id, table, left_out, opener):
                    yield Part(table.name, b"".join(lines), len(lines), left_out)

    async def _lines(
        self, connection: Any, tenant_id: UUID, table: _Table, left_out: Sequence[str], opener: Opener | None
    ) -> AsyncIterator[list[bytes]]:
        """Yield the lines of a table in parts of a bounded size; one empty part when there are none."""
        statement = sa.text(
            f"SELECT (to_jsonb(t) - CAST(:left_out AS text[]))::text FROM {self._database.schema}.{table.name} AS t"  # noqa: S608 - from the catalogue
            " WHERE tenant_id = :tenant_id"
        )
        rows = await connection.stream_scalars(
            statement, {"left_out": list(left_out), "tenant_id": tenant_id}, execution_options={"yield_per": 200}
        )
        lines: list[bytes] = []
        size, any_part = 0, False
        async for row in rows:
            line = row.encode() if opener is None else await _open(opener, tenant_id, orjson.loads(row), table.sealed)
            lines.append(line + b"\n")
            size += len(line)
            if size >= _BYTES_PER_PART or len(lines) >= _ROWS_PER_PART:
                yield lines
                lines, size, any_part = [], 0, True
        if lines or not any_part:
            yield lines

    async def _erase_cached(self, tenant_id: UUID) -> bool:
        """Remove the tenant's keys from the cache; tell whether there were any."""
        if self._cache is None or self._cache.client is None:
            return False
        removed = await self._cache.tenant(tenant_id).erase()
        if removed is None:
            raise CacheUnavailableError("The cache is out of reach, and what it holds is not removed yet; try again.")
        if removed:
            async with self._database.tenant(tenant_id) as connection:
                await connection.exec_driver_sql(_ADD_CACHED.format(schema=self._database.schema), (CACHE, removed))
        return removed > 0

    async def _counts(self, tenant_id: UUID) -> dict[str, int]:
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.execute(
                sa.text(
                    f"SELECT table_name, row_count FROM {self._database.schema}.erased_rows"  # noqa: S608 - ours
                    " WHERE tenant_id = :tenant_id AND row_count > 0 ORDER BY table_name"
                ),
                {"tenant_id": tenant_id},
            )
            return {row.table_name: row.row_count for row in rows}

    async def _tables(self, connection: Any) -> list[_Table]:
        rows = await connection.exec_driver_sql(_TABLES, (self._database.schema,))
        return [_Table(*row) for row in rows]

    async def _dependent_first(self, connection: Any) -> list[str]:
        """Return the tables whose rows go, each before those that its rows refer to."""
        erasable = [table.name for table in await self._tables(connection) if table.erasable]
        refers = await connection.exec_driver_sql(_REFERENCES, (self._database.schema,))
        before: dict[str, set[str]] = {name: set() for name in erasable}
        for child, parent in refers:
            if parent in before and child != parent:
                before[parent].add(child)
        return [name for name in TopologicalSorter(before).static_order() if name in before]


async def _open(opener: Opener, tenant_id: UUID, row: Row, sealed: Collection[str]) -> bytes:
    """Return a row with its sealed columns opened, as a line of JSON."""
    as_bytes = {name: bytes.fromhex(str(row[name]).removeprefix("\\x")) for name in sealed if row[name] is not None}
    return orjson.dumps(await opener(tenant_id, row | as_bytes))


_ADD_CACHED = """
INSERT INTO {schema}.erased_rows AS sums (tenant_id, table_name, row_count)
VALUES (current_setting('rapport.tenant_id')::uuid, $1, $2)
ON CONFLICT (tenant_id, table_name) DO UPDATE SET row_count = sums.row_count + excluded.row_count
"""

# A column of bytes holds what is sealed or hashed.
_TABLES = """
SELECT c.relname,
       array_agg(a.attname::text ORDER BY a.attnum),
       coalesce(array_agg(a.attname::text) FILTER (WHERE a.atttypid = 'bytea'::regtype), '{}'),
       has_table_privilege(current_user, c.oid, 'SELECT'),
       has_table_privilege(format('%s_spanning', $1::text), c.oid, 'DELETE')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
GROUP BY c.oid, c.relname HAVING bool_or(a.attname = 'tenant_id')
ORDER BY c.relname
"""

_REFERENCES = """
SELECT child.relname, parent.relname FROM pg_constraint k
JOIN pg_class child ON child.oid = k.conrelid JOIN pg_class parent ON parent.oid = k.confrelid
WHERE k.contype = 'f' AND child.relnamespace = $1::text::regnamespace
"""
