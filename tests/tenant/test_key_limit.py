"""A tenant has so many live keys and no more, however hard it tries."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from rapport.tenant.v1 import api_key_pb2, api_key_service_pb2

from tests.support.servers import ServiceDatabase
from tests.tenant.side import Metadata, Side, reason_of, running_side

LIMIT = 5


@pytest.fixture
async def narrow(tenant_database: ServiceDatabase, files: Path) -> AsyncIterator[Side]:
    """A service that gives each tenant five keys."""
    async with running_side(tenant_database.app_url, files, max_api_keys=LIMIT) as running:
        yield running


async def create(side: Side, holder: Metadata) -> api_key_pb2.ApiKey:
    """A new key."""
    key = api_key_pb2.ApiKey(name="till", scopes=["tickets.read"])
    return await side.keys.CreateApiKey(api_key_service_pb2.CreateApiKeyRequest(api_key=key), metadata=holder)


async def reason(call: object) -> str:
    """The reason of a refusal, "OK" without one."""
    try:
        await call  # type: ignore[misc] # any call
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    return "OK"


async def test_of_many_keys_at_once_as_many_are_made_as_there_is_room_for(
    narrow: Side, tenant_database: ServiceDatabase, files: Path
) -> None:
    """Thirty requests to two processes at the same time: four fit beside the first key, the others hear the number."""
    tenant, _ = await narrow.create()
    holder = await narrow.operator(tenant.slug)
    async with running_side(tenant_database.app_url, files, max_api_keys=LIMIT) as other:
        outcomes = await asyncio.gather(*(reason(create(side, holder)) for _ in range(15) for side in (narrow, other)))
    assert outcomes.count("OK") == LIMIT - 1
    assert set(outcomes) == {"OK", "API_KEY_LIMIT_REACHED"}
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await create(narrow, holder)
    assert f"{LIMIT} keys" in str(refusal.value.details())


async def test_revoked_keys_make_room_and_a_rotation_needs_none_without_overlap(narrow: Side) -> None:
    """A full tenant can always get rid of a key that leaked."""
    tenant, _ = await narrow.create()
    holder = await narrow.operator(tenant.slug)
    made = [await create(narrow, holder) for _ in range(LIMIT - 1)]
    rotation = api_key_service_pb2.RotateApiKeyRequest(api_key=made[0].id)
    assert await reason(narrow.keys.RotateApiKey(rotation, metadata=holder)) == "API_KEY_LIMIT_REACHED"
    await narrow.exchange(made[0].key)
    rotation.overlap.CopyFrom(Duration())
    assert await reason(narrow.keys.RotateApiKey(rotation, metadata=holder)) == "OK"
    assert await reason(create(narrow, holder)) == "API_KEY_LIMIT_REACHED"
    revocation = api_key_service_pb2.RevokeApiKeyRequest(api_key=made[1].id)
    await narrow.keys.RevokeApiKey(revocation, metadata=holder)
    assert await reason(create(narrow, holder)) == "OK"


async def test_one_tenants_keys_leave_the_others_room(narrow: Side) -> None:
    """The limit is each tenant's own."""
    for _ in range(2):
        tenant, _ = await narrow.create()
        holder = await narrow.operator(tenant.slug)
        for _ in range(LIMIT - 1):
            await create(narrow, holder)
