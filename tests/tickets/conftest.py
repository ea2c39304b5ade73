"""Running tickets servers on the real Postgres and Valkey, and stubs that call them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import grpc
import orjson
import pytest
from google.api.httpbody_pb2 import HttpBody
from hypothesis import HealthCheck, settings
from rapport.frontend.v1 import ticket_desk_pb2, ticket_desk_pb2_grpc
from rapport.tickets.v1 import (
    conversation_service_pb2_grpc,
    ingest_service_pb2_grpc,
    language_service_pb2_grpc,
    migration_service_pb2_grpc,
    policy_replay_service_pb2_grpc,
    policy_service_pb2_grpc,
    search_service_pb2_grpc,
    sla_service_pb2_grpc,
    ticket_service_pb2_grpc,
    topic_service_pb2_grpc,
)

from servicekit.cache import Cache
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.ids import uuid7
from servicekit.pages import PageTokens
from servicekit.server import start_server
from services.tickets.__main__ import registrations
from services.tickets.change_store import ChangeStore
from services.tickets.erasing import Erasing
from services.tickets.erasure_store import ErasureStore
from services.tickets.inbox import Inbox
from services.tickets.inbox_events import InboxEvents
from services.tickets.inbox_store import InboxStore
from services.tickets.store import Store
from services.tickets.watching import Watching
from services.tickets.working import Work
from tests.support.servers import DatabaseFor, ServiceDatabase
from tests.support.tokens import Issuer
from tests.support.trail import kept_trail

# A busy machine must not fail a property: how long an example takes is not what these tests are about.
settings.register_profile("rapport", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rapport")

SECRET = "a secret of the tests"
SCOPES = ("tickets.read", "tickets.write", "tickets.ingest")


@dataclass
class Running:
    """A tickets server under test, its parts, and stubs for each of its services."""

    database: Database
    cache: Cache
    store: Store
    inbox: Inbox
    watching: Watching
    channel: grpc.aio.Channel
    address: str
    doorbell: Doorbell
    tickets: Any = field(init=False)
    ingest: Any = field(init=False)
    conversations: Any = field(init=False)
    desk: Any = field(init=False)
    search: Any = field(init=False)
    topics: Any = field(init=False)
    policies: Any = field(init=False)
    replays: Any = field(init=False)
    sla: Any = field(init=False)
    language: Any = field(init=False)
    migration: Any = field(init=False)

    def __post_init__(self) -> None:
        """Make the stubs."""
        self.tickets = ticket_service_pb2_grpc.TicketServiceStub(self.channel)
        self.ingest = ingest_service_pb2_grpc.IngestServiceStub(self.channel)
        self.conversations = conversation_service_pb2_grpc.ConversationServiceStub(self.channel)
        self.desk = ticket_desk_pb2_grpc.TicketDeskStub(self.channel)
        self.sla = sla_service_pb2_grpc.SlaServiceStub(self.channel)
        self.language = language_service_pb2_grpc.LanguageServiceStub(self.channel)
        self.migration = migration_service_pb2_grpc.MigrationServiceStub(self.channel)
        self.policies = policy_service_pb2_grpc.PolicyServiceStub(self.channel)
        self.replays = policy_replay_service_pb2_grpc.PolicyReplayServiceStub(self.channel)
        self.search = search_service_pb2_grpc.SearchServiceStub(self.channel)
        self.topics = topic_service_pb2_grpc.TopicServiceStub(self.channel)


StartServer = Callable[..., Awaitable[Running]]


@dataclass(frozen=True)
class Agent:
    """Somebody of one tenant who works through the frontend's messages of one server."""

    running: Running
    issuer: Issuer
    tenant_id: UUID

    @property
    def metadata(self) -> tuple[tuple[str, str]]:
        """The metadata of this agent's calls."""
        return self.issuer.metadata(*SCOPES, tenant_id=self.tenant_id)

    async def ask(self, method: str, **fields: Any) -> Any:
        """Call a method of TicketDesk and return its JSON."""
        request = getattr(ticket_desk_pb2, f"{method}Request")(**fields)
        body: HttpBody = await getattr(self.running.desk, method)(request, metadata=self.metadata)
        assert body.content_type == "application/json"
        return orjson.loads(body.data)

    async def open(self, subject: str = "Hello", message: str = "Where is my order?", **fields: Any) -> Any:
        """Open a ticket and return it."""
        values = {"customer_id": "c-1", "channel": "email", "author_name": "Ann", **fields}
        return (await self.ask("CreateTicket", subject=subject, initial_message=message, **values))["ticket"]

    async def inbox(self, **fields: Any) -> Any:
        """Return a page of the inbox in smart order."""
        return await self.ask("ListTickets", **{"status": "open", "smart_order": True, **fields})


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """Who signs the tokens of all tests."""
    return Issuer()


@pytest.fixture(scope="session")
def tickets_database(database_for: DatabaseFor) -> ServiceDatabase:
    """The database that the tests of a process share; each test has a tenant of its own."""
    return database_for("tickets")


@pytest.fixture
async def start(tickets_database: ServiceDatabase, valkey_url: str, issuer: Issuer) -> AsyncIterator[StartServer]:
    """Start a tickets server on each call; all stop when the test ends."""
    async with AsyncExitStack() as stack:

        async def start_one(valkey: str | None = valkey_url, database_url: str = "") -> Running:
            database = await Database.connect(database_url or tickets_database.app_url, schema="tickets", pool_size=8)
            stack.push_async_callback(database.close)
            cache = await Cache.connect(valkey, service="tickets")
            stack.push_async_callback(cache.close)
            doorbell = Doorbell(cache)
            stack.push_async_callback(doorbell.close)
            store, inbox = Store(database, doorbell), Inbox(InboxStore(database), cache, doorbell)
            watching = Watching(ChangeStore(database), doorbell)
            stack.push_async_callback(watching.close)
            tokens, events = PageTokens.from_secret(SECRET), InboxEvents(watching, SECRET)
            erasing = Erasing(ErasureStore(database), Work(store, inbox), inbox)
            server = await start_server(
                registrations(store, inbox, erasing, tokens, events, doorbell),
                trust=issuer.trust,
                audit=kept_trail()[0],
            )
            stack.push_async_callback(server.stop)
            channel = grpc.aio.insecure_channel(server.address)
            stack.push_async_callback(channel.close)
            return Running(database, cache, store, inbox, watching, channel, server.address, doorbell)

        yield start_one


@pytest.fixture
async def running(start: StartServer) -> Running:
    """One running server."""
    return await start()


@pytest.fixture
def agent(running: Running, issuer: Issuer) -> Agent:
    """An agent of a new tenant at the running server."""
    return Agent(running, issuer, uuid7())
