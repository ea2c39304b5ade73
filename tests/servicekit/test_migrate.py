"""Migrations: up, down and up again, alone, and with limits."""

import asyncio

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from servicekit.migrate import create_spanning_function, downgrade, upgrade
from tests.servicekit.conftest import SAMPLE, Urls


async def _tables(urls: Urls) -> set[str]:
    connection = await asyncpg.connect(urls.superuser)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'tickets'")
    await connection.close()
    return {row["tablename"] for row in rows}


async def test_a_schema_goes_up_down_and_up_again(unmigrated: Urls) -> None:
    """Each direction works, repeatedly; the version table stands in the service's own schema."""
    await upgrade(unmigrated.owner, SAMPLE)
    await upgrade(unmigrated.owner, SAMPLE)
    assert await _tables(unmigrated) == {"alembic_version", "notes", "doors", "outbox"}
    await downgrade(unmigrated.owner, SAMPLE, "base")
    assert await _tables(unmigrated) == {"alembic_version"}
    await upgrade(unmigrated.owner, SAMPLE)
    assert await _tables(unmigrated) == {"alembic_version", "notes", "doors", "outbox"}


async def test_processes_that_migrate_at_once_take_turns(unmigrated: Urls) -> None:
    """Several processes that start together migrate once."""
    await asyncio.gather(*(upgrade(unmigrated.owner, SAMPLE) for _ in range(4)))
    assert "notes" in await _tables(unmigrated)


async def test_a_migration_does_not_wait_long_for_a_table(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that a running transaction blocks gives up, so that it does not block everyone behind it."""
    monkeypatch.setattr("servicekit.migrate._LOCK_SECONDS", 1)
    holder = await asyncpg.connect(urls.superuser)
    async with holder.transaction():
        await holder.execute("LOCK TABLE tickets.notes IN ACCESS SHARE MODE")
        with pytest.raises(DBAPIError, match="lock timeout"):
            await downgrade(urls.owner, SAMPLE, "base")
    await holder.close()
    assert "notes" in await _tables(urls)


async def test_the_role_behind_spanning_functions_keeps_no_right_to_create(urls: Urls) -> None:
    """Handing over a function needs CREATE for a moment; it does not stay."""
    connection = await asyncpg.connect(urls.superuser)
    may = await connection.fetchval("SELECT has_schema_privilege('tickets_spanning', 'tickets', 'CREATE')")
    owner = await connection.fetchval("SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'find_tenant'")
    await connection.close()
    assert not may
    assert owner == "tickets_spanning"


def test_a_spanning_function_must_be_closed_against_its_callers_search_path() -> None:
    """A function that runs with another role's rights names all it uses in full."""

    class Refuses:
        def execute(self, sqltext: str, /) -> None:
            raise AssertionError(sqltext)

    with pytest.raises(ValueError, match="search_path"):
        create_spanning_function(Refuses(), "tickets", "f()", "CREATE FUNCTION tickets.f() … SECURITY DEFINER")
