"""What Envoy serves by itself: health, documents, keys."""

import httpx
import pytest

from tests.gateway.stack import Stack


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health", "/health/ready", "/health/live", "/healthz?x=1"])
def test_health_needs_no_credential(stranger: httpx.Client, path: str) -> None:
    """And answers with a word in JSON."""
    response = stranger.get(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_the_api_document_and_its_page_are_served(stranger: httpx.Client) -> None:
    """The page loads nothing from elsewhere, which its policy enforces."""
    document = stranger.get("/openapi.json")
    assert document.headers["content-type"] == "application/json"
    assert document.json()["openapi"].startswith("3.1")
    page = stranger.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "/openapi.json" in page.text


def test_the_key_set_is_public(stack: Stack, stranger: httpx.Client) -> None:
    """As the tenant service streams it."""
    assert stranger.get("/.well-known/jwks.json").text == stack.tokens.jwks()
