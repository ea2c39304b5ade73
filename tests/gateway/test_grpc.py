"""gRPC and gRPC-Web through the edge: public methods only."""

import httpx
import pytest

from tests.gateway.stack import Stack
from tests.gateway.upstream import GOOD_KEY

REQUEST = b"\0\0\0\0\3\n\x01a"


def call(stack: Stack, method: str, kind: str = "application/grpc", key: str = GOOD_KEY) -> httpx.Response:
    """Call a method with the request `id: "a"`."""
    headers = {"content-type": kind, "te": "trailers", "x-api-key": key}
    with stack.client(http2=True) as client:
        return client.post(method, content=REQUEST, headers=headers)


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc-web+proto"])
def test_a_public_method_is_called_over_grpc_and_grpc_web(stack: Stack, kind: str) -> None:
    """With the same key as over REST."""
    response = call(stack, "/rapport.probe.v1.ProbeService/Echo", kind)
    assert response.status_code == 200
    assert response.headers["content-type"] == kind
    assert b"\n\x01a" in response.content


@pytest.mark.parametrize(
    "method",
    [
        "/rapport.probe.v1.ProbeService/Internal",
        "/rapport.probe.v1.ProbeService/ReceiveWebhook",
        "/rapport.tenant.v1.TokenService/ExchangeApiKey",
        "/rapport.tenant.v1.TokenService/ExchangeWorkload",
        "/rapport.tenant.v1.TokenService/WatchTrust",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ],
)
def test_what_is_for_services_only_does_not_exist_outside(stack: Stack, method: str) -> None:
    """Over gRPC that is UNIMPLEMENTED, over anything else 404."""
    response = call(stack, method)
    assert (response.headers["grpc-status"], response.headers["grpc-message"]) == (
        "12",
        "There is nothing at this address.",
    )
    assert call(stack, method, kind="application/json").status_code == 404


def test_a_call_without_a_credential_is_unauthenticated(stack: Stack) -> None:
    """By gRPC's own code, with the same words as over REST."""
    response = call(stack, "/rapport.probe.v1.ProbeService/Echo", key="rpk_wrong_000002")
    assert response.headers["grpc-status"] == "16"
    assert "API key" in response.headers["grpc-message"]


def test_a_services_refusal_stays_grpc(stack: Stack) -> None:
    """The problem is for REST."""
    headers = {"content-type": "application/grpc", "te": "trailers", "x-api-key": GOOD_KEY}
    with stack.client(http2=True) as client:
        response = client.post("/rapport.probe.v1.ProbeService/Fail", content=b"\0\0\0\0\2\x08\x05", headers=headers)
    assert (response.status_code, response.headers["grpc-status"]) == (200, "5")
