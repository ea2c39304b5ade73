"""Small resources for the tests of the control plane."""

from collections.abc import Mapping
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
    WeightedClusterClusterWeight,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager, Rds
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher
from envoy_data_plane.google.protobuf import Any

from gateway.addresses import HostPort
from gateway.ads.resources import Resource
from gateway.edge import clusters, filters, messages


def cluster(name: str, *ports: int, connect_seconds: float = 1.0) -> list[Resource]:
    """Return a cluster and its endpoints."""
    made = clusters.cluster(name)
    made.connect_timeout = timedelta(seconds=connect_seconds)
    endpoints = [HostPort("127.0.0.1", port) for port in ports or (1,)]
    return [Resource.of(made), Resource.of(clusters.assignment(name, endpoints))]


def listener(port: int, name: str = "main") -> Resource:
    """Return a plain HTTP listener with its routes by RDS under the same name."""
    manager = HttpConnectionManager(
        stat_prefix=name, rds=Rds(route_config_name=name, config_source=messages.ADS), http_filters=[filters.router()]
    )
    chain = FilterChain(filters=[Filter(name="http", typed_config=Any.pack(manager))])
    return Resource.of(
        Listener(name=name, address=messages.address(HostPort("127.0.0.1", port)), filter_chains=[chain])
    )


def route(
    text: str = "hello",
    name: str = "main",
    *,
    to: str = "",
    expression: str = "/.*",
    split: Mapping[str, int] | None = None,
) -> Resource:
    """Return routes that answer every request with a text, or send it to a cluster, or to several by their shares."""
    one = Route(match=RouteMatch(safe_regex=RegexMatcher(regex=expression)))
    if split:
        weights = [WeightedClusterClusterWeight(name=name, weight=weight) for name, weight in split.items()]
        one.route = RouteAction(weighted_clusters=WeightedCluster(clusters=weights))
    elif to:
        one.route = RouteAction(cluster=to)
    else:
        one.direct_response = DirectResponseAction(status=200, body=DataSource(inline_string=text))
    return Resource.of(
        RouteConfiguration(name=name, virtual_hosts=[VirtualHost(name="all", domains=["*"], routes=[one])])
    )
