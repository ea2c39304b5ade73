"""What is in the services' tables, as a number of rows and a sum of hashes for each: equal sums, equal rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from cli.suite.names import SERVICES

# How a value reads as text depends on these.
_SETTINGS = """
SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres';
SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; SET LOCAL search_path = ''
"""

# Partitions are read by their table. Transaction ids belong to the server on which a row was written.
_TABLES = """
SELECT n.nspname AS schema, c.relname AS name, bool_or(a.attname = 'tenant_id') AS of_a_tenant,
    array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.atttypid <> 'xid8'::regtype) AS columns,
    array_agg(a.attname::text ORDER BY a.attnum)
        FILTER (WHERE a.atttypid <> 'xid8'::regtype AND a.attgenerated = '') AS written
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = ANY ($1::text[]) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
GROUP BY 1, 2 ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a service.

    Attributes:
        schema: the service.
        name: the table's name.
        of_a_tenant: whether its rows belong to tenants.
        columns: its columns, without those that hold a transaction's id.
        written: those of `columns` that are not computed.
    """

    schema: str
    name: str
    of_a_tenant: bool
    columns: tuple[str, ...]
    written: tuple[str, ...]

    @property
    def full_name(self) -> str:
        """The table's name with its schema."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Checksum:
    """How many rows there are, and the sum of their hashes."""

    rows: int
    sum: str


async def tables_of(connection: asyncpg.Connection) -> list[Table]:
    """Return all tables of the services."""
    rows = await connection.fetch(_TABLES, list(SERVICES))
    return [
        Table(row["schema"], row["name"], row["of_a_tenant"], tuple(row["columns"]), tuple(row["written"]))
        for row in rows
    ]


async def checksums(
    connection: asyncpg.Connection, tenant: UUID | None = None, services: Sequence[str] = SERVICES
) -> Mapping[str, Checksum]:
    """Return the checksum of each table of the services, or of a tenant's rows in each of its tables, by full name.

    The connection is a superuser's, in a transaction: it sees one moment only if that is `REPEATABLE READ`.
    """
    await connection.execute(_SETTINGS)
    return {
        table.full_name: await checksum(connection, table, tenant)
        for table in await tables_of(connection)
        if table.schema in services and (tenant is None or table.of_a_tenant)
    }


async def checksum(connection: asyncpg.Connection, table: Table, tenant: UUID | None = None) -> Checksum:
    """Return the checksum of one table; as `checksums`, which sets how values read."""
    row = ", ".join(f't."{column}"' for column in table.columns)
    where = "" if tenant is None else f"WHERE t.tenant_id = '{tenant}'"
    (found,) = await connection.fetch(
        "SELECT count(*) AS rows,"  # noqa: S608 - names of the catalogue, and a UUID
        f" coalesce(sum(pg_catalog.hashtextextended(ROW({row})::text, 0)::numeric), 0)::text AS sum"
        f" FROM {table.full_name} AS t {where}"
    )
    return Checksum(found["rows"], found["sum"])


def differences(expected: Mapping[str, Checksum], found: Mapping[str, Checksum]) -> list[str]:
    """Return what differs, a line for each table."""
    lines = []
    for name in sorted(expected.keys() | found.keys()):
        here, there = expected.get(name), found.get(name)
        if here is None or there is None:
            lines.append(f"{name}: only {'restored' if here is None else 'in the original'}")
        elif here.rows != there.rows:
            lines.append(f"{name}: {here.rows} rows, restored {there.rows}")
        elif here.sum != there.sum:
            lines.append(f"{name}: {here.rows} rows, not all of them equal")
    return lines
