"""Rankings: built beside the active one, complete when they take over, and read on for a while by who began with them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rapport.tickets.v1 import ticket_service_pb2

from services.tickets.places import SETTLED
from services.tickets.policies import PRESETS, Policy
from services.tickets.policy_store import Version
from services.tickets.reranking import KEPT_FOR, Reranking
from services.tickets.store import Store
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
    from dataclasses import replace

    async with agent.running.store.shop(agent.tenant_id) as shop:
        policy: Policy = replace(PRESETS[name], version=version)
        await shop.policies.add(Version(policy, "test", "", datetime.now(UTC)))


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


async def test_another_policy_orders_the_whole_inbox_anew(agent: Agent, reranking: Reranking) -> None:
    """By value-first the rich customer's low ticket is above the poor one's urgent ticket; by fifo the oldest leads."""
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
