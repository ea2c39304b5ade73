"""What the host and the origin of a call take away from its token, at a real server."""

from typing import Any

import grpc
import pytest
from rapport.tenant.v1.token_service_pb2 import AccessToken

from servicekit.identity import forwarded_metadata
from tests.servicekit.probe import TENANT, running
from tests.support.tokens import Issuer

GOOD = (grpc.StatusCode.OK, "")
WRONG_HOST = (grpc.StatusCode.PERMISSION_DENIED, "HOST_MISMATCH")
WRONG_ORIGIN = (grpc.StatusCode.PERMISSION_DENIED, "ORIGIN_NOT_ALLOWED")
BAD_TOKEN = (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


async def outcome(name: str, claims: dict[str, Any], *metadata: tuple[str, str]) -> tuple[grpc.StatusCode, str]:
    """Call a method with a token of acme with these claims, and with this metadata beside it."""
    issuer = Issuer()
    token = issuer.token("probe.read", tenant_id=TENANT, slug="acme", **claims)
    async with running(issuer=issuer) as probe:
        given = (("authorization", f"Bearer {token}"), *metadata)
        try:
            await probe.call(name, metadata=given)
        except grpc.aio.AioRpcError:
            refusal = await probe.refusal(name, metadata=given)
            return refusal.code, refusal.reason
    return GOOD


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:8443", GOOD),
        ("acme.localhost:8443", GOOD),
        ("shop.acme.example", GOOD),
        ("globex.localhost:8443", WRONG_HOST),
        ("shop.globex.example", WRONG_HOST),
    ],
)
async def test_a_host_that_says_another_tenant_is_forbidden(host: str, expected: tuple[grpc.StatusCode, str]) -> None:
    """The gateway's word on the host narrows a good token."""
    assert await outcome("Get", {"hosts": ["shop.acme.example"]}, ("x-rapport-host", host)) == expected


async def test_a_public_method_asks_for_no_host() -> None:
    """What needs no credential has nothing that a host could narrow."""
    assert await outcome("Open", {}, ("x-rapport-host", "globex.localhost")) == GOOD


async def test_a_bad_token_is_bad_on_any_host() -> None:
    """Who shows nothing that holds does not learn that the host is wrong as well."""
    assert await outcome("Get", {"lifetime": -1}, ("x-rapport-host", "globex.localhost")) == BAD_TOKEN


@pytest.mark.parametrize(
    ("claims", "origin", "expected"),
    [
        ({}, "https://anywhere.example", GOOD),
        ({"origins": ["https://acme.example"]}, "https://acme.example", GOOD),
        ({"origins": ["https://acme.example"]}, "https://globex.example", WRONG_ORIGIN),
        ({"origins": ["https://acme.example"]}, "", GOOD),
        ({"origins": ["https://acme.example"], "browser": True}, "", WRONG_ORIGIN),
        ({"origins": ["https://acme.example"], "browser": True}, "https://acme.example", GOOD),
    ],
)
async def test_an_origin_narrows_the_token(
    claims: dict[str, Any], origin: str, expected: tuple[grpc.StatusCode, str]
) -> None:
    """A page of an origin that the token does not name is refused, and a browser key without any page is too."""
    metadata = (("origin", origin),) if origin else ()
    assert await outcome("Get", claims, *metadata) == expected


@pytest.mark.parametrize(
    "claims",
    [
        {"hosts": "shop.acme.example"},
        {"hosts": [1]},
        {"hosts": None},
        {"hosts": {"shop.acme.example": True}},
        {"origins": "https://acme.example"},
        {"origins": [["https://acme.example"]]},
        {"quota": "many"},
        {"key_quota": [1]},
    ],
)
async def test_a_token_with_a_claim_of_another_form_is_refused(claims: dict[str, Any]) -> None:
    """A claim that cannot be understood narrows in a way that nobody knows, so the token is not believed."""
    assert await outcome("Get", claims) == BAD_TOKEN


async def test_a_call_onward_is_one_of_the_same_page() -> None:
    """What a service asks of another on the caller's behalf carries the origin, or a browser key would end here."""
    seen: list[Any] = []

    async def look(_request: Any, _context: Any) -> AccessToken:
        seen.append(dict(forwarded_metadata()))
        return AccessToken()

    issuer = Issuer()
    page = "https://acme.example"
    token = issuer.token("probe.read", tenant_id=TENANT, slug="acme", origins=[page], browser=True)
    async with running(look, issuer=issuer) as probe:
        await probe.call("Get", metadata=(("authorization", f"Bearer {token}"), ("origin", page)))
        await probe.call("Get")
    assert [metadata.get("origin") for metadata in seen] == [page, None]
