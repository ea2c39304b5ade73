"""The control plane as a process: settings → wire → serve."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import structlog
from rapport.gateway.v1 import gateway_service_pb2_grpc

from gateway import pages, peers, tls
from gateway.addresses import HostPort
from gateway.ads.cache import SnapshotCache
from gateway.ads.server import OPTIONS, handlers
from gateway.certificates import CertificateRefusedError, CertificateStore, Pair
from gateway.control import ControlPlane
from gateway.edge import contracts
from gateway.edge.resources import Edge
from gateway.edge.tracing import Tracing
from gateway.figures import Figures
from gateway.quota import QuotaService
from gateway.service import GatewayServicer
from gateway.settings import GatewaySettings
from servicekit import metrics
from servicekit.audit import AuditTrail, keeping, remote
from servicekit.believed import may_be_the_gateway
from servicekit.channel import open_channel
from servicekit.identity import TrustWatcher, Workload
from servicekit.peers import PeerTls
from servicekit.server import AddressInUseError, Registration, RunningServer, start_server
from servicekit.trace_export import exporting

log = structlog.get_logger(__name__)

RENEWAL_SECONDS = 3600.0


async def serve(settings: GatewaySettings) -> None:
    """Run the control plane until SIGTERM or SIGINT."""
    store, cache = _certificates(settings), SnapshotCache()
    plane = ControlPlane(_edge(settings), settings.endpoints(), cache, store.read, settings.make_data_dir())
    peer_tls = settings.peer_tls(settings.ads_listen)
    key_sets: asyncio.Queue[str] = asyncio.Queue()
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(exporting(settings.recording(), "control-plane"))
        channel = await stack.enter_async_context(open_channel(settings.tenant_target, "tenant", peer_tls))
        workload = Workload("gateway", settings.workload_credential(), channel)
        audit = await stack.enter_async_context(keeping(remote(workload, channel)))
        watcher = TrustWatcher(workload, channel, on_keys=key_sets.put_nowait)
        outside = [handlers(cache, may_be_the_gateway), plane.sides.handlers(may_be_the_gateway)]
        if settings.shared_quotas:
            outside.append(QuotaService(settings.requests_per_minute).handlers())
        operators = GatewayServicer(cache, plane)
        server = await _start_server(settings, operators, watcher, audit, peer_tls, outside)
        metrics.serve(settings.metrics_listen)
        Figures(cache, plane)
        log.info("control_plane_started", ads=settings.ads_listen)
        await watcher.start()
        tasks = [
            asyncio.create_task(plane.run(_drain(key_sets))),
            asyncio.create_task(_renew(settings)),
            asyncio.create_task(stopped.wait()),
        ]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.wait(tasks)
        await watcher.stop()
        await server.stop(grace=0.5)
    for task in done:
        task.result()


async def _start_server(
    settings: GatewaySettings,
    servicer: GatewayServicer,
    watcher: TrustWatcher,
    audit: AuditTrail,
    peer_tls: PeerTls | None,
    outside: Sequence[grpc.GenericRpcHandler],
) -> RunningServer:
    """Serve what is for Envoy alone and knows no tokens (ADS, quotas), and beside it what is for operators."""
    operators = Registration(gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server, servicer)
    try:
        return await start_server(
            [operators],
            trust=watcher,
            audit=audit,
            listen=settings.ads_listen,
            tls=peer_tls,
            probe_listen=settings.probe_listen,
            outside=outside,
            options=OPTIONS,
        )
    except AddressInUseError as error:
        sys.exit(str(error))


async def _drain(queue: asyncio.Queue[str]) -> AsyncIterator[str]:
    while True:
        yield await queue.get()


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
        predecessor=settings.predecessor(),
        tracing=_tracing(settings),
    )


def _tracing(settings: GatewaySettings) -> Tracing | None:
    recording = settings.recording()
    if recording is None:
        return None
    return Tracing(HostPort.parse(recording.target), recording.ratio, settings.trace_callers_decide)


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
