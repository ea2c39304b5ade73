"""Settings, wiring, and the process of the crm service."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rapport.crm.v1 import connection_service_pb2_grpc, delivery_service_pb2_grpc, webhook_service_pb2_grpc

from servicekit.cache import Cache
from servicekit.channel import open_channel
from servicekit.command import run
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.envelope import KeyEncryptionKeys
from servicekit.health import Component
from servicekit.identity import TrustWatcher, Workload
from servicekit.pages import PageTokens
from servicekit.server import Registration, serve
from services.crm.connection_book import ConnectionBook
from services.crm.delivery_book import DeliveryBook
from services.crm.directory import Directory
from services.crm.entrance import Entrance
from services.crm.inbox import Inbox
from services.crm.ingest import Ingest
from services.crm.keyring import Keyring
from services.crm.refusals import Refusals
from services.crm.service import ConnectionServicer, DeliveryServicer, WebhookServicer
from services.crm.settings import CrmSettings
from services.crm.store import Store
from services.crm.waking import BELL, Waking
from services.crm.worker import Worker


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process of this service is made of."""

    registrations: Sequence[Registration]
    components: Sequence[Component]
    trust: TrustWatcher


@asynccontextmanager
async def wired(settings: CrmSettings) -> AsyncIterator[Parts]:
    """Put the parts together and keep the background work going for as long as the context lasts.

    Raises:
        ValueError: a setting that is needed is missing or wrong.
        RoleTooPowerfulError: the database role could read around row-level security.
        DatabaseUnavailableError: the database stayed out of reach.
    """
    if settings.kek_file is None:
        raise ValueError("RAPPORT_CRM_KEK_FILE is not set")
    for name in ("public_url", "tenant_target", "tickets_target"):
        if not getattr(settings, name):
            raise ValueError(f"RAPPORT_CRM_{name.upper()} is not set")
    keks = KeyEncryptionKeys.load(settings.kek_file)
    secret = settings.workload_credential()
    database = await Database.connect(
        settings.database_url.get_secret_value(), schema="crm", pool_size=settings.database_pool
    )
    cache = await Cache.connect(settings.valkey_url.get_secret_value() or None, service="crm")
    doorbell = Doorbell(cache)
    tenants, tickets = open_channel(settings.tenant_target), open_channel(settings.tickets_target)
    workload = Workload("crm", secret, tenants)
    trust = TrustWatcher(workload, tenants)
    tasks: list[asyncio.Task[None]] = []
    try:
        await database.check_role()
        store = Store(database)
        keyring = Keyring(store, keks, time.monotonic)
        directory = Directory(store, keyring, time.monotonic)
        refusals = Refusals(store)
        worker = Worker(
            store,
            keyring,
            Ingest(tickets, workload),
            most_attempts=settings.most_attempts,
            refused_tenants=lambda: trust.refused_tenants,
            concurrency=settings.worker_concurrency,
            doorbell=lambda seconds: doorbell.wait(BELL, seconds),
        )
        waking = Waking(worker.wake, lambda: doorbell.ring(BELL))
        inbox = Inbox(
            directory,
            Entrance(store.admit),
            refusals,
            public_url=settings.public_url,
            refused_tenants=lambda: trust.refused_tenants,
            admitted=waking,
        )
        connections = ConnectionBook(store, keyring, directory, public_url=settings.public_url)
        pages = PageTokens.from_secret(secret)
        await trust.start()
        tasks.append(asyncio.create_task(refusals.run(), name="refusals"))
        if settings.worker_concurrency:
            tasks.append(asyncio.create_task(worker.run(), name="worker"))
        yield Parts(
            registrations=(
                Registration(webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server, WebhookServicer(inbox)),
                Registration(
                    connection_service_pb2_grpc.add_ConnectionServiceServicer_to_server,
                    ConnectionServicer(connections, pages),
                ),
                Registration(
                    delivery_service_pb2_grpc.add_DeliveryServiceServicer_to_server,
                    DeliveryServicer(DeliveryBook(store, wake=waking), pages),
                ),
            ),
            components=(("database", database.ready), ("trust", trust.ready)),
            trust=trust,
        )
        await refusals.flush()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await trust.stop()
        await doorbell.close()
        await cache.close()
        await tenants.close()
        await tickets.close()
        await database.close()


async def main(settings: CrmSettings) -> None:
    """Serve until told to stop."""
    async with wired(settings) as parts:
        await serve(settings, "crm", parts.registrations, trust=parts.trust, components=parts.components)


if __name__ == "__main__":
    run("services.crm", CrmSettings, main)
