"""Filling the tables of the inbox from tickets that were there before them, while the service goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.exc import SQLAlchemyError

from servicekit import migrate
from servicekit.ids import uuid7
from tests.support.servers import DatabaseFor, ServiceDatabase
from tests.support.waiting import eventually
from tests.tickets.test_store import add_old_ticket

# As an erasure of one of the tenant's customers has it, for which the fill waits.
ERASING = "SELECT pg_advisory_xact_lock_shared(hashtextextended('rapport.tickets.placing:' || $1, 0))"
FILLING = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# More than one batch.
COPIES = """
INSERT INTO tickets.tickets SELECT (jsonb_populate_record(t, jsonb_build_object(
    'id', uuidv7(), 'number', n, 'rank_key', n % 7, 'searchable', ' word' || n || ' |'))).*
FROM tickets.tickets t, generate_series(2, 2100) AS n
"""
COUNTS = """
SELECT (SELECT count(*) FROM tickets.places) AS places, (SELECT sum(tickets) FROM tickets.totals) AS totals,
    (SELECT sum(tickets) FROM tickets.depths) AS depths, (SELECT count(*) FROM tickets.timers) AS timers,
    (SELECT count(*) FROM tickets.ticket_words) AS words,
    (SELECT count(DISTINCT ticket_id) FROM tickets.places) AS placed
"""


async def old_inbox(made: ServiceDatabase) -> "tuple[asyncpg.Connection[Any], UUID]":
    """Make an inbox of 2,100 open tickets as it was before there were places."""
    await migrate.downgrade(made.owner_url, "services.tickets", "0004")
    connection = await asyncpg.connect(made.superuser_url)
    tenant = uuid7()
    await add_old_ticket(connection, tenant, 1, "open")
    await connection.execute(COPIES)
    return connection, tenant


async def counts(connection: "asyncpg.Connection[Any]") -> set[int]:
    """Return in how many different numbers the filled tables end."""
    row = await connection.fetchrow(COUNTS)
    assert row is not None
    return set(row.values())


async def while_filling(
    made: ServiceDatabase, tenant: UUID, then: Callable[[int], Awaitable[object]]
) -> asyncio.Task[None]:
    """Migrate, stop right before the first batch, do what is asked with the process that fills, and let it go on."""
    erasing = await asyncpg.connect(made.superuser_url)
    async with erasing.transaction():
        await erasing.execute(ERASING, str(tenant))
        migrating = asyncio.create_task(migrate.upgrade(made.owner_url, "services.tickets"))
        await then(await eventually(lambda: erasing.fetchval(FILLING)))
    await erasing.close()
    return migrating


async def test_tickets_are_read_and_written_while_the_tables_are_filled(fresh_database_for: DatabaseFor) -> None:
    """Neither the fill nor what came before it holds a lock that readers and writers of tickets would wait for."""
    made = fresh_database_for("tickets")
    connection, tenant = await old_inbox(made)

    async def work(_process: int) -> None:
        service = await asyncpg.connect(made.app_url, server_settings={"lock_timeout": "100ms"})
        await service.execute("SELECT set_config('rapport.tenant_id', $1, false)", str(tenant))
        assert await service.fetchval("SELECT count(*) FROM tickets.tickets WHERE tenant_id = $1", tenant) == 2100
        await service.execute(
            "UPDATE tickets.tickets SET searchable = searchable || ' late |' WHERE tenant_id = $1 AND number = 7",
            tenant,
        )
        await service.close()

    await (await while_filling(made, tenant, work))
    assert await counts(connection) == {2100}
    late = await connection.fetchval("SELECT count(*) FROM tickets.ticket_words WHERE asked::text LIKE '%olate%'")
    valid = await connection.fetchval("SELECT bool_and(indisvalid) FROM pg_index")
    await connection.close()
    assert (late, valid) == (1, True)


async def test_an_interrupted_fill_goes_on_with_what_is_missing(fresh_database_for: DatabaseFor) -> None:
    """Each ticket is placed and counted once, whatever a run before had come to."""
    made = fresh_database_for("tickets")
    connection, tenant = await old_inbox(made)
    migrating = await while_filling(
        made, tenant, lambda process: connection.execute("SELECT pg_terminate_backend($1)", process)
    )
    with pytest.raises(SQLAlchemyError):
        await migrating
    await migrate.upgrade(made.owner_url, "services.tickets")
    await migrate.downgrade(made.owner_url, "services.tickets", "0010")
    # As if it had been interrupted behind the second half.
    await connection.execute("DELETE FROM tickets.rankings WHERE number > 1")
    await connection.execute(
        "WITH gone AS (DELETE FROM tickets.places WHERE rank_key < 3 RETURNING *), "
        "fewer AS (INSERT INTO tickets.depths (tenant_id, ranking, status, tier, step, tickets) "
        "SELECT tenant_id, 1, status, tier, floor(rank_key * 16), -1 FROM gone) "
        "INSERT INTO tickets.totals (tenant_id, status, priority, channel, assigned_to, tickets) "
        "SELECT tenant_id, status, priority, channel, assigned_to, -1 FROM gone"
    )
    await migrate.upgrade(made.owner_url, "services.tickets")
    found = await counts(connection)
    rankings = await connection.fetch("SELECT number, state FROM tickets.rankings ORDER BY number")
    await connection.close()
    assert found == {2100}
    assert [tuple(row) for row in rankings] == [(1, "active"), (2, "building")]
