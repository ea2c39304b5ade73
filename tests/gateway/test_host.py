"""What the gateway tells a service of the host that the client called, over each protocol."""

import httpx
import pytest

from tests.gateway.stack import Stack
from tests.gateway.upstream import GOOD_KEY

REQUEST = b"\0\0\0\0\3\n\x01a"
ORIGIN = "http://localhost:5173"


@pytest.mark.parametrize("host", ["acme.localhost", "acme.localhost:8443", "shop.example", "127.0.0.1:8443"])
@pytest.mark.parametrize("path", ["/v1/things/7", "/api/things/7", "/v1/open/7"])
def test_a_service_hears_the_host_over_rest(client: httpx.Client, path: str, host: str) -> None:
    """As the client called it: a service takes off what does not matter."""
    headers = client.get(path, headers={"host": host}).json()["headers"]
    assert headers["x-rapport-host"] == host


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc-web+proto"])
def test_a_service_hears_the_host_over_grpc(stack: Stack, kind: str) -> None:
    """A call over gRPC and over gRPC-Web has a host like any other."""
    headers = {"content-type": kind, "te": "trailers", "x-api-key": GOOD_KEY, "host": "acme.localhost:8443"}
    with stack.client(http2=True) as client:
        response = client.post("/rapport.probe.v1.ProbeService/Echo", content=REQUEST, headers=headers)
    assert b"x-rapport-host" in response.content
    assert b"acme.localhost:8443" in response.content


@pytest.mark.parametrize("forged", ["X-Rapport-Host", "x-rapport-host", "x_rapport_host"])
def test_a_client_cannot_say_the_host_in_our_header(client: httpx.Client, forged: str) -> None:
    """What stands in the gateway's own header is dropped, however it is written and however often."""
    twice = [(forged, "globex.localhost"), (forged, "localhost"), ("host", "acme.localhost")]
    headers = client.get("/v1/things/7", headers=twice).json()["headers"]
    assert headers["x-rapport-host"] == "acme.localhost"
    assert "globex" not in str(headers)


def test_a_page_may_read_why_it_is_refused(client: httpx.Client) -> None:
    """A service's refusal carries the headers of CORS, or a browser would hide it from the page."""
    response = client.get("/api/failures/5", headers={"origin": ORIGIN})
    assert response.status_code >= 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["access-control-allow-origin"] == ORIGIN


def test_a_service_hears_the_origin(client: httpx.Client) -> None:
    """The origin goes through to the service, which narrows it for the tenant."""
    assert client.get("/v1/things/7", headers={"origin": ORIGIN}).json()["headers"]["origin"] == ORIGIN
