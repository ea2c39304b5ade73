"""What only the edge and the suite may say is dropped, over REST, gRPC and gRPC-Web alike."""

import httpx
import pytest

from tests.gateway import raw
from tests.gateway.stack import Stack
from tests.gateway.upstream import GOOD_KEY

FORGED = {
    # Identity and tenant.
    "x-tenant": "evil",
    "x-tenant-id": "evil",
    "x-tenant-slug": "evil",
    "tenant": "evil",
    "tenant-id": "evil",
    "x-user": "evil",
    "x-user-id": "evil",
    "x-user-name": "evil",
    "x-user-email": "evil",
    "x-user-roles": "evil",
    "x-user-groups": "evil",
    "x-principal": "evil",
    "x-principal-id": "evil",
    "x-scopes": "evil",
    "x-roles": "evil",
    "x-identity-token": "evil",
    "x-remote-user": "evil",
    "remote-user": "evil",
    "x-auth-request-user": "evil",
    "x-auth-token-payload": "evil",
    "x-authenticated-userid": "evil",
    "x-jwt-payload": "evil",
    "x-jwt-claim-sub": "evil",
    "x-goog-authenticated-user-email": "evil",
    "x-goog-iap-jwt-assertion": "evil",
    "x-amzn-oidc-identity": "evil",
    "x-ms-client-principal": "evil",
    "x-client-cert": "evil",
    "ssl-client-cert": "evil",
    "x-ssl-client-verify": "evil",
    # Forwarding.
    "forwarded": "for=evil;host=evil;proto=evil",
    "via": "1.1 evil",
    "x-forwarded-for": "6.6.6.6",
    "x-forwarded-host": "evil.example",
    "x-forwarded-proto": "evil",
    "x-forwarded-port": "6evil66",
    "x-forwarded-prefix": "/evil",
    "x-forwarded-server": "evil",
    "x-forwarded-scheme": "evil",
    "x-forwarded-client-cert": "By=evil",
    "x-real-ip": "6.6.6.6",
    "true-client-ip": "6.6.6.6",
    "cf-connecting-ip": "6.6.6.6",
    "fastly-client-ip": "6.6.6.6",
    "x-client-ip": "6.6.6.6",
    "x-cluster-client-ip": "6.6.6.6",
    "x-original-forwarded-for": "6.6.6.6",
    "x-original-url": "/evil",
    "x-original-host": "evil.example",
    "x-rewrite-url": "/evil",
    "x-host": "evil.example",
    "front-end-https": "evil",
    "x-http-method-override": "EVIL",
    "x-method-override": "EVIL",
    "proxy-authorization": "evil",
    # Internal.
    "x-envoy-original-path": "/evil",
    "x-envoy-original-method": "EVIL",
    "x-envoy-internal": "evil",
    "x-envoy-external-address": "6.6.6.6",
    "x-envoy-decorator-operation": "evil",
    "x-envoy-retry-on": "evil",
    "x-envoy-upstream-rq-timeout-ms": "6evil66",
    "x-envoy-expected-rq-timeout-ms": "6evil66",
    "x-internal-call": "evil",
    "x-rapport-host": "evil.example",
    "x-rapport-tenant": "evil",
    "x-rapport-scheme": "evil",
    "x-rapport-token": "Bearer evil",
    "x-rapport-said-host": "evil.example",
    "x-rapport-client": "6.6.6.6",
    "rapport-tenant": "evil",
    "x-request-id": "evil",
    "problem-bin": "ZXZpbA==",
    "grpc-status": "0",
    "grpc-status-details-bin": "ZXZpbA==",
    "grpc-message": "evil",
    "grpc-internal-encoding-request": "evil",
    "grpc-previous-rpc-attempts": "evil",
    "grpc-retry-pushback-ms": "evil",
    "grpc-server-stats-bin": "ZXZpbA==",
    "grpc-trace-bin": "ZXZpbA==",
}
MARKS = ("evil", "6.6.6.6", "EVIL", "ZXZpbA")
ECHO = "/rapport.probe.v1.ProbeService/Echo"
MESSAGE = b"\0\0\0\0\3\n\x01a"


def variants() -> list[dict[str, str]]:
    """Return the headers as they are, in other capitals, and with underscores, which some take for hyphens."""
    return [
        FORGED,
        {name.title(): value for name, value in FORGED.items()},
        {name.replace("-", "_"): value for name, value in FORGED.items() if "-" in name},
    ]


def check(stack: Stack, before: int) -> None:
    """Check what reached the services since."""
    reached = stack.calls()[before:]
    assert reached
    for _, headers in reached:
        said = {name: value for name, value in headers.items() if name != "seconds-left"}
        left = {name: value for name, value in said.items() if any(mark in value for mark in MARKS)}
        assert left == {}
        # Envoy tells of its own address where the client is on the same machine.
        assert "," not in headers["x-forwarded-for"]
        assert headers["x-envoy-external-address"] == "127.0.0.1"
        assert headers["x-forwarded-proto"] == "https"
        assert headers["x-rapport-host"].startswith("localhost")
        assert not [name for name in headers if "_" in name]


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_forged_headers_reach_no_service_over_rest(stack: Stack, http2: bool) -> None:
    """Nor do they change what is answered; a webhook, which has no credential of ours, included."""
    assert len(FORGED) >= 40
    for headers in variants():
        before = len(stack.calls())
        with stack.client(http2=http2) as client:
            answer = client.get("/v1/things/1", headers={"x-api-key": GOOD_KEY, **headers})
            assert (answer.status_code, answer.json()["id"]) == (200, "1")
            assert answer.json()["headers"]["x-envoy-original-path"] == "/v1/things/1"
            assert client.post("/webhooks/zendesk/forged", content=b"x", headers=headers).status_code == 200
        check(stack, before)


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc-web+proto", "application/grpc-web-text"])
def test_forged_headers_reach_no_service_over_grpc_and_grpc_web(stack: Stack, kind: str) -> None:
    """The path of a call over gRPC is no path of REST, so that a forged one would stand alone."""
    body = b"AAAAAAMKAWE=" if kind.endswith("text") else MESSAGE
    for headers in variants():
        before = len(stack.calls())
        with stack.client(http2=True) as client:
            said = {"x-api-key": GOOD_KEY, "content-type": kind, "te": "trailers", **headers}
            answer = client.post(ECHO, content=body, headers=said)
        assert answer.status_code == 200
        check(stack, before)
        assert all("x-envoy-original-path" not in seen for _, seen in stack.calls()[before:])


def test_a_forged_header_that_is_said_twice_or_folded_is_dropped_too(stack: Stack) -> None:
    """Each line by itself; a line that is continued by the next (RFC 9112, section 5.2) is refused or one value."""
    names = list(FORGED)
    for few in (names[at : at + 30] for at in range(0, len(names), 30)):
        before = len(stack.calls())
        said = [("x-api-key", GOOD_KEY), *((name, FORGED[name]) for name in few for _ in range(2))]
        assert raw.one(stack, raw.request("GET", "/v1/things/1", said)).status == 200, few
        check(stack, before)
    for name in names:
        before = len(stack.calls())
        said = [("x-api-key", GOOD_KEY), (name, f"a\r\n {FORGED[name]}")]
        if raw.one(stack, raw.request("GET", "/v1/things/1", said)).status == 200:
            check(stack, before)
        else:
            assert len(stack.calls()) == before, name


def test_headers_named_as_hop_by_hop_do_not_strip_what_the_edge_adds(stack: Stack) -> None:
    """`Connection: x-rapport-host` must not take away what services judge by."""
    names = ("x-rapport-host", "x-forwarded-for", "x-forwarded-proto", "x-rapport-token", "x-envoy-original-path")
    for named in names:
        before = len(stack.calls())
        said = [("x-api-key", GOOD_KEY), ("connection", f"close, {named}")]
        answer = raw.one(stack, raw.request("GET", "/v1/things/1", said))
        if answer.status == 200:
            check(stack, before)
            assert stack.calls()[-1][1]["x-rapport-token"].startswith("Bearer ey")
        else:
            assert (answer.status, len(stack.calls())) == (400, before), named


def test_a_client_cannot_name_its_own_token_claims(stranger: httpx.Client) -> None:
    """Headers like those of other gateways are no credential."""
    for headers in variants():
        assert stranger.get("/v1/things/1", headers=headers).status_code == 401
