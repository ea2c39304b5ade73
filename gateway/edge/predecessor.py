"""The predecessor as Envoy sees it: a cluster, the route to it, who decides about the side, and what is reported."""

import json
from datetime import timedelta
from importlib.resources import files

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    DataSource,
    ExtensionConfigSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http1ProtocolOptions,
    TransportSocket,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.route.v3 import Route, RouteAction, RouteConfiguration, RouteMatch
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig
from envoy_data_plane.envoy.extensions.filters.http.grpc_json_transcoder.v3 import GrpcJsonTranscoder
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.message_pool import default_message_pool

from gateway.addresses import CONTROL_PLANE
from gateway.edge import access_log, clusters, filters, limits, messages
from gateway.predecessor import KEY_VARIABLE, Cutover, Predecessor, Unit

CLUSTER = "predecessor"
ROUTE = "api.predecessor"
SIDE = "x-rapport-side"
"""Which side answers; set by the script alone, because no client can say this header."""
REPORTS = "cutover"
_TIMEOUT = timedelta(seconds=30)
"""What the frontend itself waits."""
_CREDENTIALS = ("authorization", "x-api-key", filters.EXCHANGED)


def cluster(predecessor: Predecessor) -> Cluster:
    """Return the predecessor's cluster; Envoy resolves its name itself and does not ask for its health."""
    options = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions())
    )
    return Cluster(
        name=CLUSTER,
        type=ClusterDiscoveryType.STRICT_DNS,
        load_assignment=clusters.assignment(CLUSTER, [predecessor.at]),
        connect_timeout=timedelta(seconds=2),
        typed_extension_protocol_options={clusters.HTTP_OPTIONS: Any.pack(options)},
        circuit_breakers=limits.circuit_breakers(),
        transport_socket=_tls(predecessor) if predecessor.authorities else None,
    )


def script_filter() -> HttpFilter:
    """Return the filter that decides about the side; what it decides by is `script`."""
    source = ExtensionConfigSource(config_source=messages.ADS, type_urls=[default_message_pool.type_to_url[Lua]])
    return HttpFilter(name=filters.CUTOVER, config_discovery=source)


def script(cutover: Cutover | None) -> TypedExtensionConfig:
    """Return what decides about the side.

    It is an extension of its own, so that a share touches neither routes, of which there are many, nor listeners.
    """
    lua = Lua(default_source_code=_source(cutover)) if cutover is not None else Lua()
    return TypedExtensionConfig(name=filters.CUTOVER, typed_config=Any.pack(lua))


def add(configuration: RouteConfiguration, predecessor: Predecessor) -> None:
    """Lead what was decided to be the predecessor's to it."""
    for host in configuration.virtual_hosts:
        host.routes.insert(0, _route(predecessor))


def reports() -> AccessLog:
    """Return the report to the control plane of each request that was decided about: its side and its status."""
    service = GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=CONTROL_PLANE))
    common = CommonGrpcAccessLogConfig(
        log_name=REPORTS,
        grpc_service=service,
        transport_api_version=ApiVersion.V3,
        buffer_flush_interval=timedelta(seconds=0.25),
        buffer_size_bytes=1 << 16,
    )
    return AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=access_log.header(messages.header_matches(SIDE, ".+")),
        typed_config=Any.pack(HttpGrpcAccessLogConfig(common_config=common)),
    )


def _source(cutover: Cutover) -> DataSource:
    source = files("gateway.edge").joinpath("cutover.lua").read_text(encoding="utf-8")
    places = ",".join(f"[{json.dumps(tenant)}]={place}" for tenant, place in cutover.places().items())
    text = (
        source.replace("--@SHARE@--", str(cutover.percent))
        .replace("--@BY_CLIENT@--", "true" if cutover.unit is Unit.CLIENT else "false")
        .replace("--@PLACES@--", places)
    )
    return DataSource(inline_string=text)


def _route(predecessor: Predecessor) -> Route:
    key = [messages.header("x-api-key", f"%ENVIRONMENT({KEY_VARIABLE})%")] if predecessor.has_key else []
    return Route(
        name=ROUTE,
        match=RouteMatch(prefix="/api/", headers=[messages.header_is(SIDE, "predecessor")]),
        route=RouteAction(cluster=CLUSTER, timeout=_TIMEOUT, host_rewrite_literal=predecessor.host),
        # Rapport's credentials are not the predecessor's affair; a header that is set comes after those removed.
        request_headers_to_remove=list(_CREDENTIALS),
        request_headers_to_add=key,
        # The gateway's own answer about origins counts: two of them are none for a browser.
        response_headers_to_remove=[
            "access-control-allow-origin",
            "access-control-allow-credentials",
            "access-control-expose-headers",
            "server",
        ],
        # A transcoder without services leaves a request as it is. Filters cannot be switched off here any more.
        typed_per_filter_config={filters.TOLERANT_TRANSCODER: Any.pack(GrpcJsonTranscoder(proto_descriptor_bin=b""))},
    )


def _tls(predecessor: Predecessor) -> TransportSocket:
    name = SubjectAltNameMatcher(
        san_type=SubjectAltNameMatcherSanType.DNS, matcher=StringMatcher(exact=predecessor.at.host)
    )
    context = UpstreamTlsContext(
        sni=predecessor.at.host,
        common_tls_context=CommonTlsContext(
            validation_context=CertificateValidationContext(
                trusted_ca=DataSource(filename=str(predecessor.authorities)), match_typed_subject_alt_names=[name]
            )
        ),
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))
