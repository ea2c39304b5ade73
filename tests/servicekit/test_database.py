"""The database: tenants kept apart, roles kept small, connections that come back."""

import asyncio
import secrets
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from servicekit.database import Database, RoleTooPowerfulError, connect_arguments, translate
from servicekit.errors import DatabaseUnavailableError
from servicekit.logs import describe_exception
from tests.servicekit.conftest import Urls
from tests.servicekit.probe import OTHER_TENANT, TENANT
from tests.servicekit.waiting import until
from tests.support.servers import RunningServer

ADD = "INSERT INTO notes (tenant_id, id, body) VALUES ($1::uuid, $2, $3)"
COUNT = "SELECT count(*) FROM notes"


async def _add(database: Database, tenant_id: UUID, number: int = 1, body: str = "text") -> None:
    async with database.tenant(tenant_id) as connection:
        await connection.exec_driver_sql(ADD, (str(tenant_id), number, body))


async def test_a_transaction_sees_its_own_tenant_only(database: Database) -> None:
    """A query without any predicate returns the rows of the transaction's tenant and no others."""
    await _add(database, TENANT)
    await _add(database, OTHER_TENANT)
    for tenant_id in (TENANT, OTHER_TENANT):
        async with database.tenant(tenant_id) as connection:
            assert (await connection.exec_driver_sql("SELECT tenant_id FROM notes")).scalars().all() == [tenant_id]
        async with database.driver_tenant(tenant_id) as raw:
            assert await raw.fetchval("SELECT array_agg(tenant_id) FROM notes") == [tenant_id]


async def test_a_row_of_another_tenant_cannot_be_written(database: Database) -> None:
    """Writing for someone else than the transaction's tenant is refused by the table."""
    with pytest.raises(DBAPIError, match="row-level security"):
        async with database.tenant(TENANT) as connection:
            await connection.exec_driver_sql(ADD, (str(OTHER_TENANT), 1, "text"))


async def test_without_a_tenant_a_query_of_a_tenant_table_is_an_error(database: Database) -> None:
    """Never an empty answer: neither on a fresh connection nor on one that served a tenant before."""
    with pytest.raises(DBAPIError):
        async with database.spanning() as connection:
            await connection.exec_driver_sql(COUNT)
    with pytest.raises(asyncpg.PostgresError):
        await database.driver.fetchval(COUNT)
    for _ in range(5):
        await _add_and_forget(database)
        with pytest.raises(DBAPIError):
            async with database.spanning() as connection:
                await connection.exec_driver_sql(COUNT)
        with pytest.raises(asyncpg.PostgresError):
            await database.driver.fetchval(COUNT)


async def _add_and_forget(database: Database) -> None:
    async with database.tenant(TENANT) as connection:
        await connection.exec_driver_sql(COUNT)
    async with database.driver_tenant(TENANT) as raw:
        await raw.fetchval(COUNT)


async def test_an_error_rolls_back_and_the_connection_serves_on(database: Database) -> None:
    """Nothing of a failed transaction stays, on both kinds of connection, and no pool slot is lost."""

    async def fail(number: int) -> None:
        async with database.tenant(TENANT) as connection:
            await connection.exec_driver_sql(ADD, (str(TENANT), number, "text"))
            raise RuntimeError

    async def fail_raw(number: int) -> None:
        async with database.driver_tenant(TENANT) as raw:
            await raw.execute(ADD, TENANT, number, "text")
            raise RuntimeError

    for number in range(12):
        with pytest.raises(RuntimeError):
            await fail(number)
        with pytest.raises(RuntimeError):
            await fail_raw(number)
    async with database.driver_tenant(TENANT) as raw:
        assert await raw.fetchval(COUNT) == 0


async def test_a_cancelled_transaction_leaves_no_tenant_behind(database: Database) -> None:
    """A call that is cancelled in the middle of a query gives back a connection without tenant, or none."""

    async def sleep_inside() -> None:
        async with database.driver_tenant(TENANT) as raw:
            await raw.execute("SELECT pg_sleep(30)")

    for _ in range(6):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await sleep_inside()
    with pytest.raises(asyncpg.PostgresError):
        await database.driver.fetchval(COUNT)
    async with database.driver_tenant(OTHER_TENANT) as raw:
        assert await raw.fetchval(COUNT) == 0


async def test_the_runtime_role_passes_the_check(database: Database) -> None:
    """The role that provisioning makes is as small as it must be."""
    await database.check_role()


async def test_the_owner_and_a_superuser_are_refused(urls: Urls) -> None:
    """A process with a role that could read around the policies does not serve."""
    for url, fault in ((urls.owner, "owner of tickets.notes"), (urls.superuser, "superuser")):
        database = await Database.connect(url, schema="tickets")
        with pytest.raises(RoleTooPowerfulError, match=fault):
            await database.check_role()
        await database.close()


async def test_a_table_that_does_not_force_its_policies_is_refused_unless_listed(
    urls: Urls, database: Database
) -> None:
    """A tenant table whose policies do not bind is found at the start; an index table is named on purpose."""
    owner = await asyncpg.connect(urls.owner)
    await owner.execute("ALTER TABLE tickets.notes NO FORCE ROW LEVEL SECURITY")
    with pytest.raises(RoleTooPowerfulError, match=r"tickets\.notes"):
        await database.check_role()
    await database.check_role(listed=frozenset({"notes"}))
    await owner.execute("ALTER TABLE tickets.notes FORCE ROW LEVEL SECURITY")
    await owner.execute("GRANT SELECT ON tickets.doors TO tickets_app")
    with pytest.raises(RoleTooPowerfulError, match=r"tickets\.doors"):
        await database.check_role()
    await owner.close()


async def test_an_index_table_is_read_through_its_function_only(database: Database) -> None:
    """The runtime role may write an entry and ask the function, and never lists the table."""
    await database.driver.execute("INSERT INTO doors VALUES ($1, $2)", TENANT, b"hash")
    assert await database.driver.fetchval("SELECT find_tenant($1)", b"hash") == TENANT
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.driver.fetch("SELECT * FROM doors")


async def test_a_full_pool_is_told_as_unavailable(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a connection is bounded."""
    monkeypatch.setattr("servicekit.database._ACQUIRE_SECONDS", 0.1)
    database = await Database.connect(urls.app, schema="tickets", pool_size=1)
    async with database.tenant(TENANT):
        with pytest.raises(DatabaseUnavailableError):
            async with database.tenant(TENANT):
                pass
    async with database.driver_tenant(TENANT):
        with pytest.raises(DatabaseUnavailableError):
            async with database.driver_tenant(TENANT):
                pass
    await database.close()


async def test_an_unreachable_database_is_told_as_unavailable() -> None:
    """No connection to be had is UNAVAILABLE on both kinds of connection, and not ready."""
    database = await Database.connect("postgresql://nobody:secret@127.0.0.1:1/none", schema="tickets")
    with pytest.raises(DatabaseUnavailableError):
        async with database.tenant(TENANT):
            pass
    with pytest.raises(DatabaseUnavailableError):
        async with database.driver_tenant(TENANT):
            pass
    assert not await database.ready()
    await database.close()


async def test_after_a_crash_of_the_server_the_pools_heal_by_themselves(own_postgres: RunningServer) -> None:
    """While Postgres is away calls are refused as unavailable; when it is back they work, with no restart of ours."""
    database = await Database.connect(own_postgres.url, schema="public", pool_size=3)

    async def works() -> int:
        async with database.tenant(TENANT) as connection, database.driver_tenant(TENANT) as raw:
            first: int = (await connection.exec_driver_sql("SELECT 1")).scalar_one()
            second: int = await raw.fetchval("SELECT 1")
            return first + second

    assert set(await asyncio.gather(works(), works(), works())) == {2}
    await asyncio.to_thread(own_postgres.kill)

    async def refused() -> bool:
        try:
            await works()
        except DatabaseUnavailableError:
            return True
        return False

    await until(refused)  # the crashed server's own processes may answer for a moment yet
    assert not await database.ready()
    await asyncio.to_thread(own_postgres.start)
    await until(database.ready)
    assert await works() == 2
    await database.close()


async def test_a_crash_in_the_middle_of_a_transaction_is_told_as_unavailable(own_postgres: RunningServer) -> None:
    """A connection that dies between two statements is not an internal error."""
    database = await Database.connect(own_postgres.url, schema="public", pool_size=3)

    async def use() -> None:
        async with database.tenant(TENANT) as connection:
            await connection.exec_driver_sql("SELECT 1")
            await asyncio.to_thread(own_postgres.kill)
            await connection.exec_driver_sql("SELECT 1")

    async def use_raw() -> None:
        async with database.driver_tenant(TENANT) as raw:
            await raw.execute("SELECT 1")
            await asyncio.to_thread(own_postgres.kill)
            await raw.execute("SELECT 1")

    with pytest.raises(DatabaseUnavailableError):
        await use()
    await asyncio.to_thread(own_postgres.start)
    with pytest.raises(DatabaseUnavailableError):
        await use_raw()
    await database.close()


async def test_an_error_in_the_log_does_not_quote_rows(database: Database) -> None:
    """What Postgres says of a broken constraint quotes values; the log gets the constraint without them."""
    content = secrets.token_hex(8)
    await _add(database, TENANT, body="first")
    with pytest.raises(DBAPIError) as caught:
        await _add(database, TENANT, body=content)
    text = describe_exception(caught.value)
    assert "notes_pkey" in text
    assert content not in text
    assert str(TENANT) not in text


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgresql://u:p%40ss@db.example:6432/rapport", "db.example", 6432),
        ("postgresql://u:p%40ss@/rapport?host=/run/pg", "/run/pg", 5432),
        ("postgresql://u:p%40ss@localhost/rapport?host=/run/pg&port=7", "/run/pg", 7),
    ],
    ids=["host", "socket", "socket wins over host"],
)
def test_a_url_may_name_a_host_or_a_socket_folder(url: str, host: str, port: int) -> None:
    """Both forms give the driver what it needs; the password is decoded."""
    arguments = connect_arguments(url, schema="tickets")
    assert (arguments["host"], arguments["port"], arguments["password"]) == (host, port, "p@ss")


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DiskFullError("full"),
        asyncpg.OutOfMemoryError("full"),
        asyncpg.QueryCanceledError("slow"),
        asyncpg.ReadOnlySQLTransactionError("a standby"),
    ],
)
def test_a_database_without_room_or_time_or_that_only_reads_is_told_as_unavailable(error: Exception) -> None:
    """A later call may succeed, so the caller is told to come again."""
    assert isinstance(translate(error), DatabaseUnavailableError)


async def test_a_time_out_inside_a_transaction_is_told_as_unavailable(database: Database) -> None:
    """The driver's own time-out carries no SQLSTATE; where it comes from a transaction it means the database."""
    with pytest.raises(DatabaseUnavailableError):
        async with database.tenant(TENANT):
            raise TimeoutError


def test_an_empty_url_is_refused_in_plain_words() -> None:
    """A process whose setting is missing says so."""
    with pytest.raises(ValueError, match="postgresql://"):
        connect_arguments("", schema="tickets")
