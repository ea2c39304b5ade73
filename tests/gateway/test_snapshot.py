"""A snapshot is consistent, immutable, and its versions follow from its content."""

import pytest

from gateway.ads.resources import CLUSTER, ENDPOINT, Resource
from gateway.ads.snapshot import EMPTY, Snapshot, SnapshotInconsistentError
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


def test_every_destination_of_weighted_routes_must_be_there() -> None:
    """And both clusters are in use."""
    both = [*cluster("a"), *cluster("b"), listener(1)]
    Snapshot.of([*both, route(split={"a": 90, "b": 10})])
    with pytest.raises(SnapshotInconsistentError, match="missing"):
        Snapshot.of([*both, route(split={"a": 90, "c": 10})])


def test_the_empty_snapshot_is_consistent() -> None:
    """It is what is current before anything was published."""
    assert EMPTY.all() == []
