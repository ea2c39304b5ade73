"""An ADS server with a cache, and a real Envoy that is configured by it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import grpc
import httpx

from gateway.addresses import HostPort
from gateway.ads.cache import NodeState, SnapshotCache
from gateway.ads.server import OPTIONS, register
from gateway.ads.snapshot import Snapshot
from gateway.bootstrap import bootstrap, command, envoy_binary
from tests.gateway.resources import cluster, listener, route
from tests.gateway.stack import free_port, wait_until
from tests.gateway.upstream import background

NODE = "test"


class Plane:
    """An ADS server in this process, and an Envoy that speaks one variant of the protocol to it."""

    def __init__(self, folder: Path, variant: str) -> None:
        self.cache = SnapshotCache()
        self.port = free_port()
        self._ads = free_port()
        self._admin = folder / "admin"
        self._server = background().run(self._serve())
        config = folder / "envoy.json"
        delta = variant == "delta"
        started_with = bootstrap(NODE, HostPort("127.0.0.1", self._ads), f"unix:{self._admin}", delta=delta)
        config.write_text(json.dumps(started_with))
        with (folder / "envoy.err").open("wb") as err:
            self.envoy = subprocess.Popen(command(config, 1), stderr=err, stdout=subprocess.DEVNULL)

    async def _serve(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=OPTIONS)
        register(server, self.cache)
        server.add_insecure_port(f"127.0.0.1:{self._ads}")
        await server.start()
        return server

    @property
    def node(self) -> NodeState:
        """What the control plane knows of Envoy."""
        return self.cache.nodes.get(NODE, NodeState())

    def publish(self, snapshot: Snapshot) -> None:
        """Publish from the server's loop."""

        async def work() -> None:
            self.cache.publish(snapshot)

        background().run(work())

    def taken(self, snapshot: Snapshot) -> None:
        """Publish a snapshot and wait until Envoy took all of it."""
        self.publish(snapshot)
        wait_until(lambda: self.cache.last_good is snapshot, "Envoy took the snapshot")

    def stop_server(self) -> None:
        """Stop the ADS server."""
        background().run(self._server.stop(grace=0))

    def start_server(self, snapshot: Snapshot) -> None:
        """Start the ADS server as a new process would: with nothing but a snapshot."""
        self.cache = SnapshotCache()
        self.cache.publish(snapshot)
        self._server = background().run(self._serve())

    def world(self, text: str = "hello", expression: str = "/.*", name: str = "a") -> Snapshot:
        """Return a snapshot whose listener answers with a text."""
        return Snapshot.of([*cluster(name), listener(self.port), route(text, expression=expression)])

    def text(self) -> str:
        """Return what Envoy answers, empty when nobody does."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/", timeout=5).text
        except httpx.TransportError:
            return ""

    def stats(self, expression: str) -> dict[str, Any]:
        """Return Envoy's statistics whose names match."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self._admin)), base_url="http://envoy") as client:
            found = client.get("/stats", params={"filter": expression, "format": "json"}).json()["stats"]
        return {one["name"]: one["value"] for one in found if "name" in one}

    def clusters(self) -> set[str]:
        """Return the names of the clusters that Envoy took from the control plane and that are warm."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self._admin)), base_url="http://envoy") as client:
            dump = client.get("/config_dump", params={"resource": "dynamic_active_clusters"}).json()
        return {one["cluster"]["name"] for one in dump.get("configs", [])}

    def stop(self) -> None:
        """Stop both."""
        self.envoy.terminate()
        self.envoy.wait(timeout=10)
        self.stop_server()


def validate(path: Path, config: bytes) -> str:
    """Let Envoy check a configuration; return what it finds wrong, empty when nothing is."""
    path.write_bytes(config)
    arguments = [str(envoy_binary()), "--mode", "validate", "--config-path", str(path), "--log-level", "error"]
    done = subprocess.run([*arguments, "--use-dynamic-base-id"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr or "refused"
