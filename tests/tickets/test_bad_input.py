"""What is sent wrong, strange or twice: each refused precisely or taken as it is, and none a fault of ours."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.tickets.v1 import search_service_pb2

from servicekit.ids import uuid7
from tests.tickets.calls import event, message, refusal, stamp
from tests.tickets.conftest import Agent
from tests.tickets.test_ingest import ingest
from tests.tickets.test_work import call, contents, create, hence

INVALID, FAILED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
NOT_FOUND, ABORTED = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ABORTED
BIDI = "\u202eabc\u2066\u200f"
MEGABYTE = "x" * 1_000_000
NEW = {"customer_id": "c", "channel": "email", "initial_message": "m"}
ANCIENT, FUTURE = Timestamp(seconds=-62_135_596_800), Timestamp(seconds=253_402_300_799)
BROKEN = Timestamp(seconds=2**62, nanos=-5)

REFUSED: list[tuple[str, str, dict[str, Any], grpc.StatusCode, str]] = [
    ("1 MB to open with", "CreateTicket", {**NEW, "initial_message": MEGABYTE}, INVALID, "REQUEST_INVALID"),
    ("1 MB of message", "CreateMessage", {"content": MEGABYTE}, INVALID, "REQUEST_INVALID"),
    ("1 MB of reply", "ReplyTicket", {"content": MEGABYTE}, INVALID, "REQUEST_INVALID"),
    ("1 MB of note", "CreateNote", {"content": MEGABYTE, "author_name": "a"}, INVALID, "REQUEST_INVALID"),
    ("no text", "ReplyTicket", {"content": ""}, INVALID, "REQUEST_INVALID"),
    ("10,000 tags", "CreateTicket", {**NEW, "tags": [str(n) for n in range(10_000)]}, INVALID, "REQUEST_INVALID"),
    (
        "10,000 more tags",
        "UpdateTicket",
        {"ticket": {"id": "T-001"}, "add_tags": [str(n) for n in range(10_000)]},
        INVALID,
        "REQUEST_INVALID",
    ),
    (
        "a tag too many",
        "UpdateTicket",
        {"ticket": {"id": "T-001", "tags": [str(n) for n in range(50)]}, "add_tags": ["more"]},
        INVALID,
        "TAGS_INVALID",
    ),
    ("a tag of blanks", "UpdateTicket", {"ticket": {"id": "T-001"}, "add_tags": [" \t"]}, INVALID, "TAGS_INVALID"),
    ("NUL in a subject", "CreateTicket", {**NEW, "subject": "a\x00b"}, INVALID, "REQUEST_INVALID"),
    ("NUL in a message", "CreateMessage", {"content": "a\x00b"}, INVALID, "REQUEST_INVALID"),
    ("NUL in a tag", "UpdateTicket", {"ticket": {"id": "T-001"}, "add_tags": ["\x00"]}, INVALID, "REQUEST_INVALID"),
    ("NUL in a reason", "EscalateTicket", {"reason": "\x00"}, INVALID, "REQUEST_INVALID"),
    ("NUL in a name", "GetTicket", {"ticket": "T-\x00"}, INVALID, "REQUEST_INVALID"),
    ("a number beyond all", "GetTicket", {"ticket": "T-" + "9" * 40}, NOT_FOUND, "TICKET_NOT_FOUND"),
    ("somebody's id", "GetTicket", {"ticket": str(uuid7())}, NOT_FOUND, "TICKET_NOT_FOUND"),
    ("nobody's ticket", "MergeTicket", {"into": "T-009"}, NOT_FOUND, "TICKET_NOT_FOUND"),
    ("snoozed for ever", "SnoozeTicket", {"until": FUTURE}, INVALID, "SNOOZE_TIME_INVALID"),
    ("snoozed until long ago", "SnoozeTicket", {"until": ANCIENT}, INVALID, "SNOOZE_TIME_INVALID"),
    ("snoozed until no moment", "SnoozeTicket", {"until": BROKEN}, INVALID, "SNOOZE_TIME_INVALID"),
    ("snoozed without an end", "SnoozeTicket", {}, INVALID, "REQUEST_INVALID"),
    ("woken while awake", "WakeTicket", {}, FAILED, "TICKET_NOT_SNOOZED"),
    ("reopened while open", "ReopenTicket", {}, FAILED, "TICKET_NOT_CLOSED"),
    ("parted while whole", "UnmergeTicket", {}, FAILED, "TICKET_NOT_MERGED"),
    ("merged into itself", "MergeTicket", {"into": "T-001"}, INVALID, "MERGE_INVALID"),
    ("a stale etag", "PinTicket", {"etag": "stale"}, ABORTED, "ETAG_MISMATCH"),
    ("an endless etag", "PinTicket", {"etag": "x" * 129}, INVALID, "REQUEST_INVALID"),
    ("an unknown status", "ReplyTicket", {"content": "x", "status": "snoozed"}, INVALID, "REQUEST_INVALID"),
    ("a request id of any form", "ReplyTicket", {"content": "x", "request_id": "1"}, INVALID, "REQUEST_INVALID"),
    ("a page token of one's own", "ListTicketHistory", {"page_token": "mine"}, INVALID, "PAGE_TOKEN_INVALID"),
    ("less than no entries", "ListTicketHistory", {"page_size": -1}, INVALID, "REQUEST_INVALID"),
    ("no tickets", "BulkChangeTickets", {"tickets": [], "action": {"pin": {}}}, INVALID, "REQUEST_INVALID"),
    (
        "a ticket twice",
        "BulkChangeTickets",
        {"tickets": ["T-1"] * 2, "action": {"pin": {}}},
        INVALID,
        "REQUEST_INVALID",
    ),
    ("nothing to do", "BulkChangeTickets", {"tickets": ["T-001"]}, INVALID, "REQUEST_INVALID"),
    ("no action", "BulkChangeTickets", {"tickets": ["T-001"], "action": {}}, INVALID, "REQUEST_INVALID"),
]
NAMES_ITSELF = ("CreateTicket", "UpdateTicket", "BulkChangeTickets")


@pytest.mark.parametrize(
    ("method", "fields", "code", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
async def test_what_is_wrong_is_refused_by_its_name(
    agent: Agent, method: str, fields: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    """Each with a code and a reason of its own, and the ticket is as it was."""
    read = await create(agent)
    named = {} if "ticket" in fields or method in NAMES_ITSELF else {"ticket": "T-001"}
    assert await refusal(call(agent, method, **named, **fields)) == (code, reason)
    assert (await call(agent, "GetTicket", ticket="T-001")).etag == read.etag


@pytest.mark.parametrize("text", [BIDI, "\ufeff", "🧵" * 500, "\U000e0041", "a\r\nb\x1b[31m", "İıſß"])
async def test_strange_characters_are_kept_as_they_came(agent: Agent, text: str) -> None:
    """Directions, joiners, controls, letters that change length: in subject, name, tag, message and reason."""
    await create(agent, subject=text[:500], author_name=text[:255], tags=[text[:100]], initial_message=text)
    await call(agent, "EscalateTicket", ticket="T-001", reason=text[:500])
    read = await call(agent, "GetTicket", ticket="T-001")
    assert (read.subject, list(read.tags)) == (text[:500], [text[:100]])
    assert await contents(agent, "T-001") == [text]
    entry = (await call(agent, "ListTicketHistory", ticket="T-001")).entries[0]
    assert entry.details["reason"] == text[:500]
    card = (await agent.inbox(topic_alerts=text[:20].strip(",")))["tickets"][0]
    assert card["subject"] == text[:500]


@pytest.mark.parametrize("written", [ANCIENT, FUTURE, BROKEN, Timestamp()])
async def test_a_clock_that_is_wrong_keeps_the_conversation_readable(agent: Agent, written: Timestamp) -> None:
    """What was written before 1970 counts as of then, what comes from the future as of now; the order stays total."""
    await create(agent)
    added = await call(agent, "CreateMessage", ticket="T-001", content="odd", create_time=written)
    moment = added.create_time.ToDatetime(UTC)
    assert datetime(1970, 1, 1, tzinfo=UTC) <= moment <= datetime.now(UTC)
    assert set(await contents(agent, "T-001")) == {"hello", "odd"}
    await agent.inbox()


async def test_a_duplicated_external_id_at_once_is_one_ticket_and_one_message(agent: Agent) -> None:
    """Twenty deliveries of one new conversation, with the same message in each, at the same moment."""
    told = [event(f"e{number}", "42", status="open", messages=[message("m1", "hi")]) for number in range(20)]
    await asyncio.gather(*(ingest(agent, one) for one in told))
    assert len((await call(agent, "ListTickets")).tickets) == 1
    assert await contents(agent, "T-001") == ["hi"]


async def test_a_repeated_request_at_once_is_one_message_and_one_reply(agent: Agent) -> None:
    """Ten copies of one call with its request_id, for each kind of entry."""
    await create(agent)
    for method, fields in (("CreateMessage", {}), ("ReplyTicket", {}), ("CreateNote", {"author_name": "a"})):
        asked = {"ticket": "T-001", "content": method, "request_id": str(uuid7()), **fields}
        await asyncio.gather(*(call(agent, method, **asked) for _ in range(10)))
    assert await contents(agent, "T-001") == ["hello", "CreateMessage", "ReplyTicket"]
    assert len((await call(agent, "ListNotes", ticket="T-001")).notes) == 1


async def test_of_two_who_saw_the_same_ticket_one_is_refused(agent: Agent) -> None:
    """Twelve agents answer at once with the etag that all have read: one reply reaches the customer."""
    read = await create(agent)
    asked = [call(agent, "ReplyTicket", ticket="T-001", content=str(n), etag=read.etag) for n in range(12)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    refused = [one for one in results if isinstance(one, grpc.aio.AioRpcError)]
    assert {one.code() for one in refused} == {ABORTED}
    assert len(refused) == 11
    assert len(await contents(agent, "T-001")) == 2


async def test_work_on_one_ticket_at_once_ends_in_one_of_its_states(agent: Agent) -> None:
    """Snoozing, closing, opening, merging and writing against each other: no fault, and no impossible ticket."""
    await create(agent)
    await create(agent)
    steps: list[tuple[str, dict[str, Any]]] = [
        ("SnoozeTicket", {"until": hence(hours=1)}),
        ("WakeTicket", {}),
        ("CloseTicket", {}),
        ("ReopenTicket", {}),
        ("MergeTicket", {"into": "T-002"}),
        ("UnmergeTicket", {}),
        ("CreateMessage", {"content": "x"}),
        ("EscalateTicket", {}),
    ]
    asked = [call(agent, method, ticket="T-001", **fields) for method, fields in steps * 5]
    results = await asyncio.gather(*asked, return_exceptions=True)
    codes = {one.code() for one in results if isinstance(one, grpc.aio.AioRpcError)}
    assert codes <= {FAILED, INVALID}
    one = await call(agent, "GetTicket", ticket="T-001")
    assert one.HasField("close_time") == (one.status == "closed")
    assert not one.HasField("snooze_until") or one.status == "pending"
    assert not one.merged_into or one.status == "closed"
    family = set((await call(agent, "GetTicket", ticket="T-002")).merged_from)
    assert family == ({one.id} if one.merged_into else set())


async def test_a_ticket_from_the_far_past_is_open_like_any_other(agent: Agent) -> None:
    """A helpdesk that says year 1 or 9999 breaks neither page, history nor explanation."""
    for number, moment in enumerate((datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))):
        told = event(
            f"e{number}", str(number), moment, status="open", messages=[message("m", "hi", create_time=stamp(moment))]
        )
        await ingest(agent, told)
    assert len((await agent.inbox())["tickets"]) == 2
    for name in ("T-001", "T-002"):
        await call(agent, "ExplainTicket", ticket=name)
        assert (await call(agent, "ListTicketHistory", ticket=name)).entries[0].action == "ingest"


async def test_more_different_words_than_the_index_holds_are_stored_and_the_newest_found(agent: Agent) -> None:
    """Two letters of four bytes each, as many as fit in a ticket: by the customer, by the shop, by the customer."""
    words = [chr(0x20000 + number // 256) + chr(0x20000 + number % 256) for number in range(66_000)]
    parts = [" ".join(words[start : start + 22_000]) for start in range(0, len(words), 22_000)]
    await create(agent)
    for number, method in enumerate(["CreateMessage"] * 3 + ["ReplyTicket"] * 2 + ["CreateMessage"]):
        await call(agent, method, ticket="T-001", content=f"{parts[number % 3]} newest{number}")
    for query, count in ((f"newest3 newest5 {words[-1]}", 1), (words[44_000], 0), ("newest4", 0)):
        request = search_service_pb2.SearchTicketsRequest(query=query)
        found = await agent.running.search.SearchTickets(request, metadata=agent.metadata)
        assert len(found.results) == count
