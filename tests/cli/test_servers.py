"""The embedded servers: who may do what, and that they survive being killed."""

import asyncpg
import pytest
import redis

from tests.support.servers import DatabaseFor, RunningServer


async def test_app_role_neither_owns_its_schema_nor_reads_another(database_for: DatabaseFor) -> None:
    """A service's runtime role cannot create tables, bypass row-level security or look into another schema."""
    database = database_for("tickets")
    connection = await asyncpg.connect(database.app_url)
    try:
        role = await connection.fetchrow(
            "SELECT rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = current_user"
        )
        assert tuple(role) == (False, False, False)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE tickets.mine (id int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE crm.mine (id int)")
    finally:
        await connection.close()


async def test_owner_may_hand_a_function_to_the_spanning_role(fresh_database_for: DatabaseFor) -> None:
    """Migrations run as the owner, who can give a function to the narrow role and still replace it."""
    connection = await asyncpg.connect(fresh_database_for("crm").owner_url)
    try:
        make = "CREATE OR REPLACE FUNCTION crm.look() RETURNS int SECURITY DEFINER SET search_path = '' RETURN 1"
        await connection.execute(make)
        await connection.execute("GRANT CREATE ON SCHEMA crm TO crm_spanning")
        await connection.execute("ALTER FUNCTION crm.look() OWNER TO crm_spanning")
        await connection.execute(make)
        assert await connection.fetchval("SELECT crm.look()") == 1
    finally:
        await connection.close()


async def test_no_role_logs_in_without_its_password(postgres: str) -> None:
    """The cluster trusts nobody: a wrong password is refused on the private socket as well."""
    head, tail = postgres.split("@", 1)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"{head}x@{tail}")


async def test_killed_postgres_starts_again_with_its_data(own_postgres: RunningServer) -> None:
    """A kill -9 leaves a stale lock file and dirty pages; the next start recovers both."""
    connection = await asyncpg.connect(own_postgres.url)
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    connection.terminate()
    own_postgres.kill()
    own_postgres.start()
    connection = await asyncpg.connect(own_postgres.url)
    assert await connection.fetchval("SELECT number FROM kept") == 7
    await connection.close()


def test_valkey_refuses_a_client_without_password(own_valkey: RunningServer) -> None:
    """The private socket asks for the password."""
    with (
        redis.Redis(unix_socket_path=str(own_valkey.server.socket)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()
    with redis.Redis.from_url(own_valkey.url) as client:
        assert client.ping()
