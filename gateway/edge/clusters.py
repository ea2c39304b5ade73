"""The services as Envoy's clusters: HTTP/2, health checks, and when to stop trying."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterCommonLbConfig,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
    ClusterLbPolicy,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    Http2ProtocolOptions,
    TransportSocket,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import UpstreamTlsContext
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from gateway import peers
from gateway.addresses import HostPort
from gateway.edge import limits, messages

HEALTH_INTERVAL = timedelta(seconds=0.5)
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster(name: str, secrets: Path | None = None) -> Cluster:
    """Return the cluster of a service; its endpoints come by EDS under the same name.

    With `secrets` (`gateway.peers`) it is reached by mutual TLS: it must prove that it is that service.
    """
    options = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    )
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.EDS,
        eds_cluster_config=ClusterEdsClusterConfig(eds_config=messages.ADS),
        connect_timeout=timedelta(seconds=1),
        # Not to the one with the least to do: that is the one that just died, until its health tells.
        lb_policy=ClusterLbPolicy.ROUND_ROBIN,
        # Without this Envoy would send to every endpoint when more than half are unhealthy; draining ones as well.
        common_lb_config=ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=0)),
        typed_extension_protocol_options={HTTP_OPTIONS: Any.pack(options)},
        health_checks=[_health_check()],
        ignore_health_on_host_removal=True,
        circuit_breakers=limits.circuit_breakers(),
        outlier_detection=_outlier_detection(),
        transport_socket=_transport_socket(name.partition("@")[0], secrets) if secrets else None,
    )


def _transport_socket(service: str, secrets: Path) -> TransportSocket:
    socket = peers.transport_socket(service, secrets)
    values = {name: value for name, value in socket["typed_config"].items() if name != "@type"}
    return TransportSocket(name=socket["name"], typed_config=Any.pack(UpstreamTlsContext.from_dict(values)))


def assignment(name: str, endpoints: Sequence[HostPort]) -> ClusterLoadAssignment:
    """Return the endpoints of a service's cluster."""
    return ClusterLoadAssignment(
        cluster_name=name,
        endpoints=[
            LocalityLbEndpoints(
                lb_endpoints=[LbEndpoint(endpoint=Endpoint(address=messages.address(at))) for at in endpoints]
            )
        ],
    )


def _health_check() -> HealthCheck:
    return HealthCheck(
        timeout=timedelta(seconds=1),
        # A process that is about to stop says so for 1.5 seconds, which must be enough to be heard twice.
        interval=HEALTH_INTERVAL,
        # A service that carries no traffic would otherwise be looked at once a minute only.
        no_traffic_interval=HEALTH_INTERVAL,
        unhealthy_threshold=2,
        healthy_threshold=1,
        grpc_health_check=HealthCheckGrpcHealthCheck(),
    )


def _outlier_detection() -> OutlierDetection:
    # Only failures to reach an endpoint eject it. What a service answers (a bug, its database away) is true of all its
    # processes, and ejecting them would turn one kind of error into another.
    return OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=3,
        enforcing_consecutive_local_origin_failure=100,
        enforcing_consecutive_5xx=0,
        enforcing_consecutive_gateway_failure=0,
        enforcing_success_rate=0,
        enforcing_local_origin_success_rate=0,
        interval=timedelta(seconds=1),
        base_ejection_time=timedelta(seconds=2),
        max_ejection_percent=100,
    )
