"""Run a service's migrations, and write the row security that every migration needs the same way.

A service `x` owns schema `x` by role `x_owner`, which runs this; `x_app` serves; `x_spanning` owns the few functions
that look across tenants.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from servicekit.database import connect_arguments

_ENVIRONMENT = Path(__file__).parent / "migration_environment"

# Another process may be migrating: wait for it longer than any migration may wait for the lock of a table.
_QUEUE_SECONDS = 120
_QUEUE_STEP_SECONDS = 0.1
_LOCK_SECONDS = 2
_STATEMENT_SECONDS = 60

# For the tables that were there before there was an erasure.
_LET_ERASE_ALL = """
DO $$
DECLARE
    found text;
BEGIN
    FOR found IN
        SELECT c.relname FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
        WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind IN ('r', 'p')
    LOOP
        EXECUTE format('GRANT SELECT, DELETE ON {schema}.%I TO {schema}_spanning', found);
    END LOOP;
END $$"""

# Only an owner can set it. Takes effect with the next statistics of each table.
_EXPECT = """
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT c.relname, a.attname FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
        WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND a.attname = ANY ('{columns}'::text[])
    LOOP
        EXECUTE format('ALTER TABLE {schema}.%I ALTER COLUMN %I {action}', found.relname, found.attname);
    END LOOP;
END $$"""
_ROWS_OF_AN_UNKNOWN_TENANT = 1000
_SHARE = -1 / _ROWS_OF_AN_UNKNOWN_TENANT
_LARGE = f"SET (n_distinct = {_SHARE}, n_distinct_inherited = {_SHARE})"

# Counts in the same transaction, so that the sums are true whenever the work is interrupted.
_ERASE_ROWS = """
CREATE FUNCTION {schema}.erase_rows(chosen text, at_most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    wanted uuid := current_setting('rapport.tenant_id');
    removed bigint;
BEGIN
    IF NOT ({allowed}) THEN
        RAISE EXCEPTION 'the tenant is not to be erased' USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format(
        'DELETE FROM {schema}.%1$I WHERE tenant_id = $1'
        ' AND ctid = ANY (ARRAY(SELECT ctid FROM {schema}.%1$I WHERE tenant_id = $1 LIMIT $2))', chosen
    ) USING wanted, at_most;
    GET DIAGNOSTICS removed = ROW_COUNT;
    INSERT INTO {schema}.erased_rows AS sums (tenant_id, table_name, row_count) VALUES (wanted, chosen, removed)
        ON CONFLICT (tenant_id, table_name) DO UPDATE SET row_count = sums.row_count + excluded.row_count;
    RETURN removed;
END $$"""


class Operations(Protocol):
    """What the functions below need of `alembic.op`, which is a module."""

    def execute(self, sqltext: str, /) -> None:
        """Run one statement."""


async def upgrade(url: str, package: str, revision: str = "head") -> None:
    """Bring the schema of `package` ("services.tickets") to `revision`; each migration is a transaction of its own.

    Raises:
        sqlalchemy.exc.DBAPIError: a statement failed, or a lock was not had in time; finished migrations stay.
        TimeoutError: another process migrates the package and took too long.
    """
    await _run(url, package, lambda config: command.upgrade(config, revision))


async def downgrade(url: str, package: str, revision: str) -> None:
    """Take the schema of `package` back to `revision` ("base" is nothing).

    Raises:
        sqlalchemy.exc.DBAPIError: as for `upgrade`.
    """
    await _run(url, package, lambda config: command.downgrade(config, revision))


@dataclass(frozen=True, slots=True)
class Revision:
    """A migration of a package: its name, and the first line of what it says of itself."""

    name: str
    text: str


def revisions(package: str) -> list[Revision]:
    """Return a package's migrations, the first one first."""
    scripts = ScriptDirectory.from_config(_configuration(package))
    found = [Revision(script.revision, script.doc.splitlines()[0]) for script in scripts.walk_revisions()]
    return found[::-1]


async def current(url: str, package: str) -> str | None:
    """Return the migration that the schema of `package` is at; None when it has none.

    Raises:
        OSError, asyncpg.PostgresError: the database is out of reach.
    """
    schema = package.rpartition(".")[2]
    connection = await asyncpg.connect(**connect_arguments(url, schema=schema))
    try:
        if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.alembic_version") is None:
            return None
        found: str | None = await connection.fetchval(f"SELECT version_num FROM {schema}.alembic_version")  # noqa: S608
    finally:
        await connection.close()
    return found


def _configuration(package: str) -> Config:
    """Return what alembic is told of a package."""
    versions = Path(import_module(package).__file__ or "").parent / "migrations" / "versions"
    config = Config()
    config.set_main_option("path_separator", "os")
    config.set_main_option("script_location", str(_ENVIRONMENT).replace("%", "%%"))
    config.set_main_option("version_locations", str(versions).replace("%", "%%"))
    return config


async def _run(url: str, package: str, action: Callable[[Config], None]) -> None:
    """Run alembic on one connection of its own, alone among all processes that migrate this package."""
    schema = package.rpartition(".")[2]
    config = _configuration(package)
    config.attributes["schema"] = schema
    arguments = connect_arguments(url, schema=schema)

    def migrate(connection: Connection) -> None:
        config.attributes["connection"] = connection
        action(config)

    engine = create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: asyncpg.connect(**arguments)
    )
    try:
        async with engine.connect() as connection:
            await _wait_in_turn(connection, package)
            await connection.exec_driver_sql(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
            await connection.exec_driver_sql(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")
            await connection.commit()
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


async def _wait_in_turn(connection: AsyncConnection, package: str) -> None:
    """Return when no other process migrates the package.

    It asks again and again: one that waits within a statement is waited for by whoever builds an index concurrently,
    and so neither would go on.

    Raises:
        TimeoutError: the other one took too long.
    """
    async with asyncio.timeout(_QUEUE_SECONDS):
        while True:
            mine = await connection.exec_driver_sql("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", (package,))
            await connection.commit()
            if mine.scalar():
                return
            await asyncio.sleep(_QUEUE_STEP_SECONDS)


def enable_row_security(op: Operations, schema: str, table: str) -> None:
    """Let a tenant table show and take rows of the transaction's tenant only, to its owner as well.

    Its rows go with their tenant, see `let_erase`; its statistics are as `expect_large_tenants` says.
    """
    tenant = "tenant_id = (SELECT current_setting('rapport.tenant_id')::uuid)"
    op.execute(f"ALTER TABLE {schema}.{table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {schema}.{table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON {schema}.{table} USING ({tenant}) WITH CHECK ({tenant})")
    let_erase(op, schema, table)
    op.execute(f"ALTER TABLE {schema}.{table} ALTER COLUMN tenant_id {_LARGE}")


def let_erase(op: Operations, schema: str, table: str) -> None:
    """Let `erase_rows` remove the rows of a tenant from a table with a `tenant_id`."""
    op.execute(f"GRANT SELECT, DELETE ON {schema}.{table} TO {schema}_spanning")


def create_erasure(op: Operations, schema: str, *, allowed: str = "true", kept: Sequence[str] = ()) -> None:
    """Make the function that removes the transaction's tenant from the schema's tables, and the table of its sums.

    `servicekit.tenant_data` calls it. The runtime role itself may not delete from the tables that are only added to.
    `allowed` is an SQL condition on `wanted`, the tenant's id, without which nothing is removed; `kept` names tables
    that stay.
    """
    op.execute(f"""
        CREATE TABLE {schema}.erased_rows (
            tenant_id uuid NOT NULL,
            table_name text NOT NULL,
            row_count bigint NOT NULL,
            PRIMARY KEY (tenant_id, table_name)
        )""")
    enable_row_security(op, schema, "erased_rows")
    grant(op, schema, "erased_rows", "SELECT, INSERT, UPDATE")
    grant_spanning(op, schema, "erased_rows", "SELECT, INSERT, UPDATE")
    op.execute(_LET_ERASE_ALL.format(schema=schema))
    for table in ("erased_rows", *kept):
        op.execute(f"REVOKE DELETE ON {schema}.{table} FROM {schema}_spanning")
    create_spanning_function(
        op, schema, "erase_rows(text, integer)", _ERASE_ROWS.format(schema=schema, allowed=allowed)
    )


def drop_erasure(op: Operations, schema: str) -> None:
    """Take back what `create_erasure` made; rights that stay behind harm nobody."""
    op.execute(f"DROP FUNCTION {schema}.erase_rows(text, integer)")
    op.execute(f"DROP TABLE {schema}.erased_rows")


def expect_large_tenants(op: Operations, schema: str, columns: Sequence[str] = ("tenant_id",)) -> None:
    """Let the planner take a tenant that its statistics do not know for one of a thousand rows in every table.

    Where most tenants have few rows it would expect one, and then any index that begins with the tenant is as good to
    it as the right one, and comparing all rows of the tenant with each other as cheap as looking them up: a new tenant
    that brings all its data at once would wait for minutes. Tenants with many rows are known by their own numbers.
    """
    op.execute(_EXPECT.format(schema=schema, columns="{" + ",".join(columns) + "}", action=_LARGE))


def forget_large_tenants(op: Operations, schema: str, columns: Sequence[str] = ("tenant_id",)) -> None:
    """Take back what `expect_large_tenants` set."""
    action = "RESET (n_distinct, n_distinct_inherited)"
    op.execute(_EXPECT.format(schema=schema, columns="{" + ",".join(columns) + "}", action=action))


def grant(op: Operations, schema: str, table: str, privileges: str = "SELECT, INSERT, UPDATE, DELETE") -> None:
    """Grant the service's runtime role what it does with a table."""
    op.execute(f"GRANT {privileges} ON {schema}.{table} TO {schema}_app")


def grant_spanning(op: Operations, schema: str, table: str, privileges: str = "SELECT") -> None:
    """Grant the role behind the spanning functions what those do with an index table."""
    op.execute(f"GRANT USAGE ON SCHEMA {schema} TO {schema}_spanning")
    op.execute(f"GRANT {privileges} ON {schema}.{table} TO {schema}_spanning")


def let_spanning_read(op: Operations, schema: str, table: str) -> None:
    """Let the spanning functions read a tenant table that forces row-level security, across tenants."""
    grant_spanning(op, schema, table)
    op.execute(f"CREATE POLICY spanning ON {schema}.{table} FOR SELECT TO {schema}_spanning USING (true)")


def create_spanning_function(op: Operations, schema: str, signature: str, definition: str) -> None:
    """Create a function that runs as `<schema>_spanning` and that only the runtime role may call.

    `signature` is the name with the types of the arguments (`find_connection(bytea)`); `definition` is all of the
    CREATE FUNCTION statement. It must say SECURITY DEFINER and `SET search_path = ''`.

    Raises:
        ValueError: the definition lacks one of the two.
    """
    if "SECURITY DEFINER" not in definition or "SET search_path = ''" not in definition:
        raise ValueError(f"{signature} must be SECURITY DEFINER and SET search_path = ''")
    spanning = f"{schema}_spanning"
    op.execute(definition)
    op.execute(f"REVOKE ALL ON FUNCTION {schema}.{signature} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {schema}.{signature} TO {schema}_app")
    # A function's new owner needs CREATE on the schema at the moment of the change, and never again.
    op.execute(f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {spanning}")
    op.execute(f"ALTER FUNCTION {schema}.{signature} OWNER TO {spanning}")
    op.execute(f"REVOKE CREATE ON SCHEMA {schema} FROM {spanning}")
