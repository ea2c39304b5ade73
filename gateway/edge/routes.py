"""Who gets which request: the routes of what is asked for by HTTPS, made from the contracts."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    FilterConfig,
    HeaderMatcher,
    RetryPolicy,
    RetryPolicyRetryBackOff,
    RetryPolicyRetryHostPredicate,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import CorsPolicy
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher
from envoy_data_plane.google.protobuf import Any
from google.rpc import code_pb2

from gateway.edge import compression, filters, hygiene, messages, problems, shared, templates
from gateway.edge.contracts import Method
from gateway.edge.limits import LIMITS, Kind, Limits, kind_of, takes_webhooks

HTTPS_ROUTES = "https"
LONGEST_INLINE_BODY = 4 << 20
JSON = "(?i)application/([a-z0-9.+-]+\\+)?json(;.*)?"
RAW_SURFACES = frozenset({"oauth2"})
"""Where bodies are what a standard makes of them; everywhere else but in webhooks they are JSON."""
CLIENT_ADDRESS = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
"""Of the client itself, behind the proxies that are trusted."""
RETRY_UNSENT = "connect-failure,refused-stream"
"""When a request goes to another process: it never reached the first, so that this repeats nothing."""
RETRY_REPEATABLE = f"{RETRY_UNSENT},reset"
"""The same for methods that the contract allows to repeat: also when a process died over the request.

An answer is never a reason: a service that says that it is unavailable means itself and all its processes."""
GRPC_VALUES = (
    ("grpc-timeout", "[0-9]{1,8}[HMSmun]", code_pb2.INVALID_ARGUMENT, "1 to 8 digits and a unit, one of H M S m u n"),
    ("grpc-encoding", "identity|deflate|gzip", code_pb2.UNIMPLEMENTED, "identity, deflate or gzip"),
)
"""The headers whose values gRPC itself reads: what they may be (RE2), and how a call with anything else is refused."""
HEALTHY = "/(healthz|health|health/live|readyz|health/ready)/?"
DOCS_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Pages:
    """What Envoy serves by itself: the OpenAPI document (JSON), the docs page (HTML) and the key set (JSON).

    The key set is None until it is known.
    """

    openapi: str
    docs: str
    jwks: str | None


@dataclass(frozen=True, slots=True, order=True)
class _Group:
    """Requests that are treated alike: one route for all templates of a group instead of one for each."""

    surface: str
    owner: str
    verb: str
    safe: bool
    public: bool
    kind: Kind
    custom_verb: bool

    @property
    def name(self) -> str:
        """The name of the route, which stands in the access log in the place of the path."""
        extra = [
            word for word, said in (("safe", self.safe), ("public", self.public), ("verb", self.custom_verb)) if said
        ]
        special = [self.kind] if self.kind in {Kind.IMPORT, Kind.STREAM} else []
        return ".".join([self.surface, self.owner, self.verb.lower(), *extra, *special])


def https_routes(methods: Sequence[Method], pages: Pages, cors_origins: Sequence[str]) -> RouteConfiguration:
    """Return the routes of the HTTPS listener.

    The order matters: gRPC by exact path; the pages; REST with a custom verb and the 405 of their templates; REST
    without one, whose last segment would take `id:verb` as well, and their 405; "is it ready"; and 404 for all that is
    left.

    Raises:
        ValueError: there is no method at all.
    """
    bindings = [
        (_group(method, verb, template), template)
        for method in methods
        for verb, template in ((b.verb, templates.translate(b.template)) for b in method.bindings)
    ]
    if not methods:
        raise ValueError("no service with a public method has an address")
    nobody = methods[0].owner
    rest: list[Route] = []
    for custom_verb in (True, False):
        chosen = [(group, template) for group, template in bindings if group.custom_verb is custom_verb]
        made = [*_unsupported(chosen, nobody), *_rest_routes(chosen), *_not_allowed(chosen, nobody)]
        if custom_verb:
            # Most paths have no colon: those need not be held against any of these expressions.
            for match in (route.match for route in made if route.match):
                match.headers.insert(0, messages.header_contains(":path", ":"))
        rest += made
    policy = {filters.CORS: Any.pack(_cors(cors_origins))} if cors_origins else {}
    return RouteConfiguration(
        name=HTTPS_ROUTES,
        max_direct_response_body_size_bytes=LONGEST_INLINE_BODY,
        virtual_hosts=[
            VirtualHost(
                name=HTTPS_ROUTES,
                domains=["*"],
                # What a client says in this header never comes in; by it services see that the host and the credential
                # are of one tenant. It says nothing else.
                request_headers_to_add=[messages.header("x-rapport-host", "%REQ(:AUTHORITY)%")],
                request_headers_to_remove=list(shared.CLAIMS),
                typed_per_filter_config=policy,
                routes=[
                    *(_refused(name, match, status, nobody) for name, match, status in hygiene.malformed()),
                    *_unreadable(nobody),
                    *_grpc_routes(methods),
                    *_page_routes(pages),
                    *rest,
                    _ready(),
                    _refused("not_found", RouteMatch(prefix="/"), 404, nobody),
                ],
            )
        ],
    )


def _group(method: Method, verb: str, template: templates.Template) -> _Group:
    surface = template.expression.split("/")[1]
    kind = kind_of(surface=surface, verb=verb, method=method.name, streaming=method.streaming)
    return _Group(surface, method.owner, verb, method.safe, method.public, kind, bool(template.verb))


def whole(expression: str, *headers: HeaderMatcher) -> RouteMatch:
    """Return a match of the whole path, without its query, and of headers."""
    # Headers are looked at first, and one of them is the path: where it begins differently no expression is tried.
    head = templates.literal_head(expression)
    begins = [messages.header_starts(":path", head)] if len(head) > 1 else []
    return RouteMatch(safe_regex=RegexMatcher(regex=expression), headers=[*begins, *headers])


def _any_of(expressions: Iterable[str]) -> str:
    # A path with a slash at its end is the same path.
    return f"(?:{'|'.join(sorted(set(expressions)))})/*"


def _off(*names: str) -> dict[str, Any]:
    return {name: Any.pack(FilterConfig(disabled=True)) for name in names}


def _rest_routes(bindings: Iterable[tuple[_Group, templates.Template]]) -> list[Route]:
    grouped: dict[_Group, list[str]] = defaultdict(list)
    for group, template in bindings:
        grouped[group].append(template.expression)
    return [_rest_route(group, _any_of(grouped[group])) for group in sorted(grouped)]


def _rest_route(group: _Group, expression: str) -> Route:
    tolerant = group.surface in filters.TOLERANT_SURFACES
    limits = LIMITS[group.kind]
    off = [filters.STRICT_TRANSCODER if tolerant else filters.TOLERANT_TRANSCODER]
    off += filters.PUBLIC_RATES if not group.public else filters.CREDENTIALS
    if group.kind is Kind.STREAM:
        off += compression.FILTERS
    if group.verb == "HEAD":
        # What answers HEAD has no body: a document in it would be read as the beginning of the next answer.
        off.append(filters.PROBLEMS)
    if group.public:
        off += [filters.STRANGER_RATE] if group.kind is Kind.WEBHOOK else filters.WEBHOOK_RATES
    return Route(
        name=group.name,
        match=whole(expression, messages.header_is(":method", group.verb)),
        route=_action(group.owner, limits, safe=group.safe),
        # The service learns how long there is somebody who waits; a client of REST cannot say so itself.
        request_headers_to_add=[
            *([messages.header("grpc-timeout", f"{int(limits.timeout.total_seconds())}S")] if limits.timeout else []),
            # For lists of addresses that a vendor's webhooks may come from; nobody outside can say this header.
            *([messages.header("x-rapport-client", CLIENT_ADDRESS)] if group.kind is Kind.WEBHOOK else []),
        ],
        # A client of REST knows nothing of gRPC's headers (what is added above comes after this). A vendor's key is its
        # own affair; ours goes no further, also where it is not asked for.
        request_headers_to_remove=[
            "grpc-encoding",
            "grpc-timeout",
            *([] if group.kind is Kind.WEBHOOK else ["x-api-key"]),
        ],
        typed_per_filter_config=_off(*off)
        | {filters.BODY_LIMIT: filters.body_limit(limits)}
        | ({filters.TIDY: filters.untyped()} if group.verb == "HEAD" else {}),
    )


def _unreadable(nobody: str) -> list[Route]:
    """Return the refusals of calls whose headers gRPC cannot read.

    A service would not only refuse such a call: it takes every later value of that header on the same connection,
    which is shared by all clients, for unreadable, too.
    """
    return [
        _refusing(
            f"{name.replace('-', '_')}_unreadable",
            RouteMatch(
                prefix="/",
                headers=[
                    messages.header_starts("content-type", "application/grpc"),
                    *messages.header_unlike(name, expression),
                ],
            ),
            filters.grpc_refusal(code, f"{name} must be {wanted}."),
            nobody,
        )
        for name, expression, code, wanted in GRPC_VALUES
    ]


def _grpc_routes(methods: Sequence[Method]) -> list[Route]:
    grouped: dict[tuple[str, bool, bool, bool], list[str]] = defaultdict(list)
    for method in methods:
        # A webhook proves itself by the request as it came in over REST; there is no such thing over gRPC.
        if not takes_webhooks(method.name):
            grouped[method.owner, method.safe, method.streaming, method.public].append(method.path)
    return [
        Route(
            name=".".join(["grpc", owner, *(["safe"] if safe else []), *(["public"] if public else [])]),
            match=whole(
                "|".join(templates.escape(path) for path in sorted(paths)),
                messages.header_is(":method", "POST"),
                messages.header_starts("content-type", "application/grpc"),
            ),
            route=_action(owner, LIMITS[Kind.STREAM if streaming else Kind.WRITE], safe=safe),
            # Whatever else a client says here, gRPC ends the call for it.
            request_headers_to_add=[messages.header("te", "trailers")],
            typed_per_filter_config=_off(
                *filters.FOR_REST_ONLY,
                *compression.FILTERS,
                *((*filters.CREDENTIALS, *filters.WEBHOOK_RATES) if public else filters.PUBLIC_RATES),
            ),
        )
        for (owner, safe, streaming, public), paths in sorted(grouped.items())
    ]


def _action(owner: str, limits: Limits, *, safe: bool) -> RouteAction:
    return RouteAction(
        cluster=owner,
        timeout=limits.timeout,
        priority=limits.crowd,
        retry_policy=RetryPolicy(
            retry_on=RETRY_REPEATABLE if safe else RETRY_UNSENT,
            num_retries=2,
            retry_host_predicate=[
                RetryPolicyRetryHostPredicate(
                    name="envoy.retry_host_predicates.previous_hosts", typed_config=Any.pack(PreviousHostsPredicate())
                )
            ],
            host_selection_retry_max_attempts=3,
            # It goes to another process, which need not be spared.
            retry_back_off=RetryPolicyRetryBackOff(base_interval=timedelta(milliseconds=5)),
        ),
    )


def _unsupported(bindings: Iterable[tuple[_Group, templates.Template]], nobody: str) -> list[Route]:
    """Return the refusal of bodies that say that they are no JSON; one that says nothing is taken for it."""
    expressions = [
        template.expression
        for group, template in bindings
        if group.verb in {"POST", "PUT", "PATCH"}
        and group.surface not in RAW_SURFACES
        and group.kind is not Kind.WEBHOOK
    ]
    match = whole(
        _any_of(expressions),
        messages.header_matches(":method", "POST|PUT|PATCH"),
        *messages.header_unlike("content-type", JSON),
    )
    return [_refused("unsupported", match, 415, nobody)] if expressions else []


def _not_allowed(bindings: Iterable[tuple[_Group, templates.Template]], nobody: str) -> list[Route]:
    verbs: dict[str, set[str]] = defaultdict(set)
    for group, template in bindings:
        verbs[template.expression].add(group.verb)
    by_verbs: dict[str, list[str]] = defaultdict(list)
    for expression, allowed in verbs.items():
        by_verbs[", ".join(sorted(allowed))].append(expression)
    return [
        _refused(f"not_allowed.{allow.lower().replace(', ', '_')}", whole(_any_of(paths)), 405, nobody, allow=allow)
        for allow, paths in sorted(by_verbs.items())
    ]


def _refused(name: str, match: RouteMatch, status: int, nobody: str, **headers: str) -> Route:
    return _refusing(name, match, filters.refusal(status, **headers), nobody)


def _refusing(name: str, match: RouteMatch, refusal: Any, nobody: str) -> Route:
    """Return a route that refuses; `nobody` is the cluster that it names because it must name one."""
    return Route(
        name=name,
        match=match,
        route=RouteAction(cluster=nobody),
        typed_per_filter_config={
            **_off(*filters.FOR_SERVICES_ONLY),
            filters.REFUSE: Any.pack(FilterConfig(config=refusal)),
        },
    )


def _page_routes(pages: Pages) -> list[Route]:
    return [
        _page("openapi", "/openapi.json", "application/json", pages.openapi),
        _page("docs", "/docs", "text/html; charset=utf-8", pages.docs, content_security_policy=DOCS_POLICY),
        _page("jwks", "/.well-known/jwks.json", "application/json", pages.jwks),
    ]


def _page(name: str, path: str, media_type: str, body: str | None, **headers: str) -> Route:
    reading = messages.header_matches(":method", "GET|HEAD")
    match = whole(f"{templates.escape(path)}/?", reading)
    if body is None:
        return direct(name, match, 503)
    return direct(name, match, 200, body, content_type=media_type, x_content_type_options="nosniff", **headers)


def direct(name: str, match: RouteMatch, status: int, body: str | None = None, **headers: str) -> Route:
    """Return a route that Envoy answers by itself; the body of an error is made by the listener's reply format."""
    text = problems.BY_STATUS[status].detail if body is None else body
    return Route(
        name=name,
        match=match,
        direct_response=DirectResponseAction(status=status, body=DataSource(inline_string=text)),
        response_headers_to_add=[messages.header(key.replace("_", "-"), value) for key, value in headers.items()],
        typed_per_filter_config=_off(*filters.FOR_SERVICES_ONLY),
    )


def _ready() -> Route:
    route = direct("ready", whole(filters.READY_PATH), 503)
    route.typed_per_filter_config = _off(*filters.FOR_READINESS)
    return route


def _cors(origins: Sequence[str]) -> CorsPolicy:
    return CorsPolicy(
        allow_origin_string_match=[messages.matches(templates.origin(origin)) for origin in origins],
        allow_methods="GET, POST, PATCH, PUT, DELETE, OPTIONS",
        allow_headers="content-type, x-api-key, authorization, if-match, if-none-match, last-event-id, x-grpc-web, "
        "x-user-agent, grpc-timeout",
        expose_headers="etag, ratelimit, ratelimit-policy, retry-after, x-request-id, www-authenticate, grpc-status, "
        "grpc-message, grpc-status-details-bin",
        max_age="600",
        forward_not_matching_preflights=False,
    )
