"""The token endpoint on the running service: tokens of client credentials, and refusals of every kind."""

import asyncio
import json
from base64 import b64encode
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from rapport.tenant.v1 import (
    api_key_pb2,
    api_key_service_pb2,
    audit_service_pb2,
    oauth_service_pb2,
    tenant_service_pb2,
)
from rapport.tenant.v1.audit_entry_pb2 import AuditEntry
from sqlalchemy import event
from sqlalchemy.engine import Engine

from services.tenant import keys, scopes
from services.tenant.oauth import FORM
from tests.support.waiting import eventually
from tests.tenant.side import OPERATOR_KEY, Side
from tests.tenant.test_exchange import claims_of

GRANT = "grant_type=client_credentials"
Refusal = tuple[grpc.StatusCode, str, dict[str, str | bytes]]


async def ask(side: Side, form: str, authorization: str = "", content_type: str = FORM) -> tuple[dict[str, Any], Any]:
    """The answer of the endpoint and its headers."""
    request = oauth_service_pb2.IssueTokenRequest(form=HttpBody(content_type=content_type, data=form.encode()))
    metadata = (("authorization", authorization),) if authorization else ()
    call = side.oauth.IssueToken(request, metadata=metadata)
    answer = await call
    assert answer.content_type == "application/json"
    return json.loads(answer.data), dict(await call.initial_metadata())


async def refusal_of(side: Side, form: str, authorization: str = "") -> Refusal:
    """The status, the OAuth error and the trailers of a refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await ask(side, form, authorization)
    trailers = dict(refusal.value.trailing_metadata() or ())
    document = json.loads(trailers["problem-bin"])
    assert set(document) == {"error", "error_description"}
    return refusal.value.code(), document["error"], trailers


def form_of(client_id: str, secret: str, **more: str) -> str:
    """A form with the client in it."""
    return "&".join(
        [GRANT, f"client_id={client_id}", f"client_secret={secret}", *(f"{k}={v}" for k, v in more.items())]
    )


async def key_in(side: Side, slug: str, **fields: object) -> api_key_pb2.ApiKey:
    """A new key of a shop."""
    key = api_key_pb2.ApiKey(**({"name": "x", "scopes": ["tickets.read", "customers.read"]} | fields))  # type: ignore[arg-type]
    request = api_key_service_pb2.CreateApiKeyRequest(api_key=key)
    return await side.keys.CreateApiKey(request, metadata=await side.operator(slug))


async def test_a_shops_secret_key_becomes_a_token(side: Side) -> None:
    """With the slug as the id, in the form or in the header; the answer is that of RFC 6749 and is never stored."""
    tenant, text = await side.create()
    header = "Basic " + b64encode(f"{tenant.slug}:{text}".encode()).decode()
    for answer, headers in (await ask(side, form_of(tenant.slug, text)), await ask(side, GRANT, header)):
        assert set(answer) == {"access_token", "token_type", "expires_in", "scope"}
        assert answer["token_type"] == "Bearer"
        assert set(answer["scope"].split()) == scopes.SHOP
        assert 100 < answer["expires_in"] <= 120
        assert headers["cache-control"] == "no-store"
        claims = await claims_of(side, answer["access_token"])
        assert (claims["tid"], claims["slug"]) == (tenant.id, tenant.slug)


async def test_a_token_can_be_narrower_than_its_key_and_never_wider(side: Side) -> None:
    """The scope of the answer is that of the token."""
    tenant, _ = await side.create()
    key = await key_in(side, tenant.slug)
    answer, _ = await ask(side, form_of(tenant.slug, key.key, scope="tickets.read"))
    assert answer["scope"] == (await claims_of(side, answer["access_token"]))["scope"] == "tickets.read"
    for scope in ("tickets.write", "tickets.read+tickets.write", "tenants.read", "invented"):
        code, error, trailers = await refusal_of(side, form_of(tenant.slug, key.key, scope=scope))
        assert (code, error) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_scope")
        assert trailers["cache-control"] == "no-store"
        assert "www-authenticate" not in trailers


async def test_every_client_that_proves_nothing_is_refused_alike(side: Side) -> None:
    """Another shop's id, an unknown one, a key that is no more, an operator's key: one and the same answer."""
    tenant, text = await side.create()
    other, of_other = await side.create()
    revoked = await key_in(side, tenant.slug)
    revocation = api_key_service_pb2.RevokeApiKeyRequest(api_key=revoked.id)
    await side.keys.RevokeApiKey(revocation, metadata=await side.operator(tenant.slug))
    suspended, of_suspended = await side.create()
    await side.suspend(suspended.slug)
    refusals = {
        (code, error, trailers["problem-bin"], trailers["www-authenticate"])
        for client in (
            (other.slug, text),
            (tenant.slug, of_other),
            (tenant.id, text),
            ("no-such-shop", text),
            (tenant.slug, keys.new_text()),
            (tenant.slug, "guess"),
            (tenant.slug, revoked.key),
            (suspended.slug, of_suspended),
            (tenant.slug, OPERATOR_KEY),
            ("admin", OPERATOR_KEY),
        )
        for code, error, trailers in [await refusal_of(side, form_of(*client))]
    }
    assert len(refusals) == 1
    code, error, _, challenge = refusals.pop()
    assert (code, error) == (grpc.StatusCode.UNAUTHENTICATED, "invalid_client")
    assert str(challenge).startswith("Basic ")


async def test_a_browser_key_is_no_client_secret(side: Side) -> None:
    """It stands in a public page, so it proves nobody; the refusal says what to do."""
    tenant, _ = await side.create()
    key = await key_in(
        side, tenant.slug, kind=api_key_pb2.ApiKey.KIND_BROWSER, allowed_origins=["https://desk.example.com"]
    )
    code, error, _ = await refusal_of(side, form_of(tenant.slug, key.key))
    assert (code, error) == (grpc.StatusCode.INVALID_ARGUMENT, "unauthorized_client")


async def test_a_refused_client_of_a_known_shop_is_in_its_audit_log(side: Side) -> None:
    """Under the key that was used, whatever the id beside it."""
    tenant, text = await side.create()
    await refusal_of(side, form_of("no-such-shop", text))
    holder = await side.operator(tenant.slug)

    async def noted() -> list[str] | None:
        request = audit_service_pb2.ListAuditEntriesRequest()
        page = await side.audit.ListAuditEntries(request, metadata=holder)
        return [entry.subject for entry in page.audit_entries if entry.method.endswith("/IssueToken")] or None

    [subject] = await eventually(noted)
    assert subject.startswith("key:")
    assert text not in subject


async def test_a_guessed_secret_is_in_the_audit_log_of_the_shop_that_was_named(side: Side) -> None:
    """Under the client's name, also when the secret could not even be a key."""
    tenant, _ = await side.create()
    for secret in (keys.new_text(), "guess"):
        await refusal_of(side, form_of(tenant.slug, secret))
    holder = await side.operator(tenant.slug)

    async def counted() -> bool:
        request = audit_service_pb2.ListAuditEntriesRequest()
        entries = (await side.audit.ListAuditEntries(request, metadata=holder)).audit_entries
        return sum(entry.count for entry in entries if entry.subject == f"client:{tenant.slug}") == 2

    await eventually(counted)


async def test_a_refused_client_of_an_erased_shop_names_nobody(side: Side) -> None:
    """Nothing is written down for the shop, so that what was erased stays empty; elsewhere it is one of many."""
    tenant, _ = await side.create()
    await side.erase(tenant.slug)
    other, _ = await side.create()
    await refusal_of(side, form_of(tenant.slug, keys.new_text()))
    await refusal_of(side, form_of(other.slug, keys.new_text()))
    of_other, of_deployment = await side.operator(other.slug), await side.operator()
    request = audit_service_pb2.ListAuditEntriesRequest(kind=AuditEntry.KIND_REFUSAL)

    async def written() -> bool:
        return bool((await side.audit.ListAuditEntries(request, metadata=of_other)).audit_entries)

    await eventually(written)
    deployment = (await side.audit.ListAuditEntries(request, metadata=of_deployment)).audit_entries
    assert f"client:{tenant.slug}" not in {each.subject for each in deployment}


@pytest.mark.parametrize("client_id", ["%00", "a%00b", "%F0%9F%90%99", "x" * 256, "..", "'; SELECT 1; --"])
async def test_no_client_id_breaks_the_endpoint(side: Side, client_id: str) -> None:
    """Characters that no slug has reach no query."""
    assert (await refusal_of(side, form_of(client_id, keys.new_text())))[1] == "invalid_client"


async def test_a_refusal_costs_the_same_work_whatever_is_wrong(side: Side) -> None:
    """An unknown secret, another shop's, a revoked one, and a client that does not exist: the same queries."""
    tenant, text = await side.create()
    _, of_other = await side.create()
    erased, _ = await side.create()
    await side.erase(erased.slug)
    revoked = await key_in(side, tenant.slug)
    revocation = api_key_service_pb2.RevokeApiKeyRequest(api_key=revoked.id)
    await side.keys.RevokeApiKey(revocation, metadata=await side.operator(tenant.slug))
    lookups = ("find_api_key(", "find_tenant(", "FROM tenant.tenants", "tenant.api_keys")
    looked_up: list[str] = []

    def sent(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if any(lookup in statement for lookup in lookups):
            looked_up.append(statement)

    works = {}
    event.listen(Engine, "before_cursor_execute", sent)
    try:
        for wrong, client in {
            "unknown": (tenant.slug, keys.new_text()),
            "of another shop": (tenant.slug, of_other),
            "revoked": (tenant.slug, revoked.key),
            "no such shop": ("no-such-shop", text),
            "no such anything": ("no-such-shop", keys.new_text()),
            "of an erased shop": (erased.slug, keys.new_text()),
        }.items():
            looked_up.clear()
            await refusal_of(side, form_of(*client))
            works[wrong] = len(looked_up)
    finally:
        event.remove(Engine, "before_cursor_execute", sent)
    assert set(works.values()) == {5}, works


async def test_the_description_is_that_of_the_host_that_was_asked(side: Side) -> None:
    """As the gateway names it."""
    request = oauth_service_pb2.GetAuthorizationServerRequest()
    answer = await side.oauth.GetAuthorizationServer(request, metadata=(("x-rapport-host", "acme.localhost:8443"),))
    document = json.loads(answer.data)
    assert document["issuer"] == "https://acme.localhost:8443"
    assert set(document["scopes_supported"]) == scopes.SHOP


async def test_a_deleted_shop_gets_no_token(side: Side) -> None:
    """From the moment of its deletion."""
    tenant, text = await side.create()
    await ask(side, form_of(tenant.slug, text))
    await side.tenants.DeleteTenant(
        tenant_service_pb2.DeleteTenantRequest(tenant=tenant.slug), metadata=await side.operator()
    )
    assert (await refusal_of(side, form_of(tenant.slug, text)))[1] == "invalid_client"


async def test_many_clients_at_once_each_get_their_own_token(side: Side) -> None:
    """Nothing is mixed up between shops."""
    shops = [await side.create() for _ in range(4)]
    asked = [(tenant, text) for tenant, text in shops for _ in range(5)]
    answers = await asyncio.gather(*(ask(side, form_of(tenant.slug, text)) for tenant, text in asked))
    for (tenant, _), (answer, _) in zip(asked, answers, strict=True):
        assert (await claims_of(side, answer["access_token"]))["tid"] == tenant.id
