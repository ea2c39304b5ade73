"""What Envoy would refuse in a resource although its types are right.

The protos of Envoy carry protoc-gen-validate rules that envoy-data-plane does not enforce. Those that this gateway
relies on are checked here, so that a mistake is an exception where it is made and not a refusal by every Envoy.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import Address, HealthCheck, TypedExtensionConfig
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import Route, RouteAction, RouteConfiguration, VirtualHost
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret

HIGHEST_PORT = 65535


class ConstraintError(ValueError):
    """Envoy would refuse the resource; the text names it and says why."""


def check(message: object) -> None:
    """Check one resource.

    Raises:
        ConstraintError: with everything that is wrong with it.
    """
    wrong = list(_violations(message))
    if wrong:
        name = getattr(message, "name", "") or getattr(message, "cluster_name", "")
        raise ConstraintError(f"{type(message).__name__} {name!r}: {'; '.join(wrong)}")


def _violations(message: object) -> Iterator[str]:
    match message:
        case Cluster():
            yield from _cluster(message)
        case ClusterLoadAssignment():
            yield from _assignment(message)
        case Listener():
            yield from _listener(message)
        case RouteConfiguration():
            yield from _routes(message)
        case Secret() | TypedExtensionConfig():
            if not message.name:
                yield "the name is empty"
        case _:
            yield "this type of resource is not served"


def _cluster(cluster: Cluster) -> Iterator[str]:
    if not cluster.name:
        yield "the name is empty"
    if cluster.connect_timeout is not None and cluster.connect_timeout <= timedelta(0):
        yield "connect_timeout is not positive"
    if cluster.type == ClusterDiscoveryType.EDS and cluster.eds_cluster_config is None:
        yield "a cluster of type EDS needs eds_cluster_config"
    for check_ in cluster.health_checks:
        yield from _health_check(check_)


def _health_check(health: HealthCheck) -> Iterator[str]:
    for field in ("timeout", "interval"):
        value = getattr(health, field)
        if value is None or value <= timedelta(0):
            yield f"health check: {field} is not positive"
    for field in ("healthy_threshold", "unhealthy_threshold"):
        if getattr(health, field) is None:
            yield f"health check: {field} is missing"


def _assignment(assignment: ClusterLoadAssignment) -> Iterator[str]:
    if not assignment.cluster_name:
        yield "the name is empty"
    for locality in assignment.endpoints:
        for endpoint in locality.lb_endpoints:
            if endpoint.endpoint is None:
                yield "an endpoint is empty"
            else:
                yield from _address(endpoint.endpoint.address)


def _address(address: Address | None) -> Iterator[str]:
    if address is None or (address.socket_address is None and address.pipe is None):
        yield "an address is missing"
    elif (socket := address.socket_address) is not None:
        if not socket.address:
            yield "an address has no host"
        if not 0 < (socket.port_value or 0) <= HIGHEST_PORT:
            yield f"port {socket.port_value} is not between 1 and {HIGHEST_PORT}"


def _listener(listener: Listener) -> Iterator[str]:
    if not listener.name:
        yield "the name is empty"
    yield from _address(listener.address)
    if not listener.filter_chains:
        yield "there is no filter chain"
    for chain in listener.filter_chains:
        yield from _chain(chain)


def _chain(chain: FilterChain) -> Iterator[str]:
    for network_filter in chain.filters:
        if not network_filter.name:
            yield "a network filter has no name"
        config = network_filter.typed_config
        if config is not None and config.type_url.endswith(".HttpConnectionManager"):
            yield from _manager(HttpConnectionManager.parse(config.value))


def _manager(manager: HttpConnectionManager) -> Iterator[str]:
    if not manager.stat_prefix:
        yield "stat_prefix is empty"
    if manager.rds is not None and not manager.rds.route_config_name:
        yield "the name of the route configuration is empty"
    names = [http_filter.name for http_filter in manager.http_filters]
    if not all(names):
        yield "an HTTP filter has no name"
    yield from (f"HTTP filter {name} stands twice" for name in _repeated(names))
    last = manager.http_filters[-1].typed_config if manager.http_filters else None
    if last is None or not last.type_url.endswith(".router.v3.Router"):
        yield "the last HTTP filter is not the router"


def _routes(configuration: RouteConfiguration) -> Iterator[str]:
    if not configuration.name:
        yield "the name is empty"
    yield from (f"virtual host {name} stands twice" for name in _repeated(h.name for h in configuration.virtual_hosts))
    domains = [domain for host in configuration.virtual_hosts for domain in host.domains]
    yield from (f"domain {domain} stands twice" for domain in _repeated(domains))
    for host in configuration.virtual_hosts:
        yield from _virtual_host(host, configuration.max_direct_response_body_size_bytes or 4096)


def _virtual_host(host: VirtualHost, longest_body: int) -> Iterator[str]:
    if not host.name:
        yield "a virtual host has no name"
    if not host.domains:
        yield f"virtual host {host.name} has no domains"
    for route in host.routes:
        yield from (f"route {route.name!r}: {wrong}" for wrong in _route(route, longest_body))


def _route(route: Route, longest_body: int) -> Iterator[str]:
    match = route.match
    if match is None or all(
        kind is None for kind in (match.prefix, match.path, match.safe_regex, match.connect_matcher)
    ):
        yield "it matches no path"
    elif match.safe_regex is not None:
        try:
            re.compile(match.safe_regex.regex)
        except re.error as error:
            yield f"its expression is malformed: {error}"
    if route.route is not None:
        yield from _action(route.route)
    direct = route.direct_response
    if direct is not None and direct.body is not None:
        body = (direct.body.inline_string or "").encode() or direct.body.inline_bytes or b""
        if len(body) > longest_body:
            yield f"its body of {len(body)} bytes is longer than {longest_body}"
    if all(action is None for action in (route.route, route.redirect, direct)):
        yield "it does nothing"


def _action(action: RouteAction) -> Iterator[str]:
    split = action.weighted_clusters
    if split is None:
        if not action.cluster:
            yield "its cluster is empty"
        return
    if not all(one.name for one in split.clusters):
        yield "a weighted cluster has no name"
    if not sum(one.weight or 0 for one in split.clusters):
        yield "its clusters have no weight"


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]
