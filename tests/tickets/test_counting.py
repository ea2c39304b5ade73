"""Counts of tickets: exact where totals are kept, bounded elsewhere, and always those of the list."""

from typing import Any

import pytest
from rapport.tickets.v1 import search_service_pb2

from servicekit.ids import uuid7
from services.tickets import counting
from tests.tickets.conftest import Agent, Running

By = search_service_pb2.CountTicketsRequest


async def count(agent: Agent, **fields: Any) -> tuple[str, dict[str, str]]:
    """Count as an agent; return total and groups as people read them."""
    request = search_service_pb2.CountTicketsRequest(**fields)
    found = await agent.running.search.CountTickets(request, metadata=agent.metadata)
    return found.total.text, {group.value: group.count.text for group in found.groups}


async def stock(agent: Agent) -> None:
    """Open five tickets: two urgent ones by chat, one pending, one closed; four with tags."""
    await agent.open(priority="urgent", channel="chat", tags=["vip", "it's \\ odd"])
    await agent.open(priority="urgent", channel="chat", tags=["vip"], customer_id="c-2")
    await agent.open(status="pending", tags=["late"])
    await agent.open(status="closed", tags=["vip"])
    await agent.open()


async def test_counts_by_kept_totals(agent: Agent) -> None:
    """All tickets, one status, and groups by fields of which totals are kept."""
    await stock(agent)
    assert await count(agent) == ("5", {})
    assert await count(agent, by=By.BY_STATUS) == ("5", {"open": "3", "closed": "1", "pending": "1"})
    assert await count(agent, status="open", by=By.BY_CHANNEL) == ("3", {"chat": "2", "email": "1"})
    assert await count(agent, priority="urgent", by=By.BY_ASSIGNEE) == ("2", {"": "2"})


async def test_counts_by_tag_customer_and_promise(agent: Agent) -> None:
    """What no totals are kept of is counted from the tickets, tags with odd signs among them."""
    await stock(agent)
    assert await count(agent, tag="vip") == ("3", {})
    assert await count(agent, tag="vip", status="open") == ("2", {})
    assert await count(agent, tag="it's \\ odd", by=By.BY_TAG) == ("1", {"it's \\ odd": "1", "vip": "1"})
    assert await count(agent, tag="VIP") == ("0", {})
    assert await count(agent, customer_id="c-2", by=By.BY_PRIORITY) == ("1", {"urgent": "1"})
    assert await count(agent, by=By.BY_TAG) == ("5", {"vip": "3", "it's \\ odd": "1", "late": "1"})
    assert await count(agent, breached=True, by=By.BY_BREACHED) == ("0", {})


async def test_tags_are_counted_as_they_change(agent: Agent) -> None:
    """The index follows tags that are added, taken away, and those of tickets that are closed."""
    ticket = await agent.open(tags=["vip"])
    await agent.ask("UpdateTicket", ticket=ticket["id"], add_tags=["late"])
    assert await count(agent, tag="late") == ("1", {})
    await agent.ask("UpdateTicket", ticket=ticket["id"], remove_tags=["vip"])
    assert await count(agent, tag="vip") == ("0", {})
    await agent.ask("UpdateTicket", ticket=ticket["id"], status="closed")
    assert await count(agent, tag="late", status="closed") == ("1", {})


async def test_what_is_not_kept_is_counted_up_to_a_bound(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the bound is said to be more."""
    for _ in range(4):
        await agent.open(tags=["vip"])
    monkeypatch.setattr(counting, "BOUND", 2)
    assert await count(agent, tag="vip") == ("2+", {})
    monkeypatch.setattr(counting, "GROUPED", 3)
    assert await count(agent, by=By.BY_TAG) == ("2+", {"vip": "3+"})


async def test_no_tenant_counts_anothers_tickets(running: Running, agent: Agent) -> None:
    """Neither by totals nor by the index of words."""
    await stock(agent)
    other = Agent(running, agent.issuer, uuid7())
    assert await count(other) == await count(other, tag="vip") == await count(other, by=By.BY_TAG) == ("0", {})


@pytest.mark.parametrize("odd", ["'", "\\", "' | '", "\u202e", "x" * 100])
async def test_odd_signs_count_nothing(agent: Agent, odd: str) -> None:
    """Nobody has such a tag or name; it is no error either."""
    await stock(agent)
    assert await count(agent, tag=odd) == ("0", {})
    assert await count(agent, assigned_to=odd) == await count(agent, customer_id=odd) == ("0", {})
