"""The way to HTTPS: what is asked for by HTTP is redirected, and nothing ever leads back.

`direct`: the HTTP listener redirects everything. `behind-proxy`: TLS ends at the platform's proxy, which connects to
the HTTP listener and says by `x-forwarded-proto` what it was asked by: HTTPS is served, HTTP redirected. Where it does
not say so, or where a stranger connects, a redirect could lead to itself for ever; such a request is refused instead.
"""

from collections.abc import Mapping

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import (
    FilterConfig,
    HeaderMatcher,
    RedirectAction,
    RedirectActionRedirectResponseCode,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import LuaPerRoute
from envoy_data_plane.google.protobuf import Any

from gateway.edge import hygiene, messages, tls
from gateway.edge.clients import USUAL_PORT
from gateway.edge.filters import FOR_SERVICES_ONLY, REFUSE
from gateway.edge.routes import HEALTHY, direct, whole

HTTP_ROUTES, PROXIED_ROUTES = "http", "proxied"
SCHEME, HOST, CLIENT = "x-rapport-scheme", "x-rapport-said-host", "x-rapport-client"
"""What trusted proxies said, under names that no client can set."""

ACME = "/.well-known/acme-challenge/"


def http_routes(https_port: int, challenges: Mapping[str, str]) -> RouteConfiguration:
    """Return the routes of HTTP: all but health and ACME is redirected to the same address on HTTPS."""
    return _configuration(HTTP_ROUTES, [*_exempt(challenges), redirect(https_port)])


def refusing_routes(challenges: Mapping[str, str]) -> RouteConfiguration:
    """Return the routes of HTTP behind proxies for those who are none: all but health and ACME is refused."""
    return _configuration(HTTP_ROUTES, [*_exempt(challenges), direct("not_by_proxy", RouteMatch(prefix="/"), 421)])


def proxied_routes(served: RouteConfiguration, https_port: int, challenges: Mapping[str, str]) -> RouteConfiguration:
    """Return the routes of HTTP behind proxies: those of HTTPS, `served`, for what was asked for by HTTPS."""
    malformed = hygiene.unless(HOST, f"({hygiene.HOST})?")
    by_http = messages.header_is(SCHEME, "http")
    first = [
        *_exempt(challenges),
        direct("host_malformed", RouteMatch(prefix="/", headers=[malformed]), 400),
        _redirect_to_said_host(https_port, by_http),
        redirect(https_port, by_http),
        direct("scheme_unsaid", RouteMatch(prefix="/", headers=[hygiene.unless(SCHEME, "https")]), 421),
    ]
    hosts = [VirtualHost.parse(bytes(host)) for host in served.virtual_hosts]
    for host in hosts:
        ready = next(route for route in host.routes if route.name == "ready")
        exceptions = [ready, *first]
        for route in exceptions:
            route.typed_per_filter_config |= _without(tls.HSTS)
        host.routes = [*exceptions, *host.routes]
        # The services are told of the host and the client that are believed, not of what the client said about itself.
        host.request_headers_to_add += [
            messages.header("x-rapport-host", f"%REQ({HOST}?:AUTHORITY)%"),
            messages.header("x-forwarded-for", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        ]
    return RouteConfiguration(
        name=PROXIED_ROUTES,
        max_direct_response_body_size_bytes=served.max_direct_response_body_size_bytes,
        virtual_hosts=hosts,
        # Taken away after the virtual host's own headers are made of them.
        request_headers_to_remove=[SCHEME, HOST],
    )


def redirect(https_port: int, *only: HeaderMatcher) -> Route:
    """Return the route that redirects to the port of HTTPS, by 308: method and body stay as they are."""
    return Route(
        name="redirect",
        match=RouteMatch(prefix="/", headers=list(only)),
        redirect=RedirectAction(
            https_redirect=True,
            port_redirect=0 if https_port == USUAL_PORT else https_port,
            response_code=RedirectActionRedirectResponseCode.PERMANENT_REDIRECT,
        ),
        # A permanent redirect is kept for ever otherwise, by caches that may be shared, whatever host it was asked for.
        response_headers_to_add=[messages.header("cache-control", "no-store")],
        typed_per_filter_config=_without(*FOR_SERVICES_ONLY, tls.HSTS),
    )


def _redirect_to_said_host(https_port: int, *only: HeaderMatcher) -> Route:
    """Return the route that redirects to the host which a trusted proxy names; Envoy's own redirect knows only one."""
    route = redirect(https_port, HeaderMatcher(name=HOST, present_match=True), *only)
    port = "" if https_port == USUAL_PORT else f":{https_port}"
    code = f"""function envoy_on_request(handle)
      local headers = handle:headers()
      local host = headers:get("{HOST}"):gsub(":%d+$", "")
      local place = "https://" .. host .. "{port}" .. headers:get(":path")
      handle:respond({{ [":status"] = "308", ["location"] = place, ["cache-control"] = "no-store" }}, "")
    end"""
    answer = LuaPerRoute(source_code=DataSource(inline_string=code))
    route.typed_per_filter_config[REFUSE] = Any.pack(FilterConfig(config=Any.pack(answer)))
    return route


def _exempt(challenges: Mapping[str, str]) -> list[Route]:
    refused = [direct(name, match, status) for name, match, status in hygiene.malformed()]
    return [*refused, direct("health", whole(HEALTHY), 404), *_acme(challenges)]


def _acme(challenges: Mapping[str, str]) -> list[Route]:
    served = [
        direct(f"acme.{at}", RouteMatch(path=ACME + token), 200, text, content_type="text/plain")
        for at, (token, text) in enumerate(sorted(challenges.items()))
    ]
    routes = [*served, direct("acme", RouteMatch(prefix=ACME), 404)]
    for route in routes:
        route.typed_per_filter_config |= _without(tls.HSTS)
    return routes


def _without(*names: str) -> dict[str, Any]:
    return {name: Any.pack(FilterConfig(disabled=True)) for name in names}


def _configuration(name: str, routes: list[Route]) -> RouteConfiguration:
    return RouteConfiguration(name=name, virtual_hosts=[VirtualHost(name=name, domains=["*"], routes=routes)])
