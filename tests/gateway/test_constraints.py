"""What Envoy would refuse is refused where it is made."""

from datetime import timedelta

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import HealthCheck, TypedExtensionConfig
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager, Rds
from envoy_data_plane.google.protobuf import Any

from gateway.addresses import HostPort
from gateway.ads import constraints
from gateway.edge import clusters, filters, messages, routes


def manager_listener(manager: HttpConnectionManager) -> Listener:
    """Return a listener around a connection manager."""
    chain = FilterChain(filters=[Filter(name="http", typed_config=Any.pack(manager))])
    return Listener(name="l", address=messages.address(HostPort("127.0.0.1", 1)), filter_chains=[chain])


def hosts(*domains: list[str], route: Route | None = None) -> RouteConfiguration:
    """Return routes with a virtual host for each list of domains."""
    one = route or Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster="c"))
    return RouteConfiguration(
        name="r",
        virtual_hosts=[VirtualHost(name=str(i), domains=names, routes=[one]) for i, names in enumerate(domains)],
    )


BROKEN = {
    "cluster without a name": (Cluster(), "name is empty"),
    "cluster whose connect timeout is zero": (Cluster(name="c", connect_timeout=timedelta(0)), "connect_timeout"),
    "EDS cluster without its config": (Cluster(name="c", type=ClusterDiscoveryType.EDS), "eds_cluster_config"),
    "health check without thresholds": (
        Cluster(name="c", health_checks=[HealthCheck(timeout=timedelta(1), interval=timedelta(1))]),
        "healthy_threshold is missing",
    ),
    "health check without a timeout": (Cluster(name="c", health_checks=[HealthCheck()]), "timeout is not positive"),
    "endpoint with port 0": (clusters.assignment("c", [HostPort("127.0.0.1", 0)]), "port 0"),
    "endpoints without a name": (clusters.assignment("", []), "name is empty"),
    "listener without an address": (Listener(name="l", filter_chains=[FilterChain()]), "address is missing"),
    "listener without filter chains": (
        Listener(name="l", address=messages.address(HostPort("127.0.0.1", 1))),
        "no filter chain",
    ),
    "manager without a stat prefix": (
        manager_listener(HttpConnectionManager(http_filters=[filters.router()])),
        "stat_prefix",
    ),
    "manager whose last filter is not the router": (
        manager_listener(HttpConnectionManager(stat_prefix="s", http_filters=filters.health_filters())),
        "not the router",
    ),
    "manager with a filter twice": (
        manager_listener(HttpConnectionManager(stat_prefix="s", http_filters=[filters.router(), filters.router()])),
        "stands twice",
    ),
    "manager that names no routes": (
        manager_listener(HttpConnectionManager(stat_prefix="s", rds=Rds(), http_filters=[filters.router()])),
        "route configuration is empty",
    ),
    "routes without a name": (RouteConfiguration(), "name is empty"),
    "virtual host without domains": (hosts([]), "no domains"),
    "two virtual hosts of one domain": (hosts(["a"], ["a"]), "domain a stands twice"),
    "route that matches nothing": (hosts(["*"], route=Route(route=RouteAction(cluster="c"))), "matches no path"),
    "route that does nothing": (hosts(["*"], route=Route(match=RouteMatch(prefix="/"))), "does nothing"),
    "route to a cluster without a name": (
        hosts(["*"], route=Route(match=RouteMatch(prefix="/"), route=RouteAction())),
        "cluster is empty",
    ),
    "expression that is malformed": (
        hosts(["*"], route=Route(match=routes.whole("("), route=RouteAction(cluster="c"))),
        "malformed",
    ),
    "inline body beyond the limit": (
        hosts(["*"], route=routes.direct("d", RouteMatch(prefix="/"), 200, "x" * 5000)),
        "longer than",
    ),
    "extension without a name": (TypedExtensionConfig(), "name is empty"),
    "something that is not served": (RouteMatch(), "not served"),
}


@pytest.mark.parametrize(("message", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_a_resource_that_envoy_would_refuse_is_an_error(message: object, said: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(constraints.ConstraintError, match=said):
        constraints.check(message)


def test_good_resources_pass() -> None:
    """What the gateway makes is within the rules."""
    for message in (clusters.cluster("c"), clusters.assignment("c", [HostPort("::1", 1)]), hosts(["*"])):
        constraints.check(message)
