"""The control plane as a process: settings → wire → serve."""

import asyncio
import signal
import sys
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from gateway import pages, peers, tls, trust
from gateway.addresses import HostPort
from gateway.ads.cache import SnapshotCache
from gateway.ads.server import OPTIONS, register
from gateway.certificates import CertificateRefusedError, CertificateStore, Pair
from gateway.control import ControlPlane
from gateway.edge import contracts
from gateway.edge.resources import Edge
from gateway.settings import GatewaySettings
from servicekit import metrics
from servicekit.channel import open_channel
from servicekit.peers import PeerTls
from servicekit.server import AddressInUseError, bind

log = structlog.get_logger(__name__)

RENEWAL_SECONDS = 3600.0


async def serve(settings: GatewaySettings) -> None:
    """Run the control plane until SIGTERM or SIGINT."""
    edge = _edge(settings)
    store = _certificates(settings)
    cache = SnapshotCache()
    peer_tls = settings.peer_tls(settings.ads_listen)
    server = await _start_server(settings.ads_listen, cache, peer_tls)
    metrics.serve(settings.metrics_listen)
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    log.info("control_plane_started", ads=settings.ads_listen)
    plane = ControlPlane(edge, settings.endpoints(), cache, store.read)
    async with open_channel(settings.tenant_target, "tenant", peer_tls) as channel:
        tasks = [
            asyncio.create_task(plane.run(trust.key_sets(channel, settings.workload_credential()))),
            asyncio.create_task(_renew(settings)),
            asyncio.create_task(stopped.wait()),
        ]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.wait(tasks)
        await server.stop(grace=0.5)
    for task in done:
        task.result()


async def _start_server(listen: str, cache: SnapshotCache, peer_tls: PeerTls | None) -> grpc.aio.Server:
    server = grpc.aio.server(options=OPTIONS)
    register(server, cache)
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    try:
        bind(server, listen, peer_tls)
    except AddressInUseError as error:
        sys.exit(str(error))
    await server.start()
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    return server


def _edge(settings: GatewaySettings) -> Edge:
    https = HostPort.parse(settings.https_listen)
    return Edge(
        https=https,
        http=HostPort.parse(settings.http_listen),
        https_port=settings.visible_https_port(),
        proxies=settings.proxies(),
        patience=settings.patience(),
        hsts_max_age=settings.hsts(),
        cors_origins=tuple(settings.cors_origins),
        image=contracts.parse(settings.image().read_bytes()),
        openapi=pages.openapi(settings.public_url),
        docs=pages.docs(),
        rates=settings.rates(),
        suite_secrets=peers.secrets_folder(settings.make_data_dir()) if settings.peer_files() else None,
    )


def _folder(settings: GatewaySettings, name: str) -> Path:
    folder = settings.make_data_dir().absolute() / name
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder


def _certificates(settings: GatewaySettings) -> CertificateStore:
    live = settings.make_data_dir().absolute() / "tls" / "live"
    drops, acme = _folder(settings, "certificates"), _folder(settings, "acme-challenge")
    store = CertificateStore(_own_pair(settings), drops, acme, live)
    try:
        store.read()
    except CertificateRefusedError as refused:
        sys.exit(str(refused))
    return store


def _own_pair(settings: GatewaySettings) -> Pair:
    if settings.certificate_file and settings.key_file:
        return Pair(settings.certificate_file.absolute(), settings.key_file.absolute())
    made = tls.ensure(settings.make_data_dir() / "tls", settings.tls_names)
    return Pair(made.certificate, made.key)


async def _renew(settings: GatewaySettings) -> None:
    while True:
        await asyncio.sleep(RENEWAL_SECONDS)
        await asyncio.to_thread(_own_pair, settings)
