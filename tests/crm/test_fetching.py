"""Deliveries that nobody signed: what they name is fetched, and nothing that they say is believed."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import grpc
import orjson
import pytest
from rapport.crm.v1 import connection_service_pb2, delivery_pb2, delivery_service_pb2

from servicekit.ids import uuid7
from services.crm.calling.lane import MOST_ATTEMPTS
from services.crm.effects import Effects
from services.crm.events import CustomerEvent, ShopEvent
from services.crm.fetching import Turns
from services.crm.outcomes import LEASE
from services.crm.reading import Work
from services.crm.store import Job
from tests.crm.conftest import Crm, Shop
from tests.crm.zendesk_requests import event
from tests.support.vendors.gorgias import GorgiasSimulator
from tests.support.vendors.hubspot import HubSpotSimulator
from tests.support.vendors.server import Answered, Fault, VendorServer, broken, vendor_server
from tests.support.waiting import eventually

State = delivery_pb2.Delivery
GORGIAS_SECRET = "a-token-that-gorgias-sends-along"
CREDENTIALS = {"api_key": "gorgias-api-key"}


@pytest.fixture
def gorgias() -> GorgiasSimulator:
    """A simulated Gorgias with one ticket."""
    made = GorgiasSimulator()
    made.open_ticket("7", "Where is my parcel?", "It should be here.")
    return made


@pytest.fixture
async def server(gorgias: GorgiasSimulator) -> AsyncIterator[VendorServer]:
    """The server that stands for all vendors."""
    async with vendor_server(gorgias, HubSpotSimulator()) as made:
        yield made


@pytest.fixture
def provider_base_url(server: VendorServer) -> str:
    """What is called in the place of all vendors."""
    return server.base_url


async def connect(crm: Crm, provider: str = "gorgias", **secrets: str) -> Shop:
    """Make a shop with a connection to a provider."""
    tenant_id = uuid7()
    metadata = crm.as_tenant(tenant_id)
    config = {"gorgias": {"domain": "acme", "email": "agent@acme.example"}, "hubspot": {"portal_id": "62515"}}[provider]
    request = connection_service_pb2.CreateConnectionRequest(
        provider=provider, config=config, secrets={"webhook_secret": GORGIAS_SECRET, **secrets}
    )
    made = await crm.connections.CreateConnection(request, metadata=metadata)
    return Shop(tenant_id, made.connection.id, made.webhook_url, metadata, GORGIAS_SECRET)


async def receive(crm: Crm, shop: Shop, gorgias: GorgiasSimulator, body: bytes) -> None:
    """Have Gorgias post a webhook."""
    pairs = gorgias.sign(body, GORGIAS_SECRET, datetime.now(UTC), shop.url)
    await crm.post("gorgias", shop.token, body, list(pairs.items()))


async def only(crm: Crm, shop: Shop) -> tuple[int, str, int]:
    """Return state, reason and attempts of the shop's only delivery."""
    (delivery,) = await crm.listed(shop)
    return delivery.state, delivery.reason, delivery.attempts


async def test_ticket_is_fetched_and_what_the_webhook_says_is_not_believed(
    crm: Crm, gorgias: GorgiasSimulator, server: VendorServer
) -> None:
    """Tickets gets the vendor's own state, whatever stood in the body."""
    shop = await connect(crm, **CREDENTIALS)
    lie = gorgias.webhook("7").replace(b'"gorgias.v1"', b'"gorgias.v1","subject":"Pay here","priority":"critical"')
    async with crm.working():
        await receive(crm, shop, gorgias, lie)
        await crm.settled(shop)
    assert await only(crm, shop) == (State.STATE_PROCESSED, "", 1)
    ((_, applied),) = crm.tickets.applied
    assert (applied.external_ticket_id, applied.fields.subject) == ("7", "Where is my parcel?")
    assert applied.fields.priority == "normal"
    assert [message.content for message in applied.messages] == ["It should be here."]
    assert server.calls("gorgias", "GET", "/api/tickets/7")


async def test_same_state_fetched_twice_has_its_effect_once(crm: Crm, gorgias: GorgiasSimulator) -> None:
    """Two webhooks about one change fetch the same state, which tickets knows by its id."""
    shop = await connect(crm, **CREDENTIALS)
    async with crm.working():
        await receive(crm, shop, gorgias, gorgias.webhook("7", "ticket-created"))
        await receive(crm, shop, gorgias, gorgias.webhook("7", "ticket-message-created"))
        balance = await crm.settled(shop)
    assert (balance.processed, len(crm.tickets.applied)) == (2, 1)


async def test_without_credentials_a_delivery_waits_for_a_person(crm: Crm, gorgias: GorgiasSimulator) -> None:
    """It is quarantined with the reason, and replaying it works once the credentials were entered."""
    shop = await connect(crm)
    async with crm.working():
        await receive(crm, shop, gorgias, gorgias.webhook("7"))
        await crm.settled(shop)
        assert await only(crm, shop) == (State.STATE_QUARANTINED, "CREDENTIALS_MISSING", 1)
        assert crm.tickets.calls == []
        entered = connection_service_pb2.UpdateConnectionRequest(connection=shop.connection, secrets=CREDENTIALS)
        await crm.connections.UpdateConnection(entered, metadata=shop.metadata)
        (delivery,) = await crm.listed(shop)
        replay = delivery_service_pb2.ReplayDeliveryRequest(delivery=delivery.id)
        await crm.deliveries.ReplayDelivery(replay, metadata=crm.as_tenant(shop.tenant_id, "connections.write"))
        assert (await crm.settled(shop)).processed == 1
    assert len(crm.tickets.applied) == 1


async def test_ticket_that_is_not_there_makes_none(crm: Crm, gorgias: GorgiasSimulator) -> None:
    """Whoever knows the address can name any ticket: nothing comes of it."""
    shop = await connect(crm, **CREDENTIALS)
    async with crm.working():
        await receive(crm, shop, gorgias, gorgias.webhook("7").replace(b'"ticket_id":"7"', b'"ticket_id":"404"'))
        await crm.settled(shop)
    assert await only(crm, shop) == (State.STATE_PROCESSED, "", 1)
    assert crm.tickets.calls == []


async def test_ticket_that_the_vendor_does_not_know_yet_is_asked_for_again(
    crm: Crm, gorgias: GorgiasSimulator, server: VendorServer
) -> None:
    """A young delivery waits without losing attempts while the vendor says that there is no such ticket."""
    shop = await connect(crm, **CREDENTIALS)
    patient = await crm.process(provider_base_url=server.base_url, vendor_lag=timedelta(seconds=8))

    async def waits() -> bool:
        return await only(crm, shop) == (State.STATE_PENDING, "TICKET_NOT_FOUND", 0)

    async with crm.working(patient.worker):
        await receive(crm, shop, gorgias, gorgias.webhook("7").replace(b'"ticket_id":"7"', b'"ticket_id":"8"'))
        await eventually(waits)
        gorgias.open_ticket("8", "Another one", "It is new.")
        assert (await crm.settled(shop)).processed == 1
    assert [applied.external_ticket_id for _, applied in crm.tickets.applied] == ["8"]


async def test_vendor_out_of_reach_costs_no_attempt(crm: Crm, gorgias: GorgiasSimulator, server: VendorServer) -> None:
    """However often fetching fails for the vendor's own reasons, the delivery is done once the vendor is back."""
    shop = await connect(crm, **CREDENTIALS)
    server.fail(broken(times=MOST_ATTEMPTS))
    async with crm.working():
        await receive(crm, shop, gorgias, gorgias.webhook("7"))
        await server.wait_until(lambda: len(server.asked) > MOST_ATTEMPTS)
        await crm.settled(shop, within=30)
    assert await only(crm, shop) == (State.STATE_PROCESSED, "", 1)


async def test_outage_of_more_than_a_day_ends_as_a_dead_letter(
    crm: Crm, gorgias: GorgiasSimulator, server: VendorServer
) -> None:
    """A vendor that never comes back does not keep deliveries pending for ever."""
    shop = await connect(crm, **CREDENTIALS)
    server.fail(Fault(answer=Answered(503, headers={"retry-after": "0"}), times=1000))
    await receive(crm, shop, gorgias, gorgias.webhook("7"))
    await age(crm, timedelta(hours=25))
    async with crm.working():
        await crm.settled(shop, within=30)
    state, reason, attempts = await only(crm, shop)
    assert (state, attempts) == (State.STATE_DEAD, 3)
    assert reason in {"VENDOR_FAILING", "CIRCUIT_OPEN"}


async def age(crm: Crm, by: timedelta) -> None:
    """Make all deliveries older."""
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        await connection.execute("UPDATE crm.deliveries SET receive_time = receive_time - $1::interval", by)
    finally:
        await connection.close()


async def test_refused_credentials_count_as_attempts(crm: Crm, gorgias: GorgiasSimulator) -> None:
    """Waiting does not help there: it ends as a dead letter that says why."""
    shop = await connect(crm, api_key="a-key-that-was-revoked")
    async with crm.working():
        await receive(crm, shop, gorgias, gorgias.webhook("7"))
        await crm.settled(shop)
    assert await only(crm, shop) == (State.STATE_DEAD, "CREDENTIALS_REFUSED", 3)


async def test_slow_vendor_holds_up_neither_other_shops_nor_signed_deliveries(
    crm: Crm, gorgias: GorgiasSimulator, server: VendorServer
) -> None:
    """While one shop's vendor does not answer, another shop's deliveries are done at once."""
    for number in range(10, 90):
        gorgias.open_ticket(str(number), "Slow", "Hello?")
    slow, quick = await connect(crm, **CREDENTIALS), await crm.shop()
    server.fail(Fault(meets=lambda asked: asked.vendor == "gorgias", held=True, times=1000))
    for number in range(10, 90):
        await receive(crm, slow, gorgias, gorgias.webhook(str(number)))
    async with crm.working():
        await server.wait_until(lambda: len(server.calls("gorgias")) >= 4)
        started = time.monotonic()
        await crm.deliver(quick, event())
        assert (await crm.settled(quick)).processed == 1
        assert time.monotonic() - started < 1.0
    assert (await crm.balance(slow)).pending == 80


async def test_deliveries_that_come_back_are_all_done_when_the_vendor_answers(
    crm: Crm, gorgias: GorgiasSimulator
) -> None:
    """More deliveries than one batch holds are fetched batch by batch, each once."""
    for number in range(100, 220):
        gorgias.open_ticket(str(number), "Many", "Hello?")
    shop = await connect(crm, **CREDENTIALS)
    await asyncio.gather(*(receive(crm, shop, gorgias, gorgias.webhook(str(number))) for number in range(100, 220)))
    async with crm.working():
        balance = await crm.settled(shop, within=60)
    assert balance.processed == 120
    assert {delivery.attempts for delivery in await crm.listed(shop, page_size=200)} == {1}


class Shops:
    """Takes a shop system's events, or fails as it is told."""

    def __init__(self, *failures: grpc.StatusCode) -> None:
        self.failures = list(failures)
        self.applied: list[ShopEvent] = []

    async def send(self, _tenant_id: UUID, events: Sequence[ShopEvent]) -> None:
        """Apply events in their order."""
        if self.failures:
            raise grpc.aio.AioRpcError(
                self.failures.pop(0), grpc.aio.Metadata(), grpc.aio.Metadata(), "as the test wants it"
            )
        self.applied += events


@pytest.mark.parametrize(
    ("failure", "state", "reason", "attempts"),
    [
        (grpc.StatusCode.UNAVAILABLE, "pending", "RECOMMENDATIONS_OUT_OF_REACH", 0),
        (grpc.StatusCode.INTERNAL, "pending", "RECOMMENDATIONS_INTERNAL", 1),
        (grpc.StatusCode.INVALID_ARGUMENT, "dead", "RECOMMENDATIONS_INVALID_ARGUMENT", 1),
        (None, "processed", "", 1),
    ],
)
async def test_what_a_shop_system_says_goes_to_recommendations(
    crm: Crm, failure: grpc.StatusCode | None, state: str, reason: str, attempts: int
) -> None:
    """Its failures are judged as those of tickets are, and the worker waits for nobody.

    The database's clock is an hour behind here, which changes nothing: how long a claim holds is counted by our own.
    """
    shops = Shops(*([failure] if failure else []))
    effects = Effects(crm.main.worker._effects._tickets, shops, most_attempts=3)
    said = CustomerEvent("cust-1", datetime.now(UTC), "kim@example.com", "Kim")
    job = Job(
        uuid7(), 1, 1, uuid7(), datetime.now(UTC) - timedelta(hours=1), 1, time.monotonic() + LEASE.total_seconds()
    )
    (outcome,) = await effects.of(job.tenant_id, [Work(job, [], [said])])
    assert (outcome.state, outcome.reason, outcome.attempts) == (state, reason, attempts)
    assert shops.applied == ([] if failure else [said])
    assert effects.pause == 0.0


async def test_signed_delivery_counts_as_it_is_where_nothing_can_be_fetched(crm: Crm) -> None:
    """HubSpot's signed events say little, but what they say is true: without credentials they count as they are."""
    hubspot = HubSpotSimulator()
    shop = await connect(crm, "hubspot")
    body = hubspot_body(hubspot)
    url = f"https://rapport.example/webhooks/hubspot/{shop.token}"
    signed = hubspot.sign(body, GORGIAS_SECRET, datetime.now(UTC), url)
    async with crm.working():
        await crm.post("hubspot", shop.token, body, list(signed.items()))
        await crm.settled(shop)
    assert await only(crm, shop) == (State.STATE_PROCESSED, "", 1)
    ((_, applied),) = crm.tickets.applied
    assert applied.external_ticket_id == "4711"


def hubspot_body(hubspot: HubSpotSimulator) -> bytes:
    """Return a batch of one event about a ticket."""
    hubspot.open_ticket("4711", "Broken", "It is broken.")
    return orjson.dumps([hubspot.event("4711")])


def test_batches_that_were_put_off_come_one_after_the_other() -> None:
    """The more batches wait, the later the next one comes, so that a long queue is not looked at all the time."""
    moment, tenant = 100.0, uuid7()
    turns = Turns(lambda: moment)
    assert turns.take(tenant)
    assert not turns.take(tenant)
    assert [turns.put_off(tenant).total_seconds() for _ in range(3)] == [1, 2, 3]
    turns.end(tenant, 5.0)
    assert turns.take(tenant)
    assert turns.put_off(tenant).total_seconds() == 8
    moment += 60
    assert turns.put_off(tenant).total_seconds() == 5
