"""Where calls may go: hosts of the vendor only, at public addresses, and nowhere that an answer names."""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpcore
import pytest

from servicekit.certificates import make_authority
from services.crm.calling.breaker import FIRST_REST, LONGEST_REST, MOST_FAILURES, Breaker
from services.crm.calling.failures import CallError, OutOfReachError, retry_after
from services.crm.calling.guard import GuardedNetwork, is_public
from services.crm.calling.origins import checked_origin
from services.crm.calling.pace import Pacer
from services.crm.calling.sender import Sender
from services.crm.providers.api import Call, Pace, Reply

APEXES = frozenset({"zendesk.com"})


class Wires(httpcore.AsyncNetworkBackend):
    """A network that notes where it is told to connect to, and connects to nothing."""

    def __init__(self) -> None:
        self.connected: list[tuple[str, int]] = []

    async def connect_tcp(self, host: str, port: int, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        """Note the address and fail."""
        self.connected.append((host, port))
        raise httpcore.ConnectError


def leading_to(*answers: Sequence[str]) -> tuple[GuardedNetwork, Wires, list[str]]:
    """Return a guarded network whose name server gives these answers one after the other."""
    wires, asked, left = Wires(), [], list(answers)

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return left.pop(0)

    return GuardedNetwork(resolve=resolve, network=wires), wires, asked


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - an address that must not be connected to
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.0.8",
        "198.18.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:db8::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:0:127.0.0.1",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "fec0::1",
        "192.88.99.1",
        "5f00::1",
        "100::1",
        "4000::1",
        "localhost",
        "",
    ],
)
async def test_address_that_is_not_public_is_never_connected_to(address: str) -> None:
    """Not even when it is wrapped in another, or stands beside a public one."""
    assert not is_public(address)
    for answer in ([address], ["8.8.8.8", address]):
        network, wires, _ = leading_to(answer)
        with pytest.raises(CallError, match="ADDRESS_NOT_PUBLIC"):
            await network.connect_tcp("acme.zendesk.com", 443)
        assert wires.connected == []


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_address_of_the_public_internet_is_public(address: str) -> None:
    """Also where a network without IPv4 of its own wraps it."""
    assert is_public(address)


async def test_connection_goes_to_the_address_that_was_judged() -> None:
    """The name is asked for once: a second answer, to an inner address, is never used."""
    network, wires, asked = leading_to(["8.8.8.8", "2606:4700::1111"], ["127.0.0.1"])
    with pytest.raises(httpcore.ConnectError):
        await network.connect_tcp("acme.zendesk.com", 443)
    assert wires.connected == [("8.8.8.8", 443), ("2606:4700::1111", 443)]
    assert asked == ["acme.zendesk.com"]


async def test_guard_stands_in_the_way_of_real_calls() -> None:
    """A call of a name that leads inside is refused before anything is sent."""
    network, wires, _ = leading_to(["127.0.0.1"])
    sender = Sender(network)
    with pytest.raises(CallError, match="ADDRESS_NOT_PUBLIC"):
        await sender.send(Call("GET", "/"), "https://acme.zendesk.com/api", {"authorization": "Bearer x"})
    assert wires.connected == []
    await sender.close()


async def test_host_that_does_not_prove_who_it_is_gets_no_credentials(tmp_path: Path) -> None:
    """Whoever answers in the vendor's place without its certificate sees nothing of the call."""
    own = make_authority("Somebody", now=datetime.now(UTC), life=timedelta(hours=1))
    (tmp_path / "cert.pem").write_bytes(own.certificate_pem)
    (tmp_path / "key.pem").write_bytes(own.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    sender = Sender(GuardedNetwork(exempt=[("127.0.0.1", port)]))
    with pytest.raises(CallError, match="CERTIFICATE_INVALID"):
        await sender.send(Call("GET", "/"), f"https://127.0.0.1:{port}/", {"authorization": "Bearer x"})
    assert heard == []
    await sender.close()
    server.close()
    await server.wait_closed()


async def test_name_without_an_address_may_have_one_later() -> None:
    """A name server that does not know the name now is no verdict about the connection."""

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        raise OSError("name or service not known")

    with pytest.raises(OutOfReachError, match="HOST_UNKNOWN"):
        await GuardedNetwork(resolve=resolve).connect_tcp("acme.zendesk.com", 443)


@pytest.mark.parametrize(
    "text",
    [
        "http://acme.zendesk.com",
        "https://zendesk.com.evil.example",
        "https://evilzendesk.com",
        "https://acme.zendesk.com@evil.example",
        "https://user@acme.zendesk.com",
        "https://acme.zendesk.com:8443",
        "https://acme.zendesk.com:x",
        "https://127.0.0.1",
        "https://[::1]",
        "https://acme_.zendesk.com",
        "https://Acme.zendesk.com",
        "https://acme..zendesk.com",
        "https://acme.zendesk.com./",
        "https://acme.zendesk.com/../x",
        "https://acme.zendesk.com/api?x=1",
        "https://acme.zendesk.com/api#x",
        "https://acme.zendesk.com\\@evil.example",
        "https://acmé.zendesk.com",
        "https://acme.zendesk.com /",
        "//acme.zendesk.com",
        "",
    ],
)
def test_origin_that_is_not_plainly_the_vendors_is_refused(text: str) -> None:
    """Whatever a module made of settings: only https to a host below the vendor's domains passes."""
    with pytest.raises(CallError, match="HOST_NOT_ALLOWED"):
        checked_origin(text, APEXES)


def test_calls_are_joined_to_their_origin() -> None:
    """A path follows the origin's path; a next page has to be at the same host."""
    origin = checked_origin("https://acme.zendesk.com:443/api/v2/", APEXES)
    assert origin.address(Call("GET", "/tickets/1.json")) == "https://acme.zendesk.com/api/v2/tickets/1.json"
    page = "https://acme.zendesk.com/api/v2/tickets?page=2"
    assert origin.address(Call("GET", url=page)) == page
    assert origin.host == "acme.zendesk.com"


@pytest.mark.parametrize(
    "call",
    [
        Call("GET", url="https://other.zendesk.com/api/v2/tickets?page=2"),
        Call("GET", url="https://acme.zendesk.com.evil.example/x"),
        Call("GET", url="https://acme.zendesk.com@evil.example/x"),
        Call("GET", url="http://acme.zendesk.com/x"),
        Call("GET", url="https://acme.zendesk.com/x y"),
        Call("GET", "tickets"),
        Call("GET", "/tickets/../users"),
        Call("GET", "/tickets?x=1"),
        Call("GET", "/tickets/1\r\nx: y"),
        Call("GET", "@evil.example/"),
        Call("GET"),
    ],
)
def test_call_cannot_leave_its_origin(call: Call) -> None:
    """Credentials go to nobody whom an answer, or an id in a path, names."""
    with pytest.raises(CallError, match="ADDRESS_INVALID"):
        checked_origin("https://acme.zendesk.com", APEXES).address(call)


def test_another_site_takes_the_place_of_all_vendors() -> None:
    """Where a process calls simulators, their host follows and the documented next pages are called there as well."""
    origin = checked_origin("https://acme.zendesk.com/api", APEXES, instead="http://127.0.0.1:9000/zendesk")
    assert origin.address(Call("GET", "/x")) == "http://127.0.0.1:9000/zendesk/api/x"
    moved = "http://127.0.0.1:9000/zendesk/api/x?page=2"
    for url in ("https://acme.zendesk.com/api/x?page=2", moved):
        assert origin.address(Call("GET", url=url)) == moved


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("17", 17.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("999999999", 3600.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
    ],
)
def test_time_to_wait_is_read_in_seconds_and_as_a_date(text: str, seconds: float | None) -> None:
    """Both forms of the header are understood, and no vendor stops a connection for a day by it."""
    reply = Reply(429, {"retry-after": text} if text else {}, b"")
    assert retry_after(reply, datetime(2026, 11, 23, 12, 0, tzinfo=UTC)) == seconds


def test_pace_slows_down_near_the_limit_and_stops_at_it() -> None:
    """What is left is shared over the rest of the time; with nothing left calls wait for the new ones."""
    moment = 50.0
    pacer = Pacer(lambda: moment)
    for pace, wait in ((None, 0.0), (Pace(100, 60), 0.0), (Pace(2, 9), 3.0), (Pace(0, 20), 20.0), (Pace(3, 4), 20.0)):
        pacer.note(pace)
        assert pacer.wait == wait
    moment += 20
    assert pacer.wait == 0.0


def test_circuit_rests_longer_when_trials_go_on_failing() -> None:
    """One call is let through after each rest; the rests double up to the longest."""
    moment = 0.0
    breaker = Breaker(lambda: moment)
    for _ in range(MOST_FAILURES):
        assert breaker.rest() == 0.0
        breaker.failed()
    rests = []
    for _ in range(8):
        rests.append(breaker.rest())
        moment += rests[-1]
        assert breaker.rest() == 0.0
        assert breaker.rest() > 0.0
        breaker.failed()
    assert rests[:3] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST]
    assert rests[-1] == LONGEST_REST
    moment += LONGEST_REST
    assert breaker.rest() == 0.0
    breaker.succeeded()
    assert breaker.rest() == 0.0
