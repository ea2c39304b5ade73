"""Agents' work on tickets through a real server: snoozing, replying, pinning, merging, bulk changes, histories."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from rapport.tickets.v1 import ticket_service_pb2, ticket_work_pb2

from servicekit.ids import uuid7
from services.tickets.desk import Caller, Desk
from services.tickets.erasing import Erasing
from services.tickets.erasure_store import ErasureStore
from services.tickets.working import Work
from tests.tickets.calls import event, message, refusal, stamp
from tests.tickets.conftest import Agent
from tests.tickets.test_ingest import ingest
from tests.tickets.test_search import numbers
from tests.tickets.test_watch import kinds, watch

FAILED = grpc.StatusCode.FAILED_PRECONDITION
INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def call(agent: Agent, method: str, **fields: Any) -> Any:
    """Call a method of TicketService."""
    module = ticket_work_pb2 if hasattr(ticket_work_pb2, f"{method}Request") else ticket_service_pb2
    request = getattr(module, f"{method}Request")(**fields)
    return await getattr(agent.running.tickets, method)(request, metadata=agent.metadata)


async def create(agent: Agent, **fields: Any) -> Any:
    """Open a ticket."""
    values = {"customer_id": "c", "channel": "email", "initial_message": "hello", **fields}
    return await call(agent, "CreateTicket", **values)


def hence(**span: float) -> Any:
    """Return a moment so far from now as a timestamp."""
    return stamp(datetime.now(UTC) + timedelta(**span))


async def contents(agent: Agent, ticket: str) -> list[str]:
    """Return the texts of a ticket's messages, oldest first."""
    return [one.content for one in (await call(agent, "ListMessages", ticket=ticket)).messages]


async def actions(agent: Agent, ticket: str) -> list[str]:
    """Return what was done to a ticket, oldest first."""
    return [one.action for one in (await call(agent, "ListTicketHistory", ticket=ticket)).entries][::-1]


async def test_a_snoozed_ticket_leaves_the_inbox_until_it_is_woken(agent: Agent) -> None:
    """It is pending with the moment of its waking; woken it is open, and both stand in its history."""
    await create(agent)
    slept = await call(agent, "SnoozeTicket", ticket="T-001", until=hence(hours=4))
    assert (slept.status, slept.HasField("snooze_until")) == ("pending", True)
    assert (await agent.inbox())["tickets"] == []
    woken = await call(agent, "WakeTicket", ticket="T-001")
    assert (woken.status, woken.HasField("snooze_until")) == ("open", False)
    assert len((await agent.inbox())["tickets"]) == 1
    assert await actions(agent, "T-001") == ["create", "snooze", "wake"]
    assert await refusal(call(agent, "WakeTicket", ticket="T-001")) == (FAILED, "TICKET_NOT_SNOOZED")


@pytest.mark.parametrize("until", [{"seconds": -1}, {"days": 400}])
async def test_a_snooze_ends_in_the_next_366_days(agent: Agent, until: dict[str, float]) -> None:
    """The past and the far future are refused, and so is a closed ticket."""
    await create(agent)
    asked = call(agent, "SnoozeTicket", ticket="T-001", until=hence(**until))
    assert await refusal(asked) == (INVALID, "SNOOZE_TIME_INVALID")
    await call(agent, "CloseTicket", ticket="T-001")
    asked = call(agent, "SnoozeTicket", ticket="T-001", until=hence(hours=1))
    assert await refusal(asked) == (FAILED, "TICKET_ALREADY_CLOSED")


async def test_what_is_due_wakes_by_itself_and_nothing_else_does(agent: Agent) -> None:
    """The timer's call is harmless too early, a second time, and for a ticket that is gone."""
    made = await create(agent)
    await call(agent, "SnoozeTicket", ticket="T-001", until=hence(hours=4))
    running, ticket = agent.running, (agent.tenant_id, UUID(made.id))
    await Desk(running.store, running.inbox).wake_due(*ticket)
    assert (await call(agent, "GetTicket", ticket="T-001")).status == "pending"
    later = Desk(running.store, running.inbox, lambda: datetime.now(UTC) + timedelta(hours=5))
    await later.wake_due(*ticket)
    await later.wake_due(*ticket)
    await later.wake_due(agent.tenant_id, uuid7())
    assert (await call(agent, "GetTicket", ticket="T-001")).status == "open"
    entries = (await call(agent, "ListTicketHistory", ticket="T-001")).entries
    assert [(one.action, one.principal) for one in entries][:1] == [("wake", "timer")]
    assert len(entries) == 3


async def test_a_customers_message_wakes_and_opens_again(agent: Agent) -> None:
    """Asleep, pending or closed: what the customer writes now is seen; what is added of long ago changes nothing."""
    await create(agent)
    old = {"content": "old", "create_time": stamp(datetime(2020, 1, 1, tzinfo=UTC))}
    for method, fields in (
        ("SnoozeTicket", {"until": hence(hours=1)}),
        ("ReplyTicket", {"content": "Try this"}),
        ("CloseTicket", {}),
    ):
        await call(agent, method, ticket="T-001", **fields)
        before = (await call(agent, "GetTicket", ticket="T-001")).status
        assert before != "open"
        await call(agent, "CreateMessage", ticket="T-001", content="noted", from_agent=True)
        await call(agent, "CreateMessage", ticket="T-001", **old)
        assert (await call(agent, "GetTicket", ticket="T-001")).status == before
        await call(agent, "CreateMessage", ticket="T-001", content="I am still here")
        now = await call(agent, "GetTicket", ticket="T-001")
        assert (now.status, now.HasField("snooze_until"), now.HasField("close_time")) == ("open", False, False)


async def test_a_helpdesks_news_end_no_sleep_but_its_customers_message_does(agent: Agent) -> None:
    """A helpdesk repeats the status with every event; only closing, or a new message of the customer, ends a snooze."""
    start = datetime.now(UTC)
    await ingest(agent, event("e1", "42", start, status="open", messages=[message("m1", "hi")]))
    await call(agent, "SnoozeTicket", ticket="T-001", until=hence(hours=1))
    await ingest(agent, event("e2", "42", start + timedelta(seconds=1), status="open", tags=["x"]))
    slept = await call(agent, "GetTicket", ticket="T-001")
    assert (slept.status, list(slept.tags)) == ("pending", ["x"])
    said = message("m2", "hello?", create_time=hence(seconds=0))
    await ingest(agent, event("e3", "42", status="open", messages=[said]))
    assert (await call(agent, "GetTicket", ticket="T-001")).status == "open"
    await call(agent, "SnoozeTicket", ticket="T-001", until=hence(hours=1))
    await ingest(agent, event("e4", "42", status="closed"))
    assert (await call(agent, "GetTicket", ticket="T-001")).status == "closed"


async def test_a_reply_answers_and_settles_the_ticket_in_one_go(agent: Agent) -> None:
    """The message is the shop's, the ticket waits for the customer or what was asked for; a repetition adds nothing."""
    await create(agent)
    asked = {"ticket": "T-001", "content": "Try this", "assigned_to": "eve", "request_id": str(uuid7())}
    done = await call(agent, "ReplyTicket", **asked)
    assert (done.message.from_agent, done.ticket.status, done.ticket.assigned_to) == (True, "pending", "eve")
    again = await call(agent, "ReplyTicket", **asked)
    assert again.message.id == done.message.id
    assert (await call(agent, "ReplyTicket", ticket="T-001", content="x", status="closed")).ticket.status == "closed"
    assert await contents(agent, "T-001") == ["hello", "Try this", "x"]
    assert await actions(agent, "T-001") == ["create", "reply", "reply"]


async def test_a_reply_to_what_was_not_seen_is_refused(agent: Agent) -> None:
    """With the etag that was read, a reply that crosses the customer's message is refused, and nothing is added."""
    read = await create(agent)
    await call(agent, "CreateMessage", ticket="T-001", content="never mind")
    for method in ("ReplyTicket", "CreateMessage", "CreateNote"):
        asked = call(agent, method, ticket="T-001", content="x", etag=read.etag)
        assert await refusal(asked) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    for method in ("ResetConversation", "RestoreConversation", "SnoozeTicket", "PinTicket", "MergeTicket"):
        fields = {"SnoozeTicket": {"until": hence(hours=1)}, "MergeTicket": {"into": "T-002"}}.get(method, {})
        await create(agent)
        asked = call(agent, method, ticket="T-001", etag=read.etag, **fields)
        assert await refusal(asked) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert await contents(agent, "T-001") == ["hello", "never mind"]


async def test_pinned_and_escalated_tickets_stand_on_top(agent: Agent) -> None:
    """Pinned before escalated before the rest, whatever their scores; taking the marks off undoes it."""
    for customer in ("a", "b", "c"):
        await create(agent, customer_id=customer)
    await call(agent, "UpdateTicket", ticket={"id": "T-001", "priority": "urgent"})
    escalated = await call(agent, "EscalateTicket", ticket="T-002", reason="press")
    pinned = await call(agent, "PinTicket", ticket="T-003")
    assert (escalated.escalated, pinned.pinned) == (True, True)
    order = [ticket["ticket_number"] for ticket in (await agent.inbox())["tickets"]]
    assert order == ["T-003", "T-002", "T-001"]
    entry = (await call(agent, "ListTicketHistory", ticket="T-002")).entries[0]
    assert (entry.action, dict(entry.details)) == ("escalate", {"reason": "press"})
    assert [(one.name, one.before, one.after) for one in entry.fields] == [("escalated", "false", "true")]
    await call(agent, "UnpinTicket", ticket="T-003")
    await call(agent, "DeescalateTicket", ticket="T-002")
    assert (await agent.inbox())["tickets"][0]["ticket_number"] == "T-001"


async def test_marking_what_is_marked_changes_nothing(agent: Agent) -> None:
    """Pinning twice leaves etag and history alone."""
    await create(agent)
    first = await call(agent, "PinTicket", ticket="T-001")
    assert (await call(agent, "PinTicket", ticket="T-001")).etag == first.etag
    assert await actions(agent, "T-001") == ["create", "pin"]


async def test_watchers_are_told_what_agents_do(agent: Agent) -> None:
    """Each mark has a kind of its own in the stream of changes."""
    async with watch(agent) as one:
        await one.until_caught_up()
        await create(agent)
        await create(agent)
        for method in ("PinTicket", "UnpinTicket", "EscalateTicket", "DeescalateTicket"):
            await call(agent, method, ticket="T-001")
        await call(agent, "SnoozeTicket", ticket="T-001", until=hence(hours=1))
        await call(agent, "WakeTicket", ticket="T-001")
        await call(agent, "MergeTicket", ticket="T-001", into="T-002")
        await call(agent, "UnmergeTicket", ticket="T-001")
        changes = [await one.change() for _ in range(12)]
    of_first = [change for change in changes if change.ticket_number == "T-001"]
    told = ["created", "pinned", "unpinned", "escalated", "deescalated", "snoozed", "woken", "merged", "reopened"]
    assert kinds(of_first) == told
    assert [change.tier for change in of_first] == [0, 2, 0, 1, 0, 0, 0, 0, 0]


async def test_a_merged_ticket_goes_on_in_another_and_back(agent: Agent) -> None:
    """The target shows the messages and notes of both in their order; undoing it gives each its own again."""
    await create(agent, initial_message="one", subject="A")
    await create(agent, initial_message="two", subject="B")
    await call(agent, "CreateMessage", ticket="T-001", content="three")
    await call(agent, "CreateNote", ticket="T-001", content="mind the gap", author_name="Bo")
    merged = await call(agent, "MergeTicket", ticket="T-001", into="T-002")
    assert (merged.number, merged.message_count, len(merged.merged_from)) == ("T-002", 3, 1)
    assert await contents(agent, "T-002") == ["one", "two", "three"]
    source = await call(agent, "GetTicket", ticket="T-001")
    assert (source.status, source.merged_into) == ("closed", merged.id)
    page = await agent.ask("GetTicket", ticket="T-002")
    assert [one["content"] for one in page["messages"]] == ["one", "two", "three"]
    assert [one["content"] for one in page["notes"]] == ["mind the gap"]
    parted = await call(agent, "UnmergeTicket", ticket="T-001")
    assert (parted.status, parted.merged_into, parted.message_count) == ("open", "", 2)
    assert await contents(agent, "T-002") == ["two"]
    assert await actions(agent, "T-001") == ["create", "message", "note", "merge", "unmerge"]
    assert await actions(agent, "T-002") == ["create", "take_in", "give_back"]


async def test_who_writes_to_a_merged_ticket_reaches_the_one_that_goes_on(agent: Agent) -> None:
    """Messages, notes and replies by the old number, and a helpdesk's new message, show in the target and open it."""
    await ingest(agent, event("e1", "42", status="open", customer_id="c", messages=[message("m1", "hi")]))
    await create(agent, initial_message="main")
    await create(agent, initial_message="last")
    await call(agent, "MergeTicket", ticket="T-001", into="T-002")
    await call(agent, "MergeTicket", ticket="T-002", into="T-003")
    await call(agent, "CreateNote", ticket="T-001", content="n", author_name="Bo")
    replied = await call(agent, "ReplyTicket", ticket="T-001", content="answer", request_id=str(uuid7()))
    assert (replied.ticket.number, replied.ticket.status) == ("T-003", "pending")
    told = event("e2", "42", status="open", messages=[message("m2", "more", create_time=hence(seconds=0))])
    await ingest(agent, told)
    assert await contents(agent, "T-003") == ["hi", "main", "last", "answer", "more"]
    onward = await call(agent, "GetTicket", ticket="T-003")
    assert (onward.status, onward.message_count) == ("open", 5)
    assert (await call(agent, "GetTicket", ticket="T-001")).status == "closed"
    parted = await call(agent, "UnmergeTicket", ticket="T-002")
    assert (await contents(agent, "T-002"), parted.message_count) == (["hi", "main", "answer", "more"], 4)
    assert await contents(agent, "T-003") == ["last"]


async def test_what_is_written_to_a_merged_ticket_stays_its_own(agent: Agent) -> None:
    """It opens the target, goes with its ticket when they are parted, is not added twice, and is erased with it."""
    await create(agent, customer_id="x", initial_message="of x")
    await call(agent, "CloseTicket", ticket="T-001")
    await create(agent, customer_id="y", initial_message="of y")
    await call(agent, "MergeTicket", ticket="T-001", into="T-002")
    await call(agent, "CloseTicket", ticket="T-002")
    asked = {"ticket": "T-001", "content": "more of x", "request_id": str(uuid7())}
    said = await call(agent, "CreateMessage", **asked)
    onward = await call(agent, "GetTicket", ticket="T-002")
    assert (onward.status, onward.message_count) == ("open", 3)
    parted = await call(agent, "UnmergeTicket", ticket="T-001")
    assert (parted.status, parted.message_count) == ("open", 2), "its customer has asked since it was merged"
    assert (await call(agent, "CreateMessage", **asked)).id == said.id
    await call(agent, "MergeTicket", ticket="T-001", into="T-002")
    await erase(agent, "x")
    assert await contents(agent, "T-002") == ["of y"]


async def test_a_merged_tickets_conversation_is_reset_where_it_shows(agent: Agent) -> None:
    """The target shows and counts the hidden messages no longer, and again when they are restored."""
    await create(agent, initial_message="one")
    await call(agent, "CreateMessage", ticket="T-001", content="two")
    await create(agent, initial_message="three")
    await call(agent, "MergeTicket", ticket="T-001", into="T-002")
    for method, count in (("ResetConversation", 2), ("RestoreConversation", 3)):
        await call(agent, method, ticket="T-001")
        assert (await call(agent, "GetTicket", ticket="T-002")).message_count == count
        assert len(await contents(agent, "T-002")) == count


async def test_a_helpdesks_event_changes_the_target_of_a_merge_only_by_what_it_adds(agent: Agent) -> None:
    """An event without messages leaves the target as it is; one with a message stands in the target's history."""
    await ingest(agent, event("e1", "42", status="open", messages=[message("m1", "hi")]))
    await create(agent)
    read = await call(agent, "MergeTicket", ticket="T-001", into="T-002")
    await ingest(agent, event("e2", "42", status="open", messages=[message("m1", "hi")]))
    assert (await call(agent, "GetTicket", ticket="T-002")).etag == read.etag
    await ingest(agent, event("e3", "42", messages=[message("m2", "quince"), message("m3", "damson", from_agent=True)]))
    onward = await call(agent, "GetTicket", ticket="T-002")
    assert (onward.message_count, await actions(agent, "T-002")) == (4, ["create", "take_in", "ingest"])
    for word in ("quince", "damson"):
        assert "T-002" in await numbers(agent, word)


async def test_of_a_long_conversation_only_what_is_searched_is_read(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest messages up to the limit, oldest first, of a ticket and of those merged into it."""
    made = [await create(agent, initial_message=text) for text in ("aaaa", "bbbb")]
    await call(agent, "CreateMessage", ticket="T-001", content="cccc")
    await call(agent, "MergeTicket", ticket="T-001", into="T-002")
    monkeypatch.setattr("services.tickets.store.MAX_SEARCHABLE", 2)
    async with agent.running.store.shop(agent.tenant_id) as shop:
        assert await shop.customer_texts([UUID(one.id) for one in made]) == ["bbbb", "cccc"]


async def test_merges_that_cannot_be_are_refused(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into itself, twice, into a merged one, undone without having been, too many; and reopening."""
    for _ in range(4):
        await create(agent)
    assert await refusal(call(agent, "MergeTicket", ticket="T-001", into="t-001")) == (INVALID, "MERGE_INVALID")
    assert await refusal(call(agent, "UnmergeTicket", ticket="T-001")) == (FAILED, "TICKET_NOT_MERGED")
    missing = call(agent, "MergeTicket", ticket="T-001", into="T-009")
    assert await refusal(missing) == (grpc.StatusCode.NOT_FOUND, "TICKET_NOT_FOUND")
    await call(agent, "MergeTicket", ticket="T-001", into="T-002")
    for asked in (
        call(agent, "MergeTicket", ticket="T-001", into="T-003"),
        call(agent, "MergeTicket", ticket="T-003", into="T-001"),
        call(agent, "ReopenTicket", ticket="T-001"),
        call(agent, "SnoozeTicket", ticket="T-001", until=hence(hours=1)),
        agent.ask("UpdateTicket", ticket="T-001", status="open"),
    ):
        assert await refusal(asked) == (FAILED, "TICKET_MERGED")
    await call(agent, "MergeTicket", ticket="T-002", into="T-003")
    monkeypatch.setattr("services.tickets.life.MAX_MERGED", 2)
    assert await refusal(call(agent, "MergeTicket", ticket="T-004", into="T-003")) == (FAILED, "TOO_MANY_MERGED")


async def test_an_inner_merge_is_undone_without_the_outer_one(agent: Agent) -> None:
    """Of three tickets in a row the first goes on by itself, and the last one shows no longer what it said."""
    for text in ("one", "two", "three"):
        await create(agent, initial_message=text)
    await call(agent, "MergeTicket", ticket="T-001", into="T-002")
    await call(agent, "MergeTicket", ticket="T-002", into="T-003")
    await call(agent, "UnmergeTicket", ticket="T-001")
    assert await contents(agent, "T-003") == ["two", "three"]
    assert await contents(agent, "T-002") == ["two"]
    assert (await call(agent, "UnmergeTicket", ticket="T-002")).status == "open"
    assert [await contents(agent, f"T-00{n}") for n in (1, 2, 3)] == [["one"], ["two"], ["three"]]


async def test_erasing_a_customer_takes_nothing_of_a_merged_ticket_of_another(agent: Agent) -> None:
    """Both ways of a merge: what the customer wrote is gone from everywhere, what others wrote is all there."""
    for customer, text in (("x", "of x"), ("y", "of y"), ("y", "more of y"), ("x", "last of x")):
        await create(agent, customer_id=customer, initial_message=text)
    await call(agent, "MergeTicket", ticket="T-001", into="T-002")
    await call(agent, "MergeTicket", ticket="T-003", into="T-004")
    assert len((await erase(agent, "x")).tickets) == 2
    assert await contents(agent, "T-002") == ["of y"]
    assert await contents(agent, "T-003") == ["more of y"]
    assert (await call(agent, "GetTicket", ticket="T-003")).status == "open"
    assert "of x" not in str(await agent.inbox(status=""))


async def erase(agent: Agent, customer_id: str) -> Any:
    """Erase a customer's tickets."""
    metadata = agent.issuer.metadata("tickets.read", "customers.write", tenant_id=agent.tenant_id)
    request = ticket_service_pb2.EraseCustomerTicketsRequest(customer_id=customer_id)
    return await agent.running.tickets.EraseCustomerTickets(request, metadata=metadata)


@pytest.mark.parametrize(("ticket", "into"), [("T-001", "T-002"), ("T-002", "T-001")])
async def test_what_is_merged_beside_an_erasure_is_parted_again(agent: Agent, ticket: str, into: str) -> None:
    """A merge between parting and erasing leaves no text of the erased customer, and no other ticket is lost."""
    await create(agent, customer_id="x", initial_message="of x")
    await create(agent, customer_id="y", initial_message="of y")

    class Beside(ErasureStore):
        asked = 0

        async def merged(self, *values: Any) -> list[UUID]:
            found = await super().merged(*values)
            self.asked += 1
            if self.asked == 1:
                await call(agent, "MergeTicket", ticket=ticket, into=into)
            return found

    running, store = agent.running, Beside(agent.running.database)
    erasing = Erasing(store, Work(running.store, running.inbox), running.inbox)
    erased, _ = await erasing.erase(Caller(agent.tenant_id, "key:1"), "x")
    assert (len(erased), store.asked) == (1, 2)
    left = await call(agent, "GetTicket", ticket="T-002")
    assert (left.merged_into, list(left.merged_from), await contents(agent, "T-002")) == ("", [], ["of y"])


async def test_a_ticket_whose_target_is_gone_can_still_be_parted(agent: Agent) -> None:
    """It goes on by itself, and its customer can be erased."""
    await create(agent, customer_id="x")
    await create(agent, customer_id="y")
    target = await call(agent, "MergeTicket", ticket="T-001", into="T-002")
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        await connection.execute("SELECT tickets.erase_tickets($1::uuid[])", [UUID(target.id)])
    parted = await call(agent, "UnmergeTicket", ticket="T-001")
    assert (parted.status, parted.merged_into) == ("open", "")
    assert len((await erase(agent, "x")).tickets) == 1


async def test_two_merges_against_each_other_make_no_circle(agent: Agent) -> None:
    """Asked at once, one of them is refused: the other's ticket goes on elsewhere by then."""
    await create(agent)
    await create(agent)
    results = await asyncio.gather(
        call(agent, "MergeTicket", ticket="T-001", into="T-002"),
        call(agent, "MergeTicket", ticket="T-002", into="T-001"),
        return_exceptions=True,
    )
    refused = [one for one in results if isinstance(one, grpc.aio.AioRpcError)]
    assert [one.code() for one in refused] == [FAILED]


async def test_a_merge_keeps_pages_of_messages_whole(agent: Agent) -> None:
    """Messages of one time and one number in two tickets are told apart at the border of a page."""
    same = stamp(datetime(2026, 1, 1, tzinfo=UTC))
    for _ in range(3):
        await create(agent)
    for number in (1, 2, 3):
        for text in "ab":
            await call(agent, "CreateMessage", ticket=f"T-00{number}", content=f"{number}{text}", create_time=same)
    await call(agent, "MergeTicket", ticket="T-001", into="T-003")
    await call(agent, "MergeTicket", ticket="T-002", into="T-003")
    found: list[str] = []
    token = ""
    while True:
        page = await call(agent, "ListMessages", ticket="T-003", page_size=1, page_token=token)
        found += [one.id for one in page.messages]
        token = page.next_page_token
        if not token:
            break
    assert len(found) == len(set(found)) == 9


async def test_a_bulk_change_tells_what_became_of_each_ticket(agent: Agent) -> None:
    """What is refused of one keeps it from none of the others; the outcomes come in the order that was asked."""
    for _ in range(3):
        await create(agent)
    await call(agent, "CloseTicket", ticket="T-002")
    done = await call(
        agent, "BulkChangeTickets", tickets=["T-003", "T-009", "T-002", "nonsense", "T-001"], action={"close": {}}
    )
    assert [one.reason for one in done.outcomes] == [
        "",
        "TICKET_NOT_FOUND",
        "TICKET_ALREADY_CLOSED",
        "TICKET_NOT_FOUND",
        "",
    ]
    assert [one.changed.number for one in done.outcomes] == ["T-003", "", "", "", "T-001"]
    assert (done.changed_count, done.refused_count) == (2, 3)
    assert all(one.detail for one in done.outcomes if one.reason)


ACTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"change": {"priority": "high", "assigned_to": "eve", "add_tags": ["x"]}}, {"priority": "high"}),
    ({"snooze": {"until": hence(hours=1)}}, {"status": "pending"}),
    ({"wake": {}}, {"status": "open"}),
    ({"pin": {}}, {"pinned": True}),
    ({"unpin": {}}, {"pinned": False}),
    ({"escalate": {"reason": "r"}}, {"escalated": True}),
    ({"deescalate": {}}, {"escalated": False}),
    ({"close": {}}, {"status": "closed"}),
    ({"reopen": {}}, {"status": "open"}),
]


async def test_every_action_can_be_done_in_bulk(agent: Agent) -> None:
    """Each leaves the ticket as the call for a single one does."""
    await create(agent)
    for action, expected in ACTIONS:
        done = await call(agent, "BulkChangeTickets", tickets=["T-001"], action=action)
        changed = done.outcomes[0].changed
        assert {name: getattr(changed, name) for name in expected} == expected


async def test_a_repeated_bulk_change_changes_nothing_more(agent: Agent) -> None:
    """With its request_id a repetition after a broken connection goes on with what was left."""
    await create(agent)
    await create(agent)
    asked = {"action": {"close": {}}, "request_id": str(uuid7())}
    await call(agent, "BulkChangeTickets", tickets=["T-001"], **asked)
    again = await call(agent, "BulkChangeTickets", tickets=["T-001", "T-002"], **asked)
    assert [one.reason for one in again.outcomes] == ["", ""]
    assert await actions(agent, "T-001") == ["create", "close"]
    assert await actions(agent, "T-002") == ["create", "close"]


async def test_a_request_id_stands_for_one_action_and_a_ticket_for_all_its_names(agent: Agent) -> None:
    """Another action with the same request_id is done; a ticket named by id and number is taken through it once."""
    made = await create(agent)
    asked = {"tickets": [made.id, "T-001", "t-001"], "request_id": str(uuid7())}
    for action in ("close", "reopen"):
        done = await call(agent, "BulkChangeTickets", action={action: {}}, **asked)
        assert [(one.ticket, one.reason) for one in done.outcomes] == [(name, "") for name in asked["tickets"]]
    assert await actions(agent, "T-001") == ["create", "close", "reopen"]


async def test_two_hundred_tickets_change_in_one_call_and_no_more(agent: Agent) -> None:
    """The most that a call takes, by two callers in opposite orders at once: nobody waits for the other for ever."""
    told = [event(f"e{number}", str(number), messages=[message("m", "hi")]) for number in range(200)]
    for start in range(0, 200, 100):
        await ingest(agent, *told[start : start + 100])
    names = [f"T-{number:03d}" for number in range(1, 201)]
    done = await asyncio.gather(
        call(agent, "BulkChangeTickets", tickets=names, action={"change": {"add_tags": ["a"]}}),
        call(agent, "BulkChangeTickets", tickets=names[::-1], action={"change": {"add_tags": ["b"]}}),
    )
    assert [one.changed_count for one in done] == [200, 200]
    assert set((await call(agent, "GetTicket", ticket="T-100")).tags) == {"a", "b"}
    asked = call(agent, "BulkChangeTickets", tickets=[*names, "T-201"], action={"pin": {}})
    assert (await refusal(asked))[0] is INVALID


async def test_tags_are_added_and_removed_without_knowing_the_others(agent: Agent) -> None:
    """Two agents who each add a tag keep both; a call that names nothing is refused."""
    await create(agent, tags=["a"])
    await call(agent, "UpdateTicket", ticket={"id": "T-001"}, add_tags=["b"])
    changed = await call(agent, "UpdateTicket", ticket={"id": "T-001"}, add_tags=["c"], remove_tags=["a"])
    assert list(changed.tags) == ["b", "c"]
    asked = call(agent, "BulkChangeTickets", tickets=["T-001"], action={"change": {}})
    assert await refusal(asked) == (INVALID, "NOTHING_TO_CHANGE")


async def test_a_history_is_read_in_pages_newest_first(agent: Agent) -> None:
    """Every entry once; another tenant's and another ticket's page tokens are refused."""
    await create(agent)
    await create(agent)
    for priority in ("high", "low", "urgent"):
        await call(agent, "UpdateTicket", ticket={"id": "T-001", "priority": priority})
    found: list[Any] = []
    page = await call(agent, "ListTicketHistory", ticket="T-001", page_size=3)
    found += page.entries
    page_token = page.next_page_token
    page = await call(agent, "ListTicketHistory", ticket="T-001", page_size=3, page_token=page_token)
    found += page.entries
    assert page.next_page_token == ""
    changes = [[(one.name, one.before, one.after) for one in entry.fields] for entry in found]
    assert changes == [
        [("priority", "low", "urgent")],
        [("priority", "high", "low")],
        [("priority", "normal", "high")],
        [],
    ]
    assert all(entry.principal.startswith("key:") for entry in found)
    foreign = call(agent, "ListTicketHistory", ticket="T-002", page_size=3, page_token=page_token)
    assert (await refusal(foreign))[1] == "PAGE_TOKEN_INVALID"
