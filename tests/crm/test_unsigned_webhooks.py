"""Webhooks of vendors that sign nothing, from the door to tickets: they are hints, and what the API says counts."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from rapport.crm.v1 import connection_service_pb2, delivery_pb2, delivery_service_pb2

from servicekit.ids import uuid7
from services.crm.admission import unpack
from services.crm.credentials import open_payload
from services.crm.providers.salesforce_soap import ACK
from tests.crm.conftest import Crm, Shop
from tests.crm.connecting import connected
from tests.support.vendors.freshdesk import FreshdeskSimulator
from tests.support.vendors.gorgias import GorgiasSimulator
from tests.support.vendors.helpshift import HelpshiftSimulator
from tests.support.vendors.salesforce import SalesforceSimulator, case_id
from tests.support.vendors.server import Fault, Vendor, VendorServer, broken, timed_out, too_many, vendor_server

TOKEN = "a-webhook-token-of-our-own-making"
SESSION = "00D58000000LTzD!AQ0AQlive.credential"
States = delivery_pb2.Delivery


@dataclass
class Source:
    """A vendor with one ticket: how to connect to it, and the body of a webhook about the ticket.

    `lie` makes the body claim something else, `foreign` makes it another account's.
    """

    vendor: Vendor
    ticket: str
    body: Callable[[], bytes]
    config: dict[str, str]
    credentials: dict[str, str]
    secrets: dict[str, str]
    lie: tuple[bytes, bytes]
    foreign: tuple[bytes, bytes]
    path: str


def gorgias() -> Source:
    """Gorgias, by an API key."""
    vendor = GorgiasSimulator()
    vendor.open_ticket("701", "The zip is broken", "It came like that.")
    return Source(
        vendor,
        "701",
        lambda: vendor.webhook("701"),
        {"domain": "acme", "email": vendor.email},
        {"api_key": vendor.api_key},
        {"webhook_secret": TOKEN},
        (b'"schema"', b'"subject":"A lie","schema"'),
        (b'"acme"', b'"evil"'),
        "/api/tickets/701",
    )


def freshdesk() -> Source:
    """Freshdesk."""
    vendor = FreshdeskSimulator()
    vendor.open_ticket("701", "The zip is broken", "It came like that.")
    return Source(
        vendor,
        "701",
        lambda: vendor.webhook("701"),
        {"domain": "acme"},
        {"api_key": vendor.api_key},
        {"webhook_secret": TOKEN},
        (b'"event"', b'"ticket_subject":"A lie","event"'),
        (b"acme.freshdesk.com", b"evil.freshdesk.com"),
        "/api/v2/tickets/701",
    )


def helpshift() -> Source:
    """Helpshift, which has no secret of its own."""
    vendor = HelpshiftSimulator()
    vendor.open_issue("701", "The zip is broken", "It came like that.")
    return Source(
        vendor,
        "701",
        lambda: vendor.webhook("701"),
        {"domain": "acme"},
        {"api_key": vendor.api_key},
        {},
        (b"The zip is broken", b"A lie"),
        (b'"domain":"acme"', b'"domain":"evil"'),
        "/v1/acme/issues/701",
    )


def salesforce() -> Source:
    """Salesforce by a refresh token; its messages have a session's id in them."""
    vendor = SalesforceSimulator()
    case = vendor.open_case(1, "The zip is broken", "It came like that.")
    return Source(
        vendor,
        case,
        lambda: vendor.outbound(case, session=SESSION, notification="04l5800000aaaa"),
        {"org_id": vendor.org_id, "instance_url": "https://acme.my.salesforce.com", "client_id": vendor.client_id},
        {"client_secret": vendor.client_secret, "refresh_token": vendor.refresh_token},
        {},
        (b"The zip is broken", b"A lie"),
        (b"00D58000000LTzDEAW", b"00D58000000OtheEAG"),
        "/services/data/v62.0/query",
    )


SOURCES = {"gorgias": gorgias, "freshdesk": freshdesk, "helpshift": helpshift, "salesforce": salesforce}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> Source:
    """Each vendor in turn."""
    return SOURCES[request.param]()


@pytest.fixture
async def server(source: Source) -> AsyncIterator[VendorServer]:
    """The vendor, listening."""
    async with vendor_server(source.vendor) as made:
        yield made


@pytest.fixture
def provider_base_url(server: VendorServer) -> str:
    """The service under test calls the simulator."""
    return server.base_url


async def connect(crm: Crm, source: Source, *, credentials: bool = True) -> Shop:
    """Make a tenant with a connection to the vendor, with or without what its API asks for."""
    secrets = source.secrets | (source.credentials if credentials else {})
    return await connected(crm, source.vendor.name, secrets, **source.config)


async def send(crm: Crm, source: Source, shop: Shop, body: bytes | None = None) -> bytes:
    """Post a webhook as the vendor does; return the answer."""
    sent = source.body() if body is None else body
    signed = source.vendor.sign(sent, TOKEN, datetime.now(UTC), shop.url)
    return await crm.post(source.vendor.name, shop.token, sent, signed.items())


async def test_ticket_is_fetched_and_a_lie_is_not_believed(crm: Crm, source: Source, server: VendorServer) -> None:
    """Whoever knows the token can only make us look: what becomes a ticket is what the vendor's API says."""
    shop = await connect(crm, source)
    body = source.body().replace(*source.lie)
    assert b"A lie" in body
    async with crm.working():
        await send(crm, source, shop, body)
        balance = await crm.settled(shop)
    assert (balance.admitted, balance.processed) == (1, 1)
    ((_, event),) = crm.tickets.applied
    assert (event.external_ticket_id, event.fields.subject) == (source.ticket, "The zip is broken")
    assert [message.content for message in event.messages] == ["It came like that."]
    assert server.calls(source.vendor.name, "GET", source.path)


async def test_same_webhook_twice_is_one_delivery(crm: Crm, source: Source) -> None:
    """A redelivery is acknowledged as the first was, and makes no work; Freshdesk's tells no exact time, though."""
    shop = await connect(crm, source)
    body = source.body()
    answers = [await send(crm, source, shop, body) for _ in range(3)]
    balance = await crm.balance(shop)
    copies = 0 if source.vendor.name == "freshdesk" else 2
    assert (balance.admitted, balance.duplicate, balance.pending) == (3, copies, 3 - copies)
    expected = ACK if source.vendor.name == "salesforce" else b'{"status":"accepted"}'
    assert set(answers) == {expected}


@pytest.mark.parametrize("source", ["freshdesk"], indirect=True)
async def test_change_that_looks_like_the_one_before_is_not_lost(crm: Crm, source: Source) -> None:
    """Where a body has no exact time, the customer's second message makes the same webhook: it is fetched as well."""
    assert isinstance(source.vendor, FreshdeskSimulator)
    shop = await connect(crm, source)
    async with crm.working():
        await send(crm, source, shop, source.vendor.simple("701"))
        await crm.settled(shop)
        source.vendor.receive("701", "Any news?")
        await send(crm, source, shop, source.vendor.simple("701"))
        assert (await crm.settled(shop)).processed == 2
    assert [message.content for _, event in crm.tickets.applied for message in event.messages][-1] == "Any news?"


async def test_webhook_of_another_account_is_refused(crm: Crm, source: Source) -> None:
    """The right token does not make another account's body the connection's."""
    shop = await connect(crm, source)
    body = source.body().replace(*source.foreign)
    assert body != source.body()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await send(crm, source, shop, body)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert (await crm.balance(shop)).admitted == 0


async def test_webhook_without_credentials_is_kept_and_replayed_once_they_are_set(crm: Crm, source: Source) -> None:
    """Nothing is believed and nothing is lost: it waits in quarantine until the ticket can be fetched."""
    shop = await connect(crm, source, credentials=False)
    async with crm.working():
        await send(crm, source, shop)
        assert (await crm.settled(shop)).quarantined == 1
        (kept,) = await crm.listed(shop)
        assert (kept.state, kept.reason) == (States.STATE_QUARANTINED, "CREDENTIALS_MISSING")
        update: Any = connection_service_pb2.UpdateConnectionRequest(
            connection=shop.connection, secrets=source.credentials, update_mask=FieldMask(paths=["secrets"])
        )
        await crm.connections.UpdateConnection(update, metadata=shop.metadata)
        replay = delivery_service_pb2.ReplayDeliveryRequest(delivery=kept.id, request_id=str(uuid7()))
        await crm.deliveries.ReplayDelivery(replay, metadata=shop.metadata)
        assert (await crm.settled(shop)).processed == 1
    assert [event.external_ticket_id for _, event in crm.tickets.applied] == [source.ticket]


@pytest.mark.parametrize("fault", [lambda: too_many(1), lambda: broken(times=2)], ids=["429", "500 twice"])
async def test_vendor_that_is_troubled_is_asked_again(
    crm: Crm, source: Source, server: VendorServer, fault: Callable[[], Fault]
) -> None:
    """A busy or failing vendor delays a delivery, and nothing is lost of it."""
    shop = await connect(crm, source)
    server.fail(fault())
    async with crm.working():
        await send(crm, source, shop)
        assert (await crm.settled(shop, within=20)).processed == 1
    assert [event.external_ticket_id for _, event in crm.tickets.applied] == [source.ticket]


async def test_ticket_that_is_gone_makes_no_work(crm: Crm, source: Source) -> None:
    """A hint at a ticket that the vendor does not have is nothing that anybody has to look at."""
    shop = await connect(crm, source)
    missing = case_id(9) if source.vendor.name == "salesforce" else "999"
    async with crm.working():
        await send(crm, source, shop, source.body().replace(source.ticket.encode(), missing.encode()))
        assert (await crm.settled(shop)).processed == 1
    assert crm.tickets.applied == []


async def test_stored_bytes_hold_neither_token_nor_session(crm: Crm, source: Source) -> None:
    """What is kept has no live credential in it, even when it is opened with its key."""
    shop = await connect(crm, source)
    await send(crm, source, shop)
    (kept,) = await crm.listed(shop)
    stored = await crm.main.store.sealed_deliveries(shop.tenant_id, [kept.id])
    delivery = next(iter(stored.values()))
    sealer = await crm.main.keyring.sealer(shop.tenant_id, delivery.key_version)
    packed = open_payload(sealer, delivery.payload, tenant_id=shop.tenant_id, delivery=delivery.id)
    for secret in (TOKEN, SESSION, shop.token):
        assert secret.encode() not in packed
    assert unpack(packed).method == "POST"


async def test_vendor_that_does_not_answer_holds_up_no_other_delivery(
    crm: Crm, source: Source, server: VendorServer
) -> None:
    """While a fetch hangs, another shop's deliveries go on."""
    shop, other = await connect(crm, source), await crm.shop()
    server.fail(timed_out(times=100))
    async with crm.working():
        await send(crm, source, shop)
        await server.wait_until(lambda: bool(server.asked))
        await crm.deliver(other, b'{"type":"zen:event-type:user.created","id":"1"}')
        assert (await crm.settled(other, within=5)).processed == 1
        server.release()
