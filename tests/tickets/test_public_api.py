"""The public API through a real server: resources, keyset pages, etags, repeatable calls, reasons."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from rapport.tickets.v1 import conversation_service_pb2, error_reason_pb2, ticket_service_pb2

from servicekit.ids import uuid7
from servicekit.pages import PageTokens
from tests.tickets.calls import event, message, refusal, stamp
from tests.tickets.conftest import SECRET, Agent
from tests.tickets.test_ingest import ingest

FULL = "services.tickets.tickets.MAX_ENTRIES"

ELSEWHERE: dict[str, str] = {
    "CALENDAR_INVALID": "test_sla_service.py",
    "IMPORT_INVALID": "test_migration.py",
    "TIME_ZONE_UNKNOWN": "test_sla_service.py",
    "SLA_TARGETS_INVALID": "test_sla_service.py",
    "PAGE_ORDER_GONE": "test_reranking.py",
    "KEYWORD_RULES_INVALID": "test_keyword_rules.py",
    "POLICY_INVALID": "test_policies.py",
    "POLICY_NOT_FOUND": "test_policies.py",
    "SNOOZE_TIME_INVALID": "test_work.py",
    "TICKET_NOT_SNOOZED": "test_work.py",
    "TICKET_MERGED": "test_work.py",
    "TICKET_NOT_MERGED": "test_work.py",
    "MERGE_INVALID": "test_work.py",
    "TOO_MANY_MERGED": "test_work.py",
    "SEARCH_QUERY_INVALID": "test_search.py",
    "TOPIC_ALERT_INVALID": "test_topics.py",
    "TOPIC_ALERT_NOT_FOUND": "test_topics.py",
    "TOPIC_ALERT_EXISTS": "test_topics.py",
    "TOO_MANY_TOPIC_ALERTS": "test_topics.py",
    "COMPARISON_WITH_ITSELF": "test_explaining.py",
    "STATUSES_DIFFER": "test_explaining.py",
    "TOO_MANY_REPLAYS": "test_replay.py",
}
"""The reasons that the tests of a subject raise, by the file of these tests."""


async def call(agent: Agent, method: str, **fields: Any) -> Any:
    """Call a method of TicketService."""
    request = getattr(ticket_service_pb2, f"{method}Request")(**fields)
    return await getattr(agent.running.tickets, method)(request, metadata=agent.metadata)


async def create(agent: Agent, **fields: Any) -> Any:
    """Open a ticket."""
    values = {"customer_id": "c", "channel": "email", "initial_message": "hello", **fields}
    return await call(agent, "CreateTicket", **values)


async def test_a_ticket_goes_through_its_life(agent: Agent) -> None:
    """Create, update by mask, close, reopen, read."""
    made = await create(agent, subject="Hi", tags=["a"])
    assert (made.number, made.status, made.priority, list(made.tags)) == ("T-001", "open", "normal", ["a"])
    changed = await call(
        agent,
        "UpdateTicket",
        ticket={"id": "T-001", "priority": "high", "assigned_to": "eve"},
        update_mask=FieldMask(paths=["priority", "assigned_to"]),
    )
    assert (changed.priority, changed.assigned_to, changed.subject) == ("high", "eve", "Hi")
    shut = await call(agent, "CloseTicket", ticket=made.id)
    assert shut.HasField("close_time")
    again = await call(agent, "ReopenTicket", ticket=made.id)
    assert (again.status, again.HasField("close_time")) == ("open", False)
    read = await call(agent, "GetTicket", ticket="T-001")
    assert read.etag == again.etag != made.etag
    assert read.message_count == 1


async def test_update_without_a_mask_takes_what_is_not_empty(agent: Agent) -> None:
    """Fields that are empty stay; with `*` everything is replaced."""
    await create(agent, subject="Hi", tags=["a"])
    changed = await call(agent, "UpdateTicket", ticket={"id": "T-001", "subject": "New"})
    assert (changed.subject, list(changed.tags)) == ("New", ["a"])
    changed = await call(agent, "UpdateTicket", ticket={"id": "T-001"}, update_mask=FieldMask(paths=["*"]))
    assert (changed.subject, list(changed.tags), changed.priority) == ("", [], "normal")


async def test_a_changed_subject_is_searched_at_once(agent: Agent) -> None:
    """Topic alerts find the new subject and no longer the old one."""
    await create(agent, subject="voucher")
    await call(agent, "UpdateTicket", ticket={"id": "T-001", "subject": "coupon"})
    assert (await agent.inbox(topic_alerts="voucher"))["matches"] == 0
    assert (await agent.inbox(topic_alerts="coupon"))["matches"] == 1


@pytest.mark.parametrize("order", ["ORDER_SMART", "ORDER_NEWEST"])
async def test_keyset_pages_give_every_ticket_once_while_others_come(agent: Agent, order: str) -> None:
    """Walking the pages while new tickets arrive repeats and leaves out none of those that were there."""
    for number in range(12):
        await create(agent, priority=("low", "normal", "high", "urgent")[number % 4])
    there = {f"T-{number:03d}" for number in range(1, 13)}
    seen: list[str] = []
    token = ""
    while True:
        page = await call(agent, "ListTickets", page_size=5, page_token=token, status="open", order=order)
        seen += [ticket.number for ticket in page.tickets]
        token = page.next_page_token
        await create(agent, priority="urgent")
        if not token:
            break
    assert sorted(number for number in seen if number in there) == sorted(there)
    assert len(seen) == len(set(seen))


async def test_list_and_inbox_have_the_same_order(agent: Agent) -> None:
    """The public list and the frontend's inbox are one order."""
    for priority in ("low", "urgent", "normal", "high"):
        await create(agent, priority=priority)
    listed = [ticket.number for ticket in (await call(agent, "ListTickets", status="open")).tickets]
    assert listed == [card["ticket_number"] for card in (await agent.inbox())["tickets"]]


async def test_foreign_changed_and_broken_page_tokens_are_refused(agent: Agent) -> None:
    """A token works for its list and its tenant only."""
    for _ in range(3):
        await create(agent)
    token = (await call(agent, "ListTickets", page_size=1)).next_page_token
    other = Agent(agent.running, agent.issuer, uuid7())
    for asked in (
        call(agent, "ListTickets", page_size=1, page_token=token, status="open"),
        call(other, "ListTickets", page_size=1, page_token=token),
        call(agent, "ListTickets", page_token="nonsense"),
        call(agent, "ListMessages", ticket="T-001", page_token=token),
    ):
        assert await refusal(asked) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_messages_and_notes_come_in_pages(agent: Agent) -> None:
    """Oldest first, by time and then by sequence, each once."""
    await create(agent)
    moment = datetime.now(UTC) - timedelta(days=1)
    for number in range(10):
        await call(agent, "CreateMessage", ticket="T-001", content=str(number), create_time=stamp(moment))
        await call(agent, "CreateNote", ticket="T-001", content=str(number))
    messages: list[str] = []
    notes: list[str] = []
    for method, name, found in (("ListMessages", "messages", messages), ("ListNotes", "notes", notes)):
        token = ""
        while token or not found:
            page = await call(agent, method, ticket="T-001", page_size=4, page_token=token)
            found += [one.content for one in getattr(page, name)]
            token = page.next_page_token
            if not token:
                break
    assert messages == [*map(str, range(10)), "hello"]
    assert notes == [*map(str, range(10))]


async def test_ten_messages_within_one_millisecond_keep_their_order(agent: Agent) -> None:
    """Equal times are told apart by the sequence in which they were added."""
    await create(agent)
    moment = stamp(datetime.now(UTC))
    for number in range(10):
        await call(agent, "CreateMessage", ticket="T-001", content=str(number), create_time=moment)
    detail = await agent.ask("GetTicket", ticket="T-001")
    assert [one["content"] for one in detail["messages"]] == ["hello", *map(str, range(10))]


async def test_a_request_id_makes_calls_repeatable(agent: Agent) -> None:
    """A repetition returns the first success and adds nothing."""
    key = str(uuid7())
    first, second = await create(agent, request_id=key), await create(agent, request_id=key, subject="other")
    assert (first.id, second.subject) == (second.id, "")
    for method in ("CreateMessage", "CreateNote"):
        one = await call(agent, method, ticket="T-001", content="a", request_id=key)
        two = await call(agent, method, ticket="T-001", content="b", request_id=key)
        assert one == two
    assert (await call(agent, "GetTicket", ticket="T-001")).message_count == 2


async def test_an_explanation_adds_up_and_is_the_lists_score(agent: Agent) -> None:
    """Parts in millionths sum to the score; each has an input, an origin and a sentence."""
    await create(agent, initial_message="this is awful, cancel my order today")
    explained = await call(agent, "ExplainTicket", ticket="T-001")
    assert sum(part.micros for part in explained.parts) == explained.score_micros
    assert explained.score == explained.score_micros / 1_000_000
    assert all(part.input and part.origin and part.sentence for part in explained.parts)
    names = [part.name for part in explained.parts]
    from_text = ["urgent_words", "difficulty", "sentiment", "topic_alerts"]
    others = ["customer_value", "churn_risk", "priority", "answer_target", "age"]
    assert sorted(names) == sorted(from_text + others)
    assert abs(explained.score - (await call(agent, "GetTicket", ticket="T-001")).smart_score) < 0.001


async def test_hidden_messages_come_back(agent: Agent) -> None:
    """Reset hides, restore shows; both say how many, and repeating them does nothing."""
    await create(agent)
    await call(agent, "CreateMessage", ticket="T-001", content="more")
    assert (await call(agent, "ResetConversation", ticket="T-001")).hidden_count == 1
    assert (await call(agent, "ResetConversation", ticket="T-001")).hidden_count == 0
    assert (await call(agent, "RestoreConversation", ticket="T-001")).restored_count == 1
    assert (await call(agent, "RestoreConversation", ticket="T-001")).restored_count == 0
    assert len((await call(agent, "ListMessages", ticket="T-001")).messages) == 2


async def test_what_is_done_to_a_ticket_is_written_down(agent: Agent) -> None:
    """The history names who closed, changed, reset and restored, and keeps which messages were hidden."""
    await create(agent)
    await call(agent, "CreateMessage", ticket="T-001", content="more")
    for method in ("ResetConversation", "RestoreConversation", "CloseTicket", "ReopenTicket"):
        await call(agent, method, ticket="T-001")
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        rows = await connection.fetch("SELECT action, principal, details FROM tickets.ticket_history ORDER BY id")
    done = ["create", "message", "reset_conversation", "restore_conversation", "close", "reopen"]
    assert [row["action"] for row in rows] == done
    assert all(row["principal"].startswith("key:") for row in rows)
    assert rows[2]["details"] == rows[3]["details"] != "{}"


async def refuse_all(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> dict[str, grpc.StatusCode]:
    """Provoke every reason of the contract once; return the code of each."""
    await create(agent)
    await create(agent)
    await call(agent, "CloseTicket", ticket="T-002")
    found: dict[str, grpc.StatusCode] = {}
    asks = (
        call(agent, "GetTicket", ticket="T-009"),
        call(agent, "CloseTicket", ticket="T-002"),
        call(agent, "ReopenTicket", ticket="T-001"),
        call(agent, "UpdateTicket", ticket={"id": "T-001"}),
        call(agent, "UpdateTicket", ticket={"id": "T-001"}, update_mask=FieldMask(paths=["number"])),
        call(agent, "CreateTicket", customer_id="c", channel="email", initial_message="x", tags=[" "]),
        agent.inbox(topic_alerts="x" * 101),
        call(agent, "CloseTicket", ticket="T-001", etag="stale"),
    )
    for ask in asks:
        code, reason = await refusal(ask)
        found[reason] = code
    lost = PageTokens.from_secret(SECRET).seal({"after": f"{2**62}.1"}, scope=(agent.tenant_id, "inbox changes"))
    for token in ("invented", lost):
        request = ticket_service_pb2.WatchInboxRequest(resume_token=token)
        code, reason = await refusal(agent.running.tickets.WatchInbox(request, metadata=agent.metadata).read())
        found[reason] = code
    monkeypatch.setattr("services.tickets.watching.MOST_WATCHERS", 0)
    code, reason = await refusal(
        agent.running.tickets.WatchInbox(ticket_service_pb2.WatchInboxRequest(), metadata=agent.metadata).read()
    )
    found[reason] = code
    monkeypatch.setattr(FULL, 1)
    code, reason = await refusal(call(agent, "CreateMessage", ticket="T-001", content="x"))
    found[reason] = code
    return found


async def test_every_reason_of_the_contract_is_raised(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value of ErrorReason comes out of some call, with the code of its family."""
    found = await refuse_all(agent, monkeypatch)
    declared = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118
    for reason, file in ELSEWHERE.items():
        assert reason in (Path(__file__).parent / file).read_text()
    assert declared - {"UNSPECIFIED"} == (found.keys() | ELSEWHERE.keys()) - {"ETAG_MISMATCH"}
    assert found["TICKET_NOT_FOUND"] == grpc.StatusCode.NOT_FOUND
    assert found["TICKET_ALREADY_CLOSED"] == found["CONVERSATION_FULL"] == grpc.StatusCode.FAILED_PRECONDITION
    assert found["ETAG_MISMATCH"] == grpc.StatusCode.ABORTED


async def test_a_conversation_is_read_oldest_first(agent: Agent) -> None:
    """What recommendations reads: the ticket's facts and its visible messages."""
    told = event(
        "e1", "42", subject="S", customer_id="c-1", channel="sms", messages=[message("1", "a"), message("2", "b")]
    )
    await ingest(agent, told)
    request = conversation_service_pb2.GetConversationRequest(ticket="T-001")
    answer = await agent.running.conversations.GetConversation(request, metadata=agent.metadata)
    assert (answer.customer_id, answer.channel, answer.ticket_number) == ("c-1", "sms", "T-001")
    assert [one.content for one in answer.messages] == ["a", "b"]
    missing = conversation_service_pb2.GetConversationRequest(ticket="T-002")
    asked = agent.running.conversations.GetConversation(missing, metadata=agent.metadata)
    assert await refusal(asked) == (grpc.StatusCode.NOT_FOUND, "TICKET_NOT_FOUND")


async def test_a_conversation_is_bounded_however_much_was_written(agent: Agent) -> None:
    """The newest 50 messages with 10,000 characters of each, which is below 2 MiB whatever the characters."""
    long = "\N{PARTY POPPER}" * 60_000
    for start in range(0, 60, 5):
        numbers = range(start, start + 5)
        await ingest(agent, event(f"e{start}", "42", messages=[message(f"m{n}", f"{n:02}{long}") for n in numbers]))
    request = conversation_service_pb2.GetConversationRequest(ticket="T-001")
    answer = await agent.running.conversations.GetConversation(request, metadata=agent.metadata)
    assert [one.content[:2] for one in answer.messages] == [f"{n:02}" for n in range(10, 60)]
    assert {len(one.content) for one in answer.messages} == {10_000}
    assert answer.ByteSize() < 2 * 1024 * 1024
