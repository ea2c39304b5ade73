"""Every error over REST is problem+json with a detail for people, whoever answers, and browsers may read it."""

import json
import socket
import ssl

import httpx
import pytest

from tests.gateway.stack import Stack

ORIGIN = {"origin": "http://localhost:5173"}
MEMBERS = {"type", "title", "status", "detail", "reason"}


def problem(response: httpx.Response, status: int) -> dict[str, str | int]:
    """Return the problem of a response after checking its form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, str | int] = response.json()
    assert document.keys() >= MEMBERS
    assert document["status"] == status
    assert document["detail"]
    return document


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/v1/nope", 404),
        ("GET", "/api/things/1/2", 404),
        ("GET", "/webhooks/zendesk", 404),
        ("DELETE", "/v1/things/7", 405),
        ("GET", "/v1/things/7:close", 405),
        ("GET", "/api/things", 405),
        ("GET", "/webhooks/zendesk/token", 405),
        ("GET", "/v1/things/7", 401),
        ("POST", "/api/things", 401),
    ],
)
def test_the_gateways_own_refusals_are_problems_that_browsers_may_read(
    stranger: httpx.Client, verb: str, path: str, status: int
) -> None:
    """Unknown addresses and wrong methods are told before any credential is asked for."""
    response = stranger.request(verb, path, headers=ORIGIN)
    problem(response, status)
    assert response.headers["access-control-allow-origin"] == ORIGIN["origin"]


def test_a_wrong_method_is_told_the_right_ones(stranger: httpx.Client) -> None:
    """By the header of the standard."""
    assert stranger.delete("/v1/things/7").headers["allow"] == "GET"
    assert stranger.get("/v1/things").headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "said"),
    [(b'{"name": tru', "Unexpected token"), (b'{"size": "x"}', "size"), (b"[1]", "message"), (b"\xff\xfe", "UTF-8")],
    ids=["cut off", "wrong type", "not an object", "not text"],
)
def test_malformed_json_is_told_what_is_wrong(client: httpx.Client, body: bytes, said: str) -> None:
    """In words that help."""
    document = problem(client.post("/v1/things", content=body, headers=ORIGIN), 400)
    assert said in str(document["detail"])


@pytest.mark.parametrize("chunked", [False, True])
def test_an_oversize_body_is_413(client: httpx.Client, chunked: bool) -> None:
    """Said in advance or found out on the way."""
    body = b'{"name":"' + b"a" * (1 << 20) + b'"}'
    content = (body[at : at + 65536] for at in range(0, len(body), 65536)) if chunked else body
    problem(client.post("/v1/things", content=content), 413)


def test_a_services_problem_arrives_as_it_was_made(client: httpx.Client) -> None:
    """Its own status, every character, and CORS headers."""
    response = client.get("/api/failures/5", headers=ORIGIN)
    document = problem(response, 422)
    assert document["detail"] == "Größe „zu“ groß ✓"
    assert document["title"] == "Nö"
    assert response.headers["access-control-allow-origin"] == ORIGIN["origin"]
    assert not [name for name in response.headers if name.startswith(("grpc", "problem"))]


@pytest.mark.parametrize(("code", "status"), [(5, 404), (13, 500), (14, 503), (4, 504), (8, 429), (12, 501)])
def test_a_failure_without_a_problem_gets_the_gateways_own(client: httpx.Client, code: int, status: int) -> None:
    """And the service's internal words stay inside."""
    response = client.get(f"/api/failures/{code}?bare=true")
    problem(response, status)
    assert response.headers.get("retry-after") == ("1" if status in {503, 504} else None)
    assert "internal words" not in response.text


def test_an_unknown_origin_gets_no_cors_headers(stranger: httpx.Client) -> None:
    """Its browser then keeps the answer from the page."""
    response = stranger.get("/v1/things/7", headers={"origin": "http://localhost.evil.example"})
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("path", ["/v1/things/7", "/api/things", "/nope"])
def test_a_preflight_is_answered(stranger: httpx.Client, path: str) -> None:
    """Without a credential, for each method and header that the frontend uses."""
    headers = ORIGIN | {"access-control-request-method": "PATCH", "access-control-request-headers": "x-api-key"}
    response = stranger.options(path, headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN["origin"]
    methods = set(response.headers["access-control-allow-methods"].split(", "))
    assert methods == {"GET", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"}
    allowed = set(response.headers["access-control-allow-headers"].split(", "))
    assert allowed >= {"content-type", "x-api-key", "authorization", "if-match"}


RAW = {
    "no HTTP": (b"GARBAGE\r\n\r\n", 400),
    "no host": (b"GET /v1/things/1 HTTP/1.1\r\n\r\n", 400),
    "two lengths": (
        b"POST /v1/things HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        400,
    ),
    "an endless address": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", 431),
    "an endless header": (b"GET / HTTP/1.1\r\nhost: localhost\r\nx-a: " + b"a" * 70_000 + b"\r\n\r\n", 431),
}


@pytest.mark.parametrize(("sent", "status"), RAW.values(), ids=RAW.keys())
def test_what_is_no_request_gets_a_problem_too(stack: Stack, sent: bytes, status: int) -> None:
    """Even before there is a route."""
    context = ssl.create_default_context(cafile=str(stack.folder / "tls" / "ca.pem"))
    with (
        socket.create_connection(("127.0.0.1", stack.https), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(sent)
        received = b""
        while b'"}' not in received and (more := connection.recv(65536)):
            received += more
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["detail"]
