"""Orders and customers on their way from a shop system to the profiles, through a running suite."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest

from tests.support import servers
from tests.support.suite import own_suite, rapport
from tests.support.vendors.server import VendorServer, vendor_server
from tests.support.vendors.shopify import ShopifySimulator
from tests.support.vendors.standard import StandardSender, stamp
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest, call, new_shop, operator_token

# A suite of its own is started and stopped, and these tests share the machine with many others.
pytestmark = pytest.mark.timeout(300)

CONNECTIONS = "rapport.crm.v1.ConnectionService"
WITHIN = 30.0


@dataclass(frozen=True)
class Calling:
    """A suite that calls the simulated vendors at `port` in the place of the true ones."""

    suite: SuiteUnderTest
    port: int


@pytest.fixture(scope="module")
def calling() -> Iterator[Calling]:
    """A suite of its own, since it is told another address of all vendors."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"RAPPORT_CRM_PROVIDER_BASE_URL": f"http://127.0.0.1:{port}/{{provider}}"}
    with own_suite(servers.new_folder(), told=told) as described:
        yield Calling(SuiteUnderTest.of(described), port)


@pytest.fixture
def vendor() -> ShopifySimulator:
    """A Shopify shop of its own name, with a customer who bought twice and gave a piece back."""
    made = ShopifySimulator(shop_domain=f"shop-{uuid4().hex[:8]}.myshopify.com")
    made.add_customer("71", "anna@example.com")
    made.add_order("1001", "71", {"price": "30.00", "quantity": 3})
    made.add_order("1002", "71", {"price": "12.00", "name": "Wool"})
    made.take_back("1001", 0, 1)
    return made


@pytest.fixture
async def vendors(calling: Calling, vendor: ShopifySimulator) -> AsyncIterator[VendorServer]:
    """The vendor's API, where the suite looks for it."""
    async with vendor_server(vendor, port=calling.port) as server:
        yield server


@dataclass
class Connected:
    """A shop of ours with a connection."""

    suite: SuiteUnderTest
    slug: str
    api_key: str
    token: str
    connection: str
    webhook_url: str
    secret: str

    @classmethod
    async def make(cls, suite: SuiteUnderTest, provider: str, config: dict[str, str], **secrets: str) -> "Connected":
        """Create a tenant and its connection."""
        shop = await new_shop(suite, provider)
        token = await operator_token(suite, shop.slug)
        request = {"provider": provider, "config": config, "secrets": secrets}
        made: Any = await call(suite.grpc["crm"], f"{CONNECTIONS}/CreateConnection", request, token)
        secret = secrets.get("webhook_secret", "")
        return cls(suite, shop.slug, shop.api_key, token, made.connection.id, made.webhook_url, secret)

    async def orders(self, customer: str) -> list[Any] | None:
        """Return the customer's orders as the desk shows them; None while nobody knows the customer."""
        async with self.suite.client(**{"x-api-key": self.api_key}) as client:
            answer = await client.get(f"/api/mcp/customer/{customer}/orders")
        assert answer.status_code in {200, 404}, answer.text
        return None if answer.status_code == 404 else list(answer.json()["orders"])

    async def wait_for_orders(self, customer: str, count: int) -> list[Any]:
        """Wait until the customer has so many orders."""

        async def there() -> list[Any] | None:
            found = await self.orders(customer)
            return found if found is not None and len(found) == count else None

        return await eventually(there, WITHIN)

    async def settled(self) -> Any:
        """Wait until no delivery is pending; return the balance."""

        async def done() -> Any:
            balance: Any = await call(
                self.suite.grpc["crm"], "rapport.crm.v1.DeliveryService/GetBalance", {}, self.token
            )
            return balance if balance.admitted and not balance.pending else None

        return await eventually(done, WITHIN)


async def posted(suite: SuiteUnderTest, url: str, body: bytes, headers: Any) -> httpx.Response:
    """Post a webhook."""
    async with suite.client() as client:
        return await client.post(url, content=body, headers=headers)


async def test_a_shop_is_heard_with_its_secret_alone_and_in_any_order(
    suite: SuiteUnderTest, vendor: ShopifySimulator
) -> None:
    """Without credentials the signed bodies count: the state that changed last stays, whenever an older one comes."""
    shop = await Connected.make(
        suite, "shopify", {"shop_domain": vendor.shop_domain}, webhook_secret="shpss_0123456789abcdef"
    )

    async def told(topic: str, body: bytes) -> None:
        headers = vendor.sign(body, shop.secret, datetime.now(UTC), shop.webhook_url, topic=topic)
        answer = await posted(suite, shop.webhook_url, body, headers)
        assert answer.status_code == 200, answer.text

    before = vendor.order_body("1001")
    vendor.cancel("1001")
    await told("orders/cancelled", vendor.order_body("1001"))
    await shop.wait_for_orders("71", 1)
    await told("orders/updated", before)
    await told("orders/create", vendor.order_body("1002"))
    await told("customers/update", vendor.customer_body("71"))
    await shop.wait_for_orders("71", 2)
    await shop.settled()
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        profile = (await client.get("/api/mcp/customer/71")).json()
        found = (await client.get("/api/mcp/customer/search", params={"email": "anna@example.com"})).json()
    assert profile["business_metrics"]["lifetime_value"] == 12.0
    assert (profile["business_metrics"]["total_orders"], found["customer_id"]) == (1, "71")
    listed = {order["order_id"]: bool(order["cancelled_at"]) for order in await shop.orders("71") or ()}
    assert listed == {"1001": True, "1002": False}
    vendor.pay_back("1002", "2.50")
    await told("orders/updated", vendor.order_body("1002"))
    await shop.settled()
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        profile = (await client.get("/api/mcp/customer/71")).json()
    assert profile["business_metrics"]["lifetime_value"] == 9.5
    await told("customers/redact", vendor.redact_body("71"))

    async def forgotten() -> bool:
        return await shop.orders("71") is None

    assert await eventually(forgotten, WITHIN)


async def test_an_operator_erases_a_customer_from_profiles_and_inbox(
    suite: SuiteUnderTest, vendor: ShopifySimulator
) -> None:
    """Orders, contact and profile go, and every delivery that mentions the customer loses its content."""
    vendor.add_customer("918273", "zebra@example.com")
    vendor.add_order("3003", "918273", {"price": "5.00"})
    shop = await Connected.make(
        suite, "shopify", {"shop_domain": vendor.shop_domain}, webhook_secret="shpss_0123456789abcdef"
    )
    told = {
        "orders/create": (vendor.order_body("3003"), vendor.order_body("1002")),
        "customers/create": (vendor.customer_body("918273"),),
    }
    for topic, bodies in told.items():
        for body in bodies:
            headers = vendor.sign(body, shop.secret, datetime.now(UTC), shop.webhook_url, topic=topic)
            assert (await posted(suite, shop.webhook_url, body, headers)).status_code == 200
    await shop.wait_for_orders("918273", 1)
    await shop.wait_for_orders("71", 1)
    await shop.settled()
    erase = ("customer", "erase", "918273", "--tenant", shop.slug, "--also", "zebra@example.com", "--json")
    unsure = await asyncio.to_thread(rapport, *erase, "--data", suite.data)
    assert unsure.code == 2
    done = await asyncio.to_thread(rapport, *erase, "--yes", "--data", suite.data)
    counts = {"orders": 1, "deliveries": 2, "tickets": 0, "waiting": 0}
    assert done.value == {"customer": "918273", "known": True, **counts}
    assert await shop.orders("918273") is None
    assert len(await shop.orders("71") or ()) == 1


async def test_a_body_of_one_shop_in_the_name_of_another_has_no_effect(
    calling: Calling, vendor: ShopifySimulator, vendors: VendorServer
) -> None:
    """An app's secret signs for all shops, and the shop's name is unsigned: the shop itself is asked first."""
    secret = f"shpss_{uuid4().hex}"
    unbound = await operator_token(calling.suite)
    request = {"provider": "shopify", "webhook_secret": secret}
    app: Any = await call(calling.suite.grpc["crm"], "rapport.crm.v1.AppService/CreateApp", request, unbound)
    shop = await Connected.make(
        calling.suite, "shopify", {"shop_domain": vendor.shop_domain}, access_token=vendor.access_token
    )
    proved: Any = await call(
        calling.suite.grpc["crm"], f"{CONNECTIONS}/TestConnection", {"connection": shop.connection}, shop.token
    )
    assert proved.passed, proved
    stranger = ShopifySimulator()
    stranger.add_order("9001", "71", {"price": "999.00"})
    for body in (stranger.order_body("9001"), vendor.order_body("1001"), vendor.refund_body("1001")):
        topic = "refunds/create" if b"Refund" in body else "orders/updated"
        headers = vendor.sign(body, secret, datetime.now(UTC), app.webhook_url, topic=topic)
        answer = await posted(calling.suite, app.webhook_url, body, headers)
        assert answer.status_code == 200, answer.text
    balance = await shop.settled()
    assert (balance.admitted, balance.processed) == (3, 3)
    (order,) = await shop.wait_for_orders("71", 1)
    assert order["total_price"] == "60.00", order
    assert len(vendors.calls("shopify")) >= 4


async def test_a_history_is_imported_beside_the_webhooks(
    calling: Calling, vendor: ShopifySimulator, vendors: VendorServer
) -> None:
    """A backfill brings all orders, page by page through throttling, and a webhook changes nothing more."""
    vendor.page_size, vendor.throttled = 1, 1
    shop = await Connected.make(
        calling.suite,
        "shopify",
        {"shop_domain": vendor.shop_domain},
        webhook_secret="shpss_0123456789abcdef",
        access_token=vendor.access_token,
    )
    since = (vendor.now - timedelta(days=1)).isoformat()
    request = {"connection": shop.connection, "since": since}
    await call(calling.suite.grpc["crm"], "rapport.crm.v1.SyncService/StartSync", request, shop.token)
    imported = await shop.wait_for_orders("71", 2)
    body = vendor.order_body("1001")
    headers = vendor.sign(body, shop.secret, datetime.now(UTC), shop.webhook_url, topic="orders/updated")
    assert (await posted(calling.suite, shop.webhook_url, body, headers)).status_code == 200
    await shop.settled()
    assert await shop.orders("71") == imported
    assert len(vendors.calls("shopify")) >= 5


async def test_an_in_house_system_tells_tickets_orders_and_customers(suite: SuiteUnderTest) -> None:
    """Standard Webhooks bring a ticket with its message to the desk and an order to the customer's profile."""
    sender, now = StandardSender(), datetime.now(UTC)
    shop = await Connected.make(suite, "standard", {}, webhook_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    line = {"product": "lantern", "quantity": 2, "unit_price": "30.00"}
    order = {"order": "o-77", "customer": "c-77", "placed": stamp(now), "currency": "EUR", "lines": [line]}
    ticket = {"ticket": "T-1", "customer": "c-77", "subject": "Lamp", "messages": [{"id": "m", "text": "Dark."}]}
    for kind, data in (("order.updated", order), ("ticket.updated", ticket)):
        body = orjson.dumps({"type": kind, "timestamp": stamp(now), "data": data})
        headers = sender.sign(body, shop.secret, now, shop.webhook_url)
        for expected in (200, 200):
            assert (await posted(suite, shop.webhook_url, body, headers)).status_code == expected
    await shop.wait_for_orders("c-77", 1)
    balance = await shop.settled()
    assert (balance.admitted, balance.processed, balance.duplicate) == (4, 2, 2)
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        tickets = (await client.get("/api/tickets")).json()
    assert "Lamp" in orjson.dumps(tickets).decode()


async def test_a_helpdesks_requester_is_known_by_what_the_shops_customer_bought(suite: SuiteUnderTest) -> None:
    """The shop and the helpdesk use different ids; the address joins them, and the ticket shows the shop's customer."""
    sender, now = StandardSender(), datetime.now(UTC)
    shop = await Connected.make(suite, "standard", {}, webhook_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    line = {"product": "lantern", "quantity": 2, "unit_price": "30.00"}
    told = {
        "order.updated": {"order": "o-1", "customer": "c-1", "placed": stamp(now), "currency": "EUR", "lines": [line]},
        "customer.updated": {"customer": "c-1", "email": "anna@example.com", "name": "Anna Berg"},
        "ticket.updated": {
            "ticket": "T-1",
            "customer": "desk-9",
            "customer_email": "Anna@Example.com",
            "subject": "Lamp",
            "messages": [{"id": "m", "text": "It stays dark."}],
        },
    }
    for kind, data in told.items():
        body = orjson.dumps({"type": kind, "timestamp": stamp(now), "data": data})
        headers = sender.sign(body, shop.secret, now, shop.webhook_url)
        assert (await posted(suite, shop.webhook_url, body, headers)).status_code == 200
    async with suite.client(**{"x-api-key": shop.api_key}) as client:

        async def known() -> Any:
            profile = (await client.get("/api/customers/desk-9")).json()
            tickets = (await client.get("/api/tickets")).json()["tickets"]
            if not tickets or "business_metrics" not in profile:
                return None
            detail = (await client.get(f"/api/tickets/{tickets[0]['id']}")).json()
            return detail if detail["customer_profile"] else None

        detail = await eventually(known, WITHIN)
        assert (await client.get("/api/customers/desk-9")).json()["business_metrics"]["total_orders"] == 1
    assert detail["customer_profile"]["business_metrics"]["lifetime_value"] == 60.0
    balance = await shop.settled()
    assert (balance.admitted, balance.processed) == (3, 3)
