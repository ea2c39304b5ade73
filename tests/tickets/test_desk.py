"""The frontend's calls through a real server: shapes, both id forms, order of messages, bad input."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, struct_pb2
from rapport.frontend.v1 import ticket_desk_pb2, ticket_desk_shapes_pb2

from servicekit.ids import uuid7
from tests.tickets.calls import refusal
from tests.tickets.conftest import Agent, Running

PAGE = {"page": 1, "limit": 50, "total": 1, "total_pages": 1, "has_next": False, "has_prev": False}
BY_ANN: dict[str, Any] = {"from_agent": False, "author_name": "Ann"}
BY_AGENT: dict[str, Any] = {"from_agent": True, "author_name": "Agent"}


def check_shape(answer: Any, shape: str) -> None:
    """Hold an answer against its documented shape: every name known, every number a number, every time with a zone."""
    message = getattr(ticket_desk_shapes_pb2, shape)()
    json_format.ParseDict(answer, message)
    check_values(answer)


def check_values(value: Any, name: str = "") -> None:
    """Walk an answer: times end in Z, numbers are numbers, and what the frontend calls a method on is never null."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "filters_applied":
                check_values(inner, key)
    elif isinstance(value, list):
        for inner in value:
            check_values(inner, name)
    elif name.endswith("_at") and value is not None:
        assert isinstance(value, str)
        assert value.endswith("Z")
    elif name in {"smart_score", "total_score", "points", "age_hours", "message_count", "total", "matches"}:
        assert isinstance(value, int | float)
        assert not isinstance(value, bool)
    elif name in {"channel", "subject", "status", "priority", "id", "ticket_number"}:
        assert isinstance(value, str)


async def test_the_demo_flow_of_an_unknown_customer(agent: Agent) -> None:
    """Open, read, answer, close and read again, as the demo page does, with every answer in its shape."""
    created = await agent.ask(
        "CreateTicket",
        customer_id="never-seen",
        subject="Cancel my order",
        channel="email",
        priority="urgent",
        initial_message="Please cancel my order",
        author_name="Ann",
        author_email="ann@shop.example",
    )
    check_shape(created, "TicketCreated")
    ticket = created["ticket"]["id"]
    detail = await agent.ask("GetTicket", ticket=ticket)
    check_shape(detail, "TicketDetail")
    assert detail["customer_profile"] is None
    assert detail["ai_recommendation"] is None
    assert [message["author_name"] for message in detail["messages"]] == ["Ann"]
    added = await agent.ask(
        "AddMessage", ticket=ticket, content="Done.", from_agent=True, send_to_customer=True, author_name="Agent"
    )
    check_shape(added, "MessageAdded")
    updated = await agent.ask("UpdateTicket", ticket=ticket, status="closed")
    check_shape(updated, "TicketUpdated")
    again = await agent.ask("GetTicket", ticket=ticket)
    assert again["status"] == "closed"
    assert again["closed_at"].endswith("Z")
    assert [message["content"] for message in again["messages"]] == ["Please cancel my order", "Done."]


async def test_a_card_has_every_field_of_the_contract(agent: Agent) -> None:
    """The inbox row is complete, its preview is cut at 100 characters, and the page says where it lies."""
    await agent.open(subject="Long", message="x" * 150, channel="sms", tags=["vip"])
    page = await agent.inbox()
    check_shape(page, "TicketPage")
    card = page["tickets"][0]
    assert card["last_message_preview"] == "x" * 100 + "..."
    assert card["last_message_from_agent"] is False
    assert (card["message_count"], card["channel"], card["tags"]) == (1, "sms", ["vip"])
    assert card["matches_topic_alert"] is False
    assert card["smart_score"] > 0
    assert page["pagination"] == PAGE
    assert page["smart_order_enabled"] is True
    assert page["filters_applied"] == {
        "status": "open",
        "priority": None,
        "channel": None,
        "assigned_to": None,
        "customer_id": None,
    }


async def test_notes_stay_after_saving(agent: Agent) -> None:
    """Weakness 5 of the predecessor: a saved note vanished from the ticket page."""
    await agent.open()
    added = await agent.ask("AddNote", ticket="T-001", content="call back", author_name="Agent", author_id="agent-1")
    check_shape(added, "NoteAdded")
    detail = await agent.ask("GetTicket", ticket="T-001")
    assert [note["content"] for note in detail["notes"]] == ["call back"]
    listed = await agent.ask("ListNotes", ticket="T-001")
    check_shape(listed, "NoteList")
    assert listed["notes"] == detail["notes"]


async def test_both_id_forms_work_on_every_route(agent: Agent) -> None:
    """Weakness 12 of the predecessor: T-005 was read by GET and failed with 500 on everything else."""
    ticket = (await agent.open())["id"]
    for name in (ticket, "T-001", ticket.upper()):
        await agent.ask("GetTicket", ticket=name)
        await agent.ask("UpdateTicket", ticket=name, priority="high")
        await agent.ask("AddMessage", ticket=name, content="hi", **BY_ANN)
        await agent.ask("AddNote", ticket=name, content="hi", author_name="Ann", author_id="1")
        await agent.ask("ListNotes", ticket=name)
        check_shape(await agent.ask("ResetConversation", ticket=name), "ConversationReset")
        check_shape(await agent.ask("GetScoreBreakdown", ticket=name), "ScoreBreakdown")


async def test_a_breakdown_adds_up_and_agrees_with_the_list(agent: Agent) -> None:
    """The seven components sum to the total, for an unknown customer too, and the list shows the same score."""
    await agent.open(subject="urgent", message="this is awful, cancel my order asap", priority="high")
    breakdown = await agent.ask("GetScoreBreakdown", ticket="T-001")
    components = breakdown["components"]
    assert set(components) == {
        "churn_risk",
        "customer_value",
        "urgency",
        "age",
        "difficulty",
        "sentiment",
        "topic_alert",
    }
    micros = sum(round(points * 1_000_000) for points in components.values())
    assert micros == round(breakdown["total_score"] * 1_000_000)
    assert breakdown["customer"] == {"ltv": None, "churn_risk": None}
    shown = (await agent.inbox())["tickets"][0]["smart_score"]
    # Both are the same function of the stored key; what differs is the moment.
    assert abs(shown - breakdown["total_score"]) < 0.001


async def test_reset_hides_all_but_the_first_message_and_can_be_undone(agent: Agent) -> None:
    """Nothing is destroyed: the second call says so, the preview goes back, and restoring brings everything again."""
    await agent.open(message="first")
    for number in range(3):
        await agent.ask("AddMessage", ticket="T-001", content=f"more {number} refund", **BY_ANN)
    reset = await agent.ask("ResetConversation", ticket="T-001")
    assert (reset["status"], reset["messages_deleted"]) == ("reset", 3)
    assert (await agent.ask("ResetConversation", ticket="T-001"))["status"] == "already_reset"
    detail = await agent.ask("GetTicket", ticket="T-001")
    assert [message["content"] for message in detail["messages"]] == ["first"]
    page = await agent.inbox(topic_alerts="refund")
    assert page["matches"] == 0
    assert page["tickets"][0]["last_message_preview"] == "first"
    async with agent.running.store.shop(agent.tenant_id) as shop:
        stored = await shop.find(1)
        assert stored
        assert len(await shop.restore_all(stored.ticket.family)) == 3
    assert len((await agent.ask("GetTicket", ticket="T-001"))["messages"]) == 4


async def test_ten_messages_in_a_row_keep_their_order(agent: Agent) -> None:
    """Long drafts arrive as several posts at once; equal times are kept apart by a sequence."""
    await agent.open(message="0")
    for number in range(1, 11):
        await agent.ask("AddMessage", ticket="T-001", content=str(number), from_agent=True, author_name="Agent")
    detail = await agent.ask("GetTicket", ticket="T-001")
    assert [message["content"] for message in detail["messages"]] == [str(number) for number in range(11)]


async def test_tags_are_replaced_added_and_removed(agent: Agent) -> None:
    """An empty list removes all tags, an absent one changes nothing."""
    await agent.open(tags=["a", "b"])

    def texts(*values: str) -> struct_pb2.ListValue:
        return struct_pb2.ListValue(values=[struct_pb2.Value(string_value=value) for value in values])

    changed = await agent.ask("UpdateTicket", ticket="T-001", add_tags=["c"], remove_tags=["a"])
    assert changed["ticket"]["tags"] == ["b", "c"]
    changed = await agent.ask("UpdateTicket", ticket="T-001", tags=texts("x", "y"), add_tags=["z"])
    assert changed["ticket"]["tags"] == ["x", "y", "z"]
    changed = await agent.ask("UpdateTicket", ticket="T-001", tags=texts())
    assert changed["ticket"]["tags"] == []


async def test_assigning_and_taking_back(agent: Agent) -> None:
    """Nobody is null, and the filter finds what is assigned."""
    await agent.open()
    assert (await agent.ask("UpdateTicket", ticket="T-001", assigned_to="eve"))["ticket"]["assigned_to"] == "eve"
    assert (await agent.inbox(assigned_to="eve"))["pagination"]["total"] == 1
    assert (await agent.ask("UpdateTicket", ticket="T-001", assigned_to=""))["ticket"]["assigned_to"] is None
    assert (await agent.inbox(assigned_to="eve"))["pagination"]["total"] == 0


async def test_close_ticket_with_a_message_and_reopen(agent: Agent) -> None:
    """A message may close its ticket; opening it again clears the closing time."""
    await agent.open()
    answer = await agent.ask("AddMessage", ticket="T-001", content="bye", **BY_AGENT, close_ticket=True)
    assert answer["ticket_updated"]["status"] == "closed"
    assert (await agent.inbox())["tickets"] == []
    reopened = await agent.ask("UpdateTicket", ticket="T-001", status="open")
    assert reopened["ticket"]["closed_at"] is None


async def test_numbers_are_unique_under_concurrent_creates(agent: Agent) -> None:
    """Fifty tickets at once have fifty numbers; another tenant counts from one again."""
    tickets = await asyncio.gather(*(agent.open(subject=str(number)) for number in range(50)))
    numbers = [ticket["ticket_number"] for ticket in tickets]
    assert sorted(numbers) == [f"T-{number:03d}" for number in range(1, 51)]
    other = Agent(agent.running, agent.issuer, uuid7())
    assert (await other.open())["ticket_number"] == "T-001"


async def test_another_tenant_finds_nothing(agent: Agent) -> None:
    """Another shop's ticket looks like a missing one, under its id and under its number."""
    ticket = await agent.open()
    other = Agent(agent.running, agent.issuer, uuid7())
    for name in (ticket["id"], "T-001"):
        code, reason = await refusal(other.ask("GetTicket", ticket=name))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "TICKET_NOT_FOUND")
    assert (await other.inbox())["tickets"] == []


LISTS = [
    {"status": "nonsense"},
    {"priority": "HIGH"},
    {"channel": "pigeon"},
    {"page": 0},
    {"page": -1},
    {"limit": 0},
    {"limit": 1000},
    {"sort": "content; DROP TABLE tickets"},
    {"order": "sideways"},
    {"assigned_to": "a\x00b"},
    {"customer_id": "x" * 256},
    {"topic_alerts": "x" * 2001},
    {"topic_alerts": "x" * 101},
    {"topic_alerts": ",".join(str(number) for number in range(21))},
]


@pytest.mark.parametrize("fields", LISTS, ids=[str(fields)[:40] for fields in LISTS])
async def test_wrong_lists_are_refused(agent: Agent, fields: dict[str, Any]) -> None:
    """Wrong parameters are the caller's fault and say so."""
    code, _ = await refusal(agent.inbox(**fields))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


NEW: dict[str, Any] = {"customer_id": "c", "channel": "email", "initial_message": "x", "author_name": "Ann"}
MESSAGE: dict[str, Any] = {"ticket": "T-001", "content": "x", **BY_ANN}
NOTE: dict[str, Any] = {"ticket": "T-001", "content": "x", "author_name": "Eve", "author_id": "1"}


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the fields but one."""
    return {key: value for key, value in fields.items() if key != name}


WRITES: list[tuple[str, dict[str, Any]]] = [
    ("CreateTicket", {**NEW, "customer_id": ""}),
    ("CreateTicket", {**NEW, "channel": "fax"}),
    ("CreateTicket", {**NEW, "priority": "extreme"}),
    ("CreateTicket", {**NEW, "initial_message": "a\x00b"}),
    ("CreateTicket", {**NEW, "initial_message": "x" * 1_000_000}),
    ("CreateTicket", {**NEW, "tags": ["t"] * 10_000}),
    ("CreateTicket", {**NEW, "tags": [" "]}),
    ("CreateTicket", {**NEW, "subject": "s" * 501}),
    ("UpdateTicket", {"ticket": "T-001"}),
    ("UpdateTicket", {"ticket": "T-001", "status": "done"}),
    ("UpdateTicket", {"ticket": "T-001", "priority": ""}),
    ("UpdateTicket", {"ticket": "T-001", "tags": struct_pb2.ListValue(values=[struct_pb2.Value(number_value=1)])}),
    ("AddMessage", {**MESSAGE, "content": ""}),
    ("AddMessage", {**MESSAGE, "content": "x" * 1_000_000}),
    ("AddNote", {**NOTE, "content": "\x00"}),
    ("GetTicket", {"ticket": "x" * 65}),
    *(("CreateTicket", without(NEW, name)) for name in ("customer_id", "initial_message", "author_name")),
    *(("AddMessage", without(MESSAGE, name)) for name in ("content", "from_agent", "author_name")),
    *(("AddNote", without(NOTE, name)) for name in ("content", "author_name", "author_id")),
]


@pytest.mark.parametrize(("method", "fields"), WRITES, ids=[f"{method}-{i}" for i, (method, _) in enumerate(WRITES)])
async def test_wrong_writes_are_refused(agent: Agent, method: str, fields: dict[str, Any]) -> None:
    """Wrong input is precise, never an error of ours, and changes nothing."""
    await agent.open()
    before = await agent.ask("GetTicket", ticket="T-001")
    code, reason = await refusal(agent.ask(method, **fields))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in {"REQUEST_INVALID", "NOTHING_TO_CHANGE", "TAGS_INVALID"}
    after = await agent.ask("GetTicket", ticket="T-001")
    assert {**after, "smart_score": 0} == {**before, "smart_score": 0}


@pytest.mark.parametrize(
    "name",
    ["T-9999999999999", "T-99999999999999999999", "nope", "T-002", "01890000-0000-7000-8000-000000000001", "T-1; --"],
)
async def test_missing_tickets_are_not_found(agent: Agent, name: str) -> None:
    """Whatever a ticket cannot be called is a ticket that is not there."""
    await agent.open()
    for method in ("GetTicket", "ResetConversation", "GetScoreBreakdown", "ListNotes"):
        code, reason = await refusal(agent.ask(method, ticket=name))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "TICKET_NOT_FOUND")


async def test_the_largest_page_numbers_are_empty_pages(agent: Agent) -> None:
    """A page behind the end has no tickets and still says how many there are."""
    await agent.open()
    page = await agent.inbox(page=2_147_483_647, limit=100)
    assert page["tickets"] == []
    assert page["pagination"]["total"] == 1
    assert page["pagination"]["has_next"] is False


async def test_without_a_token_nothing_answers(running: Running) -> None:
    """A call to the service's port without identity fails."""
    code, _ = await refusal(running.desk.ListTickets(ticket_desk_pb2.ListTicketsRequest()))
    assert code == grpc.StatusCode.UNAUTHENTICATED
