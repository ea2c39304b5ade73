"""A container's health probe: it exits 0 only when the process answers that it serves, with TLS and without."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from servicekit import authority
from servicekit.peers import PeerFiles, PeerTls
from servicekit.server import start_server
from tests.servicekit.probe import echo, registration
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
