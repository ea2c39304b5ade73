"""From admitted deliveries to tickets: every effect once, in order, whatever fails in between."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest
from rapport.crm.v1 import delivery_pb2, delivery_service_pb2
from rapport.tickets.v1 import ingest_service_pb2 as pb

from servicekit.ids import uuid7
from services.crm import deliveries
from services.crm.effects import Effects, grouped
from services.crm.outcomes import final
from services.crm.reading import Work
from services.crm.store import Job
from services.crm.worker import TAKEN
from tests.crm.conftest import Crm, Shop
from tests.crm.zendesk_requests import event
from tests.support.waiting import eventually

State = delivery_pb2.Delivery


async def state_of(crm: Crm, shop: Shop) -> tuple[int, str, int]:
    """Return state, reason and attempts of the shop's only delivery."""
    (delivery,) = await crm.listed(shop)
    return delivery.state, delivery.reason, delivery.attempts


def taken_count() -> float:
    """Return how many webhooks' times until they were processed were counted in this process."""
    (count,) = (one.value for one in TAKEN.collect()[0].samples if one.name.endswith("_count"))
    return count


def failing(code: grpc.StatusCode, *, times: int = 1_000_000, ticket: str = "") -> Any:
    """Return what makes tickets fail so many times, for one ticket or for all."""
    left = times

    def answer(events: list[pb.TicketEvent]) -> grpc.StatusCode | None:
        nonlocal left
        if left and (not ticket or any(each.external_ticket_id == ticket for each in events)):
            left -= 1
            return code
        return None

    return answer


async def test_delivery_becomes_a_ticket_event_in_the_name_of_its_tenant(crm: Crm) -> None:
    """The event arrives with a token that is bound to the shop, and the delivery is done."""
    shop = await crm.shop()
    async with crm.working():
        await crm.deliver(shop, event())
        balance = await crm.settled(shop)
    assert (balance.admitted, balance.processed) == (1, 1)
    ((token, applied),) = crm.tickets.applied
    assert token == f"Bearer token-of-{shop.tenant_id}"
    assert applied.event_id == f"{shop.connection}:event/evt-1:0"
    assert (applied.provider, applied.external_ticket_id) == ("zendesk", "35436")
    assert (applied.fields.customer_id, applied.fields.priority) == ("8447388090494", "high")
    assert await state_of(crm, shop) == (State.STATE_PROCESSED, "", 1)


async def test_admission_wakes_the_worker_at_once(crm: Crm) -> None:
    """A webhook does not wait for the next look at the queue."""
    shop = await crm.shop()
    async with crm.working():
        await crm.deliver(shop, event(event_id="first"))
        await crm.settled(shop)
        started = time.monotonic()
        await crm.deliver(shop, event(event_id="second"))
        await crm.settled(shop)
    assert time.monotonic() - started < 0.8


async def test_work_goes_on_by_itself_when_tickets_returns(crm: Crm) -> None:
    """With tickets gone, webhooks are still admitted and wait without losing attempts; they are done soon after."""
    shop = await crm.shop()
    await crm.tickets.stop()
    async with crm.working():
        for number in range(5):
            await crm.deliver(shop, event(event_id=f"e-{number}", ticket=str(number)))

        async def noticed() -> bool:
            return any(delivery.reason == "TICKETS_OUT_OF_REACH" for delivery in await crm.listed(shop))

        await eventually(noticed)
        assert (await crm.balance(shop)).pending == 5
        await crm.tickets.start()
        back = time.monotonic()
        balance = await crm.settled(shop)
    assert time.monotonic() - back < 4
    assert balance.processed == 5
    assert {delivery.attempts for delivery in await crm.listed(shop)} == {1}


async def test_failed_attempt_is_repeated(crm: Crm) -> None:
    """An error that may pass is tried again, and the attempts are counted."""
    shop = await crm.shop()
    crm.tickets.answers = failing(grpc.StatusCode.INTERNAL, times=1)
    async with crm.working():
        await crm.deliver(shop, event())
        await crm.settled(shop)
    assert await state_of(crm, shop) == (State.STATE_PROCESSED, "", 2)


async def test_crash_between_effect_and_note_has_the_effect_once(crm: Crm) -> None:
    """An event whose answer was lost is sent again under the same id, and tickets knows it."""
    shop = await crm.shop()
    crm.tickets.lose_answers = 1
    async with crm.working():
        await crm.deliver(shop, event())
        await crm.settled(shop)
    assert len(crm.tickets.calls) == 2
    assert crm.tickets.calls[0] == crm.tickets.calls[1]
    assert len(crm.tickets.applied) == 1


async def test_work_of_a_worker_that_died_is_taken_over(crm: Crm) -> None:
    """A claim ends by itself: another process does the work, and what the first one still says does not count."""
    shop = await crm.shop()
    first = await crm.process(lease=timedelta(seconds=0.3))
    await crm.deliver(shop, event())
    (job,) = await first.store.claim(after=shop.tenant_id, tenants=1, share=1, lease=timedelta(seconds=0.3))
    second = await crm.process()
    async with crm.working(second.worker):
        await crm.settled(shop)
    late = final(job, deliveries.State.DEAD, "TICKETS_INVALID_ARGUMENT")
    assert await first.store.settle(shop.tenant_id, [late]) == 0
    assert (await crm.balance(shop)).processed == 1


async def test_delivery_that_takes_its_workers_down_ends_as_a_dead_letter(crm: Crm) -> None:
    """Attempts that never end count as well, so that a poisonous delivery does not kill workers for ever."""
    shop = await crm.shop()
    await crm.deliver(shop, event())

    async def claimed() -> bool:
        return bool(await crm.main.store.claim(after=shop.tenant_id, tenants=1, share=1, lease=timedelta(0)))

    for _ in range(3):
        await eventually(claimed)
    async with crm.working():
        await crm.settled(shop)
    assert await state_of(crm, shop) == (State.STATE_DEAD, "ATTEMPTS_EXHAUSTED", 4)
    assert crm.tickets.calls == []


async def test_events_of_one_ticket_go_one_after_the_other_and_others_together(crm: Crm) -> None:
    """With two workers and ten tickets at once, no two calls touch the same ticket, and each ticket's order holds."""
    shop = await crm.shop()
    other = await crm.process()
    for number in range(60):
        await crm.deliver(shop, event(event_id=f"{number:03}", ticket=f"t-{number % 10}"))
    async with crm.working(crm.main.worker, other.worker):
        balance = await crm.settled(shop)
    assert balance.processed == 60
    assert not crm.tickets.overlapped
    by_ticket: dict[str, list[str]] = {}
    for _, applied in crm.tickets.applied:
        by_ticket.setdefault(applied.external_ticket_id, []).append(applied.event_id)
    assert all(ids == sorted(ids) and len(ids) == 6 for ids in by_ticket.values())
    assert len(crm.tickets.calls) < 60


async def test_later_event_waits_for_a_failing_one_of_its_ticket(crm: Crm) -> None:
    """A retry keeps its place: what came after it in the same conversation is not applied before."""
    shop = await crm.shop()
    crm.tickets.answers = failing(grpc.StatusCode.INTERNAL, times=2)
    async with crm.working():
        await crm.deliver(shop, event(event_id="1"))
        await crm.deliver(shop, event(event_id="2"))
        await crm.settled(shop)
    assert [event_id.rpartition(":")[0][-1] for event_id in crm.tickets.ids] == ["1", "2"]


async def test_delivery_that_keeps_failing_is_dead_and_the_next_goes_on(crm: Crm) -> None:
    """After the allowed attempts a delivery is a dead letter with its reason, and holds nothing up."""
    shop = await crm.shop()
    crm.tickets.answers = failing(grpc.StatusCode.INTERNAL, times=3)
    async with crm.working():
        await crm.deliver(shop, event(event_id="1"))
        await crm.deliver(shop, event(event_id="2"))
        balance = await crm.settled(shop)
    assert (balance.dead, balance.processed) == (1, 1)
    (dead,) = await crm.listed(shop, state=State.STATE_DEAD)
    assert (dead.reason, dead.attempts) == ("TICKETS_INTERNAL", 3)


async def test_one_refused_event_does_not_stop_those_sent_with_it(crm: Crm) -> None:
    """When a group fails, its deliveries are tried one by one; what is wrong for good is dead at once."""
    shop = await crm.shop()
    crm.tickets.answers = failing(grpc.StatusCode.INVALID_ARGUMENT, ticket="bad")
    for ticket in ("a", "bad", "c"):
        await crm.deliver(shop, event(event_id=ticket, ticket=ticket))
    async with crm.working():
        balance = await crm.settled(shop)
    assert (balance.processed, balance.dead) == (2, 1)
    (dead,) = await crm.listed(shop, state=State.STATE_DEAD)
    assert (dead.reason, dead.attempts) == ("TICKETS_INVALID_ARGUMENT", 1)


async def test_dead_letter_is_replayed_from_the_same_bytes(crm: Crm) -> None:
    """A replay sends what was received, under the same event id, and counts its attempts anew.

    It is not counted as late: how long it lay is what people took.
    """
    shop = await crm.shop()
    counted = taken_count()
    crm.tickets.answers = failing(grpc.StatusCode.INVALID_ARGUMENT, times=1)
    async with crm.working():
        await crm.deliver(shop, event())
        await crm.settled(shop)
        (dead,) = await crm.listed(shop)
        request = delivery_service_pb2.ReplayDeliveryRequest(delivery=dead.id)
        replayed = await crm.deliveries.ReplayDelivery(request, metadata=shop.metadata)
        assert replayed.state == State.STATE_PENDING
        balance = await crm.settled(shop)
    assert (balance.admitted, balance.processed, balance.dead) == (1, 1, 0)
    assert crm.tickets.calls[0] == crm.tickets.calls[1]
    assert await state_of(crm, shop) == (State.STATE_PROCESSED, "", 1)
    assert taken_count() == counted
    async with crm.working():
        await crm.deliver(shop, event(event_id="another", ticket="another"))
        await crm.settled(shop)
    assert taken_count() == counted + 1


async def test_trigger_without_type_is_quarantined_with_its_reason(crm: Crm) -> None:
    """A template that we do not understand is kept, visible, and neither lost nor repeated."""
    shop = await crm.shop()
    async with crm.working():
        await crm.deliver(shop, b'{"ticket": "{{ticket.id}}"}')
        balance = await crm.settled(shop)
    assert (balance.admitted, balance.quarantined) == (1, 1)
    assert await state_of(crm, shop) == (State.STATE_QUARANTINED, "EVENT_TYPE_MISSING", 1)
    assert crm.tickets.calls == []


async def test_event_without_meaning_is_done_without_a_call(crm: Crm) -> None:
    """A kind of event that changes no ticket is accepted and processed."""
    shop = await crm.shop()
    async with crm.working():
        await crm.deliver(shop, b'{"type":"zen:event-type:user.created","id":"u1","detail":{"id":"5"}}')
        assert (await crm.settled(shop)).processed == 1
    assert crm.tickets.calls == []


async def test_what_came_too_late_is_superseded(crm: Crm) -> None:
    """Where tickets knew something newer of the same ticket, the delivery says so."""
    shop = await crm.shop()
    crm.tickets.superseded.add("old")
    async with crm.working():
        await crm.deliver(shop, event(ticket="old"))
        assert (await crm.settled(shop)).superseded == 1


async def test_long_queue_of_one_shop_does_not_hold_up_another(crm: Crm) -> None:
    """A shop with one delivery is served in turn with a shop that has hundreds."""
    busy, quiet = await crm.shop(), await crm.shop()
    await asyncio.gather(
        *(crm.deliver(busy, event(event_id=f"b-{number}", ticket=str(number))) for number in range(600))
    )
    await crm.deliver(quiet, event(event_id="q"))
    async with crm.working():
        await crm.settled(quiet)
        assert (await crm.settled(busy, within=60)).processed == 600
    place = [connection_of(ids) for ids in crm.tickets.calls].index(quiet.connection)
    assert place < len(crm.tickets.calls) // 2


def connection_of(ids: list[str]) -> str:
    """Return the connection whose events a call held."""
    return ids[0].partition(":")[0]


async def test_work_of_a_suspended_shop_rests(crm: Crm) -> None:
    """A suspended tenant's deliveries stay pending and lose no attempt; other shops go on."""
    suspended, other = await crm.shop(), await crm.shop()
    await crm.deliver(suspended, event())
    await crm.deliver(other, event())
    crm.issuer.trust.refused_tenants = frozenset({suspended.tenant_id})
    async with crm.working():
        await crm.settled(other)
    crm.issuer.trust.refused_tenants = frozenset()
    assert await state_of(crm, suspended) == (State.STATE_PENDING, "TENANT_REFUSED", 0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, "TENANT_REFUSED"),
        (grpc.StatusCode.NOT_FOUND, "TENANT_REFUSED"),
        (grpc.StatusCode.UNAUTHENTICATED, "TICKETS_OUT_OF_REACH"),
    ],
)
async def test_a_refused_token_costs_no_delivery(crm: Crm, code: grpc.StatusCode, reason: str) -> None:
    """While the tenant service gives no token, a delivery stays pending and loses no attempt; other shops go on."""
    refused, other = await crm.shop(), await crm.shop()
    crm.tickets.refused_tokens[str(refused.tenant_id)] = code
    await crm.deliver(refused, event())
    await crm.deliver(other, event())

    async def given_back() -> bool:
        return await state_of(crm, refused) == (State.STATE_PENDING, reason, 0)

    async with crm.working():
        await eventually(given_back)
        await crm.settled(other)
    assert (await crm.balance(refused)).dead == 0


async def test_what_took_too_long_goes_alone_the_next_time(crm: Crm) -> None:
    """A call that ran out of time costs each of its deliveries an attempt, and then the slow one holds up itself."""
    shop = await crm.shop()
    for number in range(3):
        await crm.deliver(shop, event(event_id=f"e-{number}", ticket=str(number)))
    crm.tickets.answers = failing(grpc.StatusCode.DEADLINE_EXCEEDED, ticket="1")
    async with crm.working():
        await crm.settled(shop)
    assert [len(call) for call in crm.tickets.calls] == [3, 1, 1, 1, 1]
    ended = {delivery.reason: delivery.state for delivery in await crm.listed(shop)}
    assert ended == {"": State.STATE_PROCESSED, "TICKETS_DEADLINE_EXCEEDED": State.STATE_DEAD}
    assert (await crm.balance(shop)).processed == 2


async def test_a_slow_batch_of_one_shop_pauses_nobody(crm: Crm) -> None:
    """While tickets is too slow for one shop's events, the worker does another's without a pause."""
    effects = crm.main.worker._effects
    slow, quick = await crm.shop(), await crm.shop()
    crm.tickets.answers = failing(grpc.StatusCode.DEADLINE_EXCEEDED, ticket="slow")
    await crm.deliver(slow, event(ticket="slow"))
    async with crm.working():
        await crm.settled(slow)
        assert effects.pause == 0.0
        await crm.deliver(quick, event(ticket="quick"))
        assert (await crm.settled(quick)).processed == 1


async def test_a_call_that_hangs_ends_before_its_lease(crm: Crm) -> None:
    """The worker gives up while the job is still its own."""
    shop = await crm.shop()
    crm.tickets.open.clear()
    await crm.deliver(shop, event())
    process = await crm.process(lease=timedelta(seconds=1))

    async def put_off() -> bool:
        return (await state_of(crm, shop))[1] == "TICKETS_DEADLINE_EXCEEDED"

    async with crm.working(process.worker):
        await eventually(put_off)
        crm.tickets.open.set()
        await crm.settled(shop)
    assert await state_of(crm, shop) == (State.STATE_PROCESSED, "", 2)


def works(*sizes: int, events: int = 1, attempts: int = 1) -> list[Work]:
    """Return deliveries with so many events, each with a message of that size."""
    made = []
    for number, size in enumerate(sizes):
        job = Job(uuid7(), number, number, uuid7(), datetime.now(UTC), attempts, time.monotonic() + 15)
        tickets = [
            pb.TicketEvent(event_id=f"{number}-{index}", messages=[pb.ExternalMessage(content="x" * size)])
            for index in range(events)
        ]
        made.append(Work(job, tickets, []))
    return made


async def test_a_long_ticket_goes_in_by_calls_that_tickets_takes() -> None:
    """No call is larger than 2 MiB, neither of one long delivery nor of many; all arrive in their order."""
    sent: list[list[pb.TicketEvent]] = []

    class Tickets:
        async def send(self, _tenant_id: UUID, events: Sequence[pb.TicketEvent]) -> list[int]:
            sent.append(list(events))
            return [pb.IngestResult.OUTCOME_APPLIED for _ in events]

    effects = Effects(Tickets(), None, most_attempts=3)
    given = [*works(360_000, events=10), *works(*[400_000] * 8), *works(100, events=250)]
    outcomes = await effects.of(uuid7(), given)
    assert {outcome.state for outcome in outcomes} == {deliveries.State.PROCESSED}
    assert len(outcomes) == len(given)
    assert max(pb.IngestEventsRequest(events=call).ByteSize() for call in sent) < 2 * 1024 * 1024
    assert max(len(call) for call in sent) <= 100
    told = [each.event_id for call in sent for each in call]
    assert told == [each.event_id for work in given for each in work.tickets]


def test_a_delivery_that_failed_before_shares_no_call() -> None:
    """First attempts go together; a repeated one goes alone, and nothing changes the order."""
    first, repeated, last = works(1, 1), works(1, attempts=2), works(1, 1, 1)
    assert grouped([*first, *repeated, *last]) == [first, repeated, last]


async def test_changed_bytes_are_never_processed(crm: Crm) -> None:
    """A delivery whose stored bytes were exchanged for another's does not open; it ends as a dead letter."""
    shop = await crm.shop()
    await crm.deliver(shop, event(event_id="1", ticket="1"))
    await crm.deliver(shop, event(event_id="2", ticket="2"))
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        await connection.execute(
            "UPDATE crm.deliveries SET payload = (SELECT payload FROM crm.deliveries ORDER BY id LIMIT 1)"
        )
    finally:
        await connection.close()
    async with crm.working():
        balance = await crm.settled(shop)
    assert (balance.processed, balance.dead) == (1, 1)
    (dead,) = await crm.listed(shop, state=State.STATE_DEAD)
    assert (dead.reason, len(crm.tickets.applied)) == ("PAYLOAD_UNREADABLE", 1)


async def test_balance_adds_up_at_every_moment(crm: Crm) -> None:
    """While webhooks of all kinds come in and are worked off, every look at the balance is exact."""
    shop = await crm.shop()
    crm.tickets.answers = failing(grpc.StatusCode.INVALID_ARGUMENT, ticket="bad")
    bodies = [event(event_id=f"e-{number % 40}", ticket=str(number % 7)) for number in range(120)]
    bodies += [event(event_id="bad", ticket="bad"), b"{}", b"[]"]
    async with crm.working():
        sending = asyncio.gather(
            *(crm.deliver(shop, body, invocation=str(number)) for number, body in enumerate(bodies))
        )
        looks = 0
        while not sending.done():
            await crm.balance(shop)
            looks += 1
        await sending
        balance = await crm.settled(shop)
    assert looks > 1
    assert (balance.admitted, balance.processed, balance.duplicate) == (123, 40, 80)
    assert (balance.quarantined, balance.dead) == (2, 1)


async def test_stopping_worker_finishes_what_it_has_begun(crm: Crm) -> None:
    """A worker that is told to stop lets its calls end and writes them down."""
    shop = await crm.shop()
    crm.tickets.open.clear()
    async with crm.working():
        await crm.deliver(shop, event())

        async def begun() -> bool:
            return bool(crm.tickets.calls)

        await eventually(begun)
        asyncio.get_running_loop().call_later(0.1, crm.tickets.open.set)
    assert (await crm.balance(shop)).processed == 1
