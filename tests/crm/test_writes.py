"""Writing back to a helpdesk, through real servers: switched on, asked for once, made once, whatever fails."""

import asyncio
import re
from collections.abc import AsyncIterator
from uuid import UUID

import grpc
import orjson
import pytest
from rapport.crm.v1 import write_pb2, write_service_pb2

from servicekit.cache import Cache
from servicekit.ids import uuid7
from servicekit.tenant_data import TenantData
from services.crm.export import opened_write
from services.crm.writing import MOST_ATTEMPTS, marker_of
from tests.crm.conftest import Crm, customer_erasure
from tests.crm.desk import BRIEF, Desk, killed, opened_desk, working
from tests.crm.statuses import require_status
from tests.support.vendors.server import Asked, broken, lost, timed_out, too_many
from tests.support.waiting import eventually

Write = write_pb2.Write
Status = grpc.StatusCode


@pytest.fixture
async def desk(crm: Crm) -> AsyncIterator[Desk]:
    """A shop with a ticket at Intercom that writes back."""
    async with opened_desk(crm) as opened:
        yield opened


def replying(asked: Asked) -> bool:
    """Return whether a call writes a note or a reply."""
    return asked.path.endswith("/reply")


async def test_shop_that_did_not_switch_it_on_is_refused_precisely(desk: Desk) -> None:
    """Writing back is off by default: nothing is stored, and the refusal names the feature."""
    desk.features = []
    with require_status(Status.FAILED_PRECONDITION, "WRITE_BACK_OFF") as refused:
        await desk.note()
    assert "write_back" in refused.details
    listed = await desk.write.ListWrites(write_service_pb2.ListWritesRequest(), metadata=desk.metadata)
    assert not listed.writes


async def test_note_stands_at_the_helpdesk_with_its_marker(desk: Desk) -> None:
    """A note is written once, internally, and carries the marker of its change."""
    asked = await desk.note("The parcel is at customs")
    assert (asked.state, asked.kind) == (Write.STATE_PENDING, Write.KIND_NOTE)
    async with working(await desk.writer()):
        done = await desk.settled(asked)
    assert (done.state, done.made, done.attempts) == (Write.STATE_DONE, True, 1)
    (note,) = desk.notes()
    assert "The parcel is at customs" in note
    assert marker_of(UUID(asked.id)) in note
    assert desk.replies() == []


async def test_note_of_the_recommendation_gives_its_reasons(desk: Desk) -> None:
    """What recommendations say at the time of the request is written with each reason."""
    asked = await desk.ask(note=write_service_pb2.NewNote(recommendation=True))
    desk.fakes.recommendation = {"priority": "low", "actions": []}
    async with working(await desk.writer()):
        await desk.settled(asked)
    (note,) = desk.notes()
    assert "Offer a refund" in note
    assert "The parcel is nine days late." in note


async def test_reply_reaches_the_customer_only_by_send(desk: Desk) -> None:
    """Of all methods only this one lets the customer hear something, and each is heard once."""
    request = write_service_pb2.SendReplyRequest(ticket=desk.ticket, request_id="request-1", text="It is on its way")
    asked = await desk.write.SendReply(request, metadata=desk.metadata)
    assert (await desk.write.SendReply(request, metadata=desk.metadata)).id == asked.id
    async with working(await desk.writer()):
        done = await desk.settled(asked)
    assert (done.state, done.kind) == (Write.STATE_DONE, Write.KIND_REPLY)
    (reply,) = desk.replies()
    assert "It is on its way" in reply
    assert desk.notes() == []


async def test_priority_and_tags_are_set_and_what_stands_there_is_left(desk: Desk) -> None:
    """Tags are added to those that the ticket has; a change that is there already is not made."""
    desk.intercom.change("tickets", "1", tags={"type": "tag.list", "tags": [{"type": "tag", "id": "1", "name": "old"}]})
    first = await desk.ask("request-1", tags=write_service_pb2.NewTags(tags=["vip"]))
    second = await desk.ask("request-2", tags=write_service_pb2.NewTags(tags=["vip"]))
    third = await desk.ask("request-3", priority="urgent")
    async with working(await desk.writer()):
        made = [(await desk.settled(write)).made for write in (first, second)]
        assert (await desk.settled(third)).made
    assert made == [True, False]
    ticket = desk.intercom.tickets["1"]
    assert [tag["name"] for tag in ticket["tags"]["tags"]] == ["old", "vip"]
    assert ticket["ticket_attributes"]["Priority"] == "Urgent"


async def test_same_request_is_one_change_and_another_under_its_id_is_refused(desk: Desk) -> None:
    """A repeated request gets the first answer, also after the change was made; a different one is told apart."""
    answers = await asyncio.gather(*(desk.note("Once") for _ in range(8)))
    assert len({write.id for write in answers}) == 1
    async with working(await desk.writer(), await desk.writer()):
        await desk.settled(answers[0])
    assert (await desk.note("Once")).state == Write.STATE_DONE
    assert len(desk.notes()) == 1
    with require_status(Status.ALREADY_EXISTS, "REQUEST_ID_REUSED"):
        await desk.note("Twice")


@pytest.mark.parametrize("request_id", ["short", "with a space", "with-\x00-in-it", "höchstens", "x" * 129])
async def test_request_id_that_cannot_be_kept_is_refused(desk: Desk, request_id: str) -> None:
    """A request id is printable ASCII of a bounded length."""
    with require_status(Status.INVALID_ARGUMENT, "REQUEST_INVALID"):
        await desk.note(request_id=request_id)


async def test_what_can_never_be_done_is_refused_at_once(desk: Desk) -> None:
    """An unknown ticket, one that stands at no helpdesk, and one whose connection is gone have reasons of their own."""
    for ticket, place, status, reason in (
        (str(uuid7()), None, Status.NOT_FOUND, "TICKET_NOT_FOUND"),
        (str(uuid7()), ("", ""), Status.FAILED_PRECONDITION, "TICKET_NOT_EXTERNAL"),
        (str(uuid7()), (str(uuid7()), "9"), Status.NOT_FOUND, "CONNECTION_NOT_FOUND"),
    ):
        if place is not None:
            desk.fakes.places[ticket] = place
        with require_status(status, reason):
            await desk.note(ticket=ticket)


async def test_another_shop_sees_and_brings_back_nothing(desk: Desk) -> None:
    """A change is found by its own shop only."""
    asked = await desk.note()
    stranger = desk.crm.as_tenant(uuid7(), "tickets.read", "tickets.write")
    for call, request in (
        (desk.write.GetWrite, write_service_pb2.GetWriteRequest(write=asked.id)),
        (desk.write.RetryWrite, write_service_pb2.RetryWriteRequest(write=asked.id)),
    ):
        with require_status(Status.NOT_FOUND, "WRITE_NOT_FOUND"):
            await call(request, metadata=stranger)
    listed = await desk.write.ListWrites(write_service_pb2.ListWritesRequest(), metadata=stranger)
    assert not listed.writes


@pytest.mark.parametrize("trouble", [lost, timed_out], ids=["answer lost", "answer too late"])
async def test_note_whose_answer_was_lost_is_not_written_again(desk: Desk, trouble: object) -> None:
    """The vendor did it and nobody heard: the marker is found, and the note stands there once."""
    desk.vendor.fail(trouble(replying))  # type: ignore[operator]
    asked = await desk.note()
    async with working(await desk.writer(call_seconds=0.5)):
        done = await desk.settled(asked)
    assert (done.state, done.made, done.attempts) == (Write.STATE_DONE, False, 2)
    assert len(desk.notes()) == 1
    assert len(desk.vendor.calls("intercom", "POST", "/reply")) == 1


async def test_worker_killed_between_writing_and_settling_leaves_one_note(desk: Desk) -> None:
    """Written, killed before it was noted, taken over by another process: the vendor has exactly one."""
    desk.vendor.fail(timed_out(replying))
    asked = await desk.note()
    first = asyncio.create_task((await desk.writer(lease=BRIEF)).run())
    await desk.vendor.wait_until(lambda: bool(desk.vendor.calls("intercom", "POST", "/reply")))
    await killed(first)
    assert len(desk.notes()) == 1
    assert (await desk.seen(asked)).state == Write.STATE_PENDING
    async with working(await desk.writer(), await desk.writer()):
        done = await desk.settled(asked)
    assert done.state == Write.STATE_DONE
    assert len(desk.notes()) == 1


async def test_many_crashes_leave_each_note_and_reply_once(desk: Desk) -> None:
    """Twelve tickets, workers killed again and again while they write: each has one note and one reply there."""
    asked = []
    for number in range(2, 14):
        desk.intercom.open_ticket(str(number), "Late parcel", "Where is it?")
        ticket = desk.new_ticket(str(number))
        asked.append(await desk.note(f"Note {number}", f"request-n{number}", ticket))
        request = write_service_pb2.SendReplyRequest(ticket=ticket, request_id=f"request-r{number}", text="Sorry")
        asked.append(await desk.write.SendReply(request, metadata=desk.metadata))
    for round_ in range(1, 7):
        worker = asyncio.create_task((await desk.writer(lease=BRIEF)).run())
        await desk.vendor.wait_until(
            lambda least=round_ * 3: len(desk.vendor.calls("intercom", "POST", "/reply")) >= least  # type: ignore[misc]
        )
        await killed(worker)
    async with working(await desk.writer(), await desk.writer()):
        states = [(await desk.settled(write, within=60)).state for write in asked]
    assert set(states) == {Write.STATE_DONE}
    for number in range(2, 14):
        assert (len(desk.notes(str(number))), len(desk.replies(str(number)))) == (1, 1)


async def test_vendors_limit_is_kept_without_losing_attempts(desk: Desk) -> None:
    """A 429 delays a change for as long as the vendor says and counts as no failure."""
    desk.vendor.fail(too_many(1, times=2))
    asked = await desk.note()
    async with working(await desk.writer()):
        done = await desk.settled(asked)
    assert (done.state, done.attempts) == (Write.STATE_DONE, 1)
    assert len(desk.notes()) == 1


async def test_refused_change_is_dead_visible_and_can_be_brought_back(desk: Desk) -> None:
    """What the vendor refuses for good waits for a person; after a retry it is made."""
    desk.vendor.fail(broken(replying, status=403))
    asked = await desk.note()
    async with working(await desk.writer()):
        dead = await desk.settled(asked)
        assert (dead.state, dead.reason) == (Write.STATE_DEAD, "PERMISSION_MISSING")
        request = write_service_pb2.ListWritesRequest(state=Write.STATE_DEAD)
        listed = await desk.write.ListWrites(request, metadata=desk.metadata)
        assert [write.id for write in listed.writes] == [asked.id]
        retry = write_service_pb2.RetryWriteRequest(write=asked.id)
        assert (await desk.write.RetryWrite(retry, metadata=desk.metadata)).state == Write.STATE_PENDING
        done = await desk.settled(asked)
    assert (done.state, done.reason) == (Write.STATE_DONE, "")
    assert len(desk.notes()) == 1
    with require_status(Status.FAILED_PRECONDITION, "WRITE_STATE"):
        await desk.write.RetryWrite(retry, metadata=desk.metadata)


async def test_dead_reply_reaches_the_customer_only_if_that_is_said(desk: Desk) -> None:
    """A retry without `send` sends nothing and says why; with it the reply goes out, and both are in the audit log."""
    desk.vendor.fail(broken(replying, status=403))
    request = write_service_pb2.SendReplyRequest(ticket=desk.ticket, request_id="request-1", text="It is on its way")
    asked = await desk.write.SendReply(request, metadata=desk.metadata)
    async with working(await desk.writer()):
        assert (await desk.settled(asked)).state == Write.STATE_DEAD
        with require_status(Status.FAILED_PRECONDITION, "REPLY_NOT_CONFIRMED"):
            await desk.write.RetryWrite(write_service_pb2.RetryWriteRequest(write=asked.id), metadata=desk.metadata)
        assert (await desk.seen(asked)).state == Write.STATE_DEAD
        assert desk.replies() == []
        await desk.write.RetryWrite(
            write_service_pb2.RetryWriteRequest(write=asked.id, send=True), metadata=desk.metadata
        )
        assert (await desk.settled(asked)).state == Write.STATE_DONE
    assert len(desk.replies()) == 1
    outcomes = [each.outcome for each in desk.kept.all if each.method.endswith("/RetryWrite")]
    assert outcomes == ["REPLY_NOT_CONFIRMED", "OK"]


async def test_switching_it_off_stops_what_waits(desk: Desk) -> None:
    """A change that waits when the shop switches writing back off is not made."""
    asked = await desk.note()
    desk.features = []
    async with working(await desk.writer()):
        dead = await desk.settled(asked)
    assert (dead.state, dead.reason) == (Write.STATE_DEAD, "WRITE_BACK_OFF")
    assert desk.notes() == []


async def test_switching_it_on_counts_at_once(desk: Desk) -> None:
    """A worker that remembers the shop without the feature asks again before it gives a change up."""
    desk.remembered = []
    asked = await desk.note()
    async with working(await desk.writer()):
        done = await desk.settled(asked)
    assert done.state == Write.STATE_DONE


async def test_suspended_shop_waits_and_loses_nothing(desk: Desk) -> None:
    """While a shop is suspended its changes rest without losing attempts."""
    await desk.note()
    desk.crm.issuer.trust.refused_tenants = frozenset({desk.tenant_id})
    query = "SELECT reason, attempts, state FROM crm.writes WHERE tenant_id = $1"
    async with working(await desk.writer()):

        async def resting() -> bool:
            async with desk.crm.databases[0].driver_tenant(desk.tenant_id) as connection:
                rows = [tuple(row) for row in await connection.fetch(query, desk.tenant_id)]
                return rows == [("TENANT_REFUSED", 0, "pending")]

        await eventually(resting)
    assert desk.notes() == []


async def test_changes_of_one_ticket_are_made_in_their_order(desk: Desk) -> None:
    """Notes on a ticket stand there in the order in which they were asked for, with several workers at it."""
    asked = [await desk.note(f"Note {number}", f"request-{number:03}") for number in range(6)]
    async with working(await desk.writer(), await desk.writer()):
        for write in asked:
            await desk.settled(write)
    assert [re.findall(r"Note (\d)", note) for note in desk.notes()] == [[str(number)] for number in range(6)]


async def test_job_that_takes_workers_down_ends_as_dead(desk: Desk) -> None:
    """A change that never comes to an end is given up after its attempts, instead of taking down one more worker."""
    asked = await desk.note()
    async with desk.crm.databases[0].driver_tenant(desk.tenant_id) as connection:
        await connection.execute(
            "UPDATE crm.write_jobs SET attempts = $2 WHERE tenant_id = $1", desk.tenant_id, MOST_ATTEMPTS
        )
    async with working(await desk.writer()):
        dead = await desk.settled(asked)
    assert (dead.state, dead.reason) == (Write.STATE_DEAD, "ATTEMPTS_EXHAUSTED")
    assert desk.notes() == []


async def test_what_was_written_is_no_longer_kept(desk: Desk) -> None:
    """The text waits sealed and is gone from the database once it stands at the helpdesk."""
    asked = await desk.note("A planted secret")
    query = "SELECT payload FROM crm.writes WHERE tenant_id = $1"
    async with desk.crm.databases[0].driver_tenant(desk.tenant_id) as connection:
        sealed = await connection.fetchval(query, desk.tenant_id)
    assert b"planted" not in sealed
    async with working(await desk.writer()):
        await desk.settled(asked)
    async with desk.crm.databases[0].driver_tenant(desk.tenant_id) as connection:
        assert await connection.fetchval(query, desk.tenant_id) is None


async def test_erased_customer_takes_what_was_to_be_written_along(desk: Desk) -> None:
    """Of the customer's tickets no change is left, waiting or made; those of other tickets stay."""
    desk.intercom.open_ticket("2", "Another customer", "Hello")
    kept = await desk.note("Stays", "request-2", desk.new_ticket("2"))
    await desk.note("A planted secret")
    erasure = customer_erasure(desk.crm.databases[0], desk.crm.main.keyring)
    await erasure.erase(desk.tenant_id, tickets=[(UUID(desk.connection), "1")], mentioned=[], after=None)
    listed = await desk.write.ListWrites(write_service_pb2.ListWritesRequest(), metadata=desk.metadata)
    assert [write.id for write in listed.writes] == [kept.id]
    async with working(await desk.writer()):
        await desk.settled(kept)
    assert desk.notes() == []


async def test_export_opens_what_waits_to_be_written(desk: Desk) -> None:
    """A shop that leaves takes along what it wanted to have written, in clear; what was written is not kept."""
    done = await desk.note("First", "request-1")
    async with working(await desk.writer()):
        await desk.settled(done)
    waiting = await desk.note("Grüße", "request-2")
    data = TenantData(
        desk.crm.databases[0],
        await Cache.connect(None, service="crm"),
        opened={"writes": opened_write(desk.crm.main.keyring)},
    )
    lines = [
        orjson.loads(line)
        async for part in data.export(desk.tenant_id)
        if part.table == "writes"
        for line in part.lines.splitlines()
    ]
    assert {line["id"]: line["payload"] for line in lines} == {done.id: None, waiting.id: {"text": "Grüße"}}
