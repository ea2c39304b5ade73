"""HTTP leads to HTTPS, to the very same address, and nowhere else."""

import http.client

import pytest

from tests.gateway.stack import Stack


def ask(stack: Stack, path: str, verb: str = "GET", **headers: str) -> tuple[int, str]:
    """Send a request as it is, without a client's own tidying, and return status and Location."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.http, timeout=10)
    try:
        connection.putrequest(verb, path, skip_host=True, skip_accept_encoding=True)
        for name, value in ({"host": f"localhost:{stack.http}"} | headers).items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.getheader("location") or ""
    finally:
        connection.close()


TABLE = [
    ("GET", "/", "localhost:80", "https://localhost:{port}/"),
    ("POST", "/api/tickets", "localhost", "https://localhost:{port}/api/tickets"),
    ("GET", "/a?b=c&d=%20e", "shop.example:8080", "https://shop.example:{port}/a?b=c&d=%20e"),
    ("GET", "/a//b/../c/%2e%2e/d", "shop.example", "https://shop.example:{port}/a//b/../c/%2e%2e/d"),
    ("GET", "//evil.example/x", "localhost", "https://localhost:{port}//evil.example/x"),
    ("DELETE", "/v1/x/", "[::1]:8080", "https://[::1]:{port}/v1/x/"),
    ("GET", "/docs", "localhost", "https://localhost:{port}/docs"),
]


@pytest.mark.parametrize(("verb", "path", "host", "location"), TABLE)
def test_a_request_is_sent_to_the_same_address_on_https(
    stack: Stack, verb: str, path: str, host: str, location: str
) -> None:
    """308 keeps the method; path and query stay as they were sent; the host loses its port."""
    assert ask(stack, path, verb, host=host) == (308, location.format(port=stack.https))


def test_forwarded_headers_of_a_client_change_nothing(stack: Stack) -> None:
    """Neither scheme nor host is believed."""
    status, location = ask(stack, "/x", x_forwarded_proto="https", x_forwarded_host="evil.example")
    assert (status, location) == (308, f"https://localhost:{stack.https}/x")


@pytest.mark.parametrize("path", ["/healthz", "/health", "/health/live", "/readyz", "/health/ready"])
def test_health_is_answered_in_place(stack: Stack, path: str) -> None:
    """Probes follow no redirects."""
    assert ask(stack, path)[0] == 200


def test_acme_challenges_are_not_redirected(stack: Stack) -> None:
    """There is none here, and that is said on HTTP."""
    assert ask(stack, "/.well-known/acme-challenge/token")[0] == 404
