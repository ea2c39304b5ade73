"""Certificates come, are renewed and go while clients work: nobody's connection or request suffers."""

import http.client
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest
from cryptography import x509

from tests.gateway.issuing import drop, issue
from tests.gateway.stack import Stack, wait_until
from tests.gateway.upstream import GOOD_KEY

DOMAIN = "desk.shop.example"
RENEWALS = 5


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """An edge of our own: its certificates change."""
    whole = Stack(REQUESTS_PER_MINUTE="1000000")
    try:
        yield whole.start()
    finally:
        whole.stop()


def trusting(stack: Stack) -> ssl.SSLContext:
    """Return a client's TLS that trusts the local CA."""
    return ssl.create_default_context(cafile=str(stack.folder / "tls" / "ca.pem"))


def serial(stack: Stack, name: str) -> int:
    """Return the serial number of the certificate that a new connection is shown for a name."""
    context = trusting(stack)
    context.check_hostname = False
    with (
        socket.create_connection(("127.0.0.1", stack.https), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def shown_after(stack: Stack, name: str, expected: int) -> float:
    """Wait until new connections are shown a certificate and return the seconds that it took."""
    started = time.monotonic()
    wait_until(lambda: serial(stack, name) == expected, f"the certificate of {name} is shown")
    return time.monotonic() - started


def drop_own(stack: Stack) -> int:
    """Renew the gateway's own certificate and return its serial number."""
    issued = issue(stack.folder / "tls", ["localhost", "*.localhost"])
    for name, content in (("server.key", issued.key), ("server.pem", issued.chain)):
        fresh = stack.folder / "tls" / f"{name}.new"
        fresh.write_bytes(content)
        fresh.replace(stack.folder / "tls" / name)
    return issued.serial


def drop_domain(stack: Stack, domain: str = DOMAIN) -> int:
    """Drop a new certificate of a domain and return its serial number."""
    issued = issue(stack.folder / "tls", [domain])
    drop(stack.folder / "certificates" / domain, issued)
    return issued.serial


class Load:
    """Clients that ask without a pause: on kept connections of HTTP/1.1 and HTTP/2, and on new ones."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._url = f"https://localhost:{stack.https}/v1/things/1"
        self._stack, self._name = stack, name
        self._threads = [
            threading.Thread(target=self._run, args=(kind, http2, kept))
            for kind, http2, kept in (
                ("kept h1", False, True),
                ("kept h2", True, True),
                ("new h1", False, False),
                ("new h2", True, False),
            )
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def go_on(self, requests: int) -> None:
        """Wait until so many more requests have been answered."""
        enough = self.answers.total() + requests
        wait_until(lambda: self.answers.total() >= enough, "clients went on")

    def _run(self, kind: str, http2: bool, kept: bool) -> None:
        context = trusting(self._stack)
        client = self._client(context, http2)
        while not self._stop.is_set():
            try:
                response = client.get(
                    self._url, headers={"x-api-key": GOOD_KEY}, extensions={"sni_hostname": self._name}
                )
            except httpx.HTTPError as error:
                self.failures.append(f"{kind}: {error!r}")
            else:
                self.answers[kind] += 1
                if response.status_code != 200:
                    self.failures.append(f"{kind}: {response.status_code} {response.text}")
            if not kept:
                client.close()
                client = self._client(context, http2)
        client.close()

    @staticmethod
    def _client(context: ssl.SSLContext, http2: bool) -> httpx.Client:
        return httpx.Client(verify=context, http2=http2, http1=not http2, timeout=20)


@pytest.mark.parametrize(("name", "renew"), [("localhost", drop_own), (DOMAIN, drop_domain)], ids=["own", "domain"])
def test_a_renewed_certificate_fails_no_request_and_is_shown_to_new_connections(
    stack: Stack, name: str, renew: Callable[[Stack], int]
) -> None:
    """Of the gateway itself and of a domain, several times under load."""
    shown_after(stack, name, renew(stack))
    waits = []
    with Load(stack, name) as load:
        for _ in range(RENEWALS):
            waits.append(shown_after(stack, name, renew(stack)))
            load.go_on(40)
    print(  # noqa: T201 - the figures are what a drill is for
        f"{RENEWALS} renewals of {name}: {load.answers.total()} requests ({dict(sorted(load.answers.items()))}), "
        f"{len(load.failures)} failed; a new certificate was shown after {max(waits):.2f} s at most"
    )
    assert load.failures == []
    assert all(load.answers[kind] for kind in ("kept h1", "kept h2", "new h1", "new h2"))


def kept_connection(stack: Stack, name: str) -> http.client.HTTPSConnection:
    """Return a connection that asks for a name."""
    connection = http.client.HTTPSConnection(name, stack.https, context=trusting(stack), timeout=20)
    plain = socket.create_connection(("127.0.0.1", stack.https), timeout=20)
    connection.sock = trusting(stack).wrap_socket(plain, server_hostname=name)
    return connection


def still_open(connection: http.client.HTTPSConnection) -> bool:
    """Send a request on the connection; False when the server ends or wants to end it."""
    socket_before = connection.sock
    connection.request("GET", "/v1/things/1", headers={"x-api-key": GOOD_KEY})
    response = connection.getresponse()
    response.read()
    return response.status == 200 and connection.sock is socket_before and not response.will_close


def test_a_new_domain_disturbs_no_connection_of_others(stack: Stack) -> None:
    """Neither of the gateway's own names nor of other domains: the update is taken in place."""
    shown_after(stack, "first.example", drop_domain(stack, "first.example"))
    connections = [kept_connection(stack, name) for name in ("localhost", "first.example")]
    assert all(still_open(connection) for connection in connections)
    waits = []
    for number in range(10):
        domain = f"shop{number}.example"
        waits.append(shown_after(stack, domain, drop_domain(stack, domain)))
        assert all(still_open(connection) for connection in connections), domain
    drained = statistic(stack, "listener_manager.total_filter_chains_draining")
    in_place = statistic(stack, "listener_manager.listener_in_place_updated")
    modified = statistic(stack, "listener_manager.listener_modified")
    print(  # noqa: T201 - the figures are what a drill is for
        f"10 domains added: each served after {max(waits):.2f} s at most; 2 kept connections stayed open; "
        f"listener updates in place: {in_place}, of {modified}; filter chains draining: {drained}"
    )
    assert (drained, in_place >= 10) == (0, True)
    for connection in connections:
        connection.close()


def statistic(stack: Stack, name: str) -> int:
    """Return one of Envoy's counters."""
    transport = httpx.HTTPTransport(uds=str(stack.folder / "admin.sock"))
    with httpx.Client(transport=transport, base_url="http://admin") as admin:
        lines = admin.get("/stats", params={"filter": f"^{name}$"}).text.splitlines()
    return int(lines[0].partition(": ")[2])


def test_a_bad_renewal_changes_nothing_for_clients(stack: Stack) -> None:
    """The last good certificate is served, and the log names file and reason."""
    good = drop_domain(stack)
    wait_until(lambda: serial(stack, DOMAIN) == good, "the good one is shown")
    drop(stack.folder / "certificates" / DOMAIN, issue(stack.folder / "tls", ["other.example"]))
    wait_until(lambda: "does not name desk.shop.example" in stack.log("control"), "the refusal is logged")
    assert serial(stack, DOMAIN) == good
    assert str(stack.folder / "certificates" / DOMAIN / "fullchain.pem") in stack.log("control")
    better = drop_domain(stack)
    wait_until(lambda: serial(stack, DOMAIN) == better, "the next good one is shown")


def test_an_unknown_name_is_shown_the_gateways_own_certificate(stack: Stack) -> None:
    """At once: nothing is looked up for it."""
    own = serial(stack, "localhost")
    assert serial(stack, "unknown.example") == own
    assert serial(stack, "DESK.shop.example.evil") == own


def test_a_removed_domain_is_shown_the_gateways_own_certificate_again(stack: Stack) -> None:
    """When its folder is gone."""
    made = drop_domain(stack, "gone.example")
    wait_until(lambda: serial(stack, "gone.example") == made, "it is served")
    folder: Path = stack.folder / "certificates" / "gone.example"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    wait_until(lambda: serial(stack, "gone.example") == serial(stack, "localhost"), "it is not served any more")


def test_a_dropped_challenge_is_served_over_http_while_it_stands_there(stack: Stack) -> None:
    """For any host, as text, without a redirect."""
    token, answer = "c" * 43, f"{'c' * 43}.{'p' * 43}"
    url = f"http://127.0.0.1:{stack.http}/.well-known/acme-challenge/{token}"
    assert httpx.get(url).status_code == 404
    (stack.folder / "acme-challenge" / token).write_text(answer)
    started = time.monotonic()
    wait_until(lambda: httpx.get(url, headers={"host": DOMAIN}).text == answer, "the challenge is served")
    print(f"a challenge was served {time.monotonic() - started:.2f} s after it was dropped")  # noqa: T201 - a figure
    assert httpx.get(url).headers["content-type"].startswith("text/plain")
    (stack.folder / "acme-challenge" / token).unlink()
    wait_until(lambda: httpx.get(url).status_code == 404, "the challenge is gone")
