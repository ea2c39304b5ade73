"""What the gateway costs: an empty method with a key, with a token, without either, and through the barest Envoy.

`python -m bench.edge [--json]`
"""

import asyncio
import contextlib
import functools
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.api import annotations_pb2, httpbody_pb2
from google.protobuf import descriptor_pb2, empty_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from rapport.options.v1 import options_pb2
from rapport.tenant.v1 import (
    tenant_pb2,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

from bench.load import Load, Result, measure, render, write_requests
from bench.report import ROUNDS, Report
from bench.running import Suite, free_port, limit, process, suite, wait_until_answers
from gateway.bootstrap import command

SERVICE = "rapport.empty.v1.EmptyService"
OWNER = "empty"
CLOSED, OPEN = "/v1/empty/closed", "/v1/empty/open"
ANSWER = b"{}"
CONNECTIONS = 16
SECONDS = 4.0

QUOTA = 6000
GREED = 10
"""The greedy tenant's quota in requests per minute, and how many times it is exceeded."""
LEAD = 2.0
"""For how many seconds the greedy tenant sends before the other one is measured: its burst is over by then."""
MODEST_RATE = 100.0
"""How many requests a second the other tenant sends meanwhile."""


def contracts(folder: Path) -> Path:
    """Write the suite's descriptor image with the empty service added; return its file."""
    image = Path(__file__).resolve().parent.parent / "gen" / "rapport.binpb"
    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    known = {file.name for file in files.file}
    for needed in (empty_pb2, httpbody_pb2):
        if needed.DESCRIPTOR.name not in known:
            needed.DESCRIPTOR.CopyToProto(files.file.add())
    file = files.file.add(name="rapport/empty/v1/empty_service.proto", package="rapport.empty.v1", syntax="proto3")
    file.dependency.extend(["google/protobuf/empty.proto", "google/api/httpbody.proto", "google/api/annotations.proto"])
    file.dependency.append("rapport/options/v1/options.proto")
    service = file.service.add(name="EmptyService")
    for name, path in (("Closed", CLOSED), ("Open", OPEN)):
        method = service.method.add(name=name, input_type=".google.protobuf.Empty", output_type=".google.api.HttpBody")
        method.options.idempotency_level = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
        method.options.Extensions[annotations_pb2.http].get = path
        method.options.Extensions[options_pb2.access].public = name == "Open"
    written = folder / "edge.binpb"
    written.write_bytes(files.SerializeToString())
    return written


@contextlib.contextmanager
def bare(measured: Suite, image: Path, upstream: int) -> Iterator[int]:
    """Run an Envoy that can do nothing but serve the method over TLS; yield its port."""
    port = free_port()
    config = measured.data / "bare.json"
    config.write_text(json.dumps(_bare_config(measured, image, port, upstream)))
    with process(command(config, 0), measured.environment, measured.data / "bare.log"):
        wait_until_answers(f"https://localhost:{port}{OPEN}", measured.ca_file, {})
        yield port


def _bare_config(measured: Suite, image: Path, port: int, upstream: int) -> dict[str, Any]:
    tls = measured.data / "gateway" / "tls"
    transcoder = {"proto_descriptor": str(image), "services": [SERVICE], "match_incoming_request_route": True}
    filters = {"grpc_json_transcoder.v3.GrpcJsonTranscoder": transcoder, "router.v3.Router": {}}
    manager = {
        "stat_prefix": "bare",
        "http_filters": [
            {"name": kind, "typed_config": _typed(f"envoy.extensions.filters.http.{kind}", config)}
            for kind, config in filters.items()
        ],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": OWNER}}]}
            ]
        },
    }
    pair = {
        "certificate_chain": {"filename": str(tls / "server.pem")},
        "private_key": {"filename": str(tls / "server.key")},
    }
    secured = {"common_tls_context": {"tls_certificates": [pair], "alpn_protocols": ["h2", "http/1.1"]}}
    network = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    chain = {
        "filters": [{"name": "http", "typed_config": _typed(network, manager)}],
        "transport_socket": {
            "name": "tls",
            "typed_config": _typed("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", secured),
        },
    }
    http2 = _typed(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        {"explicit_http_config": {"http2_protocol_options": {}}},
    )
    cluster = {
        "name": OWNER,
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {
            "cluster_name": OWNER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(upstream)}}]}],
        },
    }
    listener = {"name": "bare", "address": _address(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _typed(name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{name}", **config}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


async def give_quota(measured: Suite, slug: str, quota: int) -> None:
    """Set how many requests a minute a tenant may send."""
    async with grpc.aio.insecure_channel(measured.grpc["tenant"][0]) as channel:
        exchange = token_service_pb2.ExchangeOperatorKeyRequest(operator_key=measured.secret("operator-key"))
        issued = await token_service_pb2_grpc.TokenServiceStub(channel).ExchangeOperatorKey(exchange, timeout=10)
        tenant = tenant_pb2.Tenant(slug=slug)
        tenant.settings.update({"requests_per_minute": quota})
        mask = FieldMask(paths=["settings.requests_per_minute"])
        await tenant_service_pb2_grpc.TenantServiceStub(channel).UpdateTenant(
            tenant_service_pb2.UpdateTenantRequest(tenant=tenant, update_mask=mask),
            metadata=(("authorization", f"Bearer {issued.token}"),),
            timeout=10,
        )


async def token_of(measured: Suite, key: str) -> str:
    """Return a fresh token of a key; it lives for two minutes."""
    async with grpc.aio.insecure_channel(measured.grpc["tenant"][0]) as channel:
        request = token_service_pb2.ExchangeApiKeyRequest(api_key=key)
        return (await token_service_pb2_grpc.TokenServiceStub(channel).ExchangeApiKey(request, timeout=10)).token


class Contender:
    """One way to the empty method."""

    def __init__(self, measured: Suite, port: int, path: str = CLOSED) -> None:
        self._measured = measured
        self._port = port
        self._path = path

    def run(self, seconds: float, rate: float = 0, **headers: str) -> Result:
        """Send requests with these headers for so long: as many as are answered, or at a rate."""
        requests = self._measured.data / f"requests-{threading.get_ident()}"
        write_requests(requests, [render("GET", self._path, {"host": "localhost", **headers})])
        load = Load("localhost", self._port, self._measured.ca_file, str(requests), CONNECTIONS, seconds, rate=rate)
        return measure(load)


def with_token(measured: Suite, gateway: Contender, key: str) -> Result:
    """Send requests with a token that the client itself has."""
    return gateway.run(SECONDS, authorization=f"Bearer {asyncio.run(token_of(measured, key))}")


def fairness(gateway: Contender, greedy: str, modest: str) -> dict[str, Any]:
    """Return what a tenant far beyond its quota does to the slowest answers of another: medians of the rounds."""
    alone, beside, refused = [], [], []
    for _ in range(ROUNDS):
        alone.append(gateway.run(SECONDS, MODEST_RATE, **{"x-api-key": modest}).p99)
        with ThreadPoolExecutor() as pool:
            flood = pool.submit(gateway.run, LEAD + SECONDS + 1, QUOTA / 60 * GREED, **{"x-api-key": greedy})
            # Its burst is its own good right; what is measured is what comes after.
            time.sleep(LEAD)
            answered = gateway.run(SECONDS, MODEST_RATE, **{"x-api-key": modest})
        if answered.statuses.keys() != {"200"}:
            sys.exit(f"edge: the modest tenant was answered {answered.statuses}")
        beside.append(answered.p99)
        statuses = flood.result().statuses
        refused.append(statuses.get("429", 0) / sum(statuses.values()))
    return {
        "p99_alone_ms": round(statistics.median(alone), 2),
        "p99_beside_ms": round(statistics.median(beside), 2),
        "refused_of_the_greedy": round(statistics.median(refused), 3),
        "ratio": round(statistics.median(with_it / without for with_it, without in zip(beside, alone, strict=True)), 3),
    }


class EdgeReport(Report):
    """Divides what the edge's goals divide: with a credential by without, and the whole gateway by the barest Envoy."""

    def ratios(self) -> dict[str, float]:
        """Return key and jwt by open, key by bare, and the modest tenant's p99 beside the greedy one by that alone."""
        pairs = {"key": ("key", "open"), "jwt": ("jwt", "open"), "bare": ("key", "bare")}
        made = {name: round(self.rate(ours) / self.rate(other), 3) for name, (ours, other) in pairs.items()}
        return made | {"fair_p99": self.extra["fairness"]["ratio"]}


def main() -> None:
    """Measure and tell."""
    report = EdgeReport("edge")
    with suite({"tickets": 1}) as measured:
        keys = {
            slug: measured.command("tenant", "create", "--slug", slug, "--name", slug)["api_key"]
            for slug in ("modest", "greedy")
        }
        asyncio.run(give_quota(measured, "greedy", QUOTA))
        image = contracts(measured.data)
        with limit(measured, OWNER, ANSWER, DESCRIPTORS=str(image)) as edge, bare(measured, image, edge.empty) as plain:
            closed, opened = Contender(measured, edge.https), Contender(measured, edge.https, OPEN)
            contenders: dict[str, Callable[[], Result]] = {
                "open": functools.partial(opened.run, SECONDS),
                "key": functools.partial(closed.run, SECONDS, **{"x-api-key": keys["modest"]}),
                "jwt": functools.partial(with_token, measured, closed, keys["modest"]),
                "bare": functools.partial(Contender(measured, plain, OPEN).run, SECONDS),
            }
            for contender in contenders.values():
                contender()
            report.measure(contenders)
            report.extra = {"fairness": fairness(closed, keys["greedy"], keys["modest"])}
    report.show()


if __name__ == "__main__":
    main()
