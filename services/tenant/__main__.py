"""Settings, wiring, and the process of the tenant service."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rapport.tenant.v1 import (
    api_key_service_pb2_grpc,
    audit_service_pb2_grpc,
    domain_service_pb2_grpc,
    oauth_service_pb2_grpc,
    signing_key_service_pb2_grpc,
    tenant_service_pb2_grpc,
    token_service_pb2_grpc,
)

from servicekit.audit import AuditTrail, keeping
from servicekit.channel import open_channel
from servicekit.command import run
from servicekit.database import Database
from servicekit.diagnosis import of_every_process
from servicekit.diagnosis_servicer import registration as diagnosis
from servicekit.envelope import SealBrokenError, new_data_key
from servicekit.health import Component
from servicekit.identity.trust import MAX_AGE
from servicekit.kek import Keks, providers_of
from servicekit.pages import PageTokens
from servicekit.server import Registration, serve
from servicekit.tenant_data import TenantData
from servicekit.tenant_data_servicer import registration
from services.tenant import scopes
from services.tenant.audit_servicer import AuditServicer
from services.tenant.audit_store import AuditStore
from services.tenant.condition import examinations
from services.tenant.domain_proof import ProofFinder
from services.tenant.domain_servicer import DomainServicer
from services.tenant.domain_store import DomainStore
from services.tenant.erasure import REQUESTER_AFTER_GRACE
from services.tenant.erasure_store import ErasureStore
from services.tenant.exchange import Exchange
from services.tenant.key_servicer import ApiKeyServicer
from services.tenant.key_store import KeyStore
from services.tenant.key_uses import KeyUses
from services.tenant.oauth_servicer import OAuthServicer
from services.tenant.operators import Operator
from services.tenant.purging import Eraser, Purge, remote
from services.tenant.rewrapping import Rewrapping
from services.tenant.service import TenantServicer
from services.tenant.settings import TenantSettings
from services.tenant.signing import OF_NO_TENANT
from services.tenant.signing_key_servicer import SigningKeyServicer
from services.tenant.signing_ring import SigningRing
from services.tenant.store import TenantStore
from services.tenant.token_servicer import TokenServicer
from services.tenant.tokens import issue
from services.tenant.trust import TrustFeed, TrustSet
from services.tenant.trust_store import TrustStore


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process of this service is made of."""

    registrations: Sequence[Registration]
    components: Sequence[Component]
    feed: TrustFeed
    audit: AuditTrail


@asynccontextmanager
async def wired(settings: TenantSettings) -> AsyncIterator[Parts]:
    """Put the parts together for as long as the context lasts.

    Raises:
        ValueError: a setting that is needed is missing or wrong.
        RoleTooPowerfulError: the database role could read around row-level security.
        DatabaseUnavailableError: the database stayed out of reach.
    """
    keks = providers_of(settings)
    credentials = Credentials(settings.operators(), settings.workload_secrets())
    settings.domain_hosts()
    async with (
        opened(settings) as database,
        trusting(database, keks, timedelta(days=settings.signing_key_days)) as trusted,
        keeping(AuditStore(database, TenantStore(database)).write) as audit,
        noting(KeyStore(database, limit=settings.max_api_keys)) as uses,
        purging(settings, database, trusted.ring),
    ):
        pages = PageTokens(await _shared_secret(trusted.store, keks, "page tokens"))
        feed = trusted.feed
        yield Parts(
            registrations=(
                *_tokens(settings, database, credentials, trusted, uses, audit),
                *_registry(settings, database, feed, pages),
                _diagnosis(settings, database, trusted, keks),
            ),
            components=(("database", database.ready), ("trust", lambda: feed.age < MAX_AGE)),
            feed=feed,
            audit=audit,
        )


@dataclass(frozen=True, slots=True)
class Credentials:
    """What comes from files: the operators, and the services' secrets by name."""

    operators: Sequence[Operator]
    workloads: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Trusted:
    """What tokens are signed and judged by."""

    store: TrustStore
    ring: SigningRing
    feed: TrustFeed
    rewrapping: Rewrapping


@asynccontextmanager
async def opened(settings: TenantSettings) -> AsyncIterator[Database]:
    """Give the database to a process that may have it; errors as for `wired`."""
    database = await Database.connect(
        settings.database_url.get_secret_value(), schema="tenant", pool_size=settings.database_pool
    )
    try:
        await database.check_role()
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def trusting(database: Database, keks: Keks, max_age: timedelta) -> AsyncIterator[Trusted]:
    """Keep signing keys and trust set fresh for as long as the context lasts; errors as for `wired`."""
    store = TrustStore(database)
    ring = SigningRing(store, keks, max_age)
    await ring.open()

    async def read_trust() -> TrustSet:
        found = await store.read_trust()
        await ring.keep_up(found.jwks_json)
        return found

    feed = TrustFeed(read_trust)
    await feed.refresh()
    async with running(feed.follow(), store.listen_for_trust(feed.ring), ring.follow()):
        yield Trusted(store, ring, feed, Rewrapping(store, keks))


@asynccontextmanager
async def noting(keys: KeyStore) -> AsyncIterator[KeyUses]:
    """Note when keys are used, and write it every few seconds and at the end."""
    uses = KeyUses(keys.record_uses)
    try:
        async with running(uses.follow()):
            yield uses
    finally:
        await uses.flush()


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do work beside everything else for as long as the context lasts."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _tokens(
    settings: TenantSettings,
    database: Database,
    credentials: Credentials,
    trusted: Trusted,
    uses: KeyUses,
    audit: AuditTrail,
) -> tuple[Registration, ...]:
    """Return the servicers of credentials and tokens."""
    exchange = Exchange(
        KeyStore(database, limit=settings.max_api_keys),
        TenantStore(database),
        trusted.ring,
        operators=credentials.operators,
        workloads=credentials.workloads,
        note_use=uses.note,
        clock=_now,
        hosts=settings.host_rules(),
    )
    signing = SigningKeyServicer(trusted.store, trusted.ring, trusted.rewrapping)
    return (
        Registration(token_service_pb2_grpc.add_TokenServiceServicer_to_server, TokenServicer(exchange, trusted.feed)),
        Registration(
            oauth_service_pb2_grpc.add_OAuthServiceServicer_to_server,
            OAuthServicer(exchange, audit, settings.host_rules()),
        ),
        Registration(signing_key_service_pb2_grpc.add_SigningKeyServiceServicer_to_server, signing),
    )


def _registry(
    settings: TenantSettings, database: Database, feed: TrustFeed, pages: PageTokens
) -> tuple[Registration, ...]:
    """Return the servicers of tenants and of what belongs to them."""
    tenants, keys = TenantStore(database), KeyStore(database, limit=settings.max_api_keys)
    grace = timedelta(days=settings.purge_grace_days)
    domains = DomainServicer(
        DomainStore(database, limit=settings.max_domains),
        ProofFinder(hosts_file=settings.domain_hosts()),
        settings.host_rules(),
        pages,
    )
    return (
        Registration(
            tenant_service_pb2_grpc.add_TenantServiceServicer_to_server,
            TenantServicer(tenants, ErasureStore(database, tenants), pages, grace),
        ),
        registration(TenantData(database, None), lambda: feed.refused_tenants),
        Registration(api_key_service_pb2_grpc.add_ApiKeyServiceServicer_to_server, ApiKeyServicer(keys, pages)),
        Registration(domain_service_pb2_grpc.add_DomainServiceServicer_to_server, domains),
        Registration(
            audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
            AuditServicer(AuditStore(database, tenants), pages),
        ),
    )


def _diagnosis(settings: TenantSettings, database: Database, trusted: Trusted, keks: Keks) -> Registration:
    """Return the servicer that says how the process is."""
    examined = examinations(
        trusted.store.list_signing_keys,
        trusted.store.wrapped,
        keks,
        ErasureStore(database, TenantStore(database)).due,
        timedelta(days=settings.signing_key_days),
    )
    return diagnosis("tenant", of_every_process(settings, database) | examined)


async def _shared_secret(store: TrustStore, keks: Keks, purpose: str) -> bytes:
    """Return 32 secret bytes that all processes of this service share, other ones for each purpose.

    Raises:
        ValueError: the key-encryption keys do not open what is stored.
    """
    wrapped = await store.ensure_shared_secret(purpose, lambda: keks.wrap(new_data_key(), OF_NO_TENANT))
    try:
        return await keks.unwrap(wrapped, OF_NO_TENANT)
    except SealBrokenError as error:
        raise ValueError("KEK_FILE does not open the stored secrets; was it replaced?") from error


def _now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def purging(settings: TenantSettings, database: Database, ring: SigningRing) -> AsyncIterator[None]:
    """Erase the tenants that are due for as long as the context lasts; not at all while a service is not known."""
    # Who feeds others forgets first: webhooks become tickets, and profiles are copied to tickets.
    targets = {
        "crm": settings.crm_target,
        "recommendations": settings.recommendations_target,
        "tickets": settings.tickets_target,
    }
    if not all(targets.values()):
        yield
        return

    def token() -> str:
        held = scopes.WORKLOADS["tenant"]
        return issue(ring.current, subject=REQUESTER_AFTER_GRACE, scopes=held, tenant=None, now=_now()).token

    tls = settings.peer_tls()
    channels = {service: open_channel(target, service, tls) for service, target in targets.items()}
    erasers: dict[str, Eraser] = {service: remote(channel, token) for service, channel in channels.items()}
    tenants = TenantStore(database)
    purge = Purge(
        database,
        tenants,
        ErasureStore(database, tenants),
        {**erasers, "tenant": TenantData(database, None).erase},
        settle=timedelta(seconds=settings.erase_settle_seconds),
        clock=_now,
    )
    try:
        async with running(purge.run()):
            yield
    finally:
        for channel in channels.values():
            await channel.close()


async def main(settings: TenantSettings) -> None:
    """Serve until told to stop."""
    async with wired(settings) as parts:
        await serve(
            settings, "tenant", parts.registrations, trust=parts.feed, audit=parts.audit, components=parts.components
        )


if __name__ == "__main__":
    run("services.tenant", TenantSettings, main)
