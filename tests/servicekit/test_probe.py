"""A container's health probe: it exits 0 only when the process answers that it serves, with TLS and without."""

import asyncio
import os
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from servicekit import authority
from servicekit.health import ALIVE
from servicekit.peers import PeerFiles, PeerTls
from servicekit.server import start_server
from tests.servicekit.probe import SERVICE, echo, registration
from tests.support.tokens import Issuer
from tests.support.trail import kept_trail


async def probe(**settings: str) -> tuple[int | None, str]:
    """Run the probe; return its exit code and what it said."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(["gen", "."]))
    environment |= {f"RAPPORT_PROBE_{name}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "servicekit.probe", env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.parametrize("with_tls", [False, True])
async def test_the_probe_sees_a_serving_process(tmp_path: Path, with_tls: bool) -> None:
    """With TLS it shows the process's own certificate; without one it is not let in."""
    authority.issue(tmp_path, ["tickets"])
    files = PeerFiles.of(tmp_path / "tickets")
    trail, _ = kept_trail()
    tls = PeerTls(files) if with_tls else None
    server = await start_server([registration(echo)], trust=Issuer().trust, audit=trail, tls=tls)
    shown = {
        "TLS_CERTIFICATE_FILE": str(files.certificate),
        "TLS_KEY_FILE": str(files.key),
        "TLS_CA_FILE": str(files.authorities),
    }
    try:
        assert await probe(TARGET=server.address, **(shown if with_tls else {})) == (0, "")
        code, said = await probe(TARGET=server.address, **({} if with_tls else shown))
        assert code == 1
        assert "did not answer: UNAVAILABLE" in said
    finally:
        await server.stop()


async def test_the_probe_names_a_wrong_setting() -> None:
    """An operator reads it in the container's health log."""
    assert await probe() == (1, "RAPPORT_PROBE_TARGET names no address to ask\n")
    code, said = await probe(TARGET="127.0.0.1:1", TLS_KEY_FILE="/nowhere")
    assert code == 1
    assert "set all or none" in said


async def test_a_cluster_probes_without_a_certificate_and_learns_the_health_alone(tmp_path: Path) -> None:
    """The second port knows no other method, and tells "alive" from "ready"."""
    authority.issue(tmp_path, ["tickets"])
    trail, _ = kept_trail()
    down = False
    server = await start_server(
        [registration(echo)],
        trust=Issuer().trust,
        audit=trail,
        tls=PeerTls(PeerFiles.of(tmp_path / "tickets")),
        probe_listen=f"unix:{tmp_path}/p",
        components=[("database", lambda: not down)],
    )
    try:
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/p") as channel:
            health = health_pb2_grpc.HealthStub(channel)

            async def told(name: str) -> int:
                return (await health.Check(health_pb2.HealthCheckRequest(service=name))).status

            assert (await told(""), await told(ALIVE)) == (1, 1)
            down = True
            await server.health.look()
            assert (await told(""), await told(ALIVE)) == (2, 1)
            for method in (f"/{SERVICE}/Open", "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/List"):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await channel.unary_unary(method)(b"")
                assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED, method
    finally:
        await server.stop()
