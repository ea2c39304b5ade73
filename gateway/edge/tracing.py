"""Traces of requests, as Envoy records them: off without a collector, and then Envoy does nothing for it at all.

A span says by its route what a request was for. The address that was asked for never stands in it: it holds customers'
ids and, for webhooks, a credential.
"""

from dataclasses import dataclass
from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import (
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http2ProtocolOptions,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.trace.v3 import OpenTelemetryConfig, TracingHttp
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManagerTracing
from envoy_data_plane.envoy.extensions.tracers.opentelemetry.samplers.v3 import (
    ParentBasedSamplerConfig,
    TraceIdRatioBasedSamplerConfig,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.tracing.v3 import CustomTag, CustomTagLiteral
from envoy_data_plane.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType
from envoy_data_plane.google.protobuf import Any

from gateway.addresses import HostPort
from gateway.edge import clusters

CLUSTER = "traces"
SERVICE = "rapport.edge"

UNTOLD = ("user_agent", "http.url", "grpc.path", "grpc.authority", "grpc.content_type", "grpc.timeout")
"""What Envoy would say of a request by itself and what is the client's own text, as long as it likes."""

_MILLION = 1_000_000
_MOST_WAITING = 4096


@dataclass(frozen=True, slots=True)
class Tracing:
    """Where spans go, the part of traces that is recorded, and whether a caller's own decision about that counts."""

    collector: HostPort
    ratio: float
    callers_decide: bool


def manager(tracing: Tracing) -> HttpConnectionManagerTracing:
    """Return what a connection manager is told about traces."""
    collector = GrpcService(
        envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=CLUSTER, authority=tracing.collector.host),
        timeout=timedelta(seconds=2),
    )
    config = OpenTelemetryConfig(
        grpc_service=collector, service_name=SERVICE, sampler=_sampler(tracing), max_cache_size=_MOST_WAITING
    )
    return HttpConnectionManagerTracing(
        provider=TracingHttp(name="envoy.tracers.opentelemetry", typed_config=Any.pack(config)),
        operation="%ROUTE_NAME%",
        upstream_operation="%UPSTREAM_CLUSTER%",
        spawn_upstream_span=True,
        max_path_tag_length=0,
        custom_tags=[CustomTag(tag=tag, literal=CustomTagLiteral(value="-")) for tag in UNTOLD],
    )


def cluster(tracing: Tracing) -> Cluster:
    """Return the cluster of the collector."""
    options = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    )
    return Cluster(
        name=CLUSTER,
        type=ClusterDiscoveryType.STRICT_DNS,
        connect_timeout=timedelta(seconds=1),
        typed_extension_protocol_options={clusters.HTTP_OPTIONS: Any.pack(options)},
        load_assignment=clusters.assignment(CLUSTER, [tracing.collector]),
    )


def _sampler(tracing: Tracing) -> TypedExtensionConfig:
    """Return what decides. By the trace's id, so that whoever decides by the same part comes to the same end."""
    part = FractionalPercent(
        numerator=round(tracing.ratio * _MILLION), denominator=FractionalPercentDenominatorType.MILLION
    )
    by_ratio = TypedExtensionConfig(
        name="envoy.tracers.opentelemetry.samplers.trace_id_ratio_based",
        typed_config=Any.pack(TraceIdRatioBasedSamplerConfig(sampling_percentage=part)),
    )
    if not tracing.callers_decide:
        return by_ratio
    return TypedExtensionConfig(
        name="envoy.tracers.opentelemetry.samplers.parent_based",
        typed_config=Any.pack(ParentBasedSamplerConfig(wrapped_sampler=by_ratio)),
    )
