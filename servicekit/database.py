"""The database of a service: every transaction is bound to one tenant, or says openly that it spans tenants.

The tenant is set inside the transaction and ends with it, so a pooled connection never carries it to the next caller.
Each table's row-level security reads it; without it every query of a tenant table is an error.
"""

import asyncio
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Gauge
from sqlalchemy import event, exc
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from servicekit.errors import ConflictError, DatabaseUnavailableError, DomainError
from servicekit.tracing import Attributes, mark, span

FAILURES = Counter(
    "rapport_database_failures_total", "Transactions that the database did not take, by why not.", ("reason",)
)
CONNECTIONS = Gauge(
    "rapport_database_connections", "Connections to the database, by pool and state.", ("pool", "state")
)

_CONNECT_SECONDS = 5.0
_ACQUIRE_SECONDS = 5.0
_COMMAND_SECONDS = 30.0
_PATIENCE_SECONDS = 20.0
_SET_TENANT = "SELECT set_config('rapport.tenant_id', $1, true)"
_OUT_OF_REACH = "The database is out of reach."
_NONE_FREE = "No connection to the database became free in time."
_TOO_SLOW = "The database did not answer in time."
_ROLLBACK_SECONDS = 2.0

# The last but one is what the driver calls a server that dies in the middle of an exchange.
_DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

# Classes of SQLSTATE that mean "not now": connection exceptions, operator intervention, resources used up (disk,
# memory, connections), statements that were cancelled, a server that only reads (a primary that was demoted).
_LOST_CLASSES = ("08", "57P", "53", "57014", "25006")
_CONFLICTS = ("40001", "40P01")


class TransactionConflictError(ConflictError):
    """Two transactions got in each other's way and this one was given up."""


class RoleTooPowerfulError(Exception):
    """The database role of this process could read around row-level security; the process must not serve."""


def connect_arguments(url: str, *, schema: str) -> dict[str, Any]:
    """Return the arguments of `asyncpg.connect` for a URL; `?host=/folder` is a socket folder and wins over the host.

    Raises:
        ValueError: the URL is empty or is not one of Postgres.
    """
    if not url.startswith("postgresql"):
        raise ValueError("the database URL must start with postgresql://")
    parsed = make_url(url)
    query = {name: value if isinstance(value, str) else value[0] for name, value in parsed.query.items()}
    arguments: dict[str, Any] = {
        "host": query.get("host") or parsed.host or "127.0.0.1",
        "port": int(query.get("port") or parsed.port or 5432),
        "user": parsed.username,
        "password": parsed.password,
        "database": parsed.database,
        "timeout": _CONNECT_SECONDS,
        "server_settings": {"search_path": f"{schema}, public", "application_name": f"rapport-{schema}", "jit": "off"},
    }
    if mode := query.get("sslmode"):
        arguments["ssl"] = mode
    return arguments


def translate(error: BaseException) -> DomainError | None:
    """Return what an error of the driver or of SQLAlchemy means to a caller; None when it is nobody's but ours."""
    if isinstance(error, exc.DBAPIError):
        if error.connection_invalidated:
            return DatabaseUnavailableError(_OUT_OF_REACH, retry_after=1)
        error = error.orig.__cause__ or error.orig if error.orig else error
    if isinstance(error, exc.TimeoutError):
        return DatabaseUnavailableError(_NONE_FREE, retry_after=1)
    # A server that dies between two statements may leave the driver in a state that it calls an error of its own.
    if isinstance(error, asyncpg.InternalClientError) or (
        isinstance(error, asyncpg.InterfaceError) and "clos" in str(error)
    ):
        return DatabaseUnavailableError(_OUT_OF_REACH, retry_after=1)
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith(_LOST_CLASSES):
        return DatabaseUnavailableError(_OUT_OF_REACH, retry_after=1)
    if state in _CONFLICTS:
        return TransactionConflictError("Another change came in between; repeat the call.", retry_after=0.1)
    return None


@contextmanager
def _translated() -> Iterator[None]:
    """Raise the domain error in place of a driver's error that has one."""
    try:
        yield
    except TimeoutError as error:
        # The driver's own; elsewhere a time-out may be anybody's.
        FAILURES.labels("too_slow").inc()
        raise DatabaseUnavailableError(_TOO_SLOW, retry_after=1) from error
    except Exception as error:
        if (meaning := translate(error)) is None:
            raise
        FAILURES.labels("conflict" if isinstance(meaning, TransactionConflictError) else "out_of_reach").inc()
        raise meaning from error


async def _settle(connection: asyncpg.Connection) -> None:
    """Make a raw connection fit for its next user, without the round trip of the driver's own reset."""
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


async def _abandon(connection: PoolConnectionProxy) -> None:
    """End a failed transaction; a connection that cannot even do that is cut, so that the failure itself is told."""
    if connection.is_closed():
        return
    try:
        await connection.execute("ROLLBACK", timeout=_ROLLBACK_SECONDS)
    except _DRIVER_ERRORS:
        connection.terminate()


def driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    """Return the driver's own connection behind one of SQLAlchemy's that has begun its transaction: the same one."""
    opened = connection.sync_connection
    driver = opened.connection.driver_connection if opened else None
    if not isinstance(driver, asyncpg.Connection):
        raise TypeError("the connection is not open, or is none of asyncpg")
    return driver


class Database:
    """Two pools to one database: SQLAlchemy's for most work, the driver's own for the few hot paths.

    Nothing connects before the first use, and both pools drop dead connections and connect anew by themselves.
    """

    def __init__(self, engine: AsyncEngine, driver: asyncpg.Pool, schema: str) -> None:
        self.engine = engine
        self.driver = driver
        self.schema = schema
        self._described: Attributes = {"db.system.name": "postgresql", "db.namespace": schema}
        _watch(self)

    @classmethod
    async def connect(cls, url: str, *, schema: str, pool_size: int = 10) -> Self:
        """Return the database behind `url`; `schema` comes first in the search path.

        Raises:
            ValueError: the URL is not one of Postgres.
        """
        arguments = connect_arguments(url, schema=schema)

        async def open_connection(*_: object, **__: object) -> asyncpg.Connection:
            try:
                return await asyncpg.connect(**arguments, command_timeout=_COMMAND_SECONDS)
            except OSError as error:
                raise DatabaseUnavailableError(_OUT_OF_REACH, retry_after=1) from error

        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=open_connection,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=_ACQUIRE_SECONDS,
            # An error's text goes to the log, and parameters are content.
            hide_parameters=True,
        )
        event.listen(engine.sync_engine, "checkout", _refuse_closed)
        pool = asyncpg.create_pool(connect=open_connection, reset=_settle, min_size=0, max_size=pool_size)
        return cls(engine, await pool, schema)

    async def close(self) -> None:
        """Close all connections; calls in flight lose theirs."""
        await self.engine.dispose()
        self.driver.terminate()

    @asynccontextmanager
    async def tenant(self, tenant_id: UUID) -> AsyncIterator[AsyncConnection]:
        """Run one transaction inside a tenant; a clean exit commits, an error rolls back.

        Raises:
            DatabaseUnavailableError: the connection could not be made or was lost.
            TransactionConflictError: a deadlock or a serialisation failure.
        """
        with span("postgres tenant", self._described, kind=SpanKind.CLIENT), _translated():
            async with self.engine.begin() as connection:
                mark("connected")
                await connection.exec_driver_sql(_SET_TENANT, (str(tenant_id),))
                yield connection

    @asynccontextmanager
    async def snapshot(self, tenant_id: UUID) -> AsyncIterator[AsyncConnection]:
        """Run one transaction that only reads a tenant, and sees everything as it was at one moment.

        Raises:
            DatabaseUnavailableError: as for `tenant`.
        """
        with span("postgres snapshot", self._described, kind=SpanKind.CLIENT), _translated():
            async with self.engine.connect() as connection:
                mark("connected")
                options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
                await connection.execution_options(**options)
                async with connection.begin():
                    await connection.exec_driver_sql(_SET_TENANT, (str(tenant_id),))
                    yield connection

    @asynccontextmanager
    async def spanning(self) -> AsyncIterator[AsyncConnection]:
        """Run one transaction without a tenant: only the listed index tables and spanning functions work in it."""
        with span("postgres spanning", self._described, kind=SpanKind.CLIENT), _translated():
            async with self.engine.begin() as connection:
                mark("connected")
                yield connection

    @asynccontextmanager
    async def driver_tenant(self, tenant_id: UUID) -> AsyncIterator[PoolConnectionProxy]:
        """Run one transaction inside a tenant on the raw driver, with one round trip for BEGIN and the tenant together.

        No savepoints: `connection.transaction()` refuses to start inside it.
        """
        with span("postgres tenant", self._described, kind=SpanKind.CLIENT), _translated():
            async with self._acquired() as connection:
                mark("connected")
                # A UUID has no character that could end the literal; the simple protocol takes no parameters.
                literal = UUID(int=tenant_id.int)
                await connection.execute(f"BEGIN; SELECT set_config('rapport.tenant_id', '{literal}', true)")
                try:
                    yield connection
                except BaseException:
                    await _abandon(connection)
                    raise
                await connection.execute("COMMIT")

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """Run one statement on the raw driver, which is its own transaction; return its rows.

        Raises:
            DatabaseUnavailableError, TransactionConflictError: as for `tenant`.
        """
        with span("postgres statement", self._described, kind=SpanKind.CLIENT), _translated():
            async with self._acquired() as connection:
                mark("connected")
                return list(await connection.fetch(query, *arguments))

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[PoolConnectionProxy]:
        """Lend a raw connection; waiting for a free one is bounded."""
        try:
            connection = await self.driver.acquire(timeout=_ACQUIRE_SECONDS)
        except TimeoutError as error:
            FAILURES.labels("none_free").inc()
            raise DatabaseUnavailableError(_NONE_FREE, retry_after=1) from error
        try:
            yield connection
        finally:
            await self.driver.release(connection)

    @asynccontextmanager
    async def alone(self, task: str) -> AsyncIterator[Callable[[], Awaitable[bool]] | None]:
        """Be the only process that does a task, for as long as the context lasts; None when another one does it.

        The value asks whether that still holds: the lock goes with its connection.
        """
        async with self._acquired() as connection:
            lock = "hashtextextended($1, 0)"
            if not await connection.fetchval(f"SELECT pg_try_advisory_lock({lock})", f"rapport.{task}"):
                yield None
                return

            async def still() -> bool:
                return bool(await connection.fetchval("SELECT true"))

            try:
                yield still
            finally:
                if not connection.is_closed():
                    await connection.execute(f"SELECT pg_advisory_unlock({lock})", f"rapport.{task}")

    async def ready(self) -> bool:
        """Tell whether the database answers within a second; meant for the health loop."""
        try:
            async with asyncio.timeout(1), self.driver.acquire() as connection:
                await connection.execute("SELECT 1")
        except (DomainError, *_DRIVER_ERRORS):
            return False
        return True

    async def check_role(self, *, listed: frozenset[str] = frozenset()) -> None:
        """Refuse a role that could read around row-level security; waits a while for a database that is starting.

        `listed` names the index tables without content that carry a tenant id, have no policies on purpose, and are
        read by this role directly.

        Raises:
            RoleTooPowerfulError: the role is a superuser, has BYPASSRLS, may act as the owner of a table, or can read
                or change a table that has a tenant id and does not force row-level security.
            DatabaseUnavailableError: the database stayed out of reach.
        """
        deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while not await self.ready():
            if asyncio.get_running_loop().time() > deadline:
                raise DatabaseUnavailableError(_OUT_OF_REACH)
            await asyncio.sleep(0.2)
        async with self.driver.acquire() as connection:
            faults = await connection.fetch(_FAULTS, self.schema, sorted(listed))
        if faults:
            raise RoleTooPowerfulError("; ".join(fault["fault"] for fault in faults))


def _watch(database: Database) -> None:
    """Have the connections of the process's database counted when somebody looks."""
    watched = weakref.ref(database)

    def counted(count: Callable[[Database], int]) -> Callable[[], float]:
        return lambda: float(count(found)) if (found := watched()) is not None else 0.0

    # The pool is a queue of fixed size, whatever its type says.
    orm: Callable[[Database], Any] = lambda found: found.engine.pool  # noqa: E731
    CONNECTIONS.labels("sqlalchemy", "busy").set_function(counted(lambda found: orm(found).checkedout()))
    CONNECTIONS.labels("sqlalchemy", "idle").set_function(counted(lambda found: orm(found).checkedin()))
    CONNECTIONS.labels("driver", "busy").set_function(
        counted(lambda found: found.driver.get_size() - found.driver.get_idle_size())
    )
    CONNECTIONS.labels("driver", "idle").set_function(counted(lambda found: found.driver.get_idle_size()))


def _refuse_closed(dbapi_connection: Any, _record: object, _proxy: object) -> None:
    """Have the pool replace connections that the server closed, without a round trip to find out."""
    if dbapi_connection.driver_connection.is_closed():
        raise exc.InvalidatePoolError


_FAULTS = """
WITH tables AS (
    SELECT c.oid, c.relname, c.relowner, c.relrowsecurity AND c.relforcerowsecurity AS forced,
           EXISTS (SELECT FROM pg_attribute a
                   WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped) AS of_a_tenant
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')
)
SELECT format('role %s is a superuser', rolname) AS fault FROM pg_roles WHERE rolname = current_user AND rolsuper
UNION ALL
SELECT format('role %s has BYPASSRLS', rolname) FROM pg_roles WHERE rolname = current_user AND rolbypassrls
UNION ALL
SELECT format('role %s may act as the owner of %s.%s', current_user, $1, relname)
FROM tables WHERE pg_has_role(current_user, relowner, 'MEMBER')
UNION ALL
SELECT format('table %s.%s has a tenant_id and does not force row-level security', $1, relname)
FROM tables
WHERE of_a_tenant AND NOT forced AND relname <> ALL ($2::text[])
  AND has_table_privilege(current_user, oid, 'SELECT, UPDATE, DELETE')
"""
