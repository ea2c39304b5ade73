"""The routing decision for webhooks: the shop follows from the address, and the host only narrows it."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from rapport.crm.v1 import webhook_service_pb2

from servicekit.identity import Credential, Host, HostRules, Principal, Standing, Verdict
from servicekit.ids import uuid7
from services.crm.threshold import Threshold
from tests.crm.conftest import Crm, Shop, known_to, slug_of
from tests.crm.zendesk_requests import event, headers
from tests.support.routing import TABLE, Row, name_of
from tests.support.tokens import Issuer

WEBHOOKS = [row for row in TABLE if row[0] in {Credential.WEBHOOK_TOKEN, Credential.WEBHOOK_ACCOUNT}]


async def answer(crm: Crm, shop: Shop, host: str, *, token: str = "") -> tuple[grpc.StatusCode, Any, bytes]:
    """Post a signed webhook on a host; return the code, the words and the problem that it is answered with."""
    body = event()
    signed = [(name, value) for name, value in headers(body, datetime.now(UTC)) if name != "content-type"]
    request = webhook_service_pb2.ReceiveWebhookRequest(
        provider="zendesk", token=token or shop.token, body=HttpBody(data=body)
    )
    try:
        await crm.webhooks.ReceiveWebhook(request, metadata=[*signed, ("x-rapport-host", host)], timeout=20)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details(), bytes(dict(error.trailing_metadata() or ())["problem-bin"])
    return grpc.StatusCode.OK, "", b""


@pytest.mark.parametrize("host", ["{slug}.localhost:8443", "{slug}.example", "localhost", "127.0.0.1:8443"])
async def test_a_webhook_comes_in_on_the_shops_host_and_on_nobodys(crm: Crm, host: str) -> None:
    """Its own subdomain, its own domain and hosts that name no shop are good."""
    shop = await crm.shop()
    assert (await answer(crm, shop, host.format(slug=slug_of(shop.tenant_id))))[0] is grpc.StatusCode.OK
    assert (await crm.balance(shop)).admitted == 1


@pytest.mark.parametrize("host", ["another.localhost", "another.example", "x.{slug}.localhost"])
async def test_a_webhook_on_another_shops_host_looks_like_one_to_an_unknown_address(crm: Crm, host: str) -> None:
    """A good signature on the wrong host is refused in the very words that an unknown token is refused in."""
    shop = await crm.shop()
    host = host.format(slug=slug_of(shop.tenant_id))
    refused = await answer(crm, shop, host)
    assert refused == await answer(crm, shop, host, token="no-such-token")
    assert refused[0] is grpc.StatusCode.UNAUTHENTICATED
    await crm.main.refusals.flush()
    assert (await crm.balance(shop)).admitted == 0


async def test_a_suspension_is_felt_at_once_and_so_is_its_end(crm: Crm) -> None:
    """Nothing about a tenant's state is remembered from one webhook to the next."""
    shop = await crm.shop()
    for refused in (frozenset({shop.tenant_id}), frozenset[UUID]()):
        crm.issuer.trust.refused_tenants = refused
        code, _, _ = await answer(crm, shop, "localhost")
        assert code is (grpc.StatusCode.UNAUTHENTICATED if refused else grpc.StatusCode.OK)


@pytest.mark.parametrize("row", WEBHOOKS, ids=name_of)
async def test_webhooks_are_decided_as_the_table_says(row: Row) -> None:
    """The ingress asks the one decision, in every combination that a webhook or an app's delivery can be in."""
    credential, standing, host = row
    issuer, tenant_id = Issuer(), uuid7()
    gone = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), grpc.aio.Metadata())

    async def unknown(_tenant_id: UUID) -> Principal:
        raise gone

    if standing in (Standing.SUSPENDED, Standing.DELETED):
        issuer.trust.refused_tenants = frozenset({tenant_id})
    threshold = Threshold(
        hosts=HostRules(),
        trust=issuer.trust,
        known_as=unknown if standing is Standing.UNKNOWN else known_to(issuer),
    )
    authority = f"{slug_of(tenant_id)}.localhost" if host is Host.AGREES else "another.localhost"
    objection = await threshold.objection(tenant_id, authority, credential)
    assert (objection == "") is (TABLE[row] is Verdict.ALLOWED)


async def test_a_host_that_cannot_be_judged_now_is_not_guessed_at() -> None:
    """While the tenant service is out of reach a webhook on a shop's host is told to come again."""
    away = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())

    async def out_of_reach(_tenant_id: UUID) -> Principal:
        raise away

    threshold = Threshold(hosts=HostRules(), trust=Issuer().trust, known_as=out_of_reach)
    with pytest.raises(grpc.aio.AioRpcError):
        await threshold.objection(uuid7(), "acme.localhost")
    assert await threshold.objection(uuid7(), "localhost") == ""


async def test_no_webhook_is_taken_on_old_word(crm: Crm) -> None:
    """When it is not known which shops are suspended, a provider is told to come again, and nothing is lost."""
    shop = await crm.shop()
    crm.issuer.trust.age = 31.0
    assert (await answer(crm, shop, "localhost"))[0] is grpc.StatusCode.UNAVAILABLE
    crm.issuer.trust.age = 0.0
    assert (await answer(crm, shop, "localhost"))[0] is grpc.StatusCode.OK
