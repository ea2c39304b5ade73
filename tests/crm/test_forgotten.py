"""Whoever was erased is not brought back by what was told before: neither by tickets nor by orders."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import pytest
from rapport.crm.v1 import delivery_service_pb2 as pb
from rapport.recommendations.v1 import customer_pb2, order_pb2, order_service_pb2
from rapport.recommendations.v1 import customer_service_pb2 as customers

from servicekit.channel import open_channel
from servicekit.database import Database
from servicekit.identity import Workload
from services.crm.erasure_store import ErasureStore
from services.crm.events import CustomerErasure, CustomerEvent, OrderEvent, OrderLine
from services.crm.forgotten import KEPT, About, Forgotten
from services.crm.orders import Orders
from services.crm.retention_store import RetentionStore
from tests.crm.conftest import Crm, Shop
from tests.crm.test_customer_erasure import SCOPES, ticket_of
from tests.crm.zendesk_requests import event, stamp
from tests.support.servers import DatabaseFor

CUSTOMER = "8447388090494"
HOUR = timedelta(hours=1)


async def erase(crm: Crm, shop: Shop, **known: Any) -> None:
    """Erase a customer from the inbox of a shop."""
    request = pb.EraseCustomerDeliveriesRequest(**known)
    await crm.deliveries.EraseCustomerDeliveries(request, metadata=crm.as_tenant(shop.tenant_id, *SCOPES))


async def told(crm: Crm, shop: Shop, *bodies: bytes) -> list[str]:
    """Deliver these one after the other and return the tickets of the events that reached the tickets service."""
    before = len(crm.tickets.applied)
    for body in bodies:
        await crm.deliver(shop, body)
    async with crm.working():
        await crm.settled(shop)
    return sorted(applied.external_ticket_id for _, applied in crm.tickets.applied[before:])


async def test_tickets_from_before_the_erasure_stay_away(crm: Crm) -> None:
    """Also their later comments that name nobody; what the customer begins later, and other customers, come in."""
    shop, other = await crm.shop(), await crm.shop()
    await erase(crm, shop, mentioned=[CUSTOMER], tickets=[ticket_of(shop, "5")])
    later = {"created_at": stamp(datetime.now(UTC) + HOUR)}
    comment = {"comment": {"id": "5", "body": "And where is it?", "is_public": True, "author": {"is_staff": True}}}
    nameless = {"requester_id": None, "submitter_id": None}
    bodies = (
        event(event_id="1", ticket="1"),
        event("comment_added", event_id="2", ticket="1", detail=nameless, happened=comment),
        event("comment_added", event_id="3", ticket="5", detail=nameless | later, happened=comment),
        event(event_id="4", ticket="2", detail=later),
        event(event_id="5", ticket="3", detail={"requester_id": "17"}),
    )
    assert await told(crm, shop, *bodies) == ["2", "3"]
    assert await told(crm, other, event(ticket="1")) == ["1"]


async def test_erasures_are_kept_as_hashes_and_forgotten_in_time(fresh_database_for: DatabaseFor) -> None:
    """The table tells nobody who it was, another key finds nobody in it, and after its time it is empty."""
    made = fresh_database_for("crm")
    database = await Database.connect(made.app_url, schema="crm")
    store, retention, tenant = ErasureStore(database), RetentionStore(database), uuid4()
    about = [About("anna@example.com", (uuid4(), "5"), datetime.now(UTC) - HOUR)]
    mine, theirs = Forgotten(store, "secret"), Forgotten(store, "another")
    await mine.remember(tenant, customers=["Anna@Example.com "])
    assert await mine.welcome(tenant, about) == [False]
    assert await theirs.welcome(tenant, about) == [True]
    assert await mine.welcome(uuid4(), about) == [True]
    connection = await asyncpg.connect(made.superuser_url)
    try:
        rows = await connection.fetch("SELECT digest FROM crm.erasures")
        assert {len(row["digest"]) for row in rows} == {32}
        assert await retention.forget_erasures(timedelta(0)) == 0
        await connection.execute("UPDATE crm.erasures SET erase_time = now() - $1::interval", KEPT + HOUR)
        assert await mine.welcome(tenant, about) == [True]
        assert await retention.forget_erasures(KEPT) == len(rows)
    finally:
        await connection.close()
        await database.close()


@dataclass
class Recommendations:
    """What was sent to a server that stands where recommendations stands."""

    address: str = ""
    orders: list[str] = field(default_factory=list)
    contacts: list[str] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)

    async def import_orders(self, request: Any, _context: Any) -> order_pb2.OrderImport:
        """Keep the ids of the orders."""
        self.orders += [line.order_id for line in request.lines]
        return order_pb2.OrderImport()

    async def set_contact(self, request: Any, _context: Any) -> customer_pb2.CustomerContact:
        """Keep the customer's id."""
        self.contacts.append(request.customer_id)
        return customer_pb2.CustomerContact()

    async def erase(self, request: Any, _context: Any) -> customers.EraseCustomerResponse:
        """Keep the customer's id."""
        self.erased.append(request.customer_id)
        return customers.EraseCustomerResponse()


def handler(behaviour: Any, request: type[Any]) -> Any:
    """Return how a method is served."""
    return grpc.unary_unary_rpc_method_handler(
        behaviour,
        request_deserializer=request.FromString,
        response_serializer=lambda answer: answer.SerializeToString(),
    )


@pytest.fixture
async def recommendations() -> AsyncIterator[Recommendations]:
    """A server that stands where recommendations stands."""
    taken, server = Recommendations(), grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    package = "rapport.recommendations.v1"
    order_methods = {"ImportOrders": handler(taken.import_orders, order_service_pb2.ImportOrdersRequest)}
    customer_methods = {
        "SetCustomerContact": handler(taken.set_contact, customers.SetCustomerContactRequest),
        "EraseCustomer": handler(taken.erase, customers.EraseCustomerRequest),
    }
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(f"{package}.OrderService", order_methods),
            grpc.method_handlers_generic_handler(f"{package}.CustomerService", customer_methods),
        )
    )
    taken.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield taken
    await server.stop(None)


@asynccontextmanager
async def sending(crm: Crm, recommendations: Recommendations) -> AsyncIterator[Orders]:
    """Give what sends the events of shop systems."""
    forgotten = Forgotten(ErasureStore(crm.databases[0]), "workload-secret")
    target = f"ipv4:{recommendations.address}"
    async with grpc.aio.insecure_channel(crm.tickets.address) as tenant, open_channel(target) as channel:
        yield Orders(channel, Workload("crm", "workload-secret", tenant), forgotten)


def order(name: str, placed: datetime, customer: str = "anna") -> OrderEvent:
    """Return an order of one line."""
    line = OrderLine("p-1", "A mug", 1, Decimal("12.50"))
    return OrderEvent(name, customer, placed, placed, "EUR", [line])


async def test_late_orders_of_an_erased_customer_stay_away(crm: Crm, recommendations: Recommendations) -> None:
    """Orders and contacts from before are dropped, those from after the erasure and those of others count."""
    shop = await crm.shop()
    forgotten = Forgotten(ErasureStore(crm.databases[0]), "workload-secret")
    async with (
        grpc.aio.insecure_channel(crm.tickets.address) as tenant,
        open_channel(f"ipv4:{recommendations.address}") as channel,
    ):
        orders = Orders(channel, Workload("crm", "workload-secret", tenant), forgotten)
        await erase(crm, shop, mentioned=["anna"])
        now = datetime.now(UTC)
        await orders.send(
            shop.tenant_id,
            [
                order("before", now - HOUR),
                order("after", now + HOUR),
                order("theirs", now - HOUR, "kim"),
                CustomerEvent("anna", now - HOUR, "anna@example.com", "Anna"),
                CustomerEvent("kim", now - HOUR, "kim@example.com", "Kim"),
            ],
        )
    assert (sorted(recommendations.orders), recommendations.contacts) == (["after", "theirs"], ["kim"])


async def test_what_a_shop_system_erases_stays_away_too(crm: Crm, recommendations: Recommendations) -> None:
    """An order from before that comes behind the shop system's own erasure is dropped."""
    shop = await crm.shop()
    forgotten = Forgotten(ErasureStore(crm.databases[0]), "workload-secret")
    async with (
        grpc.aio.insecure_channel(crm.tickets.address) as tenant,
        open_channel(f"ipv4:{recommendations.address}") as channel,
    ):
        orders = Orders(channel, Workload("crm", "workload-secret", tenant), forgotten)
        await orders.send(shop.tenant_id, [CustomerErasure("anna")])
        await orders.send(shop.tenant_id, [order("late", datetime.now(UTC) - HOUR)])
    assert (recommendations.erased, recommendations.orders) == (["anna"], [])
