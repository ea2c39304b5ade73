"""Who is believed about scheme, host and client: every mode, listener, header, peer and path on a real Envoy."""

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests.gateway import raw
from tests.gateway.raw import Reply
from tests.gateway.stack import Stack
from tests.gateway.upstream import GOOD_KEY, LEADING

MODES = {
    "direct": {},
    "one proxy": {
        "MODE": "behind-proxy",
        "TRUSTED_PROXIES": '["127.0.0.1/32", "127.0.0.3/32"]',
        "TRUST_FORWARDED_HOST": "true",
    },
    "two proxies": {"MODE": "behind-proxy", "TRUSTED_HOPS": "2", "TRUSTED_PROXIES": '["127.0.0.1/32"]'},
    "proxy from anywhere": {"MODE": "behind-proxy"},
}
"""The settings of each mode. Requests come from this machine, which is trusted only where its address is named."""

TRUSTED, STRANGER = "127.0.0.1", "127.0.0.2"
SERVED = ("/v1/things/1", "/v1/things/1?colour=a%20b&colour=c", "/docs", "/openapi.json", "/nothing/here")
EXEMPT = {"/healthz": 200, "/health/live": 200, "/readyz": 200, "/.well-known/acme-challenge/token": 404}
SCHEMES = (None, "https", "http", "HTTPS", "HTTP", "https,http", "http, https", "wss", "", "evil")
STATUS_SERVED = {"/docs": 200, "/openapi.json": 200, "/nothing/here": 404}


@pytest.fixture(scope="module", params=MODES)
def behind(request: pytest.FixtureRequest) -> Iterator[tuple[str, Stack]]:
    """An edge in each mode."""
    with ExitStack() as cleanup:
        whole = Stack(HSTS_MAX_AGE="3600", REQUESTS_PER_MINUTE="1000000", **MODES[request.param])
        cleanup.callback(whole.stop)
        yield request.param, whole.start()


def ask(
    stack: Stack, path: str, scheme: str | None, *, tls: bool, source: str, verb: str = "GET", **headers: str
) -> Reply:
    """Send a request as it is and return the answer."""
    said = [("x-api-key", GOOD_KEY)]
    if scheme is not None:
        said.append(("x-forwarded-proto", scheme))
    said += [(name.replace("_", "-"), value) for name, value in headers.items()]
    return raw.one(stack, raw.request(verb, path, said), tls=tls, source=source)


def expected(mode: str, path: str, scheme: str | None, *, tls: bool, source: str) -> int:
    """Return the status that the table names."""
    if not tls and path in EXEMPT:
        return EXEMPT[path]
    if path in EXEMPT and path != "/.well-known/acme-challenge/token":
        return EXEMPT[path]
    served = STATUS_SERVED.get(path, 404 if path in EXEMPT else 200)
    if tls:
        return served
    if mode == "direct":
        return 308
    if mode == "proxy from anywhere" or source != TRUSTED:
        return 421
    return {"https": served, "http": 308}.get(scheme or "", 421)


def test_the_table(behind: tuple[str, Stack]) -> None:
    """Every mode, listener, peer, x-forwarded-proto and path; a redirect leads to the same address, and ends there."""
    mode, stack = behind
    tried = redirected = 0
    for tls, source, scheme, path in itertools.product((True, False), (TRUSTED, STRANGER), SCHEMES, (*SERVED, *EXEMPT)):
        answer = ask(stack, path, scheme, tls=tls, source=source)
        case = f"{mode}, {'https' if tls else 'http'}, from {source}, x-forwarded-proto {scheme!r}, {path}"
        assert answer.status == expected(mode, path, scheme, tls=tls, source=source), case
        by_https = tls or (scheme == "https" and answer.status not in {308, 421} and path not in EXEMPT)
        assert ("strict-transport-security" in answer.headers) <= by_https, case
        if path in SERVED and by_https:
            assert answer.headers["strict-transport-security"] == "max-age=3600", case
        tried += 1
        if answer.status == 308:
            redirected += 1
            check_redirect(stack, mode, path, answer, case)
        else:
            assert "location" not in answer.headers, case
    print(f"{mode}: {tried} cases, {redirected} redirected")  # noqa: T201 - the size of the table


def check_redirect(stack: Stack, mode: str, path: str, answer: Reply, case: str) -> None:
    """Check that a redirect leads to the same address by HTTPS, where it ends."""
    port = f":{stack.https}" if mode == "direct" else ""
    assert answer.headers["location"] == f"https://localhost{port}{path}", case
    assert answer.headers["cache-control"] == "no-store", case
    target = urlsplit(answer.headers["location"])
    again = f"{target.path}?{target.query}" if target.query else target.path
    # By HTTPS in direct mode, by the proxy that ends TLS otherwise.
    followed = ask(stack, again, "https", tls=mode == "direct", source=TRUSTED)
    assert followed.status == STATUS_SERVED.get(path, 200), case


@pytest.mark.parametrize("verb", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_redirect_keeps_the_method_by_308(behind: tuple[str, Stack], verb: str) -> None:
    """With whatever method it was asked."""
    mode, stack = behind
    answer = ask(stack, "/api/things", "http", tls=False, source=TRUSTED, verb=verb)
    assert answer.status == (421 if mode == "proxy from anywhere" else 308)


def seen(answer: Reply) -> dict[str, str]:
    """Return the headers that reached the service."""
    assert answer.status == 200, answer
    headers: dict[str, str] = json.loads(answer.body)["headers"]
    return headers


def test_the_client_is_who_trusted_proxies_say_it_is(behind: tuple[str, Stack]) -> None:
    """As many addresses from the right as there are proxies; what is left of them was said by the client."""
    mode, stack = behind
    chain = "6.6.6.6, 203.0.113.9, 198.51.100.7"
    believed = {"one proxy": "198.51.100.7", "two proxies": "203.0.113.9"}
    if mode in believed:
        headers = seen(ask(stack, "/v1/things/1", "https", tls=False, source=TRUSTED, x_forwarded_for=chain))
        assert headers["x-forwarded-for"] == believed[mode]
        assert headers["x-forwarded-proto"] == "https"
        assert "6.6.6.6" not in str(headers)
        assert not [name for name in headers if name in {"x-rapport-scheme", "x-rapport-client", "x-forwarded-host"}]
    else:
        check_unheard(stack, mode, ask(stack, "/x", "https", tls=False, source=TRUSTED, x_forwarded_for=chain))
    headers = seen(ask(stack, "/v1/things/1", None, tls=True, source=STRANGER, x_forwarded_for=chain))
    assert headers["x-forwarded-for"] == STRANGER


HOSTS_OF_PROXIES = {"one proxy": "desk.shop.example", "two proxies": "localhost"}
"""The host that is believed where a trusted proxy names another one than the request: only where a setting says so."""


def test_the_host_is_what_trusted_proxies_say_it_is(behind: tuple[str, Stack]) -> None:
    """Where they are trusted in that too; otherwise it is the one of the request."""
    mode, stack = behind
    answer = ask(stack, "/v1/things/1", "https", tls=False, source=TRUSTED, x_forwarded_host="desk.shop.example")
    redirected = ask(stack, "/x", "http", tls=False, source=TRUSTED, x_forwarded_host="desk.shop.example:80")
    if mode in HOSTS_OF_PROXIES:
        host = HOSTS_OF_PROXIES[mode]
        assert seen(answer)["x-rapport-host"] == host
        assert redirected.headers["location"] == f"https://{host}/x"
        assert redirected.headers["cache-control"] == "no-store"
    else:
        check_unheard(stack, mode, answer)
    answer = ask(stack, "/v1/things/1", None, tls=True, source=TRUSTED, x_forwarded_host="evil.example")
    assert seen(answer)["x-rapport-host"] == "localhost"


def check_unheard(stack: Stack, mode: str, answer: Reply) -> None:
    """Check the answer to what an untrusted peer said about host, scheme or client on the HTTP listener."""
    assert answer.status == {"direct": 308, "proxy from anywhere": 421}[mode]
    if mode == "direct":
        assert answer.headers["location"].startswith(f"https://localhost:{stack.https}/")


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "a,b", "a\tb", "[::1", "a?b", "a#b", "user:pw@a"])
def test_a_malformed_forwarded_host_is_not_passed_on(behind: tuple[str, Stack], host: str) -> None:
    """A redirect to it could lead anywhere; where the header is not believed, it changes nothing."""
    mode, stack = behind
    for scheme in ("https", "http"):
        answer = ask(stack, "/v1/things/1", scheme, tls=False, source=TRUSTED, x_forwarded_host=host)
        if mode == "one proxy":
            assert answer.status == 400, (scheme, answer)
            assert "location" not in answer.headers
        elif mode == "two proxies" and scheme == "https":
            assert seen(answer)["x-rapport-host"] == "localhost"
        elif mode == "two proxies":
            assert (answer.status, answer.headers["location"]) == (308, "https://localhost/v1/things/1")
        else:
            check_unheard(stack, mode, answer)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("http://localhost/next", "https://localhost/next"),
        ("HTTP://localhost:80/next?a=b", "https://localhost/next?a=b"),
        (" http://localhost:8443/x", "https://localhost:8443/x"),
        ("http://other.example", "https://other.example"),
        ("https://localhost/x", "https://localhost/x"),
        ("/next", "/next"),
        ("//localhost/next", "//localhost/next"),
    ],
)
def test_no_location_of_a_service_leads_from_https_to_http(behind: tuple[str, Stack], said: str, heard: str) -> None:
    """Whatever the service believes that it was asked by."""
    mode, stack = behind
    path = f"/v1/things/{LEADING}?colour={said.replace(' ', '%20')}"
    assert ask(stack, path, None, tls=True, source=TRUSTED).headers["location"] == heard
    answer = ask(stack, path, "https", tls=False, source=TRUSTED)
    if mode in HOSTS_OF_PROXIES:
        assert answer.headers["location"] == heard
    else:
        check_unheard(stack, mode, answer)
