"""The ADS server against a real Envoy: ACK, update, NACK, rollback; and snapshots by Envoy's own check."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from gateway.addresses import HostPort
from gateway.ads.cache import SnapshotCache
from gateway.ads.resources import LISTENER, ROUTE
from gateway.ads.server import OPTIONS, register
from gateway.ads.snapshot import EMPTY, Snapshot
from gateway.bootstrap import bootstrap, command, envoy_binary
from tests.gateway.resources import cluster, listener, route
from tests.gateway.stack import free_port, wait_until
from tests.gateway.static import static_bootstrap
from tests.gateway.upstream import Tokens, background


class Plane:
    """An ADS server with a cache, and an Envoy that is configured by it."""

    def __init__(self, folder: Path) -> None:
        self.cache = SnapshotCache()
        self.port = free_port()
        self._ads = free_port()
        self._server = background().run(self._serve())
        config = folder / "envoy.json"
        config.write_text(json.dumps(bootstrap("test", HostPort("127.0.0.1", self._ads), f"unix:{folder}/admin")))
        with (folder / "envoy.err").open("wb") as err:
            self.envoy = subprocess.Popen(command(config, 1), stderr=err, stdout=subprocess.DEVNULL)

    async def _serve(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=OPTIONS)
        register(server, self.cache)
        server.add_insecure_port(f"127.0.0.1:{self._ads}")
        await server.start()
        return server

    def publish(self, snapshot: Snapshot) -> None:
        """Publish from the server's loop."""

        async def work() -> None:
            self.cache.publish(snapshot)

        background().run(work())

    def restart_server(self) -> None:
        """Stop the ADS server and start it anew with the same cache."""
        background().run(self._server.stop(grace=0))
        self._server = background().run(self._serve())

    def text(self) -> str:
        """Return what Envoy answers, empty when nobody does."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/", timeout=5).text
        except httpx.TransportError:
            return ""

    def stop(self) -> None:
        """Stop both."""
        self.envoy.terminate()
        self.envoy.wait(timeout=10)
        background().run(self._server.stop(grace=0))


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane and its Envoy."""
    made = Plane(tmp_path_factory.mktemp("envoy"))
    try:
        yield made
    finally:
        made.stop()


def world(plane: Plane, text: str = "hello", expression: str = "/.*", name: str = "a") -> Snapshot:
    """Return a snapshot whose listener answers with a text."""
    return Snapshot.of([*cluster(name), listener(plane.port), route(text, expression=expression)])


def taken(plane: Plane, snapshot: Snapshot) -> None:
    """Publish a snapshot and wait until Envoy took all of it."""
    plane.publish(snapshot)
    wait_until(lambda: plane.cache.last_good is snapshot, "Envoy took the snapshot")


def test_a_real_envoy_takes_a_snapshot_and_its_update_without_a_restart(plane: Plane) -> None:
    """Every type is acknowledged with its version; the update is seen at once."""
    first = world(plane)
    taken(plane, first)
    wait_until(lambda: plane.text() == "hello", "Envoy serves")
    states = plane.cache.nodes["test"].types
    assert all(states[type_url].accepted == first.versions[type_url] for type_url in states)
    taken(plane, world(plane, "goodbye"))
    wait_until(lambda: plane.text() == "goodbye", "Envoy serves the update")


def test_a_refused_snapshot_is_rolled_back_and_the_last_good_serves_on(plane: Plane) -> None:
    """An expression that Python takes and RE2 does not: Envoy says so, and the cache goes back."""
    good = world(plane, "good")
    taken(plane, good)
    plane.publish(world(plane, "bad", expression="/(?=a)"))
    wait_until(lambda: plane.cache.nodes["test"].types[ROUTE].detail != "", "Envoy refused")
    assert "(?=a)" in plane.cache.nodes["test"].types[ROUTE].detail or plane.cache.nodes["test"].types[ROUTE].refused
    wait_until(lambda: plane.cache.current is good, "the last good snapshot is current")
    assert plane.text() == "good"
    taken(plane, world(plane, "better"))
    wait_until(lambda: plane.text() == "better", "the next good one is taken")


def test_envoy_comes_back_to_a_restarted_server(plane: Plane) -> None:
    """It serves meanwhile, asks again, and takes what is new."""
    taken(plane, world(plane, "before"))
    plane.restart_server()
    assert plane.text() == "before"
    taken(plane, world(plane, "after"))
    wait_until(lambda: plane.text() == "after", "Envoy reconnected")


def test_clusters_are_replaced_without_a_gap(plane: Plane) -> None:
    """Old clusters go after the routes no longer name them; every request in between is answered."""
    taken(plane, world(plane, "steady", name="old"))
    wait_until(lambda: plane.text() == "steady", "Envoy serves")
    target = world(plane, "steady", name="new")
    background().run(plane.cache.roll_out(target))
    wait_until(lambda: plane.cache.last_good is target, "Envoy took the last step")
    assert plane.text() == "steady"


def test_the_bootstrap_holds_no_secret_and_is_valid(tmp_path: Path) -> None:
    """Envoy's own check; it names the node, the control plane and a private admin socket."""
    config = bootstrap("n", HostPort("127.0.0.1", 1), f"unix:{tmp_path}/admin")
    assert config["admin"]["address"]["pipe"]["mode"] == 0o600
    validate(tmp_path / "envoy.json", json.dumps(config).encode())


def test_every_snapshot_of_the_gateway_passes_envoys_own_check(tmp_path: Path) -> None:
    """The real contracts, with and without keys."""
    for name, jwks in (("without", None), ("with", Tokens().jwks())):
        folder = tmp_path / name
        folder.mkdir()
        validate(folder / "envoy.pb", static_bootstrap(folder, jwks))


def validate(path: Path, config: bytes) -> None:
    """Let Envoy check a configuration."""
    path.write_bytes(config)
    arguments = [str(envoy_binary()), "--mode", "validate", "--config-path", str(path), "--log-level", "error"]
    done = subprocess.run([*arguments, "--use-dynamic-base-id"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_empty_snapshot_has_neither_listeners_nor_routes() -> None:
    """Envoy that comes before anything was published waits."""
    assert not EMPTY.resources[LISTENER]
