"""Our constraints against Envoy's own check: what passes ours passes its."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.addresses import HostPort
from gateway.ads.constraints import ConstraintError
from gateway.ads.resources import Message, Resource
from gateway.ads.snapshot import Snapshot, SnapshotInconsistentError
from gateway.edge import clusters, filters, messages
from tests.gateway.plane import validate
from tests.gateway.static import static_form

T = TypeVar("T")


@dataclass(frozen=True)
class Maker:
    """Draws the parts of a configuration; a careless one draws what Envoy would refuse as well."""

    draw: st.DrawFn
    careless: bool

    def one(self, good: Sequence[T], wrong: Sequence[T] = ()) -> T:
        """Draw a value."""
        return self.draw(st.sampled_from([*good, *(wrong if self.careless else ())]))

    def cluster(self, name: str) -> list[Message]:
        """Draw a cluster and its endpoints."""
        made = clusters.cluster(name)
        made.connect_timeout = timedelta(seconds=self.one([0.25, 1.0, 5.0], [0.0, -1.0]))
        ports = [self.one([1, 80, 65_535], [0, 70_000]) for _ in range(self.one([0, 1, 2]))]
        return [made, clusters.assignment(name, [HostPort("127.0.0.1", port) for port in ports])]

    def route(self, names: Sequence[str]) -> Route:
        """Draw a route to clusters of these names."""
        expression = self.one(["/.*", "/v1/(a|b)/[^/]+", "/x/?"], ["/(", "/[a"])
        match = RouteMatch(safe_regex=RegexMatcher(regex=expression))
        route = Route(match=self.one([match, RouteMatch(prefix="/"), RouteMatch(path="/a")], [RouteMatch()]))
        match self.one(["cluster", "weights", "text"], ["nothing"]):
            case "cluster":
                route.route = RouteAction(cluster=self.one(names, ["", "absent"]))
            case "weights":
                weights = {self.one(names, ["", "absent"]): self.one([1, 50, 100], [0]) for _ in range(3)}
                if self.careless and self.one([True, False]):
                    weights = {}
                split = [WeightedClusterClusterWeight(name=name, weight=weight) for name, weight in weights.items()]
                route.route = RouteAction(weighted_clusters=WeightedCluster(clusters=split))
            case "text":
                body = DataSource(inline_string="x" * self.one([0, 5, 4096], [4097]))
                route.direct_response = DirectResponseAction(status=200, body=body)
        return route

    def listener(self) -> Listener:
        """Draw a listener."""
        manager = HttpConnectionManager(
            stat_prefix=self.one(["main"], [""]),
            rds=Rds(route_config_name="main", config_source=messages.ADS),
            http_filters=[filters.router()] * self.one([1], [0, 2]),
        )
        chain = FilterChain(filters=[Filter(name=self.one(["http"], [""]), typed_config=Any.pack(manager))])
        at = messages.address(HostPort("127.0.0.1", self.one([8080, 8443], [0, 70_000])))
        return Listener(name="main", address=at, filter_chains=[chain])


@st.composite
def worlds(draw: st.DrawFn) -> list[Message]:
    """Draw the messages of a whole configuration."""
    maker = Maker(draw, careless=draw(st.integers(0, 3)) == 0)
    names = draw(st.lists(st.sampled_from(["a", "b", "tickets@green"]), min_size=1, unique=True))
    domains = draw(st.permutations(["*", "a.example", "*.b.example", "c.example:443"]))
    hosts = [
        VirtualHost(
            name=maker.one([str(number)], ["", "0"]),
            domains=maker.one([domains[number::2]], [[], ["*"]]),
            routes=[maker.route(names) for _ in range(maker.one([0, 1, 3]))],
        )
        for number in range(2)
    ]
    routes = RouteConfiguration(name="main", virtual_hosts=hosts)
    return [*(message for name in names for message in maker.cluster(name)), maker.listener(), routes]


def test_what_passes_our_constraints_passes_envoys_own_check(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Over configurations of which many are broken in one place or another; a good number must pass."""
    folder: Path = tmp_path_factory.mktemp("validate")
    passed = seen = 0

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(worlds())
    def judge(world: list[Message]) -> None:
        nonlocal passed, seen
        if passed >= 20:
            return
        seen += 1
        try:
            snapshot = Snapshot.of(Resource.of(message) for message in world)
        except (ConstraintError, SnapshotInconsistentError):
            return
        passed += 1
        assert validate(folder / "envoy.pb", static_form(snapshot)) == ""

    judge()
    assert 10 <= passed < seen
