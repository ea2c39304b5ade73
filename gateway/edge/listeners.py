"""The two listeners: HTTPS, which serves, and HTTP, which redirects."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    HeaderFilter,
    NotHealthCheckFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation, HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    RuntimeUInt32,
    SubstitutionFormatString,
    TransportSocket,
    TypedExtensionConfig,
    WatchedDirectory,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
    LocalReplyConfig,
    Rds,
    ResponseMapper,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    Secret,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
)
from envoy_data_plane.google.protobuf import Any

from gateway.addresses import HostPort
from gateway.edge import messages, problems
from gateway.edge.filters import ALIVE, READY
from gateway.edge.routes import HTTP_ROUTES, HTTPS_ROUTES

CERTIFICATE = "server"
"""The name of the secret that is the server's certificate."""

# What only the edge and the suite itself may say. Envoy sets its own anew after this.
FORBIDDEN_HEADERS = (
    "(?i)(x-envoy-.*|x-forwarded-.*|forwarded|via|x-real-ip|true-client-ip|cf-connecting-ip|x-client-ip|"
    "x-cluster-client-ip|x-original-.*|x-rewrite-.*|x-http-method.*|x-method-override|x-rapport-.*|rapport-.*|"
    "x-tenant.*|tenant.*|x-user(-(id|name|email|roles?))?|x-principal.*|x-scopes?|x-identity.*|x-auth-request-.*|x-remote-user|remote-user|"
    "x-jwt-.*|x-internal-.*|x-ssl-.*|problem-bin|grpc-status.*|grpc-message)"
)


def https_listener(at: HostPort, filters: Sequence[HttpFilter]) -> Listener:
    """Return the listener that serves."""
    tls = DownstreamTlsContext(
        common_tls_context=CommonTlsContext(
            alpn_protocols=["h2", "http/1.1"],
            tls_params=TlsParameters(tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2),
            tls_certificate_sds_secret_configs=[SdsSecretConfig(name=CERTIFICATE, sds_config=messages.ADS)],
        )
    )
    socket = TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(tls))
    return _listener("https", at, _manager("https", HTTPS_ROUTES, filters, normalize=True), socket)


def http_listener(at: HostPort, filters: Sequence[HttpFilter]) -> Listener:
    """Return the listener that redirects. It leaves paths as they are: the redirect leads to the same path."""
    return _listener("http", at, _manager("http", HTTP_ROUTES, filters, normalize=False), None)


def certificate(chain: Path, key: Path) -> Secret:
    """Return the server's certificate as files, which Envoy reads itself, and again when a rename replaces them."""
    return Secret(
        name=CERTIFICATE,
        tls_certificate=TlsCertificate(
            certificate_chain=DataSource(filename=str(chain)),
            private_key=DataSource(filename=str(key)),
            watched_directory=WatchedDirectory(path=str(chain.parent)),
        ),
    )


def _listener(name: str, at: HostPort, manager: HttpConnectionManager, socket: TransportSocket | None) -> Listener:
    network_filter = Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(manager))
    return Listener(
        name=name,
        address=messages.address(at),
        per_connection_buffer_limit_bytes=1 << 20,
        filter_chains=[FilterChain(name=name, filters=[network_filter], transport_socket=socket)],
    )


def _manager(name: str, routes: str, filters: Sequence[HttpFilter], *, normalize: bool) -> HttpConnectionManager:
    forbidden = HeaderMutation(
        remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=messages.matches(FORBIDDEN_HEADERS))
    )
    return HttpConnectionManager(
        stat_prefix=name,
        rds=Rds(route_config_name=routes, config_source=messages.ADS),
        http_filters=list(filters),
        server_name="rapport",
        use_remote_address=True,
        early_header_mutation_extensions=[
            TypedExtensionConfig(
                name="envoy.http.early_header_mutation.header_mutation",
                typed_config=Any.pack(EarlyHeaderMutation(mutations=[forbidden])),
            )
        ],
        always_set_request_id_in_response=True,
        normalize_path=normalize,
        merge_slashes=normalize,
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=timedelta(minutes=5),
            headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.DROP_HEADER,
        ),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=100,
            initial_stream_window_size=1 << 20,
            initial_connection_window_size=4 << 20,
            override_stream_error_on_invalid_http_message=True,
        ),
        request_headers_timeout=timedelta(seconds=10),
        request_timeout=timedelta(seconds=60),
        stream_idle_timeout=timedelta(minutes=5),
        access_log=_access_logs(),
        local_reply_config=LocalReplyConfig(mappers=_reply_mappers()),
    )


def _access_logs() -> list[AccessLog]:
    """Return JSON lines without paths as clients sent them: those hold customers' ids and, for webhooks, a credential.

    What a request was about is said by its route and, once it is a call of a service, by the name of that method.
    """
    entry = {
        "time": "%START_TIME%",
        "event": "request",
        "route": "%ROUTE_NAME%",
        "verb": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "duration_ms": "%DURATION%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "protocol": "%PROTOCOL%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "upstream": "%UPSTREAM_HOST%",
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
    called = messages.header_matches(":path", "/rapport\\.[a-z.0-9]+\\.[A-Za-z]+/[A-Za-z]+")
    return [
        _access_log(entry | {"method": "%REQ(:PATH)%"}, called),
        _access_log(entry, HeaderMatcher(name=":path", string_match=called.string_match, invert_match=True)),
    ]


def _access_log(entry: dict[str, str], only: HeaderMatcher) -> AccessLog:
    log_format = SubstitutionFormatString(json_format=messages.struct(entry))
    return AccessLog(
        name="envoy.access_loggers.stdout",
        filter=_both(
            AccessLogFilter(not_health_check_filter=NotHealthCheckFilter()),
            _header(only),
        ),
        typed_config=Any.pack(StdoutAccessLog(log_format=log_format)),
    )


def _reply_mappers() -> list[ResponseMapper]:
    """Return how Envoy's own answers look: problem+json for errors, a word for health."""
    mappers = [
        mapper
        for problem in problems.PROBLEMS
        for only in [_status(ComparisonFilterOp.EQ, problem.status)]
        for mapper in (_grpc_mapper(only, problem), _mapper(only, problem))
    ]
    health = messages.header_matches(":path", f"{ALIVE}|{READY}")
    well = _both(_status(ComparisonFilterOp.EQ, 200), _header(health))
    body = SubstitutionFormatString(json_format=messages.struct({"status": "ok"}), content_type="application/json")
    mappers.append(ResponseMapper(filter=well, body_format_override=body))
    mappers.append(
        _mapper(_status(ComparisonFilterOp.GE, 400), problems.OTHER, title="Error", status="%RESPONSE_CODE%")
    )
    return mappers


def _grpc_mapper(only: AccessLogFilter, problem: problems.Problem) -> ResponseMapper:
    """Return the text of a refusal over gRPC, which becomes its grpc-message."""
    # A transcoded request looks like gRPC by now; what it came as is told by the path that it came with.
    called = _both(
        _header(messages.header_starts("content-type", "application/grpc")),
        _header(HeaderMatcher(name="x-envoy-original-path", present_match=False)),
    )
    text = SubstitutionFormatString(text_format_source=DataSource(inline_string=problem.detail))
    return ResponseMapper(filter=_both(only, called), body_format_override=text)


def _header(matcher: HeaderMatcher) -> AccessLogFilter:
    return AccessLogFilter(header_filter=HeaderFilter(header=matcher))


def _both(one: AccessLogFilter, other: AccessLogFilter) -> AccessLogFilter:
    return AccessLogFilter(and_filter=AndFilter(filters=[one, other]))


def _mapper(only: AccessLogFilter, problem: problems.Problem, **changed: str) -> ResponseMapper:
    document = problem.document() | changed
    if problem.status == 400:  # noqa: PLR2004 - the transcoder says what is wrong with the JSON, and only there
        document["detail"] = f"{problem.detail} %LOCAL_REPLY_BODY%"
    return ResponseMapper(
        filter=only,
        headers_to_add=[messages.header("retry-after", "1")] if problem.status in problems.PASSING else [],
        body_format_override=SubstitutionFormatString(
            json_format=messages.struct(document), content_type=problems.MEDIA_TYPE
        ),
    )


def _status(op: ComparisonFilterOp, status: int) -> AccessLogFilter:
    value = RuntimeUInt32(default_value=status, runtime_key=f"gateway.reply.{status}")
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=ComparisonFilter(op=op, value=value)))
