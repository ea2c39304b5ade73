"""Webhooks reach the service byte for byte, with the address that they were sent to."""

import hashlib
import random
from collections.abc import Iterator

import httpx
import pytest

from tests.gateway.stack import Stack

SIZES = [1, 2, 100, 16_383, 16_384, 65_535, 65_536, 1_000_000, 1 << 20]


def noise(size: int) -> bytes:
    """Return bytes that are no text."""
    return b"\xff" + random.Random(size).randbytes(size - 1)


def chunks(body: bytes) -> Iterator[bytes]:
    """Yield a body in pieces of odd sizes."""
    at, sizes = 0, random.Random(len(body))
    while at < len(body):
        size = sizes.randint(1, 70_000)
        yield body[at : at + size]
        at += size


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_arrives_byte_for_byte(stack: Stack, chunked: bool, http2: bool) -> None:
    """From one byte to a mebibyte, over both versions of HTTP, with and without a length."""
    with stack.client(http2=http2) as client:
        for size in SIZES:
            body, token = noise(size), f"t{size}{chunked}{http2}"
            path = f"/webhooks/zendesk/{token}?a=b%20c&d=%C3%BC"
            response = client.post(path, content=chunks(body) if chunked else body)
            assert (response.status_code, response.text) == (200, f"taken {size}")
            probe = stack.probe if token in stack.probe.webhooks else stack.other_probe
            assert probe.webhooks[token] == (hashlib.sha256(body).hexdigest(), size, path)
            assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")


def test_an_empty_body_is_a_body(stranger: httpx.Client) -> None:
    """Some vendors send handshakes without one."""
    assert stranger.post("/webhooks/zendesk/empty").text == "taken 0"


def test_a_body_beyond_a_mebibyte_and_its_slack_is_413(stranger: httpx.Client) -> None:
    """A little more than a mebibyte still reaches the service, which says so in its own words."""
    assert stranger.post("/webhooks/zendesk/big", content=b"x" * ((1 << 20) + 1000)).status_code == 200
    response = stranger.post("/webhooks/zendesk/big", content=b"x" * ((1 << 20) + 20_000))
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"


def test_what_looks_like_a_key_is_the_webhooks_own_affair(stack: Stack, stranger: httpx.Client) -> None:
    """No exchange, no refusal: the vendor's credential is for the service to judge."""
    before = stack.tokens.exchanges
    headers = {"x-api-key": "vendor", "authorization": "Basic dXNlcjpwYXNz"}
    assert stranger.post("/webhooks/zendesk/own", headers=headers).status_code == 200
    assert stack.tokens.exchanges == before


def test_the_access_log_tells_no_tokens(stack: Stack, stranger: httpx.Client) -> None:
    """Neither of webhooks that were taken nor of those that were refused, nor of addresses that do not exist."""
    for path in ("/webhooks/zendesk/secret-1?k=secret-2", "/webhooks/zendesk/secret-3/x", "/wrong/secret-4"):
        stranger.post(path, headers={"x-request-id": "x"})
    stranger.get("/webhooks/zendesk/secret-5")
    marker = stranger.get("/v1/things/secret-6").headers["x-request-id"]
    stack.wait_for_access_log(marker)
    assert "secret-" not in stack.access_log()
    assert "/rapport.probe.v1.ProbeService/ReceiveWebhook" in stack.access_log()
