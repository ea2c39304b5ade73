"""The HTTP filters of the HTTPS listener, in their order, and what each is there for."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files

import betterproto2
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.core.v3 import DataSource, ExtensionConfigSource, TypedExtensionConfig
from envoy_data_plane.envoy.config.route.v3 import RouteMatch
from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer, BufferPerRoute
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import FaultAbort, HttpFault
from envoy_data_plane.envoy.extensions.filters.http.grpc_json_transcoder.v3 import (
    GrpcJsonTranscoder,
    GrpcJsonTranscoderPrintOptions,
    GrpcJsonTranscoderRequestValidationOptions,
)
from envoy_data_plane.envoy.extensions.filters.http.grpc_web.v3 import GrpcWeb
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutation,
    HeaderMutationPerRoute,
    Mutations,
)
from envoy_data_plane.envoy.extensions.filters.http.health_check.v3 import HealthCheck
from envoy_data_plane.envoy.extensions.filters.http.jwt_authn.v3 import (
    JwtAuthentication,
    JwtCacheConfig,
    JwtHeader,
    JwtProvider,
    JwtRequirement,
    RequirementRule,
)
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua, LuaPerRoute
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher
from envoy_data_plane.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType, Percent
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.message_pool import default_message_pool

from gateway.addresses import CONTROL_PLANE
from gateway.edge import compression, messages, problems, rates, shared
from gateway.edge.limits import LONGEST_ANSWER, LONGEST_BODY, Limits
from gateway.edge.quotas import Rates

CORS = "cors"
GRPC_WEB = "grpc_web"
EXCHANGE = "exchange"
TOKENS = "tokens"
RATE_HEADERS = "rate_headers"
TENANT_RATE = "rate.tenant"
SHARED_RATE = "rate.shared"
WEBHOOK_RATE = "rate.webhook"
WEBHOOK_CLIENT_RATE = "rate.webhook_client"
STRANGER_RATE = "rate.stranger"
CUTOVER = "cutover"
TOLERANT_TRANSCODER = "transcoder.tolerant"
STRICT_TRANSCODER = "transcoder.strict"
TIDY = "tidy"
REFUSE = "refuse"
BODY_LIMIT = "body_limit"
PROBLEMS = "problems"
CREDENTIALS = (EXCHANGE, TOKENS, RATE_HEADERS, TENANT_RATE)
"""The filters that public methods do without: what looks like a credential there is the method's own affair."""
WEBHOOK_RATES = (WEBHOOK_RATE, WEBHOOK_CLIENT_RATE)
PUBLIC_RATES = (*WEBHOOK_RATES, STRANGER_RATE)
"""The limits of public methods: webhooks have those of webhooks, the other public methods that of strangers, and all
others are limited by their credential."""
FOR_REST_ONLY = (TIDY, PROBLEMS, BODY_LIMIT, TOLERANT_TRANSCODER, STRICT_TRANSCODER)
"""The filters that calls over gRPC do without."""
FOR_SERVICES_ONLY = (*CREDENTIALS, *PUBLIC_RATES, *FOR_REST_ONLY)
"""The filters that a request does not need which Envoy answers by itself."""
FOR_READINESS = tuple(name for name in FOR_SERVICES_ONLY if name != TOKENS)
"""The filters that "is it ready" does without: all of these but the check of tokens, which must be there."""

TOLERANT_SURFACES = frozenset({"api", "oauth2", "webhooks"})
"""Where query parameters that no contract knows are ignored: the frontend adds some, and so do vendors."""

ALIVE = "/(healthz|health|health/live)/?(\\?.*)?"
READY_CHECK = "ready"
READY_PATH = "/(readyz|health/ready)/?"
READY = f"{READY_PATH}(\\?.*)?"
CACHED_TOKENS = 1024
"""How many checked tokens a worker of Envoy remembers, of 9 KiB each; a key that is used has a new one every 30 s."""
EXCHANGED = "x-rapport-token"
"""Where the token stands that a key was exchanged for; nobody outside can say this header."""
LONGEST_CACHED_TOKEN = 4096


def https_filters(image: bytes, services: Sequence[str], quotas: Rates) -> list[HttpFilter]:
    """Return the filters of the HTTPS listener.

    A request passes them in this order and its answer in the reverse order: CORS is outermost, so that errors carry
    its headers too; keys are exchanged before tokens are judged, tokens are judged before they spend a quota, and
    problems see what the transcoder made. It is not ready before tokens can be judged, so that question is answered
    behind their check.
    """
    alive, ready = health_filters()
    return [
        _filter(CORS, Cors()),
        _filter(compression.BROTLI, compression.brotli()),
        _filter(compression.GZIP, compression.gzip()),
        alive,
        _filter(GRPC_WEB, GrpcWeb()),
        HttpFilter(name=REFUSE, typed_config=Any.pack(Lua()), disabled=True),
        _filter(TIDY, _tidy()),
        # Before whatever waits for another process: a body that piles up there is judged by another limit, or by none.
        _filter(BODY_LIMIT, Buffer(max_request_bytes=LONGEST_BODY)),
        _filter(EXCHANGE, _script("exchange")),
        _filter(PROBLEMS, _script("problems")),
        _filter(RATE_HEADERS, rates.headers(quotas)),
        HttpFilter(name=TOKENS, config_discovery=_token_source()),
        ready,
        _filter(TENANT_RATE, rates.tenants_and_keys(quotas)),
        *([_filter(SHARED_RATE, shared.shares(CONTROL_PLANE))] if quotas.shared else []),
        # In this order, so that what is too much for one webhook address is not taken from its vendor's others.
        _filter(WEBHOOK_RATE, rates.webhooks(quotas)),
        _filter(WEBHOOK_CLIENT_RATE, rates.webhook_clients(quotas)),
        _filter(STRANGER_RATE, rates.strangers(quotas)),
        _filter(TOLERANT_TRANSCODER, _transcoder(image, services, strict=False)),
        _filter(STRICT_TRANSCODER, _transcoder(image, services, strict=True)),
        router(),
    ]


def health_filters() -> list[HttpFilter]:
    """Return the answers to "is it alive" (this Envoy) and "is it ready" (see `ready_check`)."""
    source = ExtensionConfigSource(
        config_source=messages.ADS, type_urls=[default_message_pool.type_to_url[HealthCheck]]
    )
    return [
        _filter("alive", HealthCheck(pass_through_mode=False, headers=[messages.header_matches(":path", ALIVE)])),
        HttpFilter(name=READY_CHECK, config_discovery=source),
    ]


def ready_check(clusters: Sequence[str]) -> TypedExtensionConfig:
    """Return the answer to "is it ready": an endpoint of every one of these clusters is healthy.

    It is an extension of its own, so that a shift of traffic between versions does not touch listeners.
    """
    check = HealthCheck(
        pass_through_mode=False,
        headers=[messages.header_matches(":path", READY)],
        cluster_min_healthy_percentages=dict.fromkeys(clusters, Percent(value=1)),
    )
    return TypedExtensionConfig(name=READY_CHECK, typed_config=Any.pack(check))


def router() -> HttpFilter:
    """Return the last filter."""
    return _filter("router", Router(suppress_envoy_headers=True))


def refusal(status: int, **headers: str) -> Any:
    """Return what a route carries that refuses every request.

    A direct response would do, but the CORS filter leaves those alone, and a browser would hide the refusal from its
    page.
    """
    return _reply({":status": str(status)} | headers, problems.BY_STATUS[status].detail)


def grpc_refusal(code: int, message: str) -> Any:
    """Return what a route carries that refuses every call over gRPC with this code."""
    return _reply(
        {":status": "200", "content-type": "application/grpc", "grpc-status": str(code), "grpc-message": message}
    )


def _reply(headers: Mapping[str, str], body: str = "") -> Any:
    said = ", ".join(f'["{name}"] = "{value}"' for name, value in headers.items())
    code = f'function envoy_on_request(handle) handle:respond({{ {said} }}, "{body}") end'
    return Any.pack(LuaPerRoute(source_code=DataSource(inline_string=code)))


def body_limit(limits: Limits) -> Any:
    """Return what a route carries that takes bodies up to its limit."""
    return Any.pack(BufferPerRoute(buffer=Buffer(max_request_bytes=limits.longest_body)))


def untyped() -> Any:
    """Return what a route carries whose answers have no body, and therefore no type; gRPC's own would be left."""
    return Any.pack(HeaderMutationPerRoute(mutations=Mutations(response_mutations=[Mutation(remove="content-type")])))


def token_check(jwks: str, *, shared_quotas: bool = False) -> TypedExtensionConfig:
    """Return the check of tokens against a key set (JSON text).

    It is an extension of its own, so that new keys reach Envoy without touching the listener and its connections.
    """
    provider = JwtProvider(
        issuer="rapport",
        audiences=["rapport"],
        local_jwks=DataSource(inline_string=jwks),
        forward=True,
        payload_in_metadata=rates.PAYLOAD,
        claim_to_headers=shared.claims() if shared_quotas else [],
        require_expiration=True,
        from_headers=[JwtHeader(name=name, value_prefix="Bearer ") for name in ("authorization", EXCHANGED)],
        clock_skew_seconds=5,
        jwt_cache_config=JwtCacheConfig(jwt_cache_size=CACHED_TOKENS, jwt_max_token_size=LONGEST_CACHED_TOKEN),
    )
    authentication = JwtAuthentication(
        providers={"rapport": provider},
        rules=[
            RequirementRule(match=RouteMatch(safe_regex=RegexMatcher(regex=READY_PATH))),
            RequirementRule(match=RouteMatch(prefix="/"), requires=JwtRequirement(provider_name="rapport")),
        ],
        strip_failure_response=False,
    )
    return TypedExtensionConfig(name=TOKENS, typed_config=Any.pack(authentication))


def _script(name: str) -> Lua:
    source = files("gateway.edge").joinpath(f"{name}.lua").read_text(encoding="utf-8")
    table = ",".join(
        f'["{problem.status}"]=[==[{json.dumps(problem.document(), ensure_ascii=False)}]==]'
        for problem in problems.PROBLEMS
    )
    text = DataSource(inline_string=source.replace("--@PROBLEMS@--", table))
    # No route depends on a header that the scripts change, so it need not be looked for once more.
    return Lua(default_source_code=text, clear_route_cache=False)


def _token_source() -> ExtensionConfigSource:
    # Until the first key set is known nobody can be judged: that is "unavailable", neither "refused" nor "welcome".
    nobody = HttpFault(
        abort=FaultAbort(
            http_status=503,
            percentage=FractionalPercent(numerator=100, denominator=FractionalPercentDenominatorType.HUNDRED),
        )
    )
    return ExtensionConfigSource(
        config_source=messages.ADS,
        default_config=Any.pack(nobody),
        apply_default_config_without_warming=True,
        type_urls=[default_message_pool.type_to_url[JwtAuthentication], default_message_pool.type_to_url[HttpFault]],
    )


def _transcoder(image: bytes, services: Sequence[str], *, strict: bool) -> GrpcJsonTranscoder:
    return GrpcJsonTranscoder(
        proto_descriptor_bin=image,
        services=list(services),
        match_incoming_request_route=True,
        ignore_unknown_query_parameters=not strict,
        convert_grpc_status=False,
        max_request_body_size=LONGEST_BODY,
        max_response_body_size=LONGEST_ANSWER,
        print_options=GrpcJsonTranscoderPrintOptions(
            always_print_primitive_fields=True, preserve_proto_field_names=True, stream_newline_delimited=True
        ),
        request_validation_options=GrpcJsonTranscoderRequestValidationOptions(
            reject_unknown_method=True,
            reject_unknown_query_parameters=strict,
            reject_binding_body_field_collisions=True,
        ),
    )


def _tidy() -> HeaderMutation:
    """What the transcoder leaves of gRPC in an answer over REST."""
    left = ("grpc-status", "grpc-message", "grpc-accept-encoding", "grpc-status-details-bin", "problem-bin")
    return HeaderMutation(mutations=Mutations(response_mutations=[Mutation(remove=name) for name in left]))


def _filter(name: str, config: betterproto2.Message) -> HttpFilter:
    return HttpFilter(name=name, typed_config=Any.pack(config))
