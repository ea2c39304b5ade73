"""Running recommendations servers on the real Postgres, beside a small real server that plays the tickets service."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import orjson
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, settings
from rapport.frontend.v1 import assistant_pb2, assistant_pb2_grpc
from rapport.recommendations.v1 import (
    action_policy_service_pb2_grpc,
    change_service_pb2_grpc,
    currency_service_pb2_grpc,
    customer_service_pb2_grpc,
    identity_service_pb2_grpc,
    order_pb2,
    order_service_pb2,
    order_service_pb2_grpc,
    recommendation_service_pb2_grpc,
)
from rapport.tickets.v1 import conversation_service_pb2, conversation_service_pb2_grpc

from servicekit.cache import Cache
from servicekit.channel import open_channel
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.errors import NotFoundError
from servicekit.identity import caller_tenant
from servicekit.ids import uuid7
from servicekit.pages import PageTokens
from servicekit.server import Registration, RunningServer, start_server
from services.recommendations import action_servicer, order_servicer
from services.recommendations.__main__ import registrations
from services.recommendations.customers import Customers
from services.recommendations.imports import OrderImports
from services.recommendations.kept_profiles import KeptProfiles
from tests.support.servers import DatabaseFor, ServiceDatabase
from tests.support.tokens import Issuer
from tests.support.trail import kept_trail
from tests.support.waiting import eventually

# A busy machine must not fail a property: how long an example takes is not what these tests are about.
settings.register_profile("rapport", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rapport")

SCOPES = (
    "customers.read",
    "customers.write",
    "policies.write",
    "recommendations.read",
    "recommendations.write",
    "tickets.read",
)

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class TicketNotFoundError(NotFoundError):
    """The tickets service's own refusal."""


class Tickets(conversation_service_pb2_grpc.ConversationServiceServicer):
    """Plays the tickets service: conversations by tenant, ticket numbers too, and a version that rises."""

    def __init__(self) -> None:
        """Begin without tickets."""
        self._tickets: dict[tuple[UUID, str], conversation_service_pb2.Conversation] = {}
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        """What happens while somebody waits for a conversation, once."""

    def open(self, tenant_id: UUID, customer_id: str, subject: str, *messages: str, number: str = "T-001") -> str:
        """Open a ticket with messages of the customer and return its id."""
        conversation = conversation_service_pb2.Conversation(
            ticket_id=str(uuid7()),
            ticket_number=number,
            customer_id=customer_id,
            subject=subject,
            channel="email",
            status="open",
            priority="normal",
        )
        self._tickets[tenant_id, conversation.ticket_id] = conversation
        self._tickets[tenant_id, number] = conversation
        for message in messages:
            self.say(tenant_id, conversation.ticket_id, message)
        return conversation.ticket_id

    def say(self, tenant_id: UUID, ticket: str, text: str, *, from_agent: bool = False) -> None:
        """Add a message."""
        conversation = self._tickets[tenant_id, ticket]
        conversation.messages.add(id=str(uuid7()), from_agent=from_agent, content=text, author_name="Someone")
        conversation.version += 1

    def close(self, tenant_id: UUID, ticket: str) -> None:
        """Forget a ticket, as an erasure does."""
        del self._tickets[tenant_id, ticket]

    async def GetConversation(  # noqa: N802 - the contract's name
        self,
        request: conversation_service_pb2.GetConversationRequest,
        _context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> conversation_service_pb2.Conversation:
        """Return a conversation of the caller's tenant."""
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        found = self._tickets.get((caller_tenant(), request.ticket))
        if found is None:
            raise TicketNotFoundError("There is no such ticket.")
        return found


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        """Begin at a fixed moment."""
        self.now = NOW

    def __call__(self) -> datetime:
        """Return the moment that was set."""
        return self.now

    def advance(self, **spans: float) -> None:
        """Move on, by `days=…` and the like."""
        self.now += timedelta(**spans)


@dataclass
class Running:
    """A recommendations server under test, the tickets service beside it, and stubs."""

    database: Database
    customers: Customers
    tickets: Tickets
    tickets_server: RunningServer
    clock: Clock
    doorbell: Doorbell
    channel: grpc.aio.Channel
    orders: Any = field(init=False)
    customer: Any = field(init=False)
    changes: Any = field(init=False)
    assistant: Any = field(init=False)
    currencies: Any = field(init=False)
    identities: Any = field(init=False)
    policies: Any = field(init=False)
    recommendations: Any = field(init=False)

    def __post_init__(self) -> None:
        """Make the stubs."""
        self.orders = order_service_pb2_grpc.OrderServiceStub(self.channel)
        self.customer = customer_service_pb2_grpc.CustomerServiceStub(self.channel)
        self.changes = change_service_pb2_grpc.ChangeServiceStub(self.channel)
        self.assistant = assistant_pb2_grpc.AssistantStub(self.channel)
        self.currencies = currency_service_pb2_grpc.CurrencyServiceStub(self.channel)
        self.identities = identity_service_pb2_grpc.IdentityServiceStub(self.channel)
        self.policies = action_policy_service_pb2_grpc.ActionPolicyServiceStub(self.channel)
        self.recommendations = recommendation_service_pb2_grpc.RecommendationServiceStub(self.channel)


def line(order_id: str, customer_id: str, when: datetime, **fields: Any) -> order_pb2.OrderLine:
    """Return an order line with plain defaults."""
    stamp = Timestamp()
    stamp.FromDatetime(when)
    values = {"product_id": "p-1", "product_name": "Lantern", "quantity": 1, "unit_price": "30.00", **fields}
    return order_pb2.OrderLine(
        order_id=order_id,
        customer_id=customer_id,
        order_time=stamp,
        currency_code=values.pop("currency_code", "EUR"),
        **values,
    )


@dataclass(frozen=True)
class Caller:
    """Somebody of one tenant who calls one server."""

    running: Running
    issuer: Issuer
    tenant_id: UUID

    @property
    def metadata(self) -> tuple[tuple[str, str]]:
        """The metadata of this caller's calls."""
        return self.issuer.metadata(*SCOPES, tenant_id=self.tenant_id)

    async def ask(self, method: str, **fields: Any) -> Any:
        """Call a method of Assistant and return its JSON."""
        request = getattr(assistant_pb2, f"{method}Request")(**fields)
        body: HttpBody = await getattr(self.running.assistant, method)(request, metadata=self.metadata)
        assert body.content_type == "application/json"
        return orjson.loads(body.data)

    async def orders(self, method: str, request: Any) -> Any:
        """Call a method of OrderService."""
        return await getattr(self.running.orders, method)(request, metadata=self.metadata)

    async def buy(self, *lines: order_pb2.OrderLine) -> order_pb2.OrderImport:
        """Import a few orders at once."""
        found: order_pb2.OrderImport = await self.orders(
            "ImportOrders", order_service_pb2.ImportOrdersRequest(lines=lines)
        )
        return found

    async def import_whole(self, lines: Iterable[order_pb2.OrderLine], batch: int = 2000) -> order_pb2.OrderImport:
        """Import many orders: open, fill, commit."""
        every = list(lines)
        opened = await self.orders("CreateOrderImport", order_service_pb2.CreateOrderImportRequest())
        for number, start in enumerate(range(0, len(every), batch), start=1):
            await self.orders(
                "AppendOrderLines",
                order_service_pb2.AppendOrderLinesRequest(
                    import_id=opened.import_id, batch_number=number, lines=every[start : start + batch]
                ),
            )
        await self.orders(
            "CommitOrderImport",
            order_service_pb2.CommitOrderImportRequest(import_id=opened.import_id, expected_line_count=len(every)),
        )

        async def committed() -> order_pb2.OrderImport | None:
            # A commit that takes long goes on after its answer.
            asked = order_service_pb2.GetOrderImportRequest(import_id=opened.import_id)
            found: order_pb2.OrderImport = await self.orders("GetOrderImport", asked)
            return found if found.state == order_pb2.OrderImport.STATE_COMMITTED else None

        return await eventually(committed, within=60)

    def ticket(self, customer_id: str, *messages: str, subject: str = "Help", number: str = "T-001") -> str:
        """Open a ticket at the tickets service."""
        return self.running.tickets.open(self.tenant_id, customer_id, subject, *messages, number=number)

    def say(self, ticket: str, text: str, *, from_agent: bool = False) -> None:
        """Add a message to a ticket."""
        self.running.tickets.say(self.tenant_id, ticket, text, from_agent=from_agent)


def reason(error: grpc.aio.AioRpcError) -> str:
    """Return the machine-readable reason of a refusal."""
    trailers = dict(error.trailing_metadata() or ())
    return str(orjson.loads(trailers["problem-bin"])["reason"])


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """Who signs the tokens of all tests."""
    return Issuer()


@pytest.fixture(scope="session")
def recommendations_database(database_for: DatabaseFor) -> ServiceDatabase:
    """The database that the tests of a process share; each test has a tenant of its own."""
    return database_for("recommendations")


@pytest.fixture
async def running(recommendations_database: ServiceDatabase, valkey_url: str, issuer: Issuer) -> AsyncIterator[Running]:
    """One running server."""
    database = await Database.connect(recommendations_database.app_url, schema="recommendations", pool_size=8)
    cache = await Cache.connect(valkey_url, service="recommendations")
    doorbell, clock, tickets = Doorbell(cache), Clock(), Tickets()
    tickets_server = await start_server(
        [Registration(conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server, tickets)],
        trust=issuer.trust,
    )
    customers = Customers(database, doorbell, clock, KeptProfiles(cache))
    async with open_channel(tickets_server.address) as to_tickets:
        pages = PageTokens(bytes(32))
        served = (
            *registrations(database, customers, to_tickets, clock),
            *order_servicer.registrations(database, customers, OrderImports(database, customers), pages),
            *action_servicer.registrations(database, customers, to_tickets, pages, clock),
        )
        server = await start_server(served, trust=issuer.trust, audit=kept_trail()[0])
        async with open_channel(server.address) as channel:
            yield Running(database, customers, tickets, tickets_server, clock, doorbell, channel)
        await server.stop()
    await tickets_server.stop()
    await doorbell.close()
    await cache.close()
    await database.close()


@pytest.fixture
def shop(running: Running, issuer: Issuer) -> Caller:
    """Somebody of a new tenant."""
    return Caller(running, issuer, uuid7())


@pytest.fixture
def other_shop(running: Running, issuer: Issuer) -> Caller:
    """Somebody of another new tenant."""
    return Caller(running, issuer, uuid7())
