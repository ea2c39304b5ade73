"""Heads of requests that services of gRPC do not like, through Envoy to the real services."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.support.contents import logs
from tests.support.world import Shop, SuiteUnderTest, new_shop

PLANTED = b"planted-in-a-head-"
HEADS: dict[str, list[tuple[bytes, bytes]]] = {
    "words between layers of gRPC": [
        (b"grpc-internal-encoding-request", b"x"),
        (b"grpc-previous-rpc-attempts", b"-1"),
        (b"grpc-retry-pushback-ms", b"x"),
    ],
    "gRPC's words of a client": [(b"grpc-timeout", b"soon"), (b"grpc-encoding", b"x"), (b"grpc-accept-encoding", b"x")],
    "40 KB": [(b"x-long", b"a" * 40_000)],
    "no text": [
        (b"x-odd", PLANTED + b"\xff"),
        (b"user-agent", PLANTED + b"\xe9"),
        (b"x-webhook-token", PLANTED + b"\xff"),
    ],
}


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop of its own for each test."""
    return await new_shop(suite, "heads")


@asynccontextmanager
async def statuses(
    client: httpx.AsyncClient, shop: Shop, head: list[tuple[bytes, bytes]]
) -> AsyncIterator[dict[str, int]]:
    """Ask each kind of address with one head."""
    key = [(b"x-api-key", shop.api_key.encode()), *head]
    form = {"grant_type": "client_credentials", "client_id": shop.slug, "client_secret": shop.api_key}
    async with client.stream("GET", "/v1/tickets:watchLines", headers=key) as stream:
        yield {
            "tickets": (await client.get("/api/tickets", headers=key)).status_code,
            "connections": (await client.get("/v1/connections", headers=key)).status_code,
            "a stream": stream.status_code,
            "a token": (await client.post("/oauth2/token", data=form, headers=head)).status_code,
            "a webhook": (await client.post(shop.webhook_url, content=b"{}", headers=head)).status_code,
        }


@pytest.mark.parametrize("name", HEADS)
async def test_a_head_that_grpc_does_not_like_changes_no_answer(suite: SuiteUnderTest, shop: Shop, name: str) -> None:
    """Neither a failure nor a refusal, on any surface; what stood in it is in no log."""
    async with suite.client() as client, statuses(client, shop, HEADS[name]) as seen:
        assert seen == {"tickets": 200, "connections": 200, "a stream": 200, "a token": 200, "a webhook": 401}
    assert [file for file, content in logs(suite).items() if PLANTED in content] == []
