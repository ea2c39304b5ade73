"""Mutual TLS on a real server: who gets in, who is believed what, and certificates that change under load."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from rapport.tenant.v1.token_service_pb2 import AccessToken, ExchangeApiKeyRequest

from servicekit import authority
from servicekit.authority import Lives
from servicekit.believed import believed_metadata
from servicekit.channel import open_channel
from servicekit.peer_settings import PeerSettings
from servicekit.peers import CertificateUnusableError, PeerFiles, PeerTls
from servicekit.server import RunningServer, start_server
from tests.servicekit.probe import REQUEST, SERVICE, echo, registration
from tests.servicekit.waiting import until
from tests.support.tokens import Issuer
from tests.support.trail import kept_trail

NAMES = ["crm", "tickets", "gateway"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Certificates of three processes."""
    authority.issue(tmp_path, NAMES)
    return tmp_path


def tls(folder: Path, name: str) -> PeerTls:
    """Return what a process shows and believes; changes are noticed within a twentieth of a second."""
    return PeerTls(PeerFiles.of(folder / name), look_seconds=0.05)


@asynccontextmanager
async def serving(folder: Path, behaviour: Any = echo) -> AsyncIterator[RunningServer]:
    """Run the probe service as `tickets`, with TLS."""
    trail, _ = kept_trail()
    server = await start_server(
        [registration(behaviour)], trust=Issuer().trust, audit=trail, tls=tls(folder, "tickets")
    )
    try:
        yield server
    finally:
        await server.stop()


async def ask(channel: grpc.aio.Channel, **options: Any) -> str:
    """Call the method that needs no token."""
    method = channel.unary_unary(
        f"/{SERVICE}/Open",
        request_serializer=ExchangeApiKeyRequest.SerializeToString,
        response_deserializer=AccessToken.FromString,
    )
    answer: AccessToken = await method(REQUEST, timeout=20, **options)
    return answer.token


async def refused(server: RunningServer, peer: PeerTls | None, service: str = "tickets") -> bool:
    """Tell whether no connection came about."""
    async with open_channel(f"ipv4:{server.address}", service, peer) as channel:
        try:
            await ask(channel)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


async def test_a_certificate_of_our_authority_gets_in(folder: Path) -> None:
    """And the one who calls knows that it talks to the service that it meant."""
    async with serving(folder) as server:
        assert not await refused(server, tls(folder, "crm"))


async def test_plaintext_does_not_get_in(folder: Path) -> None:
    """A port with TLS answers nobody without."""
    async with serving(folder) as server:
        assert await refused(server, None)


async def test_a_client_without_a_certificate_does_not_get_in(folder: Path) -> None:
    """Trusting the server is not enough."""
    trusted = grpc.ssl_channel_credentials((folder / "crm" / "ca.crt").read_bytes())
    options = [("grpc.ssl_target_name_override", "tickets")]
    async with (
        serving(folder) as server,
        grpc.aio.secure_channel(f"ipv4:{server.address}", trusted, options=options) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_authority_does_not_get_in(folder: Path, tmp_path_factory: Any) -> None:
    """The same names, signed by somebody else; the client even trusts the server."""
    other = tmp_path_factory.mktemp("other")
    authority.issue(other, NAMES)
    files = PeerFiles(other / "crm" / "tls.crt", other / "crm" / "tls.key", folder / "crm" / "ca.crt")
    async with serving(folder) as server:
        assert await refused(server, PeerTls(files))


async def test_an_expired_certificate_does_not_get_in(folder: Path) -> None:
    """A process that holds one since before its end is refused when it connects after it."""
    short = Lives(certificate=timedelta(seconds=2))
    authority.issue(folder, ["short"], lives=short)
    peer = tls(folder, "short")
    end = peer.held().end
    async with serving(folder) as server:
        assert not await refused(server, peer)
        # The second that it names belongs to its life, and TLS's own clock of seconds may be a little behind this one.
        await until(lambda: datetime.now(UTC) > end + timedelta(seconds=1.1))
        assert await refused(server, peer)
    with pytest.raises(CertificateUnusableError, match="was valid until"):
        tls(folder, "short")


async def test_a_caller_notices_that_another_service_answers(folder: Path) -> None:
    """Who answers must be the one who was meant, not just anybody of the suite."""
    async with serving(folder) as server:
        assert await refused(server, tls(folder, "gateway"), service="crm")


FORGED = (("x-envoy-original-path", "/webhooks/x/y"), ("x-rapport-host", "b.example"), ("x-request-id", "r-1"))


async def _tell_believed(_request: object, context: Any) -> AccessToken:
    keys = {key for key, _ in FORGED}
    return AccessToken(token=" ".join(sorted(key for key, _ in believed_metadata(context) if key in keys)))


@pytest.mark.parametrize(
    ("caller", "believed"),
    [("gateway", "x-envoy-original-path x-rapport-host x-request-id"), ("crm", "x-request-id")],
)
async def test_only_the_gateways_connection_may_say_what_was_asked_for(
    folder: Path, caller: str, believed: str
) -> None:
    """A service's certificate cannot pose as the gateway: what it says of host and path is taken out."""
    async with (
        serving(folder, _tell_believed) as server,
        open_channel(f"ipv4:{server.address}", "tickets", tls(folder, caller)) as channel,
    ):
        assert await ask(channel, metadata=FORGED) == believed


def test_metadata_is_read_in_one_place_only() -> None:
    """Whoever reads it raw would believe what the caller has no right to say."""
    root = Path(__file__).resolve().parents[2]
    readers = {
        str(file.relative_to(root))
        for package in ("servicekit", "services", "gateway", "cli")
        for file in (root / package).rglob("*.py")
        if ".invocation_metadata()" in file.read_text(encoding="utf-8")
    }
    assert readers == {"servicekit/believed.py"}


async def test_half_a_renewal_is_passed_over(folder: Path) -> None:
    """A key that does not fit its certificate leaves the old pair in use until the other half is there."""
    files = folder / "crm"
    whole = {name: (files / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt")}
    apart = folder / "apart"
    apart.mkdir()
    for name, content in whole.items():
        (apart / name).write_bytes(content)
    peer = PeerTls(PeerFiles.of(apart), look_seconds=0)
    before = peer.held()
    (apart / "tls.key").write_bytes((folder / "gateway" / "tls.key").read_bytes())
    assert peer.held() is before
    (apart / "tls.crt").write_bytes((folder / "gateway" / "tls.crt").read_bytes())
    assert peer.held().name == "gateway"


def test_the_three_files_are_set_together_or_not_at_all(folder: Path) -> None:
    """Half a setting must not mean plaintext."""
    with pytest.raises(ValueError, match="belong together"):
        PeerSettings(tls_certificate_file=folder / "crm" / "tls.crt")


@pytest.mark.parametrize(
    ("listen", "open_to_others"),
    [
        ("127.0.0.1:7000", False),
        ("[::1]:7000", False),
        ("localhost:7000", False),
        ("unix:/run/x.sock", False),
        ("0.0.0.0:7000", True),
        ("[::]:7000", True),
        ("10.1.2.3:7000", True),
        ("tickets:7000", True),
    ],
)
def test_nobody_listens_beyond_the_machine_without_tls(listen: str, open_to_others: bool) -> None:
    """Unless the operator says that a mesh guards the network."""
    if open_to_others:
        with pytest.raises(ValueError, match="nothing would guard it"):
            PeerSettings().peer_tls(listen)
    else:
        assert PeerSettings().peer_tls(listen) is None
    assert PeerSettings(trust_network=True).peer_tls(listen) is None


async def test_certificates_of_seconds_change_under_load_without_a_failed_call(
    tmp_path: Path, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three certificates and one whole exchange of the authority, while calls and new connections go on."""
    lives = Lives(certificate=timedelta(seconds=6), settle=timedelta(seconds=1.5))
    authority.issue(tmp_path, NAMES, lives=lives)
    ends, authorities, done, failed = set(), set(), 0, []
    stop = time.monotonic() + 9.5

    async def renew() -> None:
        rolled = False
        while time.monotonic() < stop:
            roll = not rolled and time.monotonic() > stop - 5.5
            rolled = rolled or roll
            await asyncio.to_thread(authority.issue, tmp_path, NAMES, lives=lives, roll=roll)
            ends.add((tmp_path / "tickets" / "tls.crt").read_bytes())
            authorities.add((tmp_path / "tickets" / "ca.crt").read_bytes())
            await asyncio.sleep(0.05)

    async def call(channel: grpc.aio.Channel) -> None:
        nonlocal done
        try:
            await ask(channel)
            done += 1
        except grpc.aio.AioRpcError as error:
            failed.append(error.details())

    async def keep_calling(channel: grpc.aio.Channel) -> None:
        while time.monotonic() < stop:
            await call(channel)
            await asyncio.sleep(0.002)

    async def keep_connecting(target: str) -> int:
        count = 0
        while time.monotonic() < stop:
            async with open_channel(target, "tickets", tls(tmp_path, "gateway")) as channel:
                await call(channel)
            count += 1
        return count

    async with serving(tmp_path) as server:
        target = f"ipv4:{server.address}"
        async with open_channel(target, "tickets", tls(tmp_path, "crm")) as channel:
            *_, connections = await asyncio.gather(
                renew(), keep_calling(channel), keep_calling(channel), keep_connecting(target)
            )
    figures = f"{done} calls, {connections} connections, {len(ends)} certificates, {len(authorities)} trust bundles"
    record_property("figures", figures)
    with capsys.disabled():
        sys.stdout.write(f"\n  certificates renewed live: {figures}, {len(failed)} failed\n")
    assert failed == []
    assert len(ends) >= 4
    assert len(authorities) >= 3
