"""Rotation of API keys: the new one takes the old one's place, and the old one ends when it should."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.tenant.v1 import api_key_pb2, api_key_service_pb2

from services.tenant import keys, scopes
from services.tenant.errors import ApiKeyNotLiveError, ExpireTimePastError, ScopeNotGrantableError
from tests.tenant.side import Metadata, Side, reason_of
from tests.tenant.test_keys import NOW, make

DAY = timedelta(days=1)


def rotated(old: keys.ApiKey, **changes: object) -> tuple[keys.ApiKey, keys.ApiKey]:
    """The two keys of a rotation an hour after NOW."""
    values: dict[str, object] = {
        "key_id": uuid4(),
        "overlap": DAY,
        "expire_time": None,
        "now": NOW + timedelta(hours=1),
        "grantable": scopes.SHOP,
    }
    return keys.rotated(old, keys.new_text(old.kind), **(values | changes))  # type: ignore[arg-type] # mixed values


def test_the_new_key_is_what_the_old_one_was() -> None:
    """All but its identity, its text and its times is taken over."""
    old = make(
        kind=keys.Kind.BROWSER, allowed_origins=["https://a.example"], requests_per_minute=7, scopes=["tickets.read"]
    )
    ended, new = rotated(old)
    for name in ("tenant_id", "name", "scopes", "kind", "allowed_origins", "requests_per_minute"):
        assert getattr(new, name) == getattr(old, name)
    assert new.rotated_from == ended.key_id == old.key_id
    assert new.prefix.startswith("rpb_")
    assert not {new.key_id, new.key_hash} & {old.key_id, old.key_hash}


def test_the_old_key_ends_with_the_overlap_or_before() -> None:
    """An end that it had already is never put off; no overlap is a revocation."""
    now = NOW + timedelta(hours=1)
    assert rotated(make())[0].expire_time == now + DAY
    assert rotated(make(expire_time=now + timedelta(minutes=5)))[0].expire_time == now + timedelta(minutes=5)
    ended, _ = rotated(make(), overlap=timedelta(0))
    assert (ended.revoke_time, ended.expire_time) == (now, None)


def test_the_new_key_lives_as_long_as_the_old_one_was_meant_to() -> None:
    """Unless another end is asked for."""
    now = NOW + timedelta(hours=1)
    assert rotated(make())[1].expire_time is None
    assert rotated(make(expire_time=NOW + 90 * DAY))[1].expire_time == now + 90 * DAY
    assert rotated(make(), expire_time=now + DAY)[1].expire_time == now + DAY
    with pytest.raises(ExpireTimePastError):
        rotated(make(), expire_time=now)


def test_a_life_beyond_the_calendar_ends_with_it() -> None:
    """A key that was meant to end in the year 9999 is replaced by one that does."""
    for end in (keys.LATEST_END, datetime.max.replace(tzinfo=UTC)):
        assert rotated(make(expire_time=end))[1].expire_time == keys.LATEST_END


def test_nobody_wins_scopes_by_rotating() -> None:
    """The new text would hold what whoever asks for it does not."""
    with pytest.raises(ScopeNotGrantableError):
        rotated(make(scopes=["tickets.write"]), grantable={"keys.write", "tickets.read"})


def test_a_key_that_is_not_live_cannot_be_rotated() -> None:
    """It would come back to life."""
    with pytest.raises(ApiKeyNotLiveError):
        rotated(make(expire_time=NOW + timedelta(minutes=59)))
    revoked, _ = rotated(make(), overlap=timedelta(0))
    with pytest.raises(ApiKeyNotLiveError):
        rotated(revoked)


async def rotate(
    side: Side, holder: Metadata, key_id: str, seconds: int | None = None, request_id: str = ""
) -> api_key_pb2.ApiKey:
    """Rotate a key with this overlap."""
    overlap = None if seconds is None else Duration(seconds=seconds)
    request = api_key_service_pb2.RotateApiKeyRequest(api_key=key_id, overlap=overlap, request_id=request_id)
    return await side.keys.RotateApiKey(request, metadata=holder)


async def key_of(side: Side, slug: str) -> tuple[Metadata, str]:
    """An operator's metadata inside a shop, and the id of the shop's newest key."""
    holder = await side.operator(slug)
    page = await side.keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(), metadata=holder)
    return holder, page.api_keys[0].id


async def test_both_keys_work_during_the_overlap(side: Side) -> None:
    """Without a wish it is a day."""
    tenant, text = await side.create()
    holder, key_id = await key_of(side, tenant.slug)
    new = await rotate(side, holder, key_id)
    assert (await side.exchange(text)).tenant_id == (await side.exchange(new.key)).tenant_id == tenant.id
    listed = await side.keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(), metadata=holder)
    found = {key.id: key for key in listed.api_keys}
    left = found[key_id].expire_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < left <= DAY
    assert (found[new.id].rotated_from, found[new.id].name, found[new.id].key) == (key_id, "first key", "")


async def test_without_overlap_the_old_key_is_refused_at_once(side: Side) -> None:
    """It is revoked, so that its tokens die as well."""
    tenant, text = await side.create()
    token = await side.shop(text)
    holder, key_id = await key_of(side, tenant.slug)
    new = await rotate(side, holder, key_id, seconds=0)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await side.exchange(text)
    assert reason_of(refusal.value) == "CREDENTIAL_INVALID"
    assert (await side.exchange(new.key)).tenant_id == tenant.id

    async def refused() -> str:
        while True:
            try:
                await side.keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(), metadata=token)
            except grpc.aio.AioRpcError as error:
                return reason_of(error)

    assert await asyncio.wait_for(refused(), 1) == "CREDENTIAL_INVALID"


@pytest.mark.parametrize("seconds", [-1, 1, 299, 2592001])
async def test_an_overlap_out_of_range_is_refused(side: Side, seconds: int) -> None:
    """Shorter than tokens live would be a promise that is not kept, longer than a month none that is meant."""
    tenant, _ = await side.create()
    holder, key_id = await key_of(side, tenant.slug)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await rotate(side, holder, key_id, seconds=seconds)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_repeated_rotation_makes_one_key(side: Side) -> None:
    """Also when the repeats come at once; one of them shows the text, and another key's rotation is refused."""
    tenant, _ = await side.create()
    holder, key_id = await key_of(side, tenant.slug)
    request_id = str(uuid4())
    answers = await asyncio.gather(*(rotate(side, holder, key_id, request_id=request_id) for _ in range(5)))
    assert len({answer.id for answer in answers}) == 1
    assert sum(bool(answer.key) for answer in answers) == 1
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await rotate(side, holder, answers[0].id, request_id=request_id)
    assert reason_of(refusal.value) == "REQUEST_ID_REUSED"


async def test_a_key_is_rotated_once(side: Side) -> None:
    """Its shortened end says no more how long it was meant to live; its replacement, which is endless, goes on."""
    tenant, text = await side.create()
    holder, key_id = await key_of(side, tenant.slug)
    new = await rotate(side, holder, key_id)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await rotate(side, holder, key_id)
    assert reason_of(refusal.value) == "API_KEY_ALREADY_ROTATED"
    assert (await side.exchange(text)).tenant_id == tenant.id
    assert not (await rotate(side, holder, new.id)).HasField("expire_time")


async def test_a_key_of_the_last_year_can_be_rotated(side: Side) -> None:
    """Its replacement ends in that year as well, whatever the fraction of the second was."""
    tenant, text = await side.create()
    holder = await side.shop(text)
    for nanos in (0, 999999999):
        end = Timestamp(seconds=253402300799, nanos=nanos)
        key = api_key_pb2.ApiKey(name="till", scopes=["tickets.read"], expire_time=end)
        made = await side.keys.CreateApiKey(api_key_service_pb2.CreateApiKeyRequest(api_key=key), metadata=holder)
        new = await rotate(side, holder, made.id)
        assert new.expire_time.seconds == end.seconds
        assert (await side.exchange(new.key)).tenant_id == tenant.id


async def test_another_shops_key_cannot_be_rotated(side: Side) -> None:
    """It looks as if it did not exist."""
    ours, _ = await side.create()
    theirs, text = await side.create()
    _, key_id = await key_of(side, theirs.slug)
    holder, _ = await key_of(side, ours.slug)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await rotate(side, holder, key_id, seconds=0)
    assert reason_of(refusal.value) == "API_KEY_NOT_FOUND"
    await side.exchange(text)


async def test_an_end_in_the_past_is_refused(side: Side) -> None:
    """And the old key goes on as it was."""
    tenant, _ = await side.create()
    holder, key_id = await key_of(side, tenant.slug)
    request = api_key_service_pb2.RotateApiKeyRequest(api_key=key_id, expire_time=Timestamp(seconds=1))
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await side.keys.RotateApiKey(request, metadata=holder)
    assert reason_of(refusal.value) == "EXPIRE_TIME_PAST"
    listed = await side.keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(), metadata=holder)
    assert [key.HasField("expire_time") for key in listed.api_keys] == [False]
