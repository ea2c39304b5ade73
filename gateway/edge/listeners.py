"""The two listeners: what is let in on which port, and what of it is believed."""

from collections.abc import Sequence

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation, HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    CidrRange,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    TransportSocket,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, FilterChainMatch, Listener
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpFilter,
    LocalReplyConfig,
    Rds,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy_data_plane.google.protobuf import Any

from gateway.addresses import HostPort
from gateway.edge import access_log, messages, predecessor, redirects, replies, tls, tracing
from gateway.edge.clients import LOOPBACK, USUAL_PORT, Patience, Proxies
from gateway.edge.filters import CUTOVER
from gateway.edge.limits import LONGEST_HEADERS_KIBIBYTES, MOST_HEADERS
from gateway.edge.routes import HTTPS_ROUTES
from gateway.edge.tracing import Tracing

HTTPS, HTTP, PROXIED = "https", "http", "proxied"

GRPC_HEADERS = ("timeout", "encoding", "accept-encoding")
"""What clients may say about a call over gRPC; all else beginning with `grpc-` is for gRPC's own layers, which end a
call whose value they cannot read."""

# What only the edge and the suite itself may say. Envoy sets its own anew after this.
FORBIDDEN_HEADERS = (
    "(?i)(x-envoy-.*|forwarded|via|x-real-ip|true-client-ip|cf-connecting-.*|fastly-client-.*|x-client-ip|"
    "x-cluster-client-ip|x-appengine-.*|x-azure-.*|x-arr-.*|x-original-.*|x-rewrite-.*|x-http-method.*|x-method-override|"
    "x-host|x-proxyuser-ip|x-remote-.*|remote-.*|front-end-https|x-url-scheme|x-scheme|x-rapport-.*|rapport-.*|"
    "x-tenant.*|tenant.*|x-user(-(id|name|email|roles?|groups?))?|x-principal.*|x-scopes?|x-roles?|x-identity.*|x-auth-.*|"
    "x-authenticated-.*|x-jwt-.*|x-internal-.*|x-ssl-.*|x-client-cert.*|ssl-client-.*|x-amzn-oidc-.*|x-goog-(iap|auth).*|"
    "x-ms-client-principal.*|problem-bin|proxy-.*|x-client-trace-id|tracestate|baggage|"
    f"grpc-{messages.all_but(GRPC_HEADERS)})"
)
# What gRPC cannot carry as metadata: it would break the call that the header was sent with.
UNCARRIABLE_HEADERS = ".*[^a-z0-9_.:-].*|.*-bin"
FORWARDED_HEADERS = "(?i)x-forwarded-.*"


def https_listener(
    at: HostPort,
    filters: Sequence[HttpFilter],
    domains: Sequence[str],
    patience: Patience,
    traced: Tracing | None = None,
) -> Listener:
    """Return the listener that serves; `domains` are those with a certificate of their own."""
    manager = _manager(HTTPS, HTTPS_ROUTES, filters, patience, traced=traced)
    listener = _listener(
        HTTPS,
        at,
        [
            _chain(tls.ANY_NAME, manager, patience, tls.server_socket()),
            _chain(tls.OWN_DOMAINS, manager, patience, tls.own_domains_socket()),
        ],
        patience,
    )
    listener.listener_filters = [tls.inspector()]
    listener.filter_chain_matcher = tls.chain_by_name(domains)
    return listener


def http_listener(at: HostPort, filters: Sequence[HttpFilter], patience: Patience, https_port: int) -> Listener:
    """Return the listener that redirects. It leaves paths as they are: the redirect leads to the same path."""
    manager = _manager(HTTP, redirects.HTTP_ROUTES, filters, patience)
    manager.normalize_path = manager.merge_slashes = False
    _drop_port(manager, https_port)
    return _listener(HTTP, at, [_chain(HTTP, manager, patience)], patience)


def proxied_listener(
    at: HostPort,
    filters: Sequence[HttpFilter],
    refusing: Sequence[HttpFilter],
    patience: Patience,
    proxies: Proxies,
    https_port: int,
    traced: Tracing | None = None,
) -> Listener:
    """Return the HTTP listener behind proxies: it serves what they ask for by HTTPS and redirects the rest.

    `filters` are those of HTTPS, `refusing` those for connections that come from elsewhere.
    """
    serving = _manager(PROXIED, redirects.PROXIED_ROUTES, filters, patience, proxies, traced)
    _drop_port(serving, https_port)
    believed = _chain(PROXIED, serving, patience)
    others = _chain(HTTP, _manager(HTTP, redirects.HTTP_ROUTES, refusing, patience), patience)
    narrow, networks = (believed, proxies.networks) if proxies.networks else (others, LOOPBACK)
    narrow.filter_chain_match = FilterChainMatch(
        source_prefix_ranges=[
            CidrRange(address_prefix=str(one.network_address), prefix_len=one.prefixlen) for one in networks
        ]
    )
    return _listener(HTTP, at, [believed, others], patience)


def _drop_port(manager: HttpConnectionManager, https_port: int) -> None:
    # A redirect to the usual port names none; the one that the client named is that of HTTP.
    if https_port == USUAL_PORT:
        manager.strip_any_host_port = True


def _listener(name: str, at: HostPort, chains: Sequence[FilterChain], patience: Patience) -> Listener:
    return Listener(
        name=name,
        address=messages.address(at),
        per_connection_buffer_limit_bytes=1 << 20,
        listener_filters_timeout=patience.handshake,
        filter_chains=list(chains),
    )


def _chain(
    name: str, manager: HttpConnectionManager, patience: Patience, socket: TransportSocket | None = None
) -> FilterChain:
    network_filter = Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(manager))
    timeout = patience.handshake if socket is not None else None
    return FilterChain(
        name=name, filters=[network_filter], transport_socket=socket, transport_socket_connect_timeout=timeout
    )


def _manager(
    name: str,
    routes: str,
    filters: Sequence[HttpFilter],
    patience: Patience,
    proxies: Proxies | None = None,
    traced: Tracing | None = None,
) -> HttpConnectionManager:
    return HttpConnectionManager(
        stat_prefix=name,
        rds=Rds(route_config_name=routes, config_source=messages.ADS),
        http_filters=list(filters),
        server_name="rapport",
        use_remote_address=True,
        xff_num_trusted_hops=proxies.hops if proxies else 0,
        early_header_mutation_extensions=[_early_mutations(proxies)],
        always_set_request_id_in_response=True,
        normalize_path=True,
        merge_slashes=True,
        # An id may hold a slash, which is encoded then; no route and no service takes it for the end of a segment.
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED,
        strip_trailing_host_dot=True,
        max_request_headers_kb=LONGEST_HEADERS_KIBIBYTES,
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=patience.idle,
            max_headers_count=MOST_HEADERS,
            headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.DROP_HEADER,
        ),
        # A length beside chunks, trailers and HTTP/1.0 are what smuggling is made of; nobody needs them here.
        http_protocol_options=Http1ProtocolOptions(
            allow_chunked_length=False, enable_trailers=False, accept_http_10=False
        ),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=100,
            initial_stream_window_size=1 << 20,
            initial_connection_window_size=4 << 20,
            override_stream_error_on_invalid_http_message=True,
            stream_reset_burst=500,
            stream_reset_rate=50,
        ),
        request_headers_timeout=patience.headers,
        request_timeout=patience.request,
        stream_idle_timeout=patience.idle,
        access_log=access_log.access_logs(*_reports(filters), traced=traced is not None),
        local_reply_config=LocalReplyConfig(mappers=replies.mappers()),
        tracing=tracing.manager(traced) if traced is not None else None,
    )


def _reports(filters: Sequence[HttpFilter]) -> list[AccessLog]:
    """Return the reports of the sides of a cut-over, where there may be one."""
    return [predecessor.reports()] if any(one.name == CUTOVER for one in filters) else []


def _early_mutations(proxies: Proxies | None) -> TypedExtensionConfig:
    """Return what happens to headers before anything looks at them; what `proxies` say is kept."""
    # One expression instead of three: each header of each request is held against it.
    dropped = f"{FORBIDDEN_HEADERS}|{UNCARRIABLE_HEADERS}"
    mutations = [_remove(dropped if proxies else f"{dropped}|{FORWARDED_HEADERS}")]
    if proxies:
        mutations += [
            _say(redirects.SCHEME, "%REQ(X-FORWARDED-PROTO)%"),
            _say(redirects.CLIENT, "%REQ(X-FORWARDED-FOR)%"),
        ]
        if proxies.name_host:
            mutations.append(_say(redirects.HOST, "%REQ(X-FORWARDED-HOST)%"))
        mutations += [
            _remove(FORWARDED_HEADERS),
            _say("x-forwarded-proto", f"%REQ({redirects.SCHEME})%"),
            _say("x-forwarded-for", f"%REQ({redirects.CLIENT})%"),
            HeaderMutation(remove=redirects.CLIENT),
        ]
    return TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=Any.pack(EarlyHeaderMutation(mutations=mutations)),
    )


def _remove(names: str) -> HeaderMutation:
    return HeaderMutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=messages.matches(names)))


def _say(name: str, value: str) -> HeaderMutation:
    # What is empty, because nobody said it, is not said here either.
    return HeaderMutation(append=messages.header(name, value))
