"""Credentials become tokens, and bad ones become one and the same refusal."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import grpc
import jwt
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.tenant.v1 import api_key_pb2, api_key_service_pb2, tenant_service_pb2, token_service_pb2

from services.tenant import keys, scopes
from tests.tenant.side import OPERATOR_KEY, WORKLOADS, Side, reason_of


async def claims_of(side: Side, token: str) -> dict[str, object]:
    """The claims of a token, verified with the published key set and nothing else."""
    jwks = json.loads((await side.tokens.GetJwks(token_service_pb2.GetJwksRequest())).json)
    kid = jwt.get_unverified_header(token)["kid"]
    [entry] = [entry for entry in jwks["keys"] if entry["kid"] == kid]
    claims: dict[str, object] = jwt.decode(
        token, jwt.PyJWK(entry), algorithms=["ES256"], issuer="rapport", audience="rapport"
    )
    return claims


async def refusal_of(side: Side, api_key: str) -> tuple[object, ...]:
    """All that a refused exchange shows."""
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await side.exchange(api_key)
    return refusal.value.code(), refusal.value.details(), reason_of(refusal.value)


async def test_the_key_set_publishes_public_keys_only(side: Side) -> None:
    """The current and the next key are published, maybe one that has signed, and no private half is."""
    jwks = json.loads((await side.tokens.GetJwks(token_service_pb2.GetJwksRequest())).json)
    assert len({entry["kid"] for entry in jwks["keys"]}) >= 2
    for entry in jwks["keys"]:
        assert set(entry) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
        assert (entry["kty"], entry["crv"], entry["alg"], entry["use"]) == ("EC", "P-256", "ES256", "sig")


async def test_a_key_becomes_a_token_of_its_tenant(side: Side) -> None:
    """The claims are those of the contract, and the published key set verifies them."""
    tenant, text = await side.create(features={"demo": True})
    access = await side.exchange(text)
    claims = await claims_of(side, access.token)
    assert access.tenant_id == claims["tid"] == tenant.id
    assert claims["slug"] == tenant.slug
    assert claims["sub"] == f"key:{claims['key']}"
    assert set(str(claims["scope"]).split()) == scopes.SHOP
    assert claims["features"] == ["demo"]
    assert claims["exp"] == access.expire_time.seconds
    assert claims["jti"]
    assert 100 < access.expire_time.seconds - time.time() <= 120


async def test_a_token_ends_with_the_key_that_it_was_made_of(side: Side) -> None:
    """A key that ends in a minute gives no token of two."""
    _, first = await side.create()
    end = Timestamp()
    end.FromDatetime(datetime.now(UTC) + timedelta(seconds=60))
    key = api_key_pb2.ApiKey(name="short", scopes=["tickets.read"], expire_time=end)
    request = api_key_service_pb2.CreateApiKeyRequest(api_key=key)
    short = await side.keys.CreateApiKey(request, metadata=await side.shop(first))
    assert (await side.exchange(short.key)).expire_time.seconds == end.seconds


async def test_an_operator_works_without_tenant_or_inside_one(side: Side) -> None:
    """Bound to a tenant, by slug or id, an operator holds the shop's scopes as well."""
    tenant, _ = await side.create()
    for reference, held in (("", scopes.OPERATOR), (tenant.slug, scopes.OPERATOR_IN_TENANT), (tenant.id, None)):
        request = token_service_pb2.ExchangeOperatorKeyRequest(operator_key=OPERATOR_KEY, tenant=reference)
        access = await side.tokens.ExchangeOperatorKey(request)
        claims = await claims_of(side, access.token)
        assert claims["sub"] == "operator:admin"
        assert access.tenant_id == claims.get("tid", "") == (tenant.id if reference else "")
        assert held is None or set(str(claims["scope"]).split()) == held


@pytest.mark.parametrize("service", WORKLOADS)
async def test_a_service_gets_the_scopes_of_its_row(side: Side, service: str) -> None:
    """Its token holds what the table says, without tenant and inside one."""
    tenant, _ = await side.create()
    for tenant_id in ("", tenant.id):
        request = token_service_pb2.ExchangeWorkloadRequest(
            service=service, secret=WORKLOADS[service], tenant_id=tenant_id
        )
        claims = await claims_of(side, (await side.tokens.ExchangeWorkload(request)).token)
        assert claims["sub"] == f"service:{service}"
        assert set(str(claims["scope"]).split()) == scopes.WORKLOADS[service]
        assert claims.get("tid", "") == tenant_id


async def test_every_bad_key_is_refused_alike(side: Side) -> None:
    """Unknown, malformed, revoked, of a suspended tenant, of a deleted tenant: nobody learns which."""
    operator = await side.operator()
    _, revoked = await side.create()
    holder = await side.shop(revoked)
    listing = await side.keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(), metadata=holder)
    revocation = api_key_service_pb2.RevokeApiKeyRequest(api_key=listing.api_keys[0].id)
    await side.keys.RevokeApiKey(revocation, metadata=holder)
    suspended, of_suspended = await side.create()
    await side.suspend(suspended.slug)
    deleted, of_deleted = await side.create()
    await side.tenants.DeleteTenant(tenant_service_pb2.DeleteTenantRequest(tenant=deleted.slug), metadata=operator)
    bad = (keys.new_text(), "rpk_short", "ü" * 100, OPERATOR_KEY, revoked, of_suspended, of_deleted)
    refusals = {await refusal_of(side, text) for text in bad}
    assert len(refusals) == 1
    assert {refusal[2] for refusal in refusals} == {"CREDENTIAL_INVALID"}


async def test_an_expired_key_is_refused(side: Side) -> None:
    """A key is good until its end and not a moment longer."""
    _, first = await side.create()
    end = Timestamp()
    end.FromDatetime(datetime.now(UTC) + timedelta(seconds=1))
    key = api_key_pb2.ApiKey(name="short", scopes=["tickets.read"], expire_time=end)
    request = api_key_service_pb2.CreateApiKeyRequest(api_key=key)
    short = await side.keys.CreateApiKey(request, metadata=await side.shop(first))

    async def ask_until_refused() -> None:
        while True:
            await side.exchange(short.key)

    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await asyncio.wait_for(ask_until_refused(), 5)
    assert reason_of(refusal.value) == "CREDENTIAL_INVALID"
    assert end.ToDatetime(tzinfo=UTC) <= datetime.now(UTC)


@pytest.mark.parametrize(
    "request_message",
    [
        pytest.param(token_service_pb2.ExchangeWorkloadRequest(service="crm", secret="wrong"), id="wrong secret"),
        pytest.param(token_service_pb2.ExchangeWorkloadRequest(service="nobody", secret="x"), id="unknown service"),
        pytest.param(
            token_service_pb2.ExchangeWorkloadRequest(service="crm", secret=WORKLOADS["tickets"]),
            id="secret of another service",
        ),
    ],
)
async def test_a_workload_needs_its_own_secret(
    side: Side, request_message: token_service_pb2.ExchangeWorkloadRequest
) -> None:
    """Anything else is the same refusal, also when it names a tenant that does not exist."""
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await side.tokens.ExchangeWorkload(request_message)
    assert reason_of(refusal.value) == "CREDENTIAL_INVALID"


async def test_only_an_operators_key_is_an_operators_key(side: Side) -> None:
    """A shop's key and a guess are refused, before the tenant that they name is looked at."""
    _, text = await side.create()
    for wrong in (text, "rpo_guess", OPERATOR_KEY + "x"):
        request = token_service_pb2.ExchangeOperatorKeyRequest(operator_key=wrong, tenant="no-such-shop")
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await side.tokens.ExchangeOperatorKey(request)
        assert reason_of(refusal.value) == "CREDENTIAL_INVALID"


async def test_an_empty_or_endless_credential_is_refused_by_the_contract(side: Side) -> None:
    """The contract's sizes hold before anything is hashed."""
    for text in ("", "x" * 257):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await side.exchange(text)
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
