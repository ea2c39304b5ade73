"""Signing keys: their life, and that every process signs with the right one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import grpc
import jwt
import pytest
from rapport.tenant.v1 import (
    api_key_service_pb2,
    signing_key_pb2,
    signing_key_service_pb2,
    tenant_service_pb2,
    token_service_pb2,
)

from services.tenant import signing_ring
from services.tenant.signing import SigningKeyLife, is_due, time_until_known
from tests.support.servers import DatabaseFor, ServiceDatabase
from tests.support.waiting import eventually
from tests.tenant.side import Side, reason_of, running_side

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SigningKey = signing_key_pb2.SigningKey


def life(kid: str = "k", *, made: float = 0, active: float | None = None) -> SigningKeyLife:
    """A key that was made and became active so many seconds after NOW."""
    activate = None if active is None else NOW + timedelta(seconds=active)
    return SigningKeyLife(kid, "current", NOW + timedelta(seconds=made), activate, None)


def test_a_key_is_due_when_it_has_signed_for_long_enough() -> None:
    """Counted from when it began to sign, not from when it was made."""
    assert not is_due(life(made=-100, active=0), timedelta(seconds=60), NOW + timedelta(seconds=59))
    assert is_due(life(made=-100, active=0), timedelta(seconds=60), NOW + timedelta(seconds=60))


@pytest.mark.parametrize(
    ("current", "coming", "seconds"),
    [
        pytest.param(0, 0, 0, id="made together"),
        pytest.param(5, 0, 0, id="made before"),
        pytest.param(-100, 0, 60, id="made this moment"),
        pytest.param(-100, -59, 1, id="made almost a minute ago"),
        pytest.param(-100, -60, 0, id="made a minute ago"),
    ],
)
def test_the_next_key_waits_until_everybody_knows_it(current: float, coming: float, seconds: float) -> None:
    """A minute is twice the age at which knowledge is refused; a key that is as old as the current one is known."""
    waiting = time_until_known(life(made=current, active=0), life("n", made=coming), NOW)
    assert waiting == timedelta(seconds=seconds)


@pytest.fixture
def alone(fresh_database_for: DatabaseFor) -> ServiceDatabase:
    """A database of the test's own, whose keys it may rotate as it likes."""
    return fresh_database_for("tenant")


@asynccontextmanager
async def superuser(database: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection that may change anything, to let time pass."""
    connection = await asyncpg.connect(database.superuser_url)
    try:
        yield connection
    finally:
        await connection.close()


async def rotate(side: Side) -> SigningKey:
    """Rotate as an operator."""
    request = signing_key_service_pb2.RotateSigningKeyRequest()
    return await side.signing_keys.RotateSigningKey(request, metadata=await side.operator())


async def listed(side: Side) -> list[SigningKey]:
    """The published keys."""
    request = signing_key_service_pb2.ListSigningKeysRequest()
    return list((await side.signing_keys.ListSigningKeys(request, metadata=await side.operator())).signing_keys)


async def kids(side: Side) -> set[str]:
    """The ids in the published key set."""
    jwks = await side.tokens.GetJwks(token_service_pb2.GetJwksRequest())
    return {entry["kid"] for entry in json.loads(jwks.json)["keys"]}


async def kid_of_new_token(side: Side) -> str:
    """The id of the key that signs now."""
    [(_, value)] = await side.operator()
    return str(jwt.get_unverified_header(value.removeprefix("Bearer "))["kid"])


async def signs_with(side: Side, kid: str, within: float = 1.0) -> None:
    """Return as soon as new tokens are signed with the key; fail when that takes longer."""
    async with asyncio.timeout(within):
        while await kid_of_new_token(side) != kid:
            pass


async def test_the_next_key_signs_after_a_rotation_and_old_tokens_stay_good(
    alone: ServiceDatabase, tmp_path: Path
) -> None:
    """In every process within a second; the key that has signed stays published."""
    async with running_side(alone.app_url, tmp_path) as one, running_side(alone.app_url, tmp_path) as other:
        tenant, text = await one.create()
        old_token = await one.shop(text)
        first, coming = await listed(one)
        assert (first.slot, coming.slot) == (SigningKey.SLOT_CURRENT, SigningKey.SLOT_NEXT)
        rotated = await rotate(one)
        assert (rotated.kid, rotated.slot) == (coming.kid, SigningKey.SLOT_CURRENT)
        for side in (one, other):
            await signs_with(side, coming.kid)
        assert [key.slot for key in await listed(other)] == [
            SigningKey.SLOT_CURRENT,
            SigningKey.SLOT_NEXT,
            SigningKey.SLOT_PREVIOUS,
        ]
        assert {first.kid, coming.kid} < await kids(other)
        assert len(await kids(other)) == 3
        for side in (one, other):
            await side.keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(), metadata=old_token)
            assert (await side.exchange(text)).tenant_id == tenant.id


async def test_a_next_key_that_not_everybody_knows_does_not_sign(alone: ServiceDatabase, tmp_path: Path) -> None:
    """A second rotation within a minute is refused, of many at once too; after the minute it is not."""
    async with running_side(alone.app_url, tmp_path) as side:
        outcomes = await asyncio.gather(*(rotate(side) for _ in range(5)), return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
        assert len(refused) == 4
        assert {reason_of(refusal) for refusal in refused} == {"NEXT_SIGNING_KEY_TOO_NEW"}
        async with superuser(alone) as database:
            await database.execute("UPDATE tenant.signing_keys SET create_time = create_time - interval '61 s'")
        await rotate(side)


async def test_an_old_key_is_replaced_by_itself_by_one_process_of_many(
    alone: ServiceDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processes look at its age; one rotates, and all sign with the new one."""
    monkeypatch.setattr(signing_ring, "KEEP_SECONDS", 0.05)
    async with (
        running_side(alone.app_url, tmp_path) as one,
        running_side(alone.app_url, tmp_path) as two,
        running_side(alone.app_url, tmp_path) as three,
    ):
        first, coming = await listed(one)
        async with superuser(alone) as database:
            await database.execute(
                "UPDATE tenant.signing_keys SET create_time = create_time - interval '31 days',"
                " activate_time = activate_time - interval '31 days'"
            )
        for side in (one, two, three):
            await signs_with(side, coming.kid, within=10)
        assert len(await listed(one)) == 3
        assert {key.kid for key in await listed(one) if key.slot == SigningKey.SLOT_PREVIOUS} == {first.kid}


async def test_a_key_is_forgotten_when_its_last_token_has_ended(
    alone: ServiceDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its public half is no longer published, and its private half is gone from the database."""
    monkeypatch.setattr(signing_ring, "KEEP_SECONDS", 0.05)
    async with running_side(alone.app_url, tmp_path) as side, superuser(alone) as database:
        first, _ = await listed(side)
        await rotate(side)
        assert first.kid in await kids(side)
        await database.execute("UPDATE tenant.signing_keys SET retire_time = retire_time - interval '10 minutes'")

        async def forgotten() -> bool:
            return first.kid not in await kids(side)

        await eventually(forgotten)
        assert await database.fetchval("SELECT count(*) FROM tenant.signing_keys WHERE kid = $1", first.kid) == 0


async def test_page_tokens_outlive_a_rotation_and_serve_every_process(alone: ServiceDatabase, tmp_path: Path) -> None:
    """What seals them is not what signs."""
    async with running_side(alone.app_url, tmp_path) as one:
        for _ in range(3):
            await one.create()
        request = tenant_service_pb2.ListTenantsRequest(page_size=2)
        page = await one.tenants.ListTenants(request, metadata=await one.operator())
        await rotate(one)
        async with running_side(alone.app_url, tmp_path) as other:
            request.page_token = page.next_page_token
            for side in (one, other):
                last = await side.tenants.ListTenants(request, metadata=await side.operator())
                assert len(last.tenants) == 1
