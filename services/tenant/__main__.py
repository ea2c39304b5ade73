"""Settings, wiring, and the process of the tenant service."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from rapport.tenant.v1 import api_key_service_pb2_grpc, tenant_service_pb2_grpc, token_service_pb2_grpc

from servicekit.command import run
from servicekit.database import Database
from servicekit.envelope import KeyEncryptionKeys
from servicekit.health import Component
from servicekit.identity.trust import MAX_AGE
from servicekit.pages import PageTokens
from servicekit.server import Registration, serve
from services.tenant.exchange import Exchange
from services.tenant.key_servicer import ApiKeyServicer
from services.tenant.key_store import KeyStore
from services.tenant.service import TenantServicer
from services.tenant.settings import TenantSettings
from services.tenant.signing import new_signing_key, open_sealed, seal, shared_secret
from services.tenant.store import TenantStore
from services.tenant.token_servicer import TokenServicer
from services.tenant.trust import TrustFeed
from services.tenant.trust_store import TrustStore


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process of this service is made of."""

    registrations: Sequence[Registration]
    components: Sequence[Component]
    feed: TrustFeed


@asynccontextmanager
async def wired(settings: TenantSettings) -> AsyncIterator[Parts]:
    """Put the parts together for as long as the context lasts.

    Raises:
        ValueError: a setting that is needed is missing or wrong.
        RoleTooPowerfulError: the database role could read around row-level security.
        DatabaseUnavailableError: the database stayed out of reach.
    """
    if settings.kek_file is None:
        raise ValueError("RAPPORT_TENANT_KEK_FILE is not set")
    keks = KeyEncryptionKeys.load(settings.kek_file)
    operators, workloads = settings.operator_keys(), settings.workload_secrets()
    database = await Database.connect(
        settings.database_url.get_secret_value(), schema="tenant", pool_size=settings.database_pool
    )
    tasks: list[asyncio.Task[None]] = []
    try:
        await database.check_role()
        tenants, keys, trust = TenantStore(database), KeyStore(database), TrustStore(database)
        held = await trust.ensure_signing_keys(lambda slot: seal(new_signing_key(), slot, keks))
        signing_key = open_sealed(held["current"], keks)
        exchange = Exchange(
            keys, tenants, signing_key, operators=operators, workloads=workloads, clock=lambda: datetime.now(UTC)
        )
        feed = TrustFeed(trust.read_trust)
        await feed.refresh()
        tasks += [
            asyncio.create_task(feed.follow(), name="trust_feed"),
            asyncio.create_task(trust.listen_for_trust(feed.ring), name="trust_bell"),
        ]
        pages = PageTokens.from_secret(shared_secret(signing_key, "page tokens"))
        yield Parts(
            registrations=_registrations(tenants, keys, exchange, feed, pages),
            components=(("database", database.ready), ("trust", lambda: feed.age < MAX_AGE)),
            feed=feed,
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await database.close()


def _now() -> datetime:
    return datetime.now(UTC)


def _registrations(
    tenants: TenantStore, keys: KeyStore, exchange: Exchange, feed: TrustFeed, pages: PageTokens
) -> tuple[Registration, ...]:
    """Return the servicers of this service."""
    return (
        Registration(token_service_pb2_grpc.add_TokenServiceServicer_to_server, TokenServicer(exchange, feed)),
        Registration(tenant_service_pb2_grpc.add_TenantServiceServicer_to_server, TenantServicer(tenants, pages)),
        Registration(api_key_service_pb2_grpc.add_ApiKeyServiceServicer_to_server, ApiKeyServicer(keys, pages)),
    )


async def main(settings: TenantSettings) -> None:
    """Serve until told to stop."""
    async with wired(settings) as parts:
        await serve(settings, "tenant", parts.registrations, trust=parts.feed, components=parts.components)


if __name__ == "__main__":
    run("services.tenant", TenantSettings, main)
