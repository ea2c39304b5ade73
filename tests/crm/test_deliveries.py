"""Deliveries by RPC: pages, filters, a person's decisions; and the arithmetic of retries."""

import asyncio
import random
from datetime import timedelta

import asyncpg
import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapport.crm.v1 import delivery_pb2
from rapport.crm.v1 import delivery_service_pb2 as pb

from servicekit.ids import uuid7
from services.crm.deliveries import FIRST_RETRY, LONGEST_RETRY, STUCK, State, require_stuck, retry_delay
from services.crm.errors import DeliveryStateError
from tests.crm.conftest import Crm
from tests.crm.statuses import require_status
from tests.crm.zendesk_requests import event

States = delivery_pb2.Delivery


async def test_list_is_newest_first_in_pages_and_by_filter(crm: Crm) -> None:
    """Each delivery comes once; state and connection narrow the list; a token belongs to its filters."""
    shop = await crm.shop()
    for number in range(5):
        await crm.deliver(shop, event(event_id=str(number), ticket=str(number)))
    await crm.deliver(shop, b"{}")
    async with crm.working():
        await crm.settled(shop)
    listed, token = [], ""
    while True:
        request = pb.ListDeliveriesRequest(page_size=4, page_token=token)
        page = await crm.deliveries.ListDeliveries(request, metadata=shop.metadata)
        listed += list(page.deliveries)
        token = page.next_page_token
        if not token:
            break
    ids = [delivery.id for delivery in listed]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 6
    assert len(await crm.listed(shop, state=States.STATE_PROCESSED)) == 5
    assert [each.id for each in await crm.listed(shop, state=States.STATE_QUARANTINED)] == [ids[0]]
    assert len(await crm.listed(shop, connection=shop.connection)) == 6
    assert await crm.listed(shop, connection=str(uuid7())) == []
    first = await crm.deliveries.ListDeliveries(pb.ListDeliveriesRequest(page_size=2), metadata=shop.metadata)
    with require_status(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
        await crm.listed(shop, page_token=first.next_page_token, state=States.STATE_DEAD)


async def test_quarantined_delivery_can_be_discarded_and_then_nothing_more(crm: Crm) -> None:
    """A discarded delivery stays in the balance and takes no further step."""
    shop = await crm.shop()
    await crm.deliver(shop, b"{}")
    async with crm.working():
        await crm.settled(shop)
    (delivery,) = await crm.listed(shop)
    request = pb.DiscardDeliveryRequest(delivery=delivery.id)
    discarded = await crm.deliveries.DiscardDelivery(request, metadata=shop.metadata)
    assert discarded.state == States.STATE_DISCARDED
    balance = await crm.balance(shop)
    assert (balance.admitted, balance.discarded) == (1, 1)
    with require_status(grpc.StatusCode.FAILED_PRECONDITION, "DELIVERY_STATE"):
        await crm.deliveries.DiscardDelivery(request, metadata=shop.metadata)
    with require_status(grpc.StatusCode.FAILED_PRECONDITION, "DELIVERY_STATE"):
        await crm.deliveries.ReplayDelivery(pb.ReplayDeliveryRequest(delivery=delivery.id), metadata=shop.metadata)


async def test_replay_has_a_nonce_and_is_one_replay_however_often_it_is_asked_for(crm: Crm) -> None:
    """Ten requests with one id make one run; the next id makes the next, and each tells what the run before came to."""
    shop = await crm.shop()
    await crm.deliver(shop, b"{}")
    async with crm.working():
        await crm.settled(shop)
    (delivery,) = await crm.listed(shop)
    nonces = [str(uuid7()), str(uuid7())]
    request = pb.ReplayDeliveryRequest(delivery=delivery.id, request_id=nonces[0])
    answers = await asyncio.gather(*(crm.deliveries.ReplayDelivery(request, metadata=shop.metadata) for _ in range(10)))
    assert {(answer.replay_id, answer.replay_count, answer.state) for answer in answers} == {
        (nonces[0], 1, States.STATE_PENDING)
    }
    async with crm.working():
        await crm.settled(shop)
        again = await crm.deliveries.ReplayDelivery(request, metadata=shop.metadata)
        assert (again.state, again.replay_count) == (States.STATE_QUARANTINED, 1)
        other = pb.ReplayDeliveryRequest(delivery=delivery.id, request_id=nonces[1])
        await crm.deliveries.ReplayDelivery(other, metadata=shop.metadata)
        await crm.settled(shop)
    shown = await crm.deliveries.GetDelivery(pb.GetDeliveryRequest(delivery=delivery.id), metadata=shop.metadata)
    assert [(replay.id, replay.number) for replay in shown.replays] == [(nonces[1], 2), (nonces[0], 1)]
    assert {(replay.state_before, replay.reason_before) for replay in shown.replays} == {
        (States.STATE_QUARANTINED, delivery.reason)
    }
    assert shown.duplicates == 0
    assert (await crm.balance(shop)).admitted == 1


async def test_replay_does_what_the_first_run_did_not_and_nothing_twice(crm: Crm) -> None:
    """Of two dead deliveries one had its effect before its worker died and one had none: afterwards each has one."""
    shop = await crm.shop()
    for number in range(2):
        await crm.deliver(shop, event(event_id=str(number), ticket=str(number)))
    async with crm.working():
        await crm.settled(shop)
    first_run = list(crm.tickets.ids)
    assert len(first_run) == 2
    del crm.tickets.applied[0]
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        await connection.execute("UPDATE crm.deliveries SET state = 'dead', reason = 'ATTEMPTS_EXHAUSTED'")
    finally:
        await connection.close()
    for delivery in await crm.listed(shop):
        await crm.deliveries.ReplayDelivery(pb.ReplayDeliveryRequest(delivery=delivery.id), metadata=shop.metadata)
    async with crm.working():
        await crm.settled(shop)
    assert sorted(crm.tickets.ids) == sorted(first_run)
    reasons = [delivery.reason for delivery in await crm.listed(shop, state=States.STATE_PROCESSED)]
    assert sorted(reasons) == ["", "EFFECT_WAS_THERE"]


async def test_deliveries_are_found_by_provider_reason_and_time(crm: Crm) -> None:
    """Each filter narrows the list by itself, and a page token belongs to all of them."""
    shop = await crm.shop()
    await crm.deliver(shop, b"{}")
    async with crm.working():
        await crm.settled(shop)
    (first,) = await crm.listed(shop)
    await crm.deliver(shop, event())
    later = (await crm.listed(shop))[0]
    assert [each.id for each in await crm.listed(shop, reason=first.reason)] == [first.id]
    assert await crm.listed(shop, provider="shopify") == []
    assert len(await crm.listed(shop, provider="zendesk")) == 2
    assert [each.id for each in await crm.listed(shop, received_from=later.receive_time)] == [later.id]
    assert [each.id for each in await crm.listed(shop, received_before=later.receive_time)] == [first.id]
    page = await crm.deliveries.ListDeliveries(pb.ListDeliveriesRequest(page_size=1), metadata=shop.metadata)
    with require_status(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
        await crm.listed(shop, page_token=page.next_page_token, provider="zendesk")


async def test_pending_delivery_is_not_replayed(crm: Crm) -> None:
    """What still waits for its turn has no second job."""
    shop = await crm.shop()
    await crm.deliver(shop, event())
    (delivery,) = await crm.listed(shop)
    with require_status(grpc.StatusCode.FAILED_PRECONDITION, "DELIVERY_STATE"):
        await crm.deliveries.ReplayDelivery(pb.ReplayDeliveryRequest(delivery=delivery.id), metadata=shop.metadata)


async def test_another_tenants_delivery_looks_like_a_missing_one(crm: Crm) -> None:
    """Decisions about a foreign delivery and about none answer alike, and lists and balance show nothing of it."""
    shop, other = await crm.shop(), await crm.shop()
    await crm.deliver(shop, b"{}")
    async with crm.working():
        await crm.settled(shop)
    (delivery,) = await crm.listed(shop)
    for name in (delivery.id, str(uuid7())):
        with require_status(grpc.StatusCode.NOT_FOUND, "DELIVERY_NOT_FOUND"):
            await crm.deliveries.GetDelivery(pb.GetDeliveryRequest(delivery=name), metadata=other.metadata)
        with require_status(grpc.StatusCode.NOT_FOUND, "DELIVERY_NOT_FOUND"):
            await crm.deliveries.ReplayDelivery(pb.ReplayDeliveryRequest(delivery=name), metadata=other.metadata)
        with require_status(grpc.StatusCode.NOT_FOUND, "DELIVERY_NOT_FOUND"):
            await crm.deliveries.DiscardDelivery(pb.DiscardDeliveryRequest(delivery=name), metadata=other.metadata)
    assert await crm.listed(other) == []
    assert (await crm.balance(other)).admitted == 0
    assert (await crm.balance(shop)).quarantined == 1


@pytest.mark.parametrize("request_", [pb.ListDeliveriesRequest(page_size=-1), pb.ListDeliveriesRequest(connection="x")])
async def test_nonsense_is_refused_by_the_contract(crm: Crm, request_: pb.ListDeliveriesRequest) -> None:
    """The rules of the proto are applied."""
    with require_status(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID"):
        await crm.deliveries.ListDeliveries(request_, metadata=crm.as_tenant(uuid7()))


@given(attempts=st.integers(1, 10_000), seed=st.integers())
def test_waits_grow_within_their_bounds(attempts: int, seed: int) -> None:
    """A wait is between half of its step and all of it, and never over five minutes."""
    delay = retry_delay(attempts, chance=random.Random(seed))
    step = min(FIRST_RETRY * 2.0 ** min(attempts - 1, 30), LONGEST_RETRY)
    assert step / 2 <= delay <= step
    assert timedelta(0) < delay <= LONGEST_RETRY


@pytest.mark.parametrize("state", State)
def test_people_decide_only_about_what_got_stuck(state: State) -> None:
    """Replay and discard are for dead and quarantined deliveries."""
    if state in STUCK:
        require_stuck(state)
    else:
        with pytest.raises(DeliveryStateError):
            require_stuck(state)
