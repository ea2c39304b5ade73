"""The edge through bad times: the control plane killed, keys rotated, services down."""

import socket
import ssl
from collections.abc import Iterator

import httpx
import pytest

from gateway import tls
from tests.gateway.stack import Stack, wait_until
from tests.gateway.upstream import GOOD_KEY, WORKLOAD_SECRET


@pytest.fixture
def edge(stack: Stack) -> Iterator[Stack]:
    """The shared edge, to be broken by a test and mended by its end."""
    stack.wait_until_whole()
    yield stack
    stack.wait_until_whole()


@pytest.fixture
def distrusted() -> Iterator[Stack]:
    """An edge whose control plane may not learn the keys."""
    whole = Stack()
    whole.settings["WORKLOAD_SECRET"] = "wrong"
    try:
        whole.start_process("control", "serve")
        whole.start_process("envoy", "envoy")
        wait_until(lambda: whole.status("/openapi.json") == 200, "the gateway is configured")
        yield whole
    finally:
        whole.stop()


def test_without_any_key_set_nobody_is_judged(distrusted: Stack) -> None:
    """503, neither refused nor welcome; once the keys are known the same request passes."""
    edge = distrusted
    assert edge.status("/healthz") == 200
    assert edge.status("/readyz") == 503
    assert edge.status("/v1/things/1", GOOD_KEY) == 503
    assert edge.status("/.well-known/jwks.json") == 503
    edge.kill("control")
    edge.settings["WORKLOAD_SECRET"] = WORKLOAD_SECRET
    edge.start_process("control", "serve")
    wait_until(lambda: edge.status("/v1/things/1", GOOD_KEY) == 200, "the keys are known")


def test_traffic_goes_on_without_the_control_plane(edge: Stack) -> None:
    """Envoy keeps what it has; a control plane that comes back takes nothing away."""
    edge.kill("control")
    accepted = edge.log("control").count("snapshot_accepted")
    with edge.client() as client:
        for _ in range(20):
            assert client.get("/v1/things/1", headers={"x-api-key": GOOD_KEY}).status_code == 200
        edge.start_process("control", "serve")
        wait_until(lambda: edge.log("control").count("snapshot_accepted") > accepted, "Envoy took the snapshot")
        assert client.get("/v1/things/1", headers={"x-api-key": GOOD_KEY}).status_code == 200


def test_new_keys_arrive_without_a_new_connection(edge: Stack) -> None:
    """The listener is not touched: the client's connection stays."""
    with edge.client(http2=True) as client:
        old = edge.tokens.token()

        def status(token: str) -> int:
            return client.get("/v1/things/1", headers={"authorization": f"Bearer {token}"}).status_code

        assert status(old) == 200
        edge.loop.run(edge.tokens.rotate())
        new = edge.tokens.token()
        wait_until(lambda: status(new) == 200, "the new key is believed")
        assert status(old) == 200
        assert client.get("/healthz").extensions["stream_id"] > 1, "the connection was opened anew"


def test_a_renewed_certificate_is_served_without_dropping_a_connection(edge: Stack) -> None:
    """Envoy reads the files again when they are replaced."""

    def serial() -> str:
        context = ssl.create_default_context(cafile=str(edge.folder / "tls" / "ca.pem"))
        with (
            socket.create_connection(("127.0.0.1", edge.https), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            return str((connection.getpeercert() or {})["serialNumber"])

    before = serial()
    with edge.client(http2=True) as client:
        assert client.get("/healthz").status_code == 200
        tls.ensure(edge.folder / "tls", ["renewed.example"])
        wait_until(lambda: serial() != before, "the new certificate is served")
        assert client.get("/healthz").extensions["stream_id"] > 1, "the connection was opened anew"


def test_a_process_of_a_service_may_go(edge: Stack) -> None:
    """Its work goes to the other; the gateway stays ready."""
    edge.probe_server.stop()
    try:
        with edge.client() as client:
            servers = {edge_answer(client) for _ in range(20)}
        assert servers == {"two"}
        assert edge.status("/readyz") == 200
    finally:
        edge.probe_server.start()


def test_a_service_that_is_down_is_503_and_not_ready(edge: Stack) -> None:
    """And both end by themselves when it is back."""
    edge.probe_server.stop()
    edge.other_server.stop()
    try:
        wait_until(lambda: edge.status("/readyz") == 503, "not ready")
        with edge.client() as client:
            response = client.get("/v1/things/1", headers={"x-api-key": GOOD_KEY, "origin": "http://localhost:1"})
            assert response.status_code == 503
            assert response.json()["reason"] == "UNAVAILABLE"
            assert response.headers["retry-after"] == "1"
            assert response.headers["access-control-allow-origin"] == "http://localhost:1"
        assert edge.status("/healthz") == 200
    finally:
        edge.probe_server.start()
        edge.other_server.start()
    wait_until(lambda: edge.status("/readyz") == 200, "ready again")


def test_known_keys_pass_while_the_tenant_service_is_down(edge: Stack) -> None:
    """Unknown ones are neither refused nor let in."""
    assert edge.status("/v1/things/1", GOOD_KEY) == 200
    edge.tenant_server.stop()
    try:
        assert edge.status("/v1/things/1", GOOD_KEY) == 200
        with edge.client() as client:
            response = client.get("/v1/things/1", headers={"x-api-key": "rpk_never_seen"})
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.headers["content-type"] == "application/problem+json"
    finally:
        edge.tenant_server.start()


def edge_answer(client: httpx.Client) -> str:
    """Return which server answered a good request."""
    response = client.get("/v1/things/1", headers={"x-api-key": GOOD_KEY})
    assert response.status_code == 200, response.text
    return str(response.json()["server"])
