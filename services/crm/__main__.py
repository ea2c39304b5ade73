"""Settings, wiring, and the process of the crm service."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import grpc
from rapport.crm.v1 import connection_service_pb2_grpc, delivery_service_pb2_grpc, webhook_service_pb2_grpc

from servicekit.audit import AuditTrail, keeping, remote
from servicekit.cache import Cache
from servicekit.channel import open_channel
from servicekit.command import run
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.envelope import KeyEncryptionKeys
from servicekit.health import Component
from servicekit.identity import TokenVerifier, TrustWatcher, Workload
from servicekit.pages import PageTokens
from servicekit.server import Registration, serve
from servicekit.tenant_data import TenantData
from servicekit.tenant_data_servicer import registration
from services.crm.connection_book import ConnectionBook
from services.crm.connection_store import ConnectionStore
from services.crm.delivery_book import DeliveryBook
from services.crm.directory import Directory
from services.crm.entrance import Entrance
from services.crm.export import opened_delivery
from services.crm.inbox import Inbox
from services.crm.ingest import Ingest
from services.crm.key_store import KeyStore
from services.crm.keyring import Keyring
from services.crm.memory import Memory
from services.crm.refusals import Refusals
from services.crm.service import ConnectionServicer, DeliveryServicer, WebhookServicer
from services.crm.settings import CrmSettings
from services.crm.store import Store
from services.crm.threshold import Threshold, by_workload
from services.crm.waking import BELL, Waking
from services.crm.worker import Worker


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process of this service is made of."""

    registrations: Sequence[Registration]
    components: Sequence[Component]
    trust: TrustWatcher
    audit: AuditTrail


@dataclass(frozen=True, slots=True)
class Peers:
    """What the process reaches over the network, and who it is there."""

    tickets: grpc.aio.Channel
    workload: Workload
    trust: TrustWatcher
    audit: AuditTrail
    cache: Cache
    doorbell: Doorbell


@dataclass(frozen=True, slots=True)
class Work:
    """What goes on in the background, and what the servicers are made of."""

    refusals: Refusals
    worker: Worker
    memory: Memory
    servicers: tuple[WebhookServicer, ConnectionServicer, DeliveryServicer]
    data: Registration


def check(settings: CrmSettings) -> KeyEncryptionKeys:
    """Check that nothing is missing; return the key-encryption keys.

    Raises:
        ValueError: a setting that is needed is missing or wrong.
    """
    for name in ("public_url", "tenant_target", "tickets_target"):
        if not getattr(settings, name):
            raise ValueError(f"RAPPORT_CRM_{name.upper()} is not set")
    if not settings.host_rules().is_neutral(urlsplit(settings.public_url).netloc):
        raise ValueError(
            "RAPPORT_CRM_PUBLIC_URL is on a host that is neither RAPPORT_CRM_BASE_DOMAIN nor one of "
            "RAPPORT_CRM_NEUTRAL_HOSTS: every webhook on it would be refused"
        )
    if settings.kek_file is None:
        raise ValueError("RAPPORT_CRM_KEK_FILE is not set")
    return KeyEncryptionKeys.load(settings.kek_file)


def put_together(settings: CrmSettings, database: Database, keks: KeyEncryptionKeys, peers: Peers) -> Work:
    """Wire the subject's parts to each other."""
    store = Store(database)
    keyring = Keyring(KeyStore(database), keks, time.monotonic)
    directory = Directory(store, keyring, time.monotonic)
    refusals = Refusals(store, peers.audit)
    worker = Worker(
        store,
        keyring,
        Ingest(peers.tickets, peers.workload),
        most_attempts=settings.most_attempts,
        refused_tenants=lambda: peers.trust.refused_tenants,
        concurrency=settings.worker_concurrency,
        doorbell=lambda seconds: peers.doorbell.wait(BELL, seconds),
    )
    waking = Waking(worker.wake, lambda: peers.doorbell.ring(BELL))
    inbox = Inbox(
        directory,
        Entrance(store.admit),
        refusals,
        threshold=Threshold(
            hosts=settings.host_rules(),
            trust=peers.trust,
            known_as=by_workload(peers.workload, TokenVerifier(peers.trust)),
        ),
        public_url=settings.public_url,
        admitted=waking,
    )
    connections = ConnectionBook(ConnectionStore(database), keyring, directory, public_url=settings.public_url)
    pages = PageTokens.from_secret(settings.workload_credential())
    servicers = (
        WebhookServicer(inbox),
        ConnectionServicer(connections, pages),
        DeliveryServicer(DeliveryBook(store, wake=waking), pages),
    )
    memory = Memory(keyring, directory, lambda: peers.trust.refused_tenants)
    data = TenantData(database, peers.cache, opened={"deliveries": opened_delivery(keyring)}, forget=memory.forget)
    return Work(refusals, worker, memory, servicers, registration(data, lambda: peers.trust.refused_tenants))


def registered(work: Work) -> tuple[Registration, ...]:
    """Return the servicers as the server takes them."""
    webhooks, connections, deliveries = work.servicers
    return (
        Registration(webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server, webhooks),
        Registration(connection_service_pb2_grpc.add_ConnectionServiceServicer_to_server, connections),
        Registration(delivery_service_pb2_grpc.add_DeliveryServiceServicer_to_server, deliveries),
        work.data,
    )


@asynccontextmanager
async def reaching_out(settings: CrmSettings) -> AsyncIterator[Peers]:
    """Open what leads to other processes; nothing connects before it is used."""
    cache = await Cache.connect(settings.valkey_url.get_secret_value() or None, service="crm")
    tls = settings.peer_tls()
    tenants = open_channel(settings.tenant_target, "tenant", tls)
    tickets = open_channel(settings.tickets_target, "tickets", tls)
    workload = Workload("crm", settings.workload_credential(), tenants)
    trust, doorbell = TrustWatcher(workload, tenants), Doorbell(cache)
    await trust.start()
    try:
        async with keeping(remote(workload, tenants)) as audit:
            yield Peers(tickets, workload, trust, audit, cache, doorbell)
    finally:
        await trust.stop()
        await doorbell.close()
        await cache.close()
        await tenants.close()
        await tickets.close()


@asynccontextmanager
async def wired(settings: CrmSettings) -> AsyncIterator[Parts]:
    """Put the parts together and keep the background work going for as long as the context lasts.

    Raises:
        ValueError: a setting that is needed is missing or wrong.
        RoleTooPowerfulError: the database role could read around row-level security.
        DatabaseUnavailableError: the database stayed out of reach.
    """
    keks = check(settings)
    url = settings.database_url.get_secret_value()
    database = await Database.connect(url, schema="crm", pool_size=settings.database_pool)
    try:
        await database.check_role()
        async with reaching_out(settings) as peers:
            work = put_together(settings, database, keks, peers)
            tasks = [
                asyncio.create_task(work.refusals.run(), name="refusals"),
                asyncio.create_task(work.memory.run(), name="memory_of_refused"),
            ]
            if settings.worker_concurrency:
                tasks.append(asyncio.create_task(work.worker.run(), name="worker"))
            try:
                components: tuple[Component, ...] = (("database", database.ready), ("trust", peers.trust.ready))
                yield Parts(registered(work), components, peers.trust, peers.audit)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await work.refusals.flush()
    finally:
        await database.close()


async def main(settings: CrmSettings) -> None:
    """Serve until told to stop."""
    async with wired(settings) as parts:
        await serve(
            settings, "crm", parts.registrations, trust=parts.trust, audit=parts.audit, components=parts.components
        )


if __name__ == "__main__":
    run("services.crm", CrmSettings, main)
