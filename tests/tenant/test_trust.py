"""The trust set reaches everybody who watches: soon after a change, and as a sign of life."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from rapport.tenant.v1 import api_key_service_pb2, tenant_service_pb2, token_service_pb2

from servicekit.database import Database
from servicekit.errors import DatabaseUnavailableError
from services.tenant import keys, scopes, trust
from services.tenant.key_store import KeyStore
from services.tenant.signing import key_set, new_signing_key
from services.tenant.trust import TrustFeed, TrustSet
from services.tenant.trust_store import TrustStore
from tests.support.servers import ServiceDatabase
from tests.tenant.side import Side, reason_of, running_side

ONE_SECOND = 1.0
JWKS = key_set([new_signing_key().jwk])


class Watch:
    """An open stream of trust sets."""

    def __init__(self, stream: AsyncIterator[token_service_pb2.TrustSet]) -> None:
        self._stream = stream

    async def until(self, holds: Callable[[token_service_pb2.TrustSet], bool], within: float = ONE_SECOND) -> None:
        """Read on until a set for which this holds; fail when none comes in time."""
        async with asyncio.timeout(within):
            while not holds(await anext(self._stream)):
                pass


async def watch(side: Side) -> Watch:
    """A stream that has brought its first set, opened by a service."""
    call = side.tokens.WatchTrust(token_service_pb2.WatchTrustRequest(), metadata=await side.workload("tickets"))
    opened = Watch(aiter(call))
    await opened.until(lambda first: len(json.loads(first.jwks_json)["keys"]) >= 2)
    return opened


async def test_a_key_is_revoked_by_the_databases_clock(side: Side, tenant_database: ServiceDatabase) -> None:
    """A process whose clock is an hour behind revokes a key by a rotation, and its tokens die like any others."""
    tenant, _ = await side.create()
    page = await side.keys.ListApiKeys(
        api_key_service_pb2.ListApiKeysRequest(), metadata=await side.operator(tenant.slug)
    )
    key_id = UUID(page.api_keys[0].id)
    late = datetime.now(UTC) - timedelta(hours=1)

    def decide(old: keys.ApiKey) -> tuple[keys.ApiKey, keys.ApiKey]:
        return keys.rotated(
            old,
            keys.new_text(),
            key_id=uuid4(),
            overlap=timedelta(0),
            expire_time=None,
            now=late,
            grantable=scopes.SHOP,
        )

    database = await Database.connect(tenant_database.app_url, schema="tenant", pool_size=2)
    try:
        new = await KeyStore(database).rotate_api_key(UUID(tenant.id), key_id, decide, None)
        await KeyStore(database).revoke_api_key(UUID(tenant.id), new.key_id)
        revoked = (await TrustStore(database).read_trust()).revoked_keys
    finally:
        await database.close()
    assert {str(key_id), str(new.key_id)} <= revoked


async def test_a_suspension_and_a_resumption_are_seen_within_a_second(side: Side) -> None:
    """The whole set comes again, with and then without the tenant."""
    tenant, _ = await side.create()
    opened = await watch(side)
    await side.suspend(tenant.slug)
    await opened.until(lambda seen: tenant.id in seen.refused_tenant_ids)
    request = tenant_service_pb2.ResumeTenantRequest(tenant=tenant.slug)
    await side.tenants.ResumeTenant(request, metadata=await side.operator())
    await opened.until(lambda seen: tenant.id not in seen.refused_tenant_ids)


async def test_a_deletion_is_seen_within_a_second(side: Side) -> None:
    """A deleted tenant is refused like a suspended one."""
    tenant, _ = await side.create()
    opened = await watch(side)
    request = tenant_service_pb2.DeleteTenantRequest(tenant=tenant.slug)
    await side.tenants.DeleteTenant(request, metadata=await side.operator())
    await opened.until(lambda seen: tenant.id in seen.refused_tenant_ids)


async def test_a_revocation_is_seen_within_a_second(side: Side) -> None:
    """The key's id comes with the next set."""
    _, text = await side.create()
    holder = await side.shop(text)
    opened = await watch(side)
    [key] = (await side.keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(), metadata=holder)).api_keys
    await side.keys.RevokeApiKey(api_key_service_pb2.RevokeApiKeyRequest(api_key=key.id), metadata=holder)
    await opened.until(lambda seen: key.id in seen.revoked_key_ids)


async def test_a_change_in_one_process_is_seen_in_another(
    side: Side, tenant_database: ServiceDatabase, files: Path
) -> None:
    """Whoever watches another process learns of it as soon."""
    tenant, _ = await side.create()
    async with running_side(tenant_database.app_url, files) as other:
        opened = await watch(other)
        await side.suspend(tenant.slug)
        await opened.until(lambda seen: tenant.id in seen.refused_tenant_ids)


async def test_a_token_made_before_dies_with_its_tenant_and_with_its_key(side: Side) -> None:
    """The service judges its own callers by the same set: a living token is refused within a second."""

    async def refused(metadata: tuple[tuple[str, str], ...]) -> str:
        while True:
            try:
                await side.keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(), metadata=metadata)
            except grpc.aio.AioRpcError as refusal:
                return reason_of(refusal)

    tenant, text = await side.create()
    of_suspended = await side.shop(text)
    await side.suspend(tenant.slug)
    assert await asyncio.wait_for(refused(of_suspended), ONE_SECOND) == "CREDENTIAL_INVALID"

    _, text = await side.create()
    of_revoked = await side.shop(text)
    [key] = (await side.keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(), metadata=of_revoked)).api_keys
    await side.keys.RevokeApiKey(api_key_service_pb2.RevokeApiKeyRequest(api_key=key.id), metadata=of_revoked)
    assert await asyncio.wait_for(refused(of_revoked), ONE_SECOND) == "CREDENTIAL_INVALID"


async def test_who_keeps_the_set_is_sent_changes_only(side: Side) -> None:
    """First the whole set, then what is added and what is taken out; a sign of life is empty."""
    tenant, _ = await side.create()
    request = token_service_pb2.WatchTrustRequest(changes_only=True)
    stream = side.tokens.WatchTrust(request, metadata=await side.workload("tickets"))
    messages = aiter(stream)
    async with asyncio.timeout(10):
        whole = await anext(messages)
        assert not whole.partial
        assert tenant.id not in whole.refused_tenant_ids
        await side.suspend(tenant.slug)
        added = [one async for one in _until(messages, "refused_tenant_ids", tenant.id)]
        resuming = tenant_service_pb2.ResumeTenantRequest(tenant=tenant.slug)
        await side.tenants.ResumeTenant(resuming, metadata=await side.operator())
        taken_out = [one async for one in _until(messages, "restored_tenant_ids", tenant.id)]
    assert all(one.partial and one.jwks_json == whole.jwks_json for one in (*added, *taken_out))
    assert list(added[-1].refused_tenant_ids) == [tenant.id]
    assert not taken_out[-1].refused_tenant_ids
    stream.cancel()


async def _until(messages: AsyncIterator[Any], field: str, wanted: str) -> AsyncIterator[Any]:
    """Yield messages up to the first one whose field holds the id."""
    async for message in messages:
        yield message
        if wanted in getattr(message, field):
            return


async def test_only_who_may_watch_can_watch(side: Side) -> None:
    """A shop's token and no token open no stream."""
    _, text = await side.create()
    for metadata, code in (
        (await side.shop(text), grpc.StatusCode.PERMISSION_DENIED),
        ((), grpc.StatusCode.UNAUTHENTICATED),
    ):
        stream = side.tokens.WatchTrust(token_service_pb2.WatchTrustRequest(), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await anext(aiter(stream))
        assert refusal.value.code() is code


async def test_a_lost_notification_delays_by_the_poll_only(side: Side, tenant_database: ServiceDatabase) -> None:
    """A feed that nobody rings reads the change at its next poll."""
    tenant, _ = await side.create()
    database = await Database.connect(tenant_database.app_url, schema="tenant", pool_size=2)
    feed = TrustFeed(TrustStore(database).read_trust)
    following = asyncio.create_task(feed.follow())
    try:
        async with aclosing(feed.watch()) as sets, asyncio.timeout(5):
            await anext(sets)
            await side.suspend(tenant.slug)
            suspended = time.monotonic()
            async for seen in sets:
                if tenant.id in {str(tenant_id) for tenant_id in seen.refused_tenants}:
                    break
        assert time.monotonic() - suspended < trust.POLL_SECONDS + 0.5
    finally:
        following.cancel()
        await database.close()


async def test_lost_connections_are_replaced_and_changes_still_seen(
    side: Side, tenant_database: ServiceDatabase
) -> None:
    """When the server drops every connection, the one that listens included, the stream goes on."""
    tenant, _ = await side.create()
    opened = await watch(side)
    connection = await asyncpg.connect(tenant_database.superuser_url)
    dropped = await connection.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = 'tenant_app'",
        tenant_database.name,
    )
    await connection.close()
    assert len(dropped) >= 2
    await side.suspend(tenant.slug)
    await opened.until(lambda seen: tenant.id in seen.refused_tenant_ids, within=trust.POLL_SECONDS + ONE_SECOND)


def set_of(*refused: str) -> TrustSet:
    """A trust set read now."""
    return TrustSet(JWKS, frozenset(uuid4() for _ in refused), frozenset(refused), datetime.now(UTC))


async def test_an_unchanged_set_is_repeated_as_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """The repetition was read later than the set before it."""
    monkeypatch.setattr(trust, "SIGN_OF_LIFE_SECONDS", 0.05)
    monkeypatch.setattr(trust, "POLL_SECONDS", 0.01)

    async def read() -> TrustSet:
        return set_of()

    feed = TrustFeed(read)
    following = asyncio.create_task(feed.follow())
    try:
        async with aclosing(feed.watch()) as sets, asyncio.timeout(5):
            times = [(await anext(sets)).read_time for _ in range(3)]
        assert times == sorted(set(times))
    finally:
        following.cancel()


async def test_a_feed_that_cannot_read_says_nothing_and_grows_old() -> None:
    """Silence lets every watcher notice; a set of unknown worth would not."""
    answers: list[TrustSet | None] = [set_of("key"), None]

    async def read() -> TrustSet:
        if (answer := answers.pop(0)) is None:
            raise DatabaseUnavailableError("out of reach")
        return answer

    feed = TrustFeed(read)
    assert feed.age == float("inf")
    await feed.refresh()
    assert feed.age < 1
    with pytest.raises(DatabaseUnavailableError):
        await feed.refresh()
    feed._read_at -= trust.SIGN_OF_LIFE_SECONDS
    async with aclosing(feed.watch()) as sets:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(sets), 0.05)
    assert feed.revoked_keys == {"key"}


async def test_an_unforeseen_failure_of_a_read_does_not_end_the_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next poll brings the set."""
    monkeypatch.setattr(trust, "POLL_SECONDS", 0.01)
    answers: list[TrustSet | Exception] = [TimeoutError(), set_of("key")]

    async def read() -> TrustSet:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    feed = TrustFeed(read)
    following = asyncio.create_task(feed.follow())
    try:
        async with aclosing(feed.watch()) as sets, asyncio.timeout(5):
            assert (await anext(sets)).revoked_keys == {"key"}
    finally:
        following.cancel()


async def test_a_change_while_a_watcher_is_slow_is_not_slept_over() -> None:
    """A change between two reads of a watcher is the next thing that it gets."""
    sets_to_read = [set_of(), set_of("a"), set_of("b")]

    async def read() -> TrustSet:
        return sets_to_read.pop(0)

    feed = TrustFeed(read)
    await feed.refresh()
    async with aclosing(feed.watch()) as sets:
        assert (await anext(sets)).revoked_keys == frozenset()
        await feed.refresh()
        await feed.refresh()
        assert (await asyncio.wait_for(anext(sets), 0.5)).revoked_keys == {"b"}
