"""The frontend's calls, through a real server."""

from tests.tickets.conftest import Agent


async def test_a_new_ticket_stands_in_the_inbox_at_once(agent: Agent) -> None:
    """Whoever opens a ticket finds it in the next list, with the fields that the frontend reads."""
    ticket = await agent.open(subject="Order 77", message="I need it ASAP, where is my order?")
    page = await agent.inbox()
    card = page["tickets"][0]
    print(page)
    assert card["id"] == ticket["id"]
    assert card["last_message_preview"].startswith("I need it ASAP")
    assert page["pagination"] == {
        "page": 1,
        "limit": 50,
        "total": 1,
        "total_pages": 1,
        "has_next": False,
        "has_prev": False,
    }
    detail = await agent.ask("GetTicket", ticket="T-001")
    print(detail)
    print(await agent.ask("GetScoreBreakdown", ticket="T-001"))
