"""A gateway on a platform that ends TLS itself and gives one port, with the very settings of docs/platforms.md."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.gateway import raw
from tests.gateway.stack import Stack, wait_until
from tests.gateway.test_proxies import seen
from tests.gateway.upstream import GOOD_KEY

PAGE = Path(__file__).resolve().parents[2] / "docs" / "platforms.md"
HOST = "rapport.example.com"


class Platform(Stack):
    """One container, asked at its one port by a proxy on this machine."""

    def __init__(self) -> None:
        (block,) = re.findall(r"```env\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        said = dict(line.split("=", 1) for line in block.splitlines())
        super().__init__(TRUSTED_PROXIES='["127.0.0.1/32"]')
        for name, value in said.items():
            port = {"HTTP_LISTEN": self.http, "HTTPS_LISTEN": self.https, "ADS_LISTEN": self.ads}
            short = name.removeprefix("RAPPORT_GATEWAY_")
            self.settings[short] = f"{value.rpartition(':')[0]}:{port[short]}" if short in port else value

    def ask(self, path: str, scheme: str | None = "https", **headers: str) -> raw.Reply:
        """Send what the platform's proxy passes on."""
        said = [("x-api-key", GOOD_KEY), *((name.replace("_", "-"), value) for name, value in headers.items())]
        said += [("x-forwarded-proto", scheme)] if scheme else []
        request = raw.request("GET", path, said).replace(b"localhost", HOST.encode(), 1)
        return raw.one(self, request, tls=False)

    def serves(self) -> bool:
        """Tell whether a request passes."""
        try:
            return self.ask("/v1/things/1").status == 200
        except (OSError, AssertionError):
            return False


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """A gateway as the page says."""
    whole = Platform()
    whole.start_process("gateway", "together")
    try:
        wait_until(whole.serves, "the gateway serves at its one port")
        yield whole
    finally:
        whole.stop()


def test_what_was_asked_by_https_is_served_and_known_to_be_https(platform: Platform) -> None:
    """The client is the one whom the proxy names, and browsers are told to come by HTTPS."""
    answer = platform.ask("/v1/things/1", x_forwarded_for="6.6.6.6, 203.0.113.9")
    assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
    headers = seen(answer)
    assert headers["x-forwarded-for"] == "203.0.113.9"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-rapport-host"] == HOST


def test_what_was_asked_by_http_is_sent_to_https_once(platform: Platform) -> None:
    """To the same address without a port, and there it ends; who does not say how it was asked is refused."""
    redirect = platform.ask("/v1/things/1?colour=a%20b", "http")
    assert (redirect.status, redirect.headers["location"]) == (308, f"https://{HOST}/v1/things/1?colour=a%20b")
    assert platform.ask("/v1/things/1?colour=a%20b").status == 200
    assert platform.ask("/v1/things/1", None).status == 421


def test_the_platforms_health_check_is_answered_in_place(platform: Platform) -> None:
    """Without a header of a proxy, and without a redirect."""
    assert platform.ask("/healthz", None).status == 200


@pytest.mark.parametrize("ending", ["told", "orphaned"])
def test_it_ends_as_a_whole(ending: str) -> None:
    """At SIGTERM in order; when one of the two dies, with an error, so that the platform starts both again."""
    whole = Platform()
    try:
        whole.start_process("gateway", "together")
        wait_until(whole.serves, "the gateway serves")
        process = whole.processes.pop("gateway")
        both = psutil.Process(process.pid).children()
        assert len(both) == 2
        if ending == "told":
            process.send_signal(signal.SIGTERM)
        else:
            next(one for one in both if "serve" in one.cmdline()).kill()
        assert process.wait(timeout=60) == (0 if ending == "told" else 1)
        assert not [one for one in both if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    finally:
        whole.stop()
