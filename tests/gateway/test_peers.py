"""Envoy and who it connects to: it shows its certificate, and accepts only the process that it meant."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import UpstreamTlsContext

from gateway import peers
from gateway.ads.resources import Resource
from gateway.edge.clusters import cluster
from servicekit import authority
from servicekit.peers import PeerFiles, PeerTls
from servicekit.server import bind
from tests.gateway.upstream import ROOT
from tests.support.servers import new_folder
from tests.support.waiting import eventually


@pytest.fixture
def folder() -> Path:
    """A folder with a short name, for Envoy's socket, and certificates of two processes."""
    made = new_folder()
    authority.issue(made, ["gateway", "crm"])
    return made


@asynccontextmanager
async def control_plane(folder: Path, who: str) -> AsyncIterator[str]:
    """Listen as a control plane would, with the certificate of one of the suite's processes; give the address."""
    server = grpc.aio.server()
    address = bind(server, "127.0.0.1:0", PeerTls(PeerFiles.of(folder / who)))
    await server.start()
    try:
        yield address
    finally:
        await server.stop(None)


@asynccontextmanager
async def envoy(folder: Path, ads: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run Envoy with the gateway's certificate; give a client of its admin interface."""
    files = PeerFiles.of(folder / "gateway")
    settings = {
        "DATA_DIR": str(folder / "data"),
        "ADS_TARGET": ads,
        "ENVOY_CONCURRENCY": "1",
        "TLS_CERTIFICATE_FILE": str(files.certificate),
        "TLS_KEY_FILE": str(files.key),
        "TLS_CA_FILE": str(files.authorities),
    }
    environment = os.environ | {f"RAPPORT_GATEWAY_{name}": value for name, value in settings.items()}
    environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'gen'}"
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "envoy", env=environment, stdout=log, stderr=log
        )
    transport = httpx.AsyncHTTPTransport(uds=str(folder / "data" / "admin.sock"))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://envoy") as client:
            yield client
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("who", "counted", "never"),
    [("gateway", "ssl.handshake", "ssl.fail_verify_san"), ("crm", "ssl.fail_verify_san", "ssl.handshake")],
)
async def test_envoy_takes_its_configuration_from_the_gateway_only(
    folder: Path, who: str, counted: str, never: str
) -> None:
    """A process of the suite that took over the control plane's address is not believed."""
    async with control_plane(folder, who) as address, envoy(folder, address) as admin:

        async def figures() -> dict[str, int] | None:
            try:
                told = (await admin.get("/stats?format=json&filter=^cluster.control_plane.")).json()["stats"]
            except httpx.TransportError:
                return None
            found = {one["name"].removeprefix("cluster.control_plane."): one["value"] for one in told if "value" in one}
            return found if found.get(counted) else None

        found = await eventually(figures, within=60)
    assert found.get(never, 0) == 0


def test_the_cluster_of_a_service_asks_for_its_identity_and_resumes_nothing(tmp_path: Path) -> None:
    """Further versions of a service are that service; its secrets are no business of the control plane."""
    made = cluster("tickets@green", peers.secrets_folder(tmp_path))
    assert isinstance(made, Cluster)
    socket = made.transport_socket
    assert socket is not None
    assert socket.typed_config is not None
    context = UpstreamTlsContext.parse(socket.typed_config.value)
    common = context.common_tls_context
    assert common is not None
    combined = common.combined_validation_context
    assert combined is not None
    assert combined.default_validation_context is not None
    (name,) = combined.default_validation_context.match_typed_subject_alt_names
    assert name.matcher is not None
    assert name.matcher.exact == "spiffe://rapport/tickets"
    assert (context.sni, context.max_session_keys) == ("tickets", 0)
    assert {reference.name for reference in Resource.of(made).references} == {"tickets@green"}


def test_the_files_that_envoy_reads_hold_paths_and_no_key(folder: Path) -> None:
    """One secret to a file, each watched by its folder."""
    secrets = peers.secrets_folder(folder)
    peers.write_secrets(secrets, PeerFiles.of(folder / "gateway"))
    found = {file.name: file.read_text(encoding="utf-8") for file in secrets.iterdir()}
    assert set(found) == {"suite_certificate.json", "suite_authorities.json"}
    for text in found.values():
        assert "BEGIN" not in text
        (secret,) = json.loads(text)["resources"]
        (value,) = (value for key, value in secret.items() if key not in {"@type", "name"})
        assert value["watched_directory"] == {"path": str(folder / "gateway")}
