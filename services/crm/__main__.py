"""Settings, wiring, and the process of the crm service."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import grpc
from rapport.crm.v1 import (
    app_service_pb2_grpc,
    connection_service_pb2_grpc,
    data_key_service_pb2_grpc,
    delivery_service_pb2_grpc,
    webhook_service_pb2_grpc,
)

from servicekit.audit import AuditTrail, keeping, remote
from servicekit.background import Background
from servicekit.cache import Cache
from servicekit.channel import open_channel
from servicekit.command import run
from servicekit.database import Database
from servicekit.diagnosis import of_every_process
from servicekit.diagnosis_servicer import registration as diagnosis
from servicekit.doorbell import Doorbell
from servicekit.figures import keep
from servicekit.health import Component
from servicekit.identity import TokenVerifier, TrustWatcher, Workload
from servicekit.kek import Keks, providers_of
from servicekit.notifier import opened as opened_notifier
from servicekit.pages import PageTokens
from servicekit.server import Registration, serve
from servicekit.tenant_data import TenantData
from servicekit.tenant_data_servicer import registration
from services.crm.app_book import AppBook
from services.crm.app_servicer import AppServicer
from services.crm.call_store import CallStore
from services.crm.calling.engine import Calling
from services.crm.condition import examinations
from services.crm.condition_store import ConditionStore
from services.crm.connection_book import ConnectionBook
from services.crm.connection_store import ConnectionStore
from services.crm.customer_erasure import CustomerErasure
from services.crm.data_key_servicer import DataKeyServicer
from services.crm.delivery_book import DeliveryBook
from services.crm.delivery_servicer import DeliveryServicer
from services.crm.delivery_store import DeliveryStore
from services.crm.effects import Effects
from services.crm.erasure_store import ErasureStore
from services.crm.export import opened_delivery, opened_write
from services.crm.fetching import Fetching
from services.crm.forgotten import Forgotten
from services.crm.ingest import Ingest
from services.crm.key_jobs import KeyJobs
from services.crm.key_store import KeyStore
from services.crm.keyring import Keyring
from services.crm.memory import Memory
from services.crm.news import Newsroom
from services.crm.orders import Orders
from services.crm.outgoing import Channels, Outgoing
from services.crm.providers import PROVIDERS
from services.crm.reading import Reader
from services.crm.receiving import Receiving
from services.crm.refusals import Refusals
from services.crm.requesters import Requesters
from services.crm.retention import Retention
from services.crm.retention_store import RetentionStore
from services.crm.rotation_store import RotationStore
from services.crm.service import ConnectionServicer, WebhookServicer
from services.crm.settings import CrmSettings
from services.crm.store import Store
from services.crm.threshold import Threshold, by_workload
from services.crm.trial import Trial
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
    recommendations: grpc.aio.Channel | None
    workload: Workload
    trust: TrustWatcher
    audit: AuditTrail
    cache: Cache
    doorbell: Doorbell


@dataclass(frozen=True, slots=True)
class Work:
    """What goes on in the background, and what the servicers are made of."""

    refusals: Refusals
    calling: Calling
    requesters: Requesters | None
    worker: Worker
    memory: Memory
    key_jobs: KeyJobs
    retention: Retention
    outgoing: Outgoing
    servicers: tuple[WebhookServicer, ConnectionServicer, DeliveryServicer]
    data: Registration
    apps: AppServicer


def check(settings: CrmSettings) -> Keks:
    """Check that nothing is missing; return the providers of the key-encryption keys.

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
    if settings.provider_base_url and settings.environment == "production":
        raise ValueError(
            "RAPPORT_CRM_PROVIDER_BASE_URL is set: in production the providers themselves are called, "
            "and credentials are sent to nobody else"
        )
    return providers_of(settings)


def put_together(settings: CrmSettings, database: Database, keks: Keks, peers: Peers) -> Work:
    """Wire the subject's parts to each other."""
    store = Store(database)
    keys = KeyStore(database)
    keyring = Keyring(keys, keks, time.monotonic)
    key_jobs = KeyJobs(database, keys, RotationStore(database), keks)
    calling = Calling(CallStore(database), keyring, base_url=settings.provider_base_url)
    erasures = ErasureStore(database)
    forgotten = Forgotten(erasures, settings.workload_credential())
    shops = Orders(peers.recommendations, peers.workload, forgotten) if peers.recommendations else None
    requesters = Requesters(shops) if shops else None
    most = settings.most_attempts
    worker = Worker(
        store,
        Reader(keyring, most_attempts=most),
        Fetching(calling, most_attempts=most),
        Effects(Ingest(peers.tickets, peers.workload, forgotten), shops, most_attempts=most, requesters=requesters),
        refused_tenants=lambda: peers.trust.refused_tenants,
        concurrency=settings.worker_concurrency,
        doorbell=lambda seconds: peers.doorbell.wait(BELL, seconds),
    )
    waking = Waking(worker.wake, lambda: peers.doorbell.ring(BELL))
    receiving = Receiving.wired(
        database,
        keyring,
        audit=peers.audit,
        threshold=Threshold(
            hosts=settings.host_rules(),
            trust=peers.trust,
            known_as=by_workload(peers.workload, TokenVerifier(peers.trust)),
        ),
        public_url=settings.public_url,
        admitted=waking,
        alert_at=settings.refusal_alert_count,
    )
    directory = receiving.directory
    connections = ConnectionBook(ConnectionStore(database), keyring, directory, public_url=settings.public_url)
    pages = PageTokens.from_secret(settings.workload_credential())
    outgoing = Outgoing.wired(
        database,
        keyring,
        calling,
        Channels(peers.tickets, peers.recommendations),
        workload=peers.workload,
        forgotten=forgotten,
        shops=shops,
        requesters=requesters,
        known_as=by_workload(peers.workload, TokenVerifier(peers.trust)),
        refused_tenants=lambda: peers.trust.refused_tenants,
        doorbell=peers.doorbell,
        pages=pages,
    )
    erasure = CustomerErasure(erasures, keyring, forgotten)
    servicers = (
        WebhookServicer(receiving.inbox),
        ConnectionServicer(connections, receiving.addresses, Trial(calling, receiving.accounts), pages),
        DeliveryServicer(DeliveryBook(DeliveryStore(database), wake=waking), erasure, pages),
    )
    memory = Memory(keyring, directory, lambda: peers.trust.refused_tenants)
    opened = {"deliveries": opened_delivery(keyring), "writes": opened_write(keyring)}
    data = TenantData(database, peers.cache, opened=opened, forget=memory.forget)
    kept = timedelta(days=settings.delivery_retention_days)
    retention = Retention(RetentionStore(database), kept, [provider.retry_horizon for provider in PROVIDERS.values()])
    return Work(
        receiving.refusals,
        calling,
        requesters,
        worker,
        memory,
        key_jobs,
        retention,
        outgoing,
        servicers,
        registration(data, lambda: peers.trust.refused_tenants),
        AppServicer(AppBook(connections, receiving.addresses), pages),
    )


def registered(work: Work) -> tuple[Registration, ...]:
    """Return the servicers as the server takes them."""
    webhooks, connections, deliveries = work.servicers
    return (
        Registration(webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server, webhooks),
        Registration(connection_service_pb2_grpc.add_ConnectionServiceServicer_to_server, connections),
        Registration(delivery_service_pb2_grpc.add_DeliveryServiceServicer_to_server, deliveries),
        Registration(data_key_service_pb2_grpc.add_DataKeyServiceServicer_to_server, DataKeyServicer(work.key_jobs)),
        Registration(app_service_pb2_grpc.add_AppServiceServicer_to_server, work.apps),
        *work.outgoing.registrations,
        work.data,
    )


@asynccontextmanager
async def reaching_out(settings: CrmSettings) -> AsyncIterator[Peers]:
    """Open what leads to other processes; nothing connects before it is used."""
    cache = await Cache.connect(settings.valkey_url.get_secret_value() or None, service="crm")
    tls = settings.peer_tls()
    tenants = open_channel(settings.tenant_target, "tenant", tls)
    tickets = open_channel(settings.tickets_target, "tickets", tls)
    recommendations = None
    if settings.recommendations_target:
        recommendations = open_channel(settings.recommendations_target, "recommendations", tls)
    workload = Workload("crm", settings.workload_credential(), tenants)
    trust, doorbell = TrustWatcher(workload, tenants), Doorbell(cache)
    await trust.start()
    try:
        async with keeping(remote(workload, tenants)) as audit:
            yield Peers(tickets, recommendations, workload, trust, audit, cache, doorbell)
    finally:
        await trust.stop()
        await doorbell.close()
        await cache.close()
        await tenants.close()
        await tickets.close()
        if recommendations is not None:
            await recommendations.close()


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
        async with reaching_out(settings) as peers, AsyncExitStack() as stack:
            notifier = await opened_notifier(settings, "crm", stack)
            work = put_together(settings, database, keks, peers)
            standing = ConditionStore(database, lambda: peers.trust.refused_tenants)
            background = Background()
            background.start("refusals", work.refusals.run())
            background.start("memory_of_refused", work.memory.run())
            background.start("key_jobs", work.key_jobs.run())
            background.start("retention", work.retention.run())
            if notifier.has_channels:
                background.start("notifier", notifier.run())
                background.start("news", Newsroom(database, notifier).run())
            if settings.metrics_listen:
                background.start("figures", keep([standing.report_queues]))
            if settings.worker_concurrency:
                background.start("worker", work.worker.run())
                if work.requesters is not None:
                    background.start("requesters", work.requesters.run())
                background.start("outgoing", work.outgoing.run())
            try:
                components: tuple[Component, ...] = (
                    ("database", database.ready),
                    ("trust", peers.trust.ready),
                    ("background", background.ready),
                )
                examined = of_every_process(settings, database, peers.cache) | examinations(
                    standing, RotationStore(database), keks
                )
                registrations = (*registered(work), diagnosis("crm", examined))
                yield Parts(registrations, components, peers.trust, peers.audit)
            finally:
                await background.stop()
                await work.calling.close()
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
