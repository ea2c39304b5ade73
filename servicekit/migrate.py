"""Run a service's migrations, and write the row security that every migration needs the same way.

A service `x` owns schema `x` by role `x_owner`, which runs this; `x_app` serves; `x_spanning` owns the few functions
that look across tenants.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Protocol

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from servicekit.database import connect_arguments

_ENVIRONMENT = Path(__file__).parent / "migration_environment"

# Another process may be migrating: wait for it longer than any migration may wait for the lock of a table.
_QUEUE_SECONDS = 120
_LOCK_SECONDS = 4
_STATEMENT_SECONDS = 60


class Operations(Protocol):
    """What the functions below need of `alembic.op`, which is a module."""

    def execute(self, sqltext: str, /) -> None:
        """Run one statement."""


async def upgrade(url: str, package: str, revision: str = "head") -> None:
    """Bring the schema of `package` ("services.tickets") to `revision`; each migration is a transaction of its own.

    Raises:
        sqlalchemy.exc.DBAPIError: a statement failed, or a lock was not had in time; finished migrations stay.
    """
    await _run(url, package, lambda config: command.upgrade(config, revision))


async def downgrade(url: str, package: str, revision: str) -> None:
    """Take the schema of `package` back to `revision` ("base" is nothing).

    Raises:
        sqlalchemy.exc.DBAPIError: as for `upgrade`.
    """
    await _run(url, package, lambda config: command.downgrade(config, revision))


async def _run(url: str, package: str, action: Callable[[Config], None]) -> None:
    """Run alembic on one connection of its own, alone among all processes that migrate this package."""
    schema = package.rpartition(".")[2]
    versions = Path(import_module(package).__file__ or "").parent / "migrations" / "versions"
    config = Config()
    config.set_main_option("path_separator", "os")
    config.set_main_option("script_location", str(_ENVIRONMENT).replace("%", "%%"))
    config.set_main_option("version_locations", str(versions).replace("%", "%%"))
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
            await connection.exec_driver_sql(f"SET lock_timeout = '{_QUEUE_SECONDS}s'")
            await connection.exec_driver_sql("SELECT pg_advisory_lock(hashtextextended($1, 0))", (package,))
            await connection.exec_driver_sql(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
            await connection.exec_driver_sql(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")
            await connection.commit()
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


def enable_row_security(op: Operations, schema: str, table: str) -> None:
    """Let a tenant table show and take rows of the transaction's tenant only, to its owner as well."""
    tenant = "tenant_id = (SELECT current_setting('rapport.tenant_id')::uuid)"
    op.execute(f"ALTER TABLE {schema}.{table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {schema}.{table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON {schema}.{table} USING ({tenant}) WITH CHECK ({tenant})")


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
