"""A helpdesk's events through a real server: once each, in any order, each by itself."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.tickets.v1 import conversation_service_pb2, ingest_service_pb2, ticket_service_pb2
from sqlalchemy import event as engine_event

from services.tickets import place_store
from services.tickets.placing import place
from tests.tickets.calls import event, message, refusal, stamp
from tests.tickets.conftest import Agent

APPLIED = ingest_service_pb2.IngestResult.OUTCOME_APPLIED
DUPLICATE = ingest_service_pb2.IngestResult.OUTCOME_DUPLICATE
SUPERSEDED = ingest_service_pb2.IngestResult.OUTCOME_SUPERSEDED


async def ingest(agent: Agent, *events: ingest_service_pb2.TicketEvent) -> list[Any]:
    """Send events and return what each came to."""
    request = ingest_service_pb2.IngestEventsRequest(events=events)
    answer = await agent.running.ingest.IngestEvents(request, metadata=agent.metadata)
    return [result.outcome for result in answer.results]


async def test_an_event_becomes_a_ticket_with_message_note_and_place(agent: Agent) -> None:
    """The ticket stands in the inbox with what the helpdesk said; what is internal is a note."""
    created = datetime.now(UTC) - timedelta(hours=5)
    messages = [
        message("m1", "Where is my order?", author_name="Ann", create_time=stamp(created)),
        message("n1", "VIP, be quick", from_agent=True, internal=True, author_name="Eve"),
    ]
    told = event(
        "e1", "42", subject="Order", customer_id="c-9", priority="high", channel="chat", status="open",
        tags=["vip"], messages=messages, create_time=stamp(created),
    )  # fmt: skip
    assert await ingest(agent, told) == [APPLIED]
    detail = await agent.ask("GetTicket", ticket="T-001")
    assert (detail["customer_id"], detail["channel"], detail["priority"]) == ("c-9", "chat", "high")
    assert detail["tags"] == ["vip"]
    assert [one["content"] for one in detail["messages"]] == ["Where is my order?"]
    assert [one["content"] for one in detail["notes"]] == ["VIP, be quick"]
    assert detail["metadata"] == {"provider": "zendesk", "external_id": "42"}
    breakdown = await agent.ask("GetScoreBreakdown", ticket="T-001")
    assert 4.9 < breakdown["ticket"]["age_hours"] < 5.1
    assert (await agent.inbox())["pagination"]["total"] == 1


async def test_a_redelivery_changes_nothing(agent: Agent) -> None:
    """The same event again, in the same call or later, is a duplicate with the same ticket."""
    told = event("e1", "42", subject="Order", messages=[message("m1", "hello")])
    assert await ingest(agent, told, told) == [APPLIED, DUPLICATE]
    before = await agent.ask("GetTicket", ticket="T-001")
    assert await ingest(agent, told) == [DUPLICATE]
    after = await agent.ask("GetTicket", ticket="T-001")
    assert {**after, "smart_score": 0} == {**before, "smart_score": 0}
    assert len(after["messages"]) == 1


async def test_the_same_event_at_once_happens_once(agent: Agent) -> None:
    """Ten deliveries at the same time make one ticket with one message."""
    told = event("e1", "42", subject="Order", messages=[message("m1", "hello")])
    outcomes = await asyncio.gather(*(ingest(agent, told) for _ in range(10)))
    assert sorted(outcomes) == sorted([[APPLIED], *[[DUPLICATE]] * 9])
    page = await agent.inbox()
    assert (page["pagination"]["total"], page["tickets"][0]["message_count"]) == (1, 1)


async def test_different_events_of_a_new_ticket_at_once_make_one_ticket(agent: Agent) -> None:
    """Whoever comes second finds the ticket that the first is just making."""
    events = [event(f"e{number}", "42", messages=[message(f"m{number}", "hi")]) for number in range(10)]
    await asyncio.gather(*(ingest(agent, told) for told in events))
    page = await agent.inbox()
    assert (page["pagination"]["total"], page["tickets"][0]["message_count"]) == (1, 10)


async def test_a_late_event_adds_its_message_and_undoes_nothing(agent: Agent) -> None:
    """Older news after newer: fields stay, the message is sorted in by its time."""
    now = datetime.now(UTC)
    early = now - timedelta(hours=1)
    newer = [message("m2", "second", create_time=stamp(now))]
    await ingest(agent, event("e2", "42", now, subject="new", status="pending", messages=newer))
    late = event("e1", "42", early, subject="old", messages=[message("m1", "first", create_time=stamp(early))])
    assert await ingest(agent, late) == [SUPERSEDED]
    detail = await agent.ask("GetTicket", ticket="T-001")
    assert (detail["subject"], detail["status"]) == ("new", "pending")
    assert [one["content"] for one in detail["messages"]] == ["first", "second"]


async def test_messages_are_recognised_by_their_external_ids(agent: Agent) -> None:
    """Each event repeats the whole conversation; only what is new is added."""
    await ingest(agent, event("e1", "42", messages=[message("m1", "a")]))
    await ingest(agent, event("e2", "42", messages=[message("m1", "a"), message("m2", "b"), message("m2", "b")]))
    assert (await agent.inbox())["tickets"][0]["message_count"] == 2


async def test_closing_and_opening_by_events(agent: Agent) -> None:
    """A closed event closes at the time at which it happened; opening again clears it."""
    closed = datetime.now(UTC) - timedelta(minutes=2)
    await ingest(agent, event("e1", "42", closed, status="closed"))
    detail = await agent.ask("GetTicket", ticket="T-001")
    assert datetime.fromisoformat(detail["closed_at"]) == closed
    await ingest(agent, event("e2", "42", closed + timedelta(minutes=1), status="open"))
    assert (await agent.ask("GetTicket", ticket="T-001"))["closed_at"] is None


async def test_strange_input_is_taken_or_refused_but_never_breaks(agent: Agent) -> None:
    """Absurd clocks and too many or too long tags are made to fit; NUL and a wrong status are refused."""
    odd = event("e1", "42", subject="odd", tags=[*(f"tag {number}" for number in range(999)), "x" * 300])
    odd.occur_time.CopyFrom(Timestamp(seconds=10**17, nanos=-5))
    odd.fields.create_time.CopyFrom(Timestamp(seconds=-(10**17)))
    assert await ingest(agent, odd) == [APPLIED]
    detail = await agent.ask("GetTicket", ticket="T-001")
    assert len(detail["tags"]) == 50
    for wrong in (event("e2", "42", status="nope"), event("e3", "42", subject="a\x00b")):
        assert (await refusal(ingest(agent, wrong)))[0] == grpc.StatusCode.INVALID_ARGUMENT


async def test_two_connections_may_use_the_same_ticket_id(agent: Agent) -> None:
    """The connection is part of a ticket's name at the provider."""
    other = event("e2", "42", subject="two")
    other.connection_id = "01890000-0000-7000-8000-00000000beef"
    await ingest(agent, event("e1", "42", subject="one"), other)
    assert (await agent.inbox())["pagination"]["total"] == 2


async def test_the_conversation_has_a_version_that_moves_with_what_advice_rests_on(agent: Agent) -> None:
    """Messages, hiding, a new subject or customer, and nothing else move the version that drafts are kept under."""

    async def version() -> int:
        request = conversation_service_pb2.GetConversationRequest(ticket="T-001")
        answer = await agent.running.conversations.GetConversation(request, metadata=agent.metadata)
        return int(answer.version)

    await ingest(agent, event("e1", "42", subject="S", customer_id="c", messages=[message("m1", "hi")]))
    seen = [await version()]
    await agent.ask("AddNote", ticket="T-001", content="n", author_name="a", author_id="1")
    await agent.ask("UpdateTicket", ticket="T-001", priority="high")
    assert await version() == seen[0]
    await agent.ask("AddMessage", ticket="T-001", content="more", from_agent=False, author_name="Ann")
    seen.append(await version())
    await agent.ask("ResetConversation", ticket="T-001")
    seen.append(await version())
    await agent.ask("ResetConversation", ticket="T-001")
    await ingest(agent, event("e2", "42", subject="S", customer_id="c", status="pending"))
    assert await version() == seen[-1]
    for moved in (event("e3", "42", customer_id="c-2"), event("e4", "42", subject="Another")):
        await ingest(agent, moved)
        seen.append(await version())
    edit = ticket_service_pb2.UpdateTicketRequest(
        ticket=ticket_service_pb2.TicketChange(id="T-001", subject="By hand"), update_mask=FieldMask(paths=["subject"])
    )
    await agent.running.tickets.UpdateTicket(edit, metadata=agent.metadata)
    seen.append(await version())
    assert seen == sorted(set(seen))


async def test_an_answer_says_whether_an_event_told_anything_new(agent: Agent) -> None:
    """A later event that repeats what is known is applied without a change; a new message or value is one."""
    first = event("e1", "42", subject="Order", messages=[message("m1", "hello")])
    later = datetime.now(UTC)
    same = event("e2", "42", subject="Order", at=later, messages=[message("m1", "hello")])
    more = event("e3", "42", at=later, messages=[message("m2", "Are you there?")])
    other = event("e4", "42", at=later, subject="Orders")
    request = ingest_service_pb2.IngestEventsRequest(events=[first, same, more, other, first])
    answer = await agent.running.ingest.IngestEvents(request, metadata=agent.metadata)
    assert [result.changed for result in answer.results] == [True, False, True, True, False]


async def test_a_conversation_names_the_ticket_at_its_helpdesk(agent: Agent) -> None:
    """Who writes back learns from the conversation where the ticket stands."""
    told = event("e1", "42", subject="Order")
    await ingest(agent, told)
    request = conversation_service_pb2.GetConversationRequest(ticket="T-001")
    found = await agent.running.conversations.GetConversation(request, metadata=agent.metadata)
    assert (found.connection_id, found.external_ticket_id) == (told.connection_id, "42")


async def test_an_event_costs_few_statements_and_none_per_message(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was just written is not read back, and all that a shop has set is read in one statement."""
    # One writer in so many folds the counts as well; none does here.
    never = place_store._PUT.replace(f"id % {place_store.FOLD_EVERY} = 0", "false")
    monkeypatch.setattr(place_store, "_PUT", never)
    # A connection asks for the types of what it reads once.
    for key in ("e0", "e1"):
        await ingest(agent, event(key, "41", subject="Other", messages=[message(key, "hello")]))
    engine, seen = agent.running.database.engine.sync_engine, []

    def note(logged: asyncpg.connection.LoggedQuery) -> None:
        if not logged.query.startswith(("BEGIN", "COMMIT")):
            seen.append(logged.query)

    # The driver tells of what it is asked for itself, and not of what SQLAlchemy has it prepare.
    def note_built(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    def lent(connection: Any, *_: Any) -> None:
        connection.driver_connection.add_query_logger(note)

    def given_back(connection: Any, *_: Any) -> None:
        connection.driver_connection.remove_query_logger(note)

    conversation = [message(f"m{number}", "Where is my order?") for number in range(9)]
    engine_event.listen(engine, "checkout", lent)
    engine_event.listen(engine, "checkin", given_back)
    engine_event.listen(engine, "before_cursor_execute", note_built)
    try:
        costs = []
        for key, told in (("e2", conversation[:1]), ("e3", conversation[1:2]), ("e4", conversation)):
            await ingest(agent, event(key, "42", subject="Order", customer_id="c", messages=told))
            costs.append(len(seen))
            seen.clear()
    finally:
        engine_event.remove(engine, "checkout", lent)
        engine_event.remove(engine, "checkin", given_back)
        engine_event.remove(engine, "before_cursor_execute", note_built)
    assert costs == [14, 12, 12]


async def test_what_is_taken_in_at_once_is_stored_as_if_read_back(agent: Agent) -> None:
    """A new ticket's messages in any order give the same place, card and words as when they are read again."""
    now = datetime.now(UTC)
    told = [
        message("m2", "I want a refund", create_time=stamp(now)),
        message("m3", "Sorry, it is on its way", from_agent=True, create_time=stamp(now - timedelta(minutes=5))),
        message("m1", "Where is my order?", create_time=stamp(now - timedelta(hours=1))),
    ]
    await ingest(agent, event("e1", "42", subject="Order", customer_id="c", messages=told))

    async def kept() -> dict[str, Any]:
        async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
            row = await connection.fetchrow("SELECT * FROM tickets.tickets")
        moving = {"card", "revision", "update_time", "clocks", "conversation_version"}
        return {name: value for name, value in dict(row).items() if name not in moving}

    before = await kept()
    async with agent.running.store.shop(agent.tenant_id) as shop:
        stored = await shop.find(1, lock=True)
        assert stored is not None
        await place(shop, stored.ticket)
    after = await kept()
    assert (before["message_count"], before["last_message_time"]) == (3, now)
    assert after == before


async def test_an_event_that_fails_undoes_none_before_it(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event is a transaction of its own; whoever repeats the call hears what was applied, and goes on."""
    told = [
        event("e1", "41", subject="One", messages=[message("m1", "a")]),
        event("e2", "42", subject="Two", messages=[message("m1", "a"), message("m2", "b")]),
        event("e3", "43", subject="Three"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr("services.tickets.tickets.MAX_ENTRIES", 1)
        assert (await refusal(ingest(agent, *told)))[1] == "CONVERSATION_FULL"
        assert [ticket["subject"] for ticket in (await agent.inbox())["tickets"]] == ["One"]
    assert await ingest(agent, *told) == [DUPLICATE, APPLIED, APPLIED]
