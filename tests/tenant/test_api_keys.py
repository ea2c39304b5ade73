"""API keys, by RPC."""

import asyncio
from uuid import uuid4

import grpc
import pytest
from rapport.tenant.v1 import api_key_pb2, api_key_service_pb2

from tests.tenant.side import Metadata, Side, reason_of

Page = api_key_service_pb2.ListApiKeysResponse


async def create(side: Side, holder: Metadata, name: str = "till", **request: str) -> api_key_pb2.ApiKey:
    """A new key that may read tickets."""
    key = api_key_pb2.ApiKey(name=name, scopes=["tickets.read"])
    message = api_key_service_pb2.CreateApiKeyRequest(api_key=key, **request)
    return await side.keys.CreateApiKey(message, metadata=holder)


async def listed(side: Side, holder: Metadata, size: int = 0, token: str = "") -> Page:
    """A page of keys."""
    request = api_key_service_pb2.ListApiKeysRequest(page_size=size, page_token=token)
    return await side.keys.ListApiKeys(request, metadata=holder)


async def test_a_new_key_shows_its_text_once(side: Side) -> None:
    """The answer to its making holds it; no listing does."""
    _, first = await side.create()
    holder = await side.shop(first)
    made = await create(side, holder)
    assert made.key.startswith(made.prefix)
    assert len(made.prefix) == 12
    assert list(made.scopes) == ["tickets.read"]
    page = await listed(side, holder)
    assert [(key.name, key.key) for key in page.api_keys] == [("till", ""), ("first key", "")]
    assert (await side.exchange(made.key)).tenant_id


async def test_a_key_that_may_only_read_makes_no_keys(side: Side) -> None:
    """The scope of the method is asked for, whatever the tenant."""
    _, first = await side.create()
    reader = await side.shop((await create(side, await side.shop(first))).key)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await create(side, reader)
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_key_cannot_make_one_that_holds_more(side: Side) -> None:
    """Scopes can be handed on and never won."""
    _, first = await side.create()
    message = api_key_service_pb2.CreateApiKeyRequest(
        api_key=api_key_pb2.ApiKey(name="keys", scopes=["keys.write", "keys.read"])
    )
    maker = await side.keys.CreateApiKey(message, metadata=await side.shop(first))
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await create(side, await side.shop(maker.key))
    assert reason_of(refusal.value) == "SCOPE_NOT_GRANTABLE"


async def test_an_operator_inside_a_tenant_makes_its_keys(side: Side) -> None:
    """Bound to the tenant an operator can help a shop that lost its keys; unbound it cannot."""
    tenant, _ = await side.create()
    made = await create(side, await side.operator(tenant.slug))
    assert (await side.exchange(made.key)).tenant_id == tenant.id
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await create(side, await side.operator())
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_repeated_request_makes_one_key(side: Side) -> None:
    """Also when the repeats come at once; one of them shows the text."""
    _, first = await side.create()
    holder = await side.shop(first)
    request_id = str(uuid4())
    answers = await asyncio.gather(*(create(side, holder, request_id=request_id) for _ in range(6)))
    assert len({answer.id for answer in answers}) == 1
    assert sum(bool(answer.key) for answer in answers) == 1
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await create(side, holder, name="another", request_id=request_id)
    assert reason_of(refusal.value) == "REQUEST_ID_REUSED"


async def test_pages_of_keys_are_newest_first_and_end(side: Side) -> None:
    """Each key comes once."""
    _, first = await side.create()
    holder = await side.shop(first)
    for number in range(4):
        await create(side, holder, name=f"key {number}")
    names, token = [], ""
    for expected in (2, 2, 1):
        page = await listed(side, holder, 2, token)
        assert len(page.api_keys) == expected
        names += [key.name for key in page.api_keys]
        token = page.next_page_token
    assert token == ""
    assert names == ["key 3", "key 2", "key 1", "key 0", "first key"]


async def test_a_revoked_key_stays_revoked_at_its_first_time(side: Side) -> None:
    """Revoking twice is one revocation."""
    _, first = await side.create()
    holder = await side.shop(first)
    made = await create(side, holder)
    request = api_key_service_pb2.RevokeApiKeyRequest(api_key=made.id)
    once = await side.keys.RevokeApiKey(request, metadata=holder)
    twice = await side.keys.RevokeApiKey(request, metadata=holder)
    assert once.HasField("revoke_time")
    assert once == twice


async def test_another_shops_keys_can_neither_be_seen_nor_revoked(side: Side) -> None:
    """The other shop's key looks as if it did not exist, and goes on working."""
    _, ours = await side.create()
    _, theirs = await side.create()
    their_page = await listed(side, await side.shop(theirs))
    our_page = await listed(side, await side.shop(ours))
    assert not {key.id for key in our_page.api_keys} & {key.id for key in their_page.api_keys}
    request = api_key_service_pb2.RevokeApiKeyRequest(api_key=their_page.api_keys[0].id)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await side.keys.RevokeApiKey(request, metadata=await side.shop(ours))
    assert reason_of(refusal.value) == "API_KEY_NOT_FOUND"
    await side.exchange(theirs)


async def test_a_page_token_of_another_shop_opens_nothing(side: Side) -> None:
    """A token is bound to the tenant that it was made for."""
    _, ours = await side.create()
    _, theirs = await side.create()
    holder = await side.shop(theirs)
    await create(side, holder)
    token = (await listed(side, holder, 1)).next_page_token
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await listed(side, await side.shop(ours), 1, token)
    assert reason_of(refusal.value) == "PAGE_TOKEN_INVALID"
