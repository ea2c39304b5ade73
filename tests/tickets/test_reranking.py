"""Rankings: built beside the active one, complete when they take over, and read on by lists that were begun in them."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rapport.tickets.v1 import ticket_service_pb2

from servicekit.ids import uuid7
from services.tickets.places import KEPT_FOR, SETTLED
from services.tickets.policies import PRESETS
from services.tickets.policy_store import Version
from services.tickets.ranking_store import RankingStore, Standing
from services.tickets.reranking import Reranking
from tests.support.waiting import eventually
from tests.tickets.calls import refusal
from tests.tickets.conftest import Agent
from tests.tickets.test_inbox import know


@pytest.fixture
def reranking(agent: Agent) -> Reranking:
    """What builds the rankings of the agent's server."""
    running = agent.running
    return Reranking(running.store, running.inbox, running.inbox._doorbell)


async def adopt(agent: Agent, name: str, version: int) -> None:
    """Give a tenant a version of a preset policy."""
    async with agent.running.store.shop(agent.tenant_id) as shop:
        policy = replace(PRESETS[name], version=version)
        await shop.policies.add(Version(policy, "test", "", datetime.now(UTC)))


async def order_anew(agent: Agent, reranking: Reranking, name: str, version: int) -> None:
    """Let a policy order the inbox."""
    await adopt(agent, name, version)
    await reranking.begin(agent.tenant_id, version)
    assert await reranking.build(agent.tenant_id)


async def some_tickets(agent: Agent, count: int) -> None:
    """Open tickets that different policies order differently."""
    await know(agent, "rich", 20_000, 0.9)
    await know(agent, "poor", 250, 0.1)
    for number in range(count):
        await agent.open(
            subject=f"Ticket {number}",
            customer_id=("poor", "rich", "new")[number % 3],
            priority=("urgent", "low", "normal", "high")[number % 4],
        )


async def walk(agent: Agent, size: int, **fields: Any) -> list[str]:
    """Return the numbers of all tickets of a list, page by page."""
    found: list[str] = []
    token = ""
    while True:
        request = ticket_service_pb2.ListTicketsRequest(page_size=size, page_token=token, **fields)
        page = await agent.running.tickets.ListTickets(request, metadata=agent.metadata)
        found += [ticket.number for ticket in page.tickets]
        token = page.next_page_token
        if not token:
            return found


async def places_of(agent: Agent) -> dict[UUID, dict[int, float]]:
    """Return the keys of all tickets by ranking."""
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        rows = await connection.fetch("SELECT ticket_id, ranking, rank_key FROM tickets.places")
    found: dict[UUID, dict[int, float]] = {}
    for row in rows:
        found.setdefault(row["ticket_id"], {})[row["ranking"]] = row["rank_key"]
    return found


async def test_another_policy_orders_the_whole_inbox_anew(agent: Agent, reranking: Reranking) -> None:
    """Until the new ranking is complete the list is as it was; then it is the new one, on cards and pages alike."""
    await some_tickets(agent, 12)
    before = await walk(agent, 5, status="open")
    await adopt(agent, "fifo", 2)
    await reranking.begin(agent.tenant_id, 2)
    assert await walk(agent, 5, status="open") == before
    assert await reranking.build(agent.tenant_id)
    after = await walk(agent, 5, status="open")
    assert after == [f"T-{number:03}" for number in range(1, 13)] != before
    page = await agent.inbox()
    assert [card["ticket_number"] for card in page["tickets"]] == after
    assert not await reranking.build(agent.tenant_id)


async def test_scores_and_reasons_are_those_of_the_policy_that_orders(agent: Agent, reranking: Reranking) -> None:
    """The card's score is the explanation's, and by fifo nothing but waiting is a reason."""
    await some_tickets(agent, 6)
    assert any(card["reasons"] for card in (await agent.inbox())["tickets"])
    await order_anew(agent, reranking, "fifo", 2)
    for card in (await agent.inbox())["tickets"]:
        assert card["reasons"] == []
        shown = await agent.ask("GetScoreBreakdown", ticket=card["id"])
        assert shown["total_score"] == pytest.approx(card["smart_score"], abs=0.001)


async def test_what_changes_while_a_ranking_is_built_is_in_it(agent: Agent, reranking: Reranking) -> None:
    """Tickets are opened, closed and changed while rankings are built again and again; each ends where it belongs."""
    await some_tickets(agent, 40)

    async def work(number: int) -> None:
        for step in range(10):
            ticket = f"T-{number + 4 * step:03}"
            await agent.ask("UpdateTicket", ticket=ticket, status="closed")
            if step % 2:
                await agent.ask("UpdateTicket", ticket=ticket, status="open", priority="high")
            await agent.open(subject=f"new {number} {step}", customer_id="rich")

    workers = [asyncio.create_task(work(number)) for number in range(1, 5)]
    version = 1
    while not all(worker.done() for worker in workers):
        version += 1
        await order_anew(agent, reranking, ("fifo", "value-first")[version % 2], version)
    await asyncio.gather(*workers)
    await order_anew(agent, reranking, "fifo", version + 1)
    after = await walk(agent, 7, status="open")
    everything = await walk(agent, 7)
    assert len(everything) == len(set(everything)) == 80
    assert len(after) == 60
    cards = (await agent.inbox(limit=100))["tickets"]
    assert [card["ticket_number"] for card in cards] == after
    assert [card["created_at"] for card in cards] == sorted(card["created_at"] for card in cards)
    await reranking.sweep(agent.tenant_id, datetime.now(UTC) + timedelta(hours=1))
    places = await places_of(agent)
    assert len(places) == 80
    assert all(len(keys) == 1 for keys in places.values())
    assert sum(SETTLED in keys for keys in places.values()) == 20


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(size=st.integers(2, 6), turns=st.lists(st.sampled_from(["fifo", "value-first", "sla-first", ""]), max_size=7))
async def test_a_walk_through_pages_shows_each_ticket_once_whatever_is_ordered_anew(
    agent: Agent, reranking: Reranking, size: int, turns: list[str]
) -> None:
    """Between any two pages of one list the inbox may be ordered anew; the list goes on in the order it began with."""
    if not (await agent.inbox())["tickets"]:
        await some_tickets(agent, 17)
    expected = sorted(await walk(agent, 50, status="open"))
    found: list[str] = []
    token, waiting = "", list(turns)
    while True:
        request = ticket_service_pb2.ListTicketsRequest(page_size=size, page_token=token, status="open")
        page = await agent.running.tickets.ListTickets(request, metadata=agent.metadata)
        found += [ticket.number for ticket in page.tickets]
        token = page.next_page_token
        if not token:
            break
        if waiting and (name := waiting.pop()):
            async with agent.running.store.shop(agent.tenant_id) as shop:
                version = (await shop.policies.newest()).policy.version + 1
            await order_anew(agent, reranking, name, version)
    assert sorted(found) == expected


async def test_a_list_goes_on_without_what_was_closed_since_the_order_changed(
    agent: Agent, reranking: Reranking
) -> None:
    """The rows of the old ranking stay as they were, and the tickets' own status counts."""
    await some_tickets(agent, 6)
    request = ticket_service_pb2.ListTicketsRequest(page_size=2, status="open")
    first = await agent.running.tickets.ListTickets(request, metadata=agent.metadata)
    seen = {ticket.number for ticket in first.tickets}
    await order_anew(agent, reranking, "fifo", 2)
    rest = sorted(set(await walk(agent, 10, status="open")) - seen)
    await agent.ask("UpdateTicket", ticket=rest[0], status="closed")
    request = ticket_service_pb2.ListTicketsRequest(page_size=10, status="open", page_token=first.next_page_token)
    second = await agent.running.tickets.ListTickets(request, metadata=agent.metadata)
    assert sorted(ticket.number for ticket in second.tickets) == rest[1:]


async def test_a_list_that_was_begun_too_long_ago_says_so(agent: Agent, reranking: Reranking) -> None:
    """When the old ranking is swept, its page tokens are refused by a reason of their own and nothing is left of it."""
    await some_tickets(agent, 4)
    request = ticket_service_pb2.ListTicketsRequest(page_size=2, status="open")
    token = (await agent.running.tickets.ListTickets(request, metadata=agent.metadata)).next_page_token
    await order_anew(agent, reranking, "fifo", 2)
    assert await reranking.sweep(agent.tenant_id, datetime.now(UTC) - KEPT_FOR) == 0
    assert await reranking.sweep(agent.tenant_id, datetime.now(UTC) + timedelta(seconds=1)) == 4
    again = ticket_service_pb2.ListTicketsRequest(page_size=2, status="open", page_token=token)
    call = agent.running.tickets.ListTickets(again, metadata=agent.metadata)
    assert await refusal(call) == (grpc.StatusCode.OUT_OF_RANGE, "PAGE_ORDER_GONE")
    assert all(keys.keys() == {2} for keys in (await places_of(agent)).values())


async def test_a_ranking_that_is_begun_gives_up_the_one_before_it(agent: Agent, reranking: Reranking) -> None:
    """Of two changes of the policy the last one counts, and the places of the first go."""
    await some_tickets(agent, 4)
    await adopt(agent, "fifo", 2)
    await adopt(agent, "value-first", 3)
    await reranking.begin(agent.tenant_id, 2)
    last = await reranking.begin(agent.tenant_id, 3)
    assert await reranking.build(agent.tenant_id)
    await reranking.sweep(agent.tenant_id, datetime.now(UTC) - KEPT_FOR)
    async with agent.running.store.shop(agent.tenant_id) as shop:
        assert (await shop.places.rankings()).active == last
    assert {number for keys in (await places_of(agent)).values() for number in keys} == {1, last.number}


async def test_a_ranking_that_was_given_up_gets_no_places(agent: Agent) -> None:
    """A batch that comes late adds nothing that nobody would ever take away."""
    await some_tickets(agent, 1)
    async with agent.running.store.shop(agent.tenant_id) as shop:
        late = await shop.rankings.begin(2)
        await shop.rankings.begin(2)
        (ticket,) = await shop.rankings.waiting_ids()
        await shop.rankings.add(late.number, [Standing(ticket, 0, 1.0, ())])
        assert not await shop.rankings.take_over(late.number)
    assert late.number not in (await places_of(agent))[ticket]


async def test_whoever_watches_is_told_of_every_move(agent: Agent, reranking: Reranking) -> None:
    """The log says of each ticket where it stood and where it stands in the new ranking."""
    await some_tickets(agent, 5)
    before = await places_of(agent)
    await order_anew(agent, reranking, "fifo", 2)
    after = await places_of(agent)
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        moves = await connection.fetch("SELECT * FROM tickets.changes WHERE kind = 'moved'")
    told = {move["ticket_id"]: (move["previous_rank_key"], move["rank_key"]) for move in moves}
    assert told == {ticket: (keys[1], after[ticket][2]) for ticket, keys in before.items()}
    assert len(moves) == 5


async def totals_of(agent: Agent) -> dict[str, int]:
    """Return how many tickets there are by status, as the kept totals say."""
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        rows = await connection.fetch("SELECT status, sum(tickets) AS tickets FROM tickets.totals GROUP BY status")
    return {row["status"]: int(row["tickets"]) for row in rows if row["tickets"]}


async def test_what_failed_after_a_take_over_is_made_up_for(
    agent: Agent, reranking: Reranking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier release closed tickets without places, and telling fails: the sweep puts places and totals right."""
    await some_tickets(agent, 8)
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        await connection.execute(
            "UPDATE tickets.tickets SET status = 'closed', close_time = now() WHERE tenant_id = $1 AND number <= 2",
            agent.tenant_id,
        )

    async def fail(*_: object) -> None:
        raise OSError("the connection is lost")

    await adopt(agent, "fifo", 2)
    await reranking.begin(agent.tenant_id, 2)
    with monkeypatch.context() as broken:
        broken.setattr(RankingStore, "tell", fail)
        await reranking.work()
    assert await totals_of(agent) == {"open": 8}, "nobody has counted anew so far"
    assert await reranking.sweep(agent.tenant_id, datetime.now(UTC) + timedelta(seconds=1)) == 8
    assert await totals_of(agent) == {"open": 6, "closed": 2}
    assert (await agent.inbox())["pagination"]["total"] == 6
    assert sorted(await walk(agent, 5, status="closed")) == ["T-001", "T-002"]
    places = await places_of(agent)
    assert sorted(tuple(keys) for keys in places.values()) == [(SETTLED,)] * 2 + [(2,)] * 6


async def test_a_ranking_is_built_in_the_background_when_the_bell_rings(agent: Agent, reranking: Reranking) -> None:
    """A process that was started finds what was begun, and one that runs is woken."""
    await some_tickets(agent, 3)
    await adopt(agent, "fifo", 2)
    running = asyncio.create_task(reranking.run())
    try:
        await reranking.begin(agent.tenant_id, 2)

        async def active() -> bool:
            async with agent.running.store.shop(agent.tenant_id) as shop:
                return (await shop.places.rankings()).active.policy_version == 2

        assert await eventually(active)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_fails_for_one_tenant_holds_up_no_other(agent: Agent, reranking: Reranking) -> None:
    """A ranking by a policy that there is not is left, and the other tenant's is built."""
    other = Agent(agent.running, agent.issuer, uuid7())
    for one in (agent, other):
        await some_tickets(one, 2)
        await reranking.begin(one.tenant_id, 2)
    await adopt(other, "fifo", 2)
    await reranking.work()
    for one, version in ((agent, 1), (other, 2)):
        async with one.running.store.shop(one.tenant_id) as shop:
            assert (await shop.places.rankings()).active.policy_version == version
    async with agent.running.store.shop(agent.tenant_id) as shop:
        await shop.rankings.begin(1)
    await reranking.build(agent.tenant_id)
