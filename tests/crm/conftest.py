"""The crm service on a real database and a real gRPC server, with a small server in the place of tickets."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from rapport.crm.v1 import (
    app_service_pb2_grpc,
    connection_service_pb2,
    connection_service_pb2_grpc,
    delivery_service_pb2,
    delivery_service_pb2_grpc,
    webhook_service_pb2,
    webhook_service_pb2_grpc,
)

from servicekit.audit import AuditTrail
from servicekit.channel import open_channel
from servicekit.database import Database
from servicekit.envelope import KeyEncryptionKeys
from servicekit.identity import HostRules, Principal, TokenVerifier, Workload
from servicekit.ids import uuid7
from servicekit.pages import PageTokens
from servicekit.server import Registration, start_server
from services.crm.app_book import AppBook
from services.crm.app_servicer import AppServicer
from services.crm.call_store import CallStore
from services.crm.calling.engine import Calling
from services.crm.connection_book import ConnectionBook
from services.crm.connection_store import ConnectionStore
from services.crm.customer_erasure import CustomerErasure
from services.crm.delivery_book import DeliveryBook
from services.crm.delivery_servicer import DeliveryServicer
from services.crm.delivery_store import DeliveryStore
from services.crm.directory import Directory
from services.crm.effects import Effects, Shops
from services.crm.erasure_store import ErasureStore
from services.crm.fetching import Fetching
from services.crm.forgotten import Forgotten
from services.crm.inbox import Inbox
from services.crm.ingest import Ingest
from services.crm.key_store import KeyStore
from services.crm.keyring import Keyring
from services.crm.outcomes import LEASE
from services.crm.reading import Reader
from services.crm.receiving import Receiving
from services.crm.refusals import Refusals
from services.crm.service import ConnectionServicer, WebhookServicer
from services.crm.store import Store
from services.crm.threshold import Threshold
from services.crm.trial import Trial
from services.crm.worker import Worker
from tests.crm.fake_tickets import FakeTickets
from tests.crm.zendesk_requests import SECRET, headers
from tests.support.servers import DatabaseFor, ServiceDatabase
from tests.support.tokens import Issuer
from tests.support.trail import kept_trail
from tests.support.waiting import eventually

PUBLIC_URL = "https://rapport.example"
SCOPES = ("connections.read", "connections.write", "deliveries.read")


@dataclass
class Shop:
    """A tenant with a Zendesk connection."""

    tenant_id: UUID
    connection: str
    url: str
    metadata: tuple[tuple[str, str], ...]
    secret: str = SECRET

    @property
    def connection_id(self) -> UUID:
        """The connection's id."""
        return UUID(self.connection)

    @property
    def token(self) -> str:
        """The secret token in the connection's address."""
        return self.url.rpartition("/")[2]


@dataclass
class Process:
    """What one process of the service consists of."""

    store: Store
    keyring: Keyring
    receiving: Receiving
    calling: Calling
    worker: Worker
    connections: ConnectionBook
    deliveries: DeliveryBook

    @property
    def inbox(self) -> Inbox:
        """What takes webhooks in."""
        return self.receiving.inbox

    @property
    def directory(self) -> Directory:
        """Who is behind an address."""
        return self.receiving.directory

    @property
    def refusals(self) -> Refusals:
        """The counts of refused requests."""
        return self.receiving.refusals


@dataclass
class Crm:
    """The service under test: one process that listens, more if a test wants them."""

    database: ServiceDatabase
    main: Process
    issuer: Issuer
    tickets: FakeTickets
    keks: KeyEncryptionKeys
    channel: grpc.aio.Channel
    address: str
    databases: list[Database] = field(default_factory=list)
    callings: list[Calling] = field(default_factory=list)

    @property
    def webhooks(self) -> Any:
        """The stub of the door for helpdesks."""
        return webhook_service_pb2_grpc.WebhookServiceStub(self.channel)

    @property
    def connections(self) -> Any:
        """The stub of the connections."""
        return connection_service_pb2_grpc.ConnectionServiceStub(self.channel)

    @property
    def deliveries(self) -> Any:
        """The stub of the deliveries."""
        return delivery_service_pb2_grpc.DeliveryServiceStub(self.channel)

    def as_tenant(self, tenant_id: UUID, *scopes: str) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a caller of the tenant."""
        return self.issuer.metadata(*(scopes or SCOPES), tenant_id=tenant_id)

    async def shop(self, *, secret: str = SECRET, **config: str) -> Shop:
        """Make a tenant with a connection, by RPC."""
        tenant_id = uuid7()
        metadata = self.as_tenant(tenant_id)
        request = connection_service_pb2.CreateConnectionRequest(
            provider="zendesk", config={"subdomain": "acme", **config}, secrets={"webhook_secret": secret}
        )
        made = await self.connections.CreateConnection(request, metadata=metadata)
        return Shop(tenant_id, made.connection.id, made.webhook_url, metadata, secret)

    async def deliver(self, shop: Shop, body: bytes, *, secret: str = "", **changes: str) -> bytes:
        """Post a signed webhook by RPC; return the answer's bytes."""
        signed = headers(body, datetime.now(UTC), text=secret or shop.secret, **changes)
        return await self.post("zendesk", shop.token, body, signed)

    async def post(self, provider: str, token: str, body: bytes, pairs: Any = ()) -> bytes:
        """Post any webhook by RPC; return the answer's bytes."""
        request = webhook_service_pb2.ReceiveWebhookRequest(provider=provider, token=token, body=HttpBody(data=body))
        metadata = [(name, value) for name, value in pairs if name != "content-type"]
        return bytes((await self.webhooks.ReceiveWebhook(request, metadata=metadata, timeout=20)).data)

    async def balance(self, shop: Shop) -> delivery_service_pb2.Balance:
        """Return the balance of a shop; it adds up, whenever it is asked for."""
        balance = await self.deliveries.GetBalance(delivery_service_pb2.GetBalanceRequest(), metadata=shop.metadata)
        parts = ("processed", "superseded", "duplicate", "quarantined", "pending", "dead", "discarded")
        assert balance.admitted == sum(getattr(balance, part) for part in parts)
        assert isinstance(balance, delivery_service_pb2.Balance)
        return balance

    async def listed(self, shop: Shop, **filters: Any) -> list[Any]:
        """Return the first page of a shop's deliveries."""
        request = delivery_service_pb2.ListDeliveriesRequest(**filters)
        return list((await self.deliveries.ListDeliveries(request, metadata=shop.metadata)).deliveries)

    async def process(self, **settings: Any) -> Process:
        """Put another process of the service together, with a database pool of its own."""
        database = await Database.connect(self.database.app_url, schema="crm")
        self.databases.append(database)
        made = put_together(database, self.keks, self.tickets.address, self.issuer, **settings)
        self.callings.append(made.calling)
        return made

    async def settled(self, shop: Shop, *, within: float = 15.0) -> delivery_service_pb2.Balance:
        """Wait until nothing of the shop is pending; return the balance."""

        async def done() -> delivery_service_pb2.Balance | None:
            balance = await self.balance(shop)
            return None if balance.pending else balance

        return await eventually(done, within)

    @asynccontextmanager
    async def working(self, *workers: Worker) -> AsyncIterator[None]:
        """Let workers run, by default the main process's."""
        tasks = [asyncio.create_task(worker.run()) for worker in workers or (self.main.worker,)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


def slug_of(tenant_id: UUID) -> str:
    """Return the slug that a tenant of these tests has; its own domain is that with `.example` behind it."""
    return f"shop-{tenant_id.hex[-8:]}"


def known_to(issuer: Issuer) -> Callable[[UUID], Awaitable[Principal]]:
    """Return what tells a tenant's slug and domains, as tokens of the tenant service would."""
    verifier = TokenVerifier(issuer.trust)

    async def known_as(tenant_id: UUID) -> Principal:
        slug = slug_of(tenant_id)
        return verifier.verify(issuer.token(tenant_id=tenant_id, slug=slug, hosts=[f"{slug}.example"]))

    return known_as


def customer_erasure(database: Database, keyring: Keyring) -> CustomerErasure:
    """Return what erases customers."""
    erasures = ErasureStore(database)
    return CustomerErasure(erasures, keyring, Forgotten(erasures, "workload-secret"))


def put_together(
    database: Database,
    keks: KeyEncryptionKeys,
    tickets: str,
    issuer: Issuer,
    *,
    most_attempts: int = 3,
    lease: timedelta = LEASE,
    vendor_lag: timedelta = timedelta(0),
    provider_base_url: str = "",
    shops: Shops | None = None,
    audit: AuditTrail | None = None,
) -> Process:
    """Wire a process as `__main__` does, without the tenant service's stream."""
    store = Store(database)
    keyring = Keyring(KeyStore(database), keks, time.monotonic)
    channel = open_channel(f"ipv4:{tickets}")
    calling = Calling(CallStore(database), keyring, base_url=provider_base_url)
    ingest = Ingest(
        channel, Workload("crm", "workload-secret", channel), Forgotten(ErasureStore(database), "workload-secret")
    )
    worker = Worker(
        store,
        Reader(keyring, most_attempts=most_attempts),
        Fetching(calling, most_attempts=most_attempts, vendor_lag=vendor_lag),
        Effects(ingest, shops, most_attempts=most_attempts, lease=lease),
        lease=lease,
        refused_tenants=lambda: issuer.trust.refused_tenants,
    )
    receiving = Receiving.wired(
        database,
        keyring,
        audit=audit,
        threshold=Threshold(hosts=HostRules(), trust=issuer.trust, known_as=known_to(issuer)),
        public_url=PUBLIC_URL,
        admitted=worker.wake,
        alert_at=5,
    )
    directory = receiving.directory
    connections = ConnectionBook(ConnectionStore(database), keyring, directory, public_url=PUBLIC_URL)
    deliveries = DeliveryBook(DeliveryStore(database), wake=worker.wake)
    return Process(store, keyring, receiving, calling, worker, connections, deliveries)


@pytest.fixture
def provider_base_url() -> str:
    """What is called in the place of all vendors; tests with simulators say theirs."""
    return ""


@pytest.fixture
async def crm(fresh_database_for: DatabaseFor, provider_base_url: str) -> AsyncIterator[Crm]:
    """The service on a database of its own, listening, with its worker at rest."""
    made = fresh_database_for("crm")
    tickets = FakeTickets()
    await tickets.start()
    issuer = Issuer()
    keks = KeyEncryptionKeys("kek-1", {"kek-1": secrets.token_bytes(32)})
    database = await Database.connect(made.app_url, schema="crm")
    await database.check_role()
    process = put_together(database, keks, tickets.address, issuer, provider_base_url=provider_base_url)
    pages = PageTokens.from_secret("workload-secret")
    server = await start_server(
        [
            Registration(webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server, WebhookServicer(process.inbox)),
            Registration(
                connection_service_pb2_grpc.add_ConnectionServiceServicer_to_server,
                ConnectionServicer(
                    process.connections,
                    process.receiving.addresses,
                    Trial(process.calling, process.receiving.accounts),
                    pages,
                ),
            ),
            Registration(
                app_service_pb2_grpc.add_AppServiceServicer_to_server,
                AppServicer(AppBook(process.connections, process.receiving.addresses), pages),
            ),
            Registration(
                delivery_service_pb2_grpc.add_DeliveryServiceServicer_to_server,
                DeliveryServicer(process.deliveries, customer_erasure(database, process.keyring), pages),
            ),
        ],
        trust=issuer.trust,
        audit=kept_trail()[0],
    )
    async with grpc.aio.insecure_channel(server.address) as channel:
        under_test = Crm(made, process, issuer, tickets, keks, channel, server.address, [database])
        yield under_test
    await server.stop()
    await tickets.stop()
    for calling in (process.calling, *under_test.callings):
        await calling.close()
    for pool in under_test.databases:
        await pool.close()
