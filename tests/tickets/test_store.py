"""The schema and the store: isolation by row security, the role, migrations, and what a page costs."""

# ruff: noqa: S608 - only names of ours are written into statements

import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr

from servicekit import migrate
from servicekit.database import Database
from servicekit.ids import uuid7
from services.tickets.__main__ import wired
from services.tickets.cards import Filters, PageRequest
from services.tickets.inbox_store import InboxStore
from services.tickets.page_sql import page
from services.tickets.places import STEPS
from services.tickets.settings import TicketsSettings
from services.tickets.store import Store
from services.tickets.tables import metadata
from tests.support.servers import DatabaseFor, ServiceDatabase
from tests.tickets.conftest import Agent

TENANT_TABLES = [name.partition(".")[2] for name, table in metadata.tables.items() if "tenant_id" in table.c]


async def fill(agent: Agent, count: int) -> None:
    """Bring the one open ticket of a tenant to so many, at random places."""
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        await connection.execute(
            "INSERT INTO tickets.tickets SELECT (jsonb_populate_record(t, jsonb_build_object("
            "'id', gen_random_uuid(), 'number', n, 'rank_key', random() * 9))).* "
            f"FROM tickets.tickets t, generate_series(2, {count:d}) AS n"
        )
        await connection.execute(
            "INSERT INTO tickets.places SELECT (jsonb_populate_record(p, jsonb_build_object("
            "'ticket_id', t.id, 'rank_key', t.rank_key))).* "
            "FROM tickets.places p, tickets.tickets t WHERE t.id <> p.ticket_id"
        )
        await connection.execute(f"UPDATE tickets.totals SET tickets = {count:d}")
        await connection.execute("DELETE FROM tickets.depths")
        await connection.execute(
            "INSERT INTO tickets.depths (tenant_id, ranking, status, tier, step, tickets) SELECT tenant_id, ranking, "
            f"status, tier, floor(rank_key * {STEPS}), count(*) FROM tickets.places GROUP BY 1, 2, 3, 4, 5"
        )


@pytest.fixture
async def database(tickets_database: ServiceDatabase) -> Database:
    """The database with the runtime role."""
    return await Database.connect(tickets_database.app_url, schema="tickets", pool_size=2)


async def test_the_runtime_role_cannot_read_around_row_security(database: Database) -> None:
    """The check that the service makes before it serves passes with the runtime role."""
    await database.check_role()
    await database.close()


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_no_table_shows_rows_without_a_tenant_or_to_another_one(agent: Agent, table: str) -> None:
    """Row security alone, without any predicate of ours, hides everything from another tenant."""
    await agent.open()
    await agent.ask("AddNote", ticket="T-001", content="n", author_name="a", author_id="1")
    await agent.ask("UpdateTicket", ticket="T-001", priority="high")
    database = agent.running.database
    async with database.driver_tenant(uuid7()) as connection:
        assert await connection.fetchval(f"SELECT count(*) FROM tickets.{table}") == 0
    async with database.driver.acquire() as connection:
        with pytest.raises(asyncpg.PostgresError):
            await connection.fetchval(f"SELECT count(*) FROM tickets.{table}")


async def test_the_position_in_the_log_is_reached_by_its_functions_only(database: Database) -> None:
    """What spans tenants is not readable directly."""
    store = Store(database)
    assert await store.log_position("test") == ""
    await store.set_log_position("test", "7")
    assert await store.log_position("test") == "7"
    async with database.driver.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchval("SELECT count(*) FROM tickets.log_positions")
    await database.close()


async def test_migrations_go_down_and_up_again(fresh_database_for: DatabaseFor) -> None:
    """Nothing is left behind by the way down, and the way up works again."""
    made = fresh_database_for("tickets")
    await migrate.downgrade(made.owner_url, "services.tickets", "base")
    await migrate.upgrade(made.owner_url, "services.tickets")
    connection = await asyncpg.connect(made.superuser_url)
    found = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'tickets'")
    await connection.close()
    assert {row["tablename"] for row in found} >= {name.partition(".")[2] for name in metadata.tables}


async def test_tickets_from_before_places_get_theirs(fresh_database_for: DatabaseFor) -> None:
    """The migrations give each ticket its place, its reasons and its part in the counts, for every tenant."""
    made = fresh_database_for("tickets")
    await migrate.downgrade(made.owner_url, "services.tickets", "0004")
    connection = await asyncpg.connect(made.superuser_url)
    tenants = [uuid7(), uuid7()]
    for tenant in tenants:
        for number, status in enumerate(("open", "open", "pending", "closed"), 1):
            await add_old_ticket(connection, tenant, number, status)
    await migrate.upgrade(made.owner_url, "services.tickets")
    places = await connection.fetch("SELECT * FROM tickets.places")
    kinds = await connection.fetch("SELECT tenant_id, status, sum(tickets) AS n FROM tickets.totals GROUP BY 1, 2")
    await connection.close()
    assert len(places) == 8
    assert {row["ranking"] for row in places if row["status"] == "closed"} == {0}
    assert {row["reasons"] for row in places} == {'["Says “[now]”"]'}
    assert sorted(row["n"] for row in kinds) == [1, 1, 1, 1, 2, 2]
    database = await Database.connect(made.app_url, schema="tickets", pool_size=2)
    page = await InboxStore(database).page(tenants[0], PageRequest(smart=True))
    assert page.total == 4
    assert [row.card.count("reasons") for row in page.rows] == [1, 1, 1, 1]
    await database.close()


async def add_old_ticket(connection: "asyncpg.Connection[Any]", tenant_id: UUID, number: int, status: str) -> None:
    """Insert a ticket as it was before there were places, and take its number."""
    await connection.execute(
        "INSERT INTO tickets.ticket_numbers VALUES ($1, $2) ON CONFLICT (tenant_id) DO UPDATE SET last_number = $2",
        *(tenant_id, number),
    )
    await connection.execute(
        "INSERT INTO tickets.tickets SELECT (jsonb_populate_record(NULL::tickets.tickets, $1)).*",
        old_ticket(tenant_id, number, status),
    )


def old_ticket(tenant_id: UUID, number: int, status: str) -> str:
    """Return the row of a ticket as it was before there were places, as JSON."""
    now = "2026-01-02T03:04:05Z"
    times = dict.fromkeys(("create_time", "update_time", "start_time"), now)
    texts = {"customer_id": "c", "subject": "s", "channel": "email", "priority": "low", "assigned_to": ""}
    derived = {"signals": {}, "rank_key": -number, "parts": [], "searchable": "", "card_version": 1, "message_count": 1}
    counters = {"number": number, "entry_count": 1, "conversation_version": 1, "revision": 1}
    row: dict[str, Any] = {
        "tenant_id": str(tenant_id),
        "id": str(uuid7()),
        "status": status,
        "close_time": now if status == "closed" else None,
        "tags": [],
        "metadata": {},
        "field_times": {},
        "card": f'{{"n":{number},"reasons":["Says “[now]”"]',
    }
    return json.dumps({**row, **times, **texts, **derived, **counters})


async def test_tables_say_what_the_migrations_made(tickets_database: ServiceDatabase) -> None:
    """Each column of tables.py is in the database with the same nullability, and no other is there."""
    connection = await asyncpg.connect(tickets_database.superuser_url)
    found = await connection.fetch(
        "SELECT table_name, column_name, is_nullable FROM information_schema.columns "
        "WHERE table_schema = 'tickets' AND table_name <> 'alembic_version'"
    )
    await connection.close()
    there = {(row["table_name"], row["column_name"], row["is_nullable"] == "YES") for row in found}
    said = {
        (table.name, column.name, bool(column.nullable)) for table in metadata.tables.values() for column in table.c
    }
    assert there == said


# Nobody has counted the rows of a table that was filled a moment ago: without this the planner guesses from chance. An
# order that no index has is sorted all the same, and shows.
ORDERED_PLANS = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"


async def test_a_page_is_one_statement_on_the_index_of_the_inbox(agent: Agent) -> None:
    """The first page of a larger inbox reads the index in its order and sorts nothing, and its total is no count."""
    await agent.open()
    await fill(agent, 3000)
    request = PageRequest(filters=Filters(status="open"), smart=True)
    statement, arguments = page(agent.tenant_id, request)
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        await connection.execute(ORDERED_PLANS)
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *arguments))
    assert "places_in_order" in plan
    assert "Sort" not in plan
    found = await InboxStore(agent.running.database).page(agent.tenant_id, request)
    assert (len(found.rows), found.total) == (50, 3000)
    assert [row.micros for row in found.rows] == sorted((row.micros for row in found.rows), reverse=True)


@pytest.mark.parametrize(("descending", "status"), [(True, ""), (False, "open")])
@pytest.mark.parametrize(
    ("sort", "column", "index"),
    [
        ("updated_at", "update_time", "tickets_updated"),
        ("last_message_at", "last_message_time", "tickets_last_message"),
    ],
)
async def test_a_page_by_a_time_reads_the_index_of_each_status(
    agent: Agent, sort: str, column: str, index: str, descending: bool, status: str
) -> None:
    """A page of a larger inbox is read in its order, instead of all tickets being sorted."""
    await agent.open()
    await fill(agent, 3000)
    request = PageRequest(filters=Filters(status=status), sort=sort, descending=descending, page=2)
    statement, arguments = page(agent.tenant_id, request)
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        await connection.execute(
            f"UPDATE tickets.tickets SET card = number, {column} = now() + (number * 7 % 3000) * interval '1 s'"
        )
        if sort == "last_message_at":
            await connection.execute("UPDATE tickets.tickets SET last_message_time = NULL WHERE number = 3000")
        await connection.execute(ORDERED_PLANS)
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *arguments))
    assert index in plan
    found = await InboxStore(agent.running.database).page(agent.tenant_id, request)
    expected = sorted(range(1, 3001), key=lambda number: number * 7 % 3000, reverse=descending)
    assert [int(row.card.partition(",")[0]) for row in found.rows] == expected[50:100]


@pytest.mark.parametrize(("opened", "statements"), [(1, 3), (30, 3)])
async def test_a_page_costs_the_same_statements_whatever_is_in_the_inbox(
    agent: Agent, opened: int, statements: int
) -> None:
    """Weakness 16 of the predecessor: three queries per ticket and two more. Ours: begin, page, commit."""
    for _ in range(opened):
        await agent.open()
    database = agent.running.database
    seen: list[str] = []
    request = PageRequest(filters=Filters(status="open"), smart=True)
    # The driver looks up the types of a statement the first time that a connection runs it.
    await InboxStore(database).page(agent.tenant_id, request)
    async with database.driver.acquire() as connection:
        connection.add_query_logger(lambda query: seen.append(query.query))
    await InboxStore(database).page(agent.tenant_id, request)
    assert len(seen) == statements


async def test_settings_that_are_missing_are_named() -> None:
    """Without its targets the service says what is missing and does not start."""
    with pytest.raises(ValueError, match="TENANT_TARGET"):
        async with wired(TicketsSettings()):
            pass


async def test_the_process_is_wired_and_unwired(tickets_database: ServiceDatabase, valkey_url: str) -> None:
    """Everything is put together from settings, without the other services being there, and ends without rest."""
    settings = TicketsSettings(
        database_url=SecretStr(tickets_database.app_url),
        valkey_url=SecretStr(valkey_url),
        tenant_target="ipv4:127.0.0.1:1",
        recommendations_target="ipv4:127.0.0.1:1",
        workload_secret=SecretStr("secret"),
    )
    async with wired(settings) as parts:
        assert [name for name, _ in parts.components] == ["database", "trust", "background"]
        assert len(parts.registrations) >= 9
