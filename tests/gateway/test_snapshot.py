"""A snapshot is consistent, and the way to the next one takes nothing away that is in use."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ads.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource
from gateway.ads.snapshot import EMPTY, Snapshot, SnapshotInconsistentError, steps
from tests.gateway.resources import cluster, listener, route


def test_the_version_is_made_of_the_content_alone() -> None:
    """Order does not matter, content does."""
    one = Snapshot.of([*cluster("a"), *cluster("b")])
    assert one.version == Snapshot.of([*cluster("b"), *cluster("a")]).version
    changed = Snapshot.of([*cluster("a", connect_seconds=2), *cluster("b")])
    assert changed.version != one.version
    assert changed.versions[CLUSTER] != one.versions[CLUSTER]
    assert changed.versions[ENDPOINT] == one.versions[ENDPOINT]


def test_nothing_of_a_snapshot_can_be_changed() -> None:
    """Neither its parts nor its maps."""
    snapshot = Snapshot.of(cluster("a"))
    with pytest.raises(TypeError):
        snapshot.resources[CLUSTER]["b"] = cluster("b")[0]  # type: ignore[index]
    with pytest.raises(AttributeError):
        snapshot.versions = {}  # type: ignore[misc]


INCONSISTENT = {
    "a cluster without endpoints": (cluster("a")[:1], "missing"),
    "endpoints without a cluster": (cluster("a")[1:], "nothing refers"),
    "a listener without routes": ([listener(1)], "missing"),
    "routes without a listener": ([route()], "nothing refers"),
    "routes to a cluster that is not there": ([listener(1), route(to="b"), *cluster("a")], "missing"),
    "a name that stands twice": ([*cluster("a"), *cluster("a")], "twice"),
    "a type that is not served": ([Resource("type.googleapis.com/other", "a", b"")], "not a type"),
}


@pytest.mark.parametrize(("resources", "said"), INCONSISTENT.values(), ids=INCONSISTENT.keys())
def test_what_does_not_fit_together_is_an_error(resources: list[Resource], said: str) -> None:
    """EDS names are CDS references, RDS names LDS references, and routes lead to clusters that exist."""
    with pytest.raises(SnapshotInconsistentError, match=said):
        Snapshot.of(resources)


def test_additions_need_one_step() -> None:
    """Clusters are sent before the routes that name them."""
    target = Snapshot.of([*cluster("a"), *cluster("b")])
    assert steps(Snapshot.of(cluster("a")), target) == [target]


def test_a_cluster_goes_after_the_routes_no_longer_name_it() -> None:
    """The first step has the new routes and still the old cluster."""
    current = Snapshot.of([*cluster("old"), listener(1), route(to="old")])
    target = Snapshot.of([*cluster("new"), listener(1), route(to="new")])
    bridge, last = steps(current, target)
    assert set(bridge.resources[CLUSTER]) == set(bridge.resources[ENDPOINT]) == {"old", "new"}
    assert bridge.versions[ROUTE] == target.versions[ROUTE]
    assert bridge.versions[LISTENER] == target.versions[LISTENER]
    assert last is target


# Building a message is slow enough to be done once.
CLUSTERS = {name: cluster(name) for name in "abcd"}


@settings(deadline=None)
@given(st.frozensets(st.sampled_from("abcd")), st.frozensets(st.sampled_from("abcd")))
def test_every_step_has_what_is_in_use_before_and_after(before: frozenset[str], after: frozenset[str]) -> None:
    """Whatever changes: no step lacks a cluster that the step before and the step after both have."""
    current, target = (Snapshot.of(r for name in sorted(names) for r in CLUSTERS[name]) for names in (before, after))
    path = [current, *steps(current, target)]
    assert path[-1] == target
    for one, other in pairwise(path):
        assert before & after <= set(other.resources[CLUSTER])
        grows = set(one.resources[CLUSTER]) <= set(other.resources[CLUSTER])
        assert grows or other is target


def test_the_empty_snapshot_is_consistent() -> None:
    """It is what is current before anything was published."""
    assert EMPTY.all() == []
