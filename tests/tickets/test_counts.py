"""Counts that are kept, not made: they are always what counting would give, and pages far down begin by them."""

import asyncio
import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from servicekit.ids import uuid7
from services.tickets import page_sql
from services.tickets.cards import Filters, PageRequest
from services.tickets.inbox_store import InboxStore
from services.tickets.place_store import PlaceStore
from services.tickets.places import step_of
from services.tickets.reranking import Reranking
from tests.tickets.conftest import Agent
from tests.tickets.test_reranking import order_anew

STEPS = st.tuples(
    st.sampled_from(["open", "close", "reopen", "priority", "assign", "pend", "fold", "erase", "anew"]),
    st.integers(1, 6),
    st.integers(0, 3),
)


async def counted(agent: Agent) -> None:
    """Compare every kept count with the tickets themselves."""
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        tickets = await connection.fetch("SELECT id, status, priority, channel, assigned_to FROM tickets.tickets")
        totals = await connection.fetch("SELECT * FROM tickets.totals")
        depths = await connection.fetch("SELECT * FROM tickets.depths")
        active = await connection.fetchval("SELECT number FROM tickets.rankings WHERE state = 'active'")
        places = await connection.fetch("SELECT * FROM tickets.places WHERE ranking IN (0, $1)", active)
    kinds: Counter[Any] = Counter()
    for row in totals:
        kinds[row["status"], row["priority"], row["channel"], row["assigned_to"]] += row["tickets"]
    expected = Counter((row["status"], row["priority"], row["channel"], row["assigned_to"]) for row in tickets)
    assert +kinds == expected == kinds + Counter()
    assert all(count >= 0 for count in kinds.values())
    steps: Counter[Any] = Counter()
    for row in depths:
        if row["ranking"] in {0, active}:
            steps[row["ranking"], row["status"], row["tier"], row["step"]] += row["tickets"]
    assert all(count >= 0 for count in steps.values())
    assert +steps == Counter((row["ranking"], row["status"], row["tier"], step_of(row["rank_key"])) for row in places)
    assert {row["ticket_id"] for row in places} == {row["id"] for row in tickets}
    assert len(places) == len(tickets)
    assert all((row["ranking"] == 0) == (row["status"] == "closed") for row in places)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=12))
async def test_kept_counts_are_what_counting_gives(agent: Agent, steps: list[tuple[str, int, int]]) -> None:
    """Whatever is done to tickets in whatever order, and however often the counts are folded."""
    reranking = Reranking(agent.running.store, agent.running.inbox, agent.running.inbox._doorbell)
    numbers = {card["ticket_number"] for card in (await agent.inbox(status="", limit=100))["tickets"]}
    for _ in range(3 - len(numbers)):
        await agent.open()
    for what, which, how in steps:
        cards = (await agent.inbox(status="", limit=100))["tickets"]
        ticket = cards[which % len(cards)]["id"] if cards else None
        await act(agent, reranking, what, ticket, how)
    await counted(agent)


async def act(agent: Agent, reranking: Reranking, what: str, ticket: str | None, how: int) -> None:
    """Do one thing to one ticket, or to all counts."""
    if what == "open" or ticket is None:
        await agent.open(channel=("email", "chat", "sms", "phone")[how], priority=("low", "high")[how % 2])
    elif what in {"close", "reopen", "pend"}:
        status = {"close": "closed", "reopen": "open", "pend": "pending"}[what]
        await agent.ask("UpdateTicket", ticket=ticket, status=status, add_tags=["t"])
    elif what == "priority":
        await agent.ask("UpdateTicket", ticket=ticket, priority=("low", "normal", "high", "urgent")[how])
    elif what == "assign":
        await agent.ask("UpdateTicket", ticket=ticket, assigned_to=("", "ann", "bob", "eve")[how], add_tags=["t"])
    elif what == "fold":
        async with agent.running.database.tenant(agent.tenant_id) as connection:
            await PlaceStore(connection, agent.tenant_id).fold()
    elif what == "erase":
        async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
            await connection.execute("SELECT tickets.erase_tickets($1::uuid[])", [ticket])
        await agent.running.inbox.changed(agent.tenant_id)
    else:
        async with agent.running.store.shop(agent.tenant_id) as shop:
            version = (await shop.policies.newest()).policy.version + 1
        await order_anew(agent, reranking, ("fifo", "rapport", "sla-first", "value-first")[how], version)


async def test_a_count_that_is_one_row_stays_that_row(agent: Agent) -> None:
    """Folding rewrites what has many rows, so it does not cost all the steps of a shop with many tickets."""
    await agent.open()
    ticket = (await agent.open(channel="chat"))["id"]
    query = "SELECT id FROM tickets.{0} WHERE tenant_id = $1 AND ({1}) ORDER BY id"
    for name in ("ann", "bob"):
        await agent.ask("UpdateTicket", ticket=ticket, assigned_to=name)
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        before = [
            await connection.fetch(query.format("totals", "channel = 'email'"), agent.tenant_id),
            await connection.fetch(query.format("totals", "channel = 'chat'"), agent.tenant_id),
        ]
    async with agent.running.database.tenant(agent.tenant_id) as folding:
        await PlaceStore(folding, agent.tenant_id).fold()
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        assert await connection.fetch(query.format("totals", "channel = 'email'"), agent.tenant_id) == before[0]
        after = await connection.fetch(query.format("totals", "channel = 'chat'"), agent.tenant_id)
    assert len(before[1]) == 5
    assert len(after) == 1
    await counted(agent)


async def test_counts_are_folded_by_changes_that_move_no_ticket(agent: Agent) -> None:
    """Assigning a ticket to and fro adds rows to the totals alone; they do not add up for ever."""
    ticket = (await agent.open())["id"]
    for number in range(70):
        await agent.ask("UpdateTicket", ticket=ticket, assigned_to=("ann", "bob")[number % 2])
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        rows = await connection.fetchval("SELECT count(*) FROM tickets.totals WHERE tenant_id = $1", agent.tenant_id)
    assert rows < 1 + 2 * 64
    await counted(agent)


async def test_what_a_process_of_an_earlier_release_did_is_put_right_by_the_next_ranking(agent: Agent) -> None:
    """It opens, closes and reopens tickets without places and counts; no ticket is lost, no count stays wrong."""
    tickets = [(await agent.open())["id"] for _ in range(4)]
    await agent.ask("UpdateTicket", ticket=tickets[0], status="closed")
    copy = (
        "INSERT INTO tickets.tickets SELECT (jsonb_populate_record(t, jsonb_build_object("
        "'id', gen_random_uuid(), 'number', 100 + t.number))).* "
        "FROM tickets.tickets t WHERE id = ANY ($1::uuid[])"
    )
    change = (
        "UPDATE tickets.tickets SET status = $2, card_version = 1, "
        "close_time = CASE WHEN $2 = 'closed' THEN update_time END WHERE id = $1"
    )
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        await connection.execute(copy, tickets[:2])
        await connection.execute(change, tickets[0], "open")
        await connection.execute(change, tickets[3], "closed")
    reranking = Reranking(agent.running.store, agent.running.inbox, agent.running.inbox._doorbell)
    await order_anew(agent, reranking, "fifo", 2)
    assert (await agent.inbox())["pagination"]["total"] == 4
    assert len((await agent.inbox())["tickets"]) == 4
    await counted(agent)


async def test_counts_stay_right_whoever_writes_folds_erases_and_orders_anew_at_once(agent: Agent) -> None:
    """Writers, folders, erasures and rankings that take over meet on the same few tickets."""
    tickets = [(await agent.open())["id"] for _ in range(8)]
    reranking = Reranking(agent.running.store, agent.running.inbox, agent.running.inbox._doorbell)

    async def write(number: int) -> None:
        draw = random.Random(number)
        for _ in range(8):
            await act(agent, reranking, draw.choice(["close", "reopen", "priority", "assign"]), draw.choice(tickets), 2)
            await act(agent, reranking, draw.choice(["open", "fold"]), None if number else tickets[0], number)

    async def erase() -> None:
        for _ in range(4):
            await act(agent, reranking, "erase", (await agent.open())["id"], 0)

    working = [asyncio.create_task(one) for one in (write(0), write(1), write(2), erase())]
    turn = 0
    while turn < 2 or not all(task.done() for task in working):
        await act(agent, reranking, "anew", tickets[0], turn % 4)
        turn += 1
    await asyncio.gather(*working)
    await counted(agent)


async def fill(agent: Agent, keys: list[float]) -> None:
    """Give a tenant with one open ticket so many more of them, with these keys."""
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        await connection.execute(
            "INSERT INTO tickets.tickets SELECT (jsonb_populate_record(t, jsonb_build_object("
            "'id', gen_random_uuid(), 'number', 1 + g.n, 'rank_key', g.key))).* "
            "FROM tickets.tickets t, unnest($1::float8[]) WITH ORDINALITY AS g (key, n)",
            keys,
        )
        await connection.execute(
            "INSERT INTO tickets.places SELECT (jsonb_populate_record(p, jsonb_build_object("
            "'ticket_id', t.id, 'rank_key', t.rank_key, 'tier', t.number % 2))).* "
            "FROM tickets.places p, tickets.tickets t WHERE t.id <> p.ticket_id"
        )
        await connection.execute("DELETE FROM tickets.depths")
        await connection.execute(
            "INSERT INTO tickets.depths (tenant_id, ranking, status, tier, step, tickets) SELECT tenant_id, ranking, "
            "status, tier, floor(rank_key * 16), 1 FROM tickets.places"
        )
        await connection.execute("UPDATE tickets.totals SET tickets = $1", 1 + len(keys))


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(spread=st.sampled_from([0.0, 0.05, 1.0, 300.0]), seed=st.integers(0, 99), size=st.integers(7, 90))
async def test_pages_far_down_are_the_pages_of_the_whole_order(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, spread: float, seed: int, size: int
) -> None:
    """Whether a page begins at a step or counts from the top, it holds the same rows; also when many keys are equal."""
    tenant = Agent(agent.running, agent.issuer, uuid7())
    await tenant.open()
    draw = random.Random(seed)
    await fill(tenant, [round(draw.uniform(-spread, spread), 2) for _ in range(160)])
    store = InboxStore(agent.running.database)
    for status in ("open", ""):
        request = PageRequest(filters=Filters(status=status), limit=500, smart=True)
        whole = (await store.page(tenant.tenant_id, request)).rows
        assert len(whole) == 161
        monkeypatch.setattr(page_sql, "DEEP", 0)
        pages = [
            await store.page(tenant.tenant_id, PageRequest(request.filters, number, size, smart=True))
            for number in range(1, 161 // size + 3)
        ]
        monkeypatch.undo()
        cards = [row.card for page in pages for row in page.rows]
        assert cards == [row.card for row in whole]
        assert {page.total for page in pages} == {161}


async def test_a_page_far_down_reads_a_few_rows_of_the_index(agent: Agent) -> None:
    """Page 60 of 4,000 tickets begins at its step: what it reads is no more than a step and a page."""
    await agent.open()
    draw = random.Random(7)
    await fill(agent, [draw.uniform(0, 30) for _ in range(4000)])
    request = PageRequest(filters=Filters(status="open"), page=60, smart=True)
    statement, arguments = page_sql.page(agent.tenant_id, request)
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        rows = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT TEXT) {statement}", *arguments)
    scans = [row[0] for row in rows if "places_in_order" in row[0]]
    assert len(scans) == 1
    read = float(scans[0].rpartition("rows=")[2].split()[0])
    assert read <= 50 + 40


@pytest.mark.parametrize("opened", [1, 60])
async def test_a_list_of_the_public_api_costs_the_same_statements_whatever_is_in_it(agent: Agent, opened: int) -> None:
    """The tenant, the ranking, the tickets that wait, the closed ones: four statements, first page or later."""
    for _ in range(opened):
        await agent.open()
    engine = agent.running.database.engine.sync_engine
    counts = []
    async with agent.running.store.shop(agent.tenant_id) as shop:
        await shop.policies.policy(1)
    after = None
    for _ in range(3):
        seen: list[str] = []

        def note(*given: Any, seen: list[str] = seen) -> None:
            seen.append(given[2])

        event.listen(engine, "before_cursor_execute", note)
        async with agent.running.store.shop(agent.tenant_id) as shop:
            listed = await shop.lists.smart(Filters(), after, 20)
        event.remove(engine, "before_cursor_execute", note)
        counts.append(len(seen))
        after = listed.cursors[-1] if listed.cursors else after
    assert max(counts) <= 4
    keys = [stored.rank.key for stored in listed.tickets]
    assert all(first >= second for first, second in pairwise(keys))


@pytest.mark.parametrize("filters", [Filters(), Filters(assigned_to="ann"), Filters(customer_id="c")])
async def test_a_list_of_the_public_api_reads_a_page_whatever_is_in_it(agent: Agent, filters: Filters) -> None:
    """Of all statuses together, and of one agent's or one customer's tickets, no more is read than is listed."""
    await agent.open()
    draw = random.Random(8)
    await fill(agent, [draw.uniform(0, 30) for _ in range(4000)])
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        await connection.execute("UPDATE tickets.tickets SET assigned_to = 'ann', customer_id = 'c' WHERE number < 4")
        await connection.execute(
            "UPDATE tickets.places p SET assigned_to = t.assigned_to, customer_id = t.customer_id "
            "FROM tickets.tickets t WHERE t.id = p.ticket_id AND t.number < 4"
        )
    engine = agent.running.database.engine.sync_engine
    seen: list[tuple[str, Any]] = []

    def note(*given: Any) -> None:
        seen.append((given[2], given[3]))

    event.listen(engine, "before_cursor_execute", note)
    async with agent.running.store.shop(agent.tenant_id) as shop:
        listed = await shop.lists.smart(filters, None, 20)
    event.remove(engine, "before_cursor_execute", note)
    assert len(listed.tickets) == (3 if filters.given() else 20)
    (statement, arguments), *_ = [one for one in seen if "tickets.places" in one[0]]
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        rows = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT TEXT) {statement}", *arguments)
    read = [float(row[0].rpartition("rows=")[2].split()[0]) for row in rows if "places" in row[0] and "rows=" in row[0]]
    assert max(read) <= 20, "\n".join(row[0] for row in rows)
