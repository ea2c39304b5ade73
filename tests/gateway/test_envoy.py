"""The ADS server against a real Envoy, the same for both variants of the protocol."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest

from gateway.addresses import HostPort
from gateway.ads.resources import ENDPOINT, LISTENER, ROUTE
from gateway.ads.snapshot import EMPTY, Snapshot
from gateway.bootstrap import bootstrap
from tests.gateway.plane import Plane, validate
from tests.gateway.resources import cluster, listener, route
from tests.gateway.stack import free_port, wait_until
from tests.gateway.static import static_bootstrap
from tests.gateway.upstream import Tokens


@pytest.fixture(scope="module", params=["delta", "sotw"])
def plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane and its Envoy."""
    made = Plane(tmp_path_factory.mktemp("envoy"), request.param)
    try:
        yield made
    finally:
        made.stop()


class Load:
    """Requests without a pause, in a thread; `failed` counts those that were not answered with 200."""

    def __init__(self, port: int, headers: dict[str, str] | None = None) -> None:
        self.answered = self.failed = 0
        self._end = threading.Event()
        self._url = f"http://127.0.0.1:{port}/"
        self._headers = headers or {}
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with httpx.Client(timeout=10, headers=self._headers) as client:
            while not self._end.is_set():
                try:
                    good = client.get(self._url).status_code == 200
                except httpx.TransportError:
                    good = False
                self.answered += good
                self.failed += not good

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.answered > 0, "the first answer")
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def test_a_real_envoy_takes_a_snapshot_and_its_update_without_a_restart(plane: Plane) -> None:
    """Every type is acknowledged with its version; the update is seen at once."""
    first = plane.world()
    plane.taken(first)
    wait_until(lambda: plane.text() == "hello", "Envoy serves")
    states = plane.node.types
    assert all(states[type_url].accepted == first.versions[type_url] for type_url in states)
    plane.taken(plane.world("goodbye"))
    wait_until(lambda: plane.text() == "goodbye", "Envoy serves the update")


def test_an_update_sends_what_changed(plane: Plane) -> None:
    """Routes alone; Envoy says so by its own count of updates."""
    plane.taken(plane.world("one"))
    before = plane.stats("(cds|lds).*update_success|cluster_modified|listener_modified")
    sent = plane.node.sent
    plane.taken(plane.world("two"))
    assert plane.node.sent == sent + 1
    assert plane.stats("(cds|lds).*update_success|cluster_modified|listener_modified") == before


def test_a_changed_cluster_is_warmed_by_its_endpoints_again(plane: Plane) -> None:
    """Envoy waits for the endpoints of a changed cluster although they are the same."""
    plane.taken(plane.world())
    modified = plane.stats("cluster_modified")["cluster_manager.cluster_modified"]
    changed = Snapshot.of([*cluster("a", connect_seconds=7.0), listener(plane.port), route("warm")])
    plane.taken(changed)
    wait_until(lambda: plane.stats("warming_clusters")["cluster_manager.warming_clusters"] == 0, "the cluster is warm")
    assert plane.stats("cluster_modified")["cluster_manager.cluster_modified"] == modified + 1
    wait_until(lambda: plane.text() == "warm", "the routes follow")


def test_a_refused_snapshot_is_rolled_back_and_the_last_good_serves_on(plane: Plane) -> None:
    """An expression that Python takes and RE2 does not: Envoy says so, and the cache goes back."""
    good = plane.world("good")
    plane.taken(good)
    refused = plane.cache.refused
    bad = plane.world("bad", expression="/(?=a)")
    plane.publish(bad)
    wait_until(lambda: plane.cache.refused > refused, "Envoy refused")
    assert plane.node.types[ROUTE].refused == bad.versions[ROUTE]
    assert "(?=" in plane.node.types[ROUTE].detail
    assert plane.cache.current is good
    assert plane.cache.wanted is bad
    assert plane.text() == "good"
    assert plane.cache.refused == refused + 1, "what was refused was sent again"
    plane.taken(plane.world("better"))
    wait_until(lambda: plane.text() == "better", "the next good one is taken")


def test_clusters_are_replaced_without_a_gap(plane: Plane) -> None:
    """Old clusters go after the routes no longer name them; every request in between is answered."""
    plane.taken(Snapshot.of([*cluster("old"), listener(plane.port), route("steady")]))
    wait_until(lambda: plane.text() == "steady", "Envoy serves")
    with Load(plane.port) as load:
        for name in ("new", "newer", "newest"):
            plane.taken(Snapshot.of([*cluster(name), listener(plane.port), route("steady")]))
            wait_until(lambda name=name: plane.clusters() == {name}, "the old cluster is gone")  # type: ignore[misc]
    assert load.failed == 0
    assert load.answered > 0


def test_envoy_comes_back_to_a_restarted_server_and_takes_nothing_twice(plane: Plane) -> None:
    """It serves meanwhile and says what it has: clusters and listeners stay untouched, and delta sends nothing."""
    steady = plane.world("before")
    plane.taken(steady)
    before = plane.stats("cluster_modified|cluster_added|listener_modified|config_reload$|total_listeners_warming")
    variant = plane.node.variant
    plane.stop_server()
    assert plane.text() == "before"
    plane.start_server(steady)
    wait_until(lambda: plane.cache.last_good is steady, "Envoy said what it has")
    assert plane.node.variant == variant
    # State of the world cannot tell which names a client lacks, so endpoints and routes are sent again.
    assert plane.node.sent == (0 if variant == "delta" else 2)
    assert (
        plane.stats("cluster_modified|cluster_added|listener_modified|config_reload$|total_listeners_warming") == before
    )
    plane.taken(plane.world("after"))
    wait_until(lambda: plane.text() == "after", "the restarted server is listened to")


def test_what_went_while_the_server_was_away_is_removed(plane: Plane) -> None:
    """A restarted server does not know what was there before; Envoy tells it, or is told everything that there is."""
    plane.taken(Snapshot.of([*cluster("stays"), *cluster("goes"), listener(plane.port), route("here")]))
    plane.stop_server()
    after = Snapshot.of([*cluster("stays"), listener(plane.port), route("there")])
    plane.start_server(after)
    wait_until(lambda: plane.cache.last_good is after, "Envoy took what is new")
    wait_until(lambda: plane.clusters() == {"stays"}, "the cluster is gone")
    assert plane.text() == "there"


def test_a_restarted_server_without_a_snapshot_takes_nothing_away(plane: Plane) -> None:
    """To know nothing yet is not to have nothing."""
    steady = plane.world("steady")
    plane.taken(steady)
    plane.stop_server()
    plane.start_server(EMPTY)
    wait_until(lambda: plane.node.streams == 1, "Envoy is back")
    assert plane.text() == "steady"
    plane.taken(steady)
    assert plane.text() == "steady"


def test_listeners_and_their_routes_come_and_go(plane: Plane) -> None:
    """A second listener is added and removed again."""
    one = plane.world("first")
    plane.taken(one)
    again = free_port()
    two = Snapshot.of([*one.all(), listener(again, "second"), route("second", "second")])
    plane.taken(two)
    assert httpx.get(f"http://127.0.0.1:{again}/").text == "second"
    plane.taken(one)
    active = "listener_manager.total_listeners_active"
    wait_until(lambda: plane.stats("total_listeners_active")[active] == 1, "the second listener is gone")
    assert plane.text() == "first"


def test_the_bootstrap_holds_no_secret_and_is_valid(tmp_path: Path) -> None:
    """Envoy's own check; it names the node, the control plane and a private admin socket."""
    for delta in (True, False):
        config = bootstrap("n", HostPort("127.0.0.1", 1), f"unix:{tmp_path}/admin", delta=delta)
        assert config["admin"]["address"]["pipe"]["mode"] == 0o600
        assert validate(tmp_path / "envoy.json", json.dumps(config).encode()) == ""


def test_every_snapshot_of_the_gateway_passes_envoys_own_check(tmp_path: Path) -> None:
    """The real contracts, with and without keys."""
    for name, jwks in (("without", None), ("with", Tokens().jwks())):
        folder = tmp_path / name
        folder.mkdir()
        assert validate(folder / "envoy.pb", static_bootstrap(folder, jwks)) == ""


def test_the_empty_snapshot_has_neither_listeners_nor_routes() -> None:
    """Envoy that comes before anything was published waits."""
    assert not EMPTY.resources[LISTENER]
    assert not EMPTY.resources[ENDPOINT]
