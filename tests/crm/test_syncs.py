"""Reading what a helpdesk lists, through real servers: resumed, in turns, repaired, and never twice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.crm.v1 import sync_pb2, sync_service_pb2
from rapport.tickets.v1 import ingest_service_pb2

from servicekit.ids import uuid7
from services.crm.sync_store import SyncStore
from tests.crm.conftest import Crm
from tests.crm.desk import BRIEF, Desk, killed, opened_desk, working
from tests.crm.statuses import require_status
from tests.support.vendors.server import Asked, Fault, broken, timed_out, too_many
from tests.support.waiting import eventually

Sync = sync_pb2.Sync
BACKFILL, RECONCILIATION = Sync.KIND_BACKFILL, Sync.KIND_RECONCILIATION


@pytest.fixture
async def desk(crm: Crm) -> AsyncIterator[Desk]:
    """A shop with a ticket at Intercom, which lists three of them on a page."""
    async with opened_desk(crm) as opened:
        opened.intercom.page_size = 3
        yield opened


def searching(asked: Asked) -> bool:
    """Return whether a call asks for a page of the list."""
    return asked.path.endswith("/search")


async def start(desk: Desk, **more: object) -> sync_pb2.Sync:
    """Start a sync by RPC."""
    request = sync_service_pb2.StartSyncRequest(connection=desk.connection, **more)  # type: ignore[arg-type]
    answer: sync_pb2.Sync = await desk.sync.StartSync(request, metadata=desk.metadata)
    return answer


def some_tickets(desk: Desk, count: int) -> list[str]:
    """Have customers open tickets at the vendor; return their ids."""
    found = [str(100 + number) for number in range(count)]
    for ticket in found:
        desk.intercom.open_ticket(ticket, f"Ticket {ticket}", "Where is it?")
    return found


def brought_in(desk: Desk) -> list[str]:
    """Return the vendor's ids of the tickets in the events that were applied, in order."""
    return [event.external_ticket_id for _, event in desk.fakes.applied]


async def test_backfill_brings_everything_in_once_and_says_how_far_it_is(desk: Desk) -> None:
    """All tickets become events, page by page; the counts and the progress say so."""
    tickets = some_tickets(desk, 10)
    begun = await start(desk)
    assert (begun.state, begun.kind, begun.progress) == (Sync.STATE_RUNNING, BACKFILL, 0)
    async with working(await desk.reader()):
        done = await desk.ended()
    assert sorted(brought_in(desk)) == sorted(["1", *tickets])
    assert (done.state, done.progress) == (Sync.STATE_DONE, 1)
    assert (done.read_count, done.changed_count, done.refused_count) == (11, 11, 0)
    assert done.page_count >= 4


async def test_backfill_reads_from_the_time_it_is_told(desk: Desk) -> None:
    """What changed before is not asked for."""
    some_tickets(desk, 2)
    since = Timestamp(seconds=desk.intercom.now)
    await start(desk, since=since)
    async with working(await desk.reader()):
        await desk.ended()
    assert brought_in(desk) == ["101"]


async def test_killed_backfill_goes_on_where_it_was(desk: Desk) -> None:
    """A worker dies over and over in the middle of pages: nothing is missing, nothing is applied twice."""
    tickets = some_tickets(desk, 20)
    await start(desk)
    for round_ in range(1, 6):
        worker = asyncio.create_task((await desk.reader(lease=BRIEF)).run())
        await desk.vendor.wait_until(
            lambda least=round_ * 7: len(desk.vendor.calls("intercom")) >= least  # type: ignore[misc]
        )
        await killed(worker)
    noted = (await desk.syncs())[0].page_count
    async with working(await desk.reader()):
        done = await desk.ended()
    assert sorted(brought_in(desk)) == sorted(["1", *tickets])
    assert len(set(desk.fakes.ids)) == len(desk.fakes.ids)
    assert done.read_count == 21
    assert done.page_count > noted > 2


async def test_worker_killed_between_taking_in_and_noting_has_the_effect_once(desk: Desk) -> None:
    """A page that was applied but not noted is read again, and changes nothing then."""
    some_tickets(desk, 2)
    await start(desk)
    desk.fakes.lose_answers = 1
    async with working(await desk.reader()):
        done = await desk.ended()
    assert len(desk.fakes.applied) == 3
    assert len(set(desk.fakes.ids)) == 3
    assert (done.state, done.read_count) == (Sync.STATE_DONE, 3)


async def test_two_workers_do_not_read_the_same_page(desk: Desk) -> None:
    """A sync is one worker's at a time."""
    some_tickets(desk, 10)
    await start(desk)
    async with working(*[await desk.reader() for _ in range(3)]):
        await desk.ended()
    searches = [call.body for call in desk.vendor.calls("intercom", "POST", "/tickets/search")]
    assert len(set(searches)) == len(searches)


async def test_syncs_of_shops_take_turns(desk: Desk) -> None:
    """A sync is worked on for a while only, then others get their turn; it goes on later."""
    some_tickets(desk, 9)
    await start(desk)
    async with working(await desk.reader(slice_seconds=0)):
        done = await desk.ended()
    assert (done.state, done.read_count) == (Sync.STATE_DONE, 10)


async def test_shop_with_many_connections_holds_up_no_other(crm: Crm) -> None:
    """Of a shop one connection is read at a time, whatever waits; the others get theirs."""
    busy, small = uuid7(), uuid7()
    for number, tenant_id in enumerate((busy, busy, busy, small)):
        await crm.main.connections.create(
            tenant_id,
            provider_name="intercom",
            display_name="",
            config={"app_id": f"abc{number}"},
            secrets={"webhook_secret": "intercom-client-secret"},
        )
    store = SyncStore(crm.databases[0])
    for tenant_id, waits in ((busy, timedelta(hours=2)), (small, timedelta(hours=1))):
        async with crm.databases[0].driver_tenant(tenant_id) as connection:
            await connection.execute(
                "UPDATE crm.sync_jobs SET run_at = now() - $2::interval WHERE tenant_id = $1", tenant_id, waits
            )
    first = await store.claim(wanted=100, lease=timedelta(minutes=1))
    assert sorted(each.tenant_id for each in first) == sorted((busy, small))
    assert await store.claim(wanted=100, lease=timedelta(minutes=1)) == []
    (of_busy,) = [each for each in first if each.tenant_id == busy]
    sync = await store.load(of_busy)
    await store.release(of_busy, sync, run_at=datetime.now(UTC), attempts=0)
    (following,) = await store.claim(wanted=100, lease=timedelta(minutes=1))
    assert following.tenant_id == busy
    assert following.subject != of_busy.subject


async def test_page_is_not_waited_for_before_it_is_begun(desk: Desk) -> None:
    """While the vendor's limit is used up a sync waits in the queue, and its worker is free for others."""
    desk.vendor.fail(too_many(30, searching))
    await start(desk)

    async def waiting() -> bool | None:
        """Return whether the sync was put off."""
        request = sync_service_pb2.ListSyncsRequest(connection=desk.connection)
        syncs = (await desk.sync.ListSyncs(request, metadata=desk.metadata)).syncs
        return any(each.reason == "RATE_LIMITED" for each in syncs) or None

    async with working(await desk.reader()):
        assert await eventually(waiting, within=10)


async def test_stopped_backfill_stays_stopped_and_goes_on_when_started(desk: Desk) -> None:
    """A stop takes effect after the page; a start goes on with cursor and counts."""
    some_tickets(desk, 10)
    await start(desk)
    desk.vendor.fail(Fault(lambda asked: searching(asked) and b"starting_after" in asked.body, held=True, effect=True))
    async with working(await desk.reader()):

        async def first_page_noted() -> bool:
            return (await desk.syncs())[0].page_count == 1

        await eventually(first_page_noted)
        request = sync_service_pb2.StopSyncRequest(connection=desk.connection)
        assert (await desk.sync.StopSync(request, metadata=desk.metadata)).state == Sync.STATE_STOPPED
        desk.vendor.release()
    stopped = (await desk.syncs())[0]
    assert (stopped.state, stopped.read_count) == (Sync.STATE_STOPPED, 3)
    assert (await start(desk)).read_count == 3
    async with working(await desk.reader()):
        done = await desk.ended()
    assert (done.state, done.read_count) == (Sync.STATE_DONE, 11)
    assert len(set(desk.fakes.ids)) == len(desk.fakes.ids) == 11


async def test_starting_twice_changes_nothing_and_restart_begins_anew(desk: Desk) -> None:
    """One backfill of a connection runs at a time."""
    await start(desk)
    first = (await desk.syncs())[0]
    assert await start(desk) == first
    assert (await start(desk, restart=True)).start_time.ToDatetime() > first.start_time.ToDatetime()


async def test_vendors_limit_delays_a_backfill_and_does_not_end_it(desk: Desk) -> None:
    """A 429 is waited out."""
    desk.vendor.fail(too_many(1, searching, times=2))
    await start(desk)
    async with working(await desk.reader()):
        done = await desk.ended()
    assert (done.state, done.read_count) == (Sync.STATE_DONE, 1)


async def test_refused_credentials_end_a_backfill_with_their_reason(desk: Desk) -> None:
    """What only a person can put right is told at once; after that the backfill goes on."""
    desk.vendor.fail(broken(status=401, times=5))
    await start(desk)
    async with working(await desk.reader()):
        failed = await desk.ended()
        assert (failed.state, failed.reason) == (Sync.STATE_FAILED, "CREDENTIALS_REFUSED")
        desk.vendor._faults.clear()
        await start(desk)

        async def done() -> bool:
            return (await desk.syncs())[0].state == Sync.STATE_DONE

        await eventually(done)


async def test_ticket_that_cannot_be_taken_in_holds_up_no_other(desk: Desk) -> None:
    """One event that tickets refuses for good is counted and left out."""
    some_tickets(desk, 5)

    def answer(events: list[ingest_service_pb2.TicketEvent]) -> grpc.StatusCode | None:
        bad = any(event.external_ticket_id == "102" for event in events)
        return grpc.StatusCode.FAILED_PRECONDITION if bad else None

    desk.fakes.answers = answer
    await start(desk)
    async with working(await desk.reader()):
        done = await desk.ended()
    assert (done.state, done.read_count, done.refused_count) == (Sync.STATE_DONE, 6, 1)
    assert sorted(brought_in(desk)) == ["1", "100", "101", "103", "104"]


async def test_backfill_waits_while_tickets_is_away(desk: Desk) -> None:
    """With tickets gone the page is read again later; nothing fails and nothing is lost."""
    await desk.fakes.stop()
    await start(desk)
    async with working(await desk.reader()):

        async def noticed() -> bool:
            return (await desk.syncs())[0].reason in ("TICKETS_OUT_OF_REACH", "")

        await eventually(noticed)
        await desk.fakes.start()
        done = await desk.ended(within=30)
    assert (done.state, done.read_count) == (Sync.STATE_DONE, 1)


async def test_new_connection_is_reconciled_by_itself(desk: Desk) -> None:
    """Whoever connects a helpdesk with an API has missed webhooks found once an hour."""
    idle = (await desk.syncs())[1]
    assert (idle.kind, idle.state) == (RECONCILIATION, Sync.STATE_IDLE)
    assert idle.interval.seconds == 3600
    assert idle.look_back.seconds == 86400
    assert idle.next_time.ToDatetime(tzinfo=UTC) > datetime.now(UTC) + timedelta(minutes=50)


async def test_reconciliation_finds_and_repairs_what_webhooks_missed(desk: Desk) -> None:
    """Of five tickets the webhooks of two were missed: these two are brought in and reported, and a next run is set."""
    tickets = some_tickets(desk, 5)
    await start(desk)
    async with working(await desk.reader()):
        await desk.ended()
    desk.intercom.change("tickets", tickets[0], ticket_attributes={"_default_title_": "Another subject"})
    desk.intercom.add_part("tickets", tickets[1], "Are you there?")
    before = len(desk.fakes.applied)
    await start(desk, kind=RECONCILIATION)
    async with working(await desk.reader()):
        done = await desk.ended(1)
        assert (done.state, done.changed_count, done.repaired_count) == (Sync.STATE_DONE, 2, 2)
        assert done.next_time.ToDatetime(tzinfo=UTC) > datetime.now(UTC)
        assert sorted(brought_in(desk)[before:]) == tickets[:2]
        await start(desk, kind=RECONCILIATION)

        async def again() -> sync_pb2.Sync | None:
            now = (await desk.syncs())[1]
            later = now.start_time.ToDatetime() > done.start_time.ToDatetime()
            return now if later and now.state == Sync.STATE_DONE else None

        second = await eventually(again)
    assert (second.changed_count, second.repaired_count) == (0, 2)


async def test_reconciliation_comes_again_by_itself(desk: Desk) -> None:
    """When its time has come a worker begins it, without anybody asking."""
    async with desk.crm.databases[0].driver_tenant(desk.tenant_id) as connection:
        await connection.execute("UPDATE crm.sync_jobs SET run_at = now() WHERE tenant_id = $1", desk.tenant_id)
    async with working(await desk.reader()):
        done = await desk.ended(1)
    assert (done.state, done.read_count, done.repaired_count) == (Sync.STATE_DONE, 1, 1)


async def test_connection_without_credentials_is_not_unwell_for_that(desk: Desk) -> None:
    """A shop that only takes webhooks has nothing reconciled: that is told, tried again later, and no failed call."""
    async with desk.crm.databases[0].driver_tenant(desk.tenant_id) as connection:
        await connection.execute(
            "DELETE FROM crm.connection_secrets WHERE tenant_id = $1 AND name = 'access_token'", desk.tenant_id
        )
        await connection.execute("UPDATE crm.sync_jobs SET run_at = now() WHERE tenant_id = $1", desk.tenant_id)
    async with working(await desk.reader()):
        failed = await desk.ended(1)
    assert (failed.state, failed.reason) == (Sync.STATE_FAILED, "CREDENTIALS_MISSING")
    assert failed.next_time.ToDatetime(tzinfo=UTC) > datetime.now(UTC) + timedelta(minutes=50)
    assert desk.vendor.asked == []
    async with desk.crm.databases[0].driver_tenant(desk.tenant_id) as connection:
        assert not await connection.fetch("SELECT 1 FROM crm.connection_calls WHERE tenant_id = $1", desk.tenant_id)


async def test_change_whose_webhook_may_be_on_its_way_is_no_repair(desk: Desk) -> None:
    """What happened just now is taken in all the same, but not called missed."""
    desk.intercom.now = int(datetime.now(UTC).timestamp()) - 5
    desk.intercom.open_ticket("7", "New", "Just now")
    await start(desk, kind=RECONCILIATION)
    async with working(await desk.reader()):
        done = await desk.ended(1)
    assert "7" in brought_in(desk)
    assert (done.read_count, done.changed_count) == (2, 1)


async def test_reconciliation_is_set_and_switched_off(desk: Desk) -> None:
    """How often it runs and how far it looks back are the shop's choice."""
    request = sync_service_pb2.ScheduleReconciliationRequest(
        connection=desk.connection, interval=Duration(seconds=300), look_back=Duration(seconds=7200)
    )
    told = await desk.sync.ScheduleReconciliation(request, metadata=desk.metadata)
    assert (told.interval.seconds, told.look_back.seconds) == (300, 7200)
    assert told.next_time.ToDatetime(tzinfo=UTC) < datetime.now(UTC) + timedelta(minutes=6)
    request.interval.seconds = 0
    off = await desk.sync.ScheduleReconciliation(request, metadata=desk.metadata)
    assert (off.interval.seconds, off.HasField("next_time")) == (0, False)


async def test_what_cannot_be_read_is_refused_at_once(desk: Desk) -> None:
    """An unknown connection and one without credentials have reasons of their own."""
    missing = sync_service_pb2.StartSyncRequest(connection=str(uuid7()))
    with require_status(grpc.StatusCode.NOT_FOUND, "CONNECTION_NOT_FOUND"):
        await desk.sync.StartSync(missing, metadata=desk.metadata)
    made = await desk.crm.main.connections.create(
        desk.tenant_id,
        provider_name="intercom",
        display_name="",
        config={"app_id": "other"},
        secrets={"webhook_secret": "intercom-client-secret"},
    )
    bare = sync_service_pb2.StartSyncRequest(connection=str(made.connection.id))
    with require_status(grpc.StatusCode.FAILED_PRECONDITION, "CREDENTIALS_MISSING"):
        await desk.sync.StartSync(bare, metadata=desk.metadata)
    stranger = desk.crm.as_tenant(uuid7(), "connections.read", "connections.write")
    with require_status(grpc.StatusCode.NOT_FOUND, "CONNECTION_NOT_FOUND"):
        await desk.sync.ListSyncs(sync_service_pb2.ListSyncsRequest(connection=desk.connection), metadata=stranger)


async def test_deleted_connection_takes_its_syncs_with_it(desk: Desk) -> None:
    """Nothing is left of it, and a worker that is at it stops after the page."""
    some_tickets(desk, 10)
    desk.vendor.fail(timed_out(searching))
    await start(desk)
    async with working(await desk.reader()):
        await desk.vendor.wait_until(lambda: bool(desk.vendor.calls("intercom", "POST", "/search")))
        await desk.crm.main.connections.delete(desk.tenant_id, UUID(desk.connection))
        desk.vendor.release()
    async with desk.crm.databases[0].driver_tenant(desk.tenant_id) as connection:
        for table in ("syncs", "sync_jobs"):
            assert not await connection.fetch(f"SELECT 1 FROM crm.{table} WHERE tenant_id = $1", desk.tenant_id)  # noqa: S608
    assert len(desk.fakes.applied) <= 3
