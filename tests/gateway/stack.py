"""The whole edge for tests: upstream servers, the control plane as a process, Envoy as a process."""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import httpx

from tests.gateway.upstream import GOOD_KEY, ROOT, WORKLOAD_SECRET, Probe, Server, Tokens, background, compile_image

# Seconds; generous, because a loaded machine takes its time to start processes.
PATIENCE = 60.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; fail with `what` after a deadline."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"timed out: {what}"
        time.sleep(0.02)


class Stack:
    """Two probe servers, a tenant server, the control plane and Envoy, on ports of their own; with further settings."""

    def __init__(self, **settings: str) -> None:
        # Unix sockets have short names: pytest's own temporary folders can be too deep.
        self.folder = Path(tempfile.mkdtemp(prefix="gw-"))
        self.image = compile_image(self.folder)
        self.loop = background()
        self.probe = Probe(self.image, "one")
        self.other_probe = Probe(self.image, "two")
        self.other_probe.calls = self.probe.calls
        self.tokens = Tokens()
        self.probe_server = Server(self.loop, self.probe.register).start()
        self.other_server = Server(self.loop, self.other_probe.register).start()
        self.tenant_server = Server(self.loop, self.tokens.register).start()
        self.https, self.http, self.ads = free_port(), free_port(), free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.settings = {
            "DATA_DIR": str(self.folder),
            "ADS_LISTEN": f"127.0.0.1:{self.ads}",
            "SERVICES": json.dumps(
                {
                    "probe": [f"127.0.0.1:{server.port}" for server in (self.probe_server, self.other_server)],
                    "tenant": [f"127.0.0.1:{self.tenant_server.port}"],
                }
            ),
            "HTTPS_LISTEN": f"127.0.0.1:{self.https}",
            "HTTP_LISTEN": f"127.0.0.1:{self.http}",
            "CORS_ORIGINS": '["http://localhost:*"]',
            "TENANT_TARGET": f"ipv4:127.0.0.1:{self.tenant_server.port}",
            "WORKLOAD_SECRET": WORKLOAD_SECRET,
            "DESCRIPTORS": str(self.image),
            "ENVOY_CONCURRENCY": "1",
            **settings,
        }

    def start(self) -> Self:
        """Start everything and wait until a request with a key passes."""
        self.start_process("control", "serve")
        self.start_process("envoy", "envoy")
        self.wait_until_whole()
        return self

    def wait_until_whole(self) -> None:
        """Wait until every service is reached and a request with a key passes."""
        wait_until(lambda: self.status("/readyz") == 200, "the gateway is ready")
        wait_until(lambda: self.status("/v1/things/1", key=GOOD_KEY) == 200, "a request with a key passes")

    def start_process(self, name: str, command: str) -> None:
        """Start one of the gateway's processes."""
        environment = os.environ | {f"RAPPORT_GATEWAY_{key}": value for key, value in self.settings.items()}
        environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'gen'}"
        out = (self.folder / f"{name}.out").open("ab")
        err = (self.folder / f"{name}.err").open("ab")
        with out, err:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "gateway", command], env=environment, stdout=out, stderr=err, cwd=self.folder
            )

    def kill(self, name: str) -> None:
        """Kill one of the gateway's processes without a warning."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Stop everything."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(timeout=PATIENCE)
        self.probe_server.stop()
        self.other_server.stop()
        self.tenant_server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self, *, http2: bool = False, source: str | None = None) -> httpx.Client:
        """Return a client that trusts the local CA and nothing else; `source` is the address that it comes from."""
        context = ssl.create_default_context(cafile=str(self.folder / "tls" / "ca.pem"))
        transport = httpx.HTTPTransport(verify=context, http2=http2, local_address=source)
        return httpx.Client(base_url=f"https://localhost:{self.https}", transport=transport, timeout=20)

    def status(self, path: str, key: str | None = None) -> int:
        """Return the status of a GET, 0 when nobody answers."""
        try:
            with self.client() as client:
                return client.get(path, headers={"x-api-key": key} if key else {}).status_code
        except (httpx.TransportError, FileNotFoundError):
            return 0

    def hanging(self) -> int:
        """Return how many requests the probes have hung so far."""
        return self.probe.hanging + self.other_probe.hanging

    async def release(self) -> None:
        """Answer every hanging request, and let none hang from now on; runs in the servers' loop."""
        for probe in (self.probe, self.other_probe):
            probe.released.set()

    def calls(self) -> list[tuple[str, dict[str, str]]]:
        """Return the address and headers of each request that reached a probe."""
        return list(self.probe.calls)

    def log(self, name: str) -> str:
        """Return what a process wrote on standard error."""
        return (self.folder / f"{name}.err").read_text()

    def access_log(self) -> str:
        """Return Envoy's access log."""
        return (self.folder / "envoy.out").read_text()

    def wait_for_access_log(self, request_id: str) -> None:
        """Wait until a request has been logged; Envoy writes its log in the order of requests."""
        wait_until(lambda: request_id in self.access_log(), "the request is in the access log")
