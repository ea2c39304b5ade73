"""A suite to measure, and what is put beside it: the gateway before an empty service, and the peers."""

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 90
UNLIMITED = {
    f"RAPPORT_GATEWAY_{name}_PER_MINUTE": "10000000"
    for name in ("REQUESTS", "WEBHOOK_REQUESTS", "WEBHOOK_CLIENT_REQUESTS", "PUBLIC_REQUESTS")
}
"""Settings of the gateway by which nothing that is measured is refused for being too much."""


@dataclass(frozen=True)
class Suite:
    """A running suite, as `rapport up --json` describes it."""

    data: Path
    https_url: str
    ca_file: str
    grpc: dict[str, list[str]]
    environment: dict[str, str]

    @property
    def port(self) -> int:
        """The HTTPS port."""
        return int(self.https_url.rsplit(":", 1)[1])

    def secret(self, name: str) -> str:
        """Read one of the suite's secret files."""
        return (self.data / "secrets" / name).read_text(encoding="utf-8").strip()

    def command(self, *arguments: str) -> Any:
        """Run the `rapport` command on this suite and return its JSON answer."""
        return rapport(self.environment, "--data", str(self.data), *arguments)


def rapport(environment: dict[str, str], *arguments: str) -> Any:
    """Run `rapport … --json`; the flags stand behind the command's own words."""
    options, words = list(arguments[:2]), list(arguments[2:])
    command = [str(Path(sys.executable).parent / "rapport"), *words, *options, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed: {done.stdout}{done.stderr}")
    return json.loads(done.stdout) if done.stdout.strip() else None


@contextlib.contextmanager
def suite(processes: dict[str, int], **settings: str) -> Iterator[Suite]:
    """Start a suite on a folder of its own with these settings, and take both away again."""
    data = Path(tempfile.mkdtemp(prefix="rapport-bench-", dir="/tmp"))
    data.chmod(0o711)
    environment = {**os.environ, **UNLIMITED, **settings}
    counts = [word for name, count in processes.items() for word in ("--processes", f"{name}={count}")]
    try:
        where = ("--data", str(data))
        up = rapport(environment, *where, "up", "--detach", "--https-port", "0", "--http-port", "0", *counts)
        addresses = up["grpc_all"]
        yield Suite(data, up["https_url"], up["ca_file"], addresses, environment)
    finally:
        with contextlib.suppress(RuntimeError):
            rapport(environment, "--data", str(data), "down")
        shutil.rmtree(data, ignore_errors=True)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_answers(url: str, ca_file: str, headers: dict[str, str]) -> bytes:
    """Wait until a URL answers 200; return the body.

    Raises:
        TimeoutError: it did not within the time.
    """
    context = ssl.create_default_context(cafile=ca_file)
    end, why = time.monotonic() + START_SECONDS, ""
    while time.monotonic() < end:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - our own address
        try:
            with urllib.request.urlopen(request, context=context, timeout=5) as answer:  # noqa: S310 - our own address
                return bytes(answer.read())
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            why = str(error)
            time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer 200: {why}")


@contextlib.contextmanager
def process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process for the length of the block."""
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as running:
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(15)
            except subprocess.TimeoutExpired:
                running.kill()


@dataclass(frozen=True)
class Limit:
    """A gateway before an empty service: the port of its HTTPS, and that of the service itself."""

    https: int
    empty: int


@contextlib.contextmanager
def limit(measured: Suite, service: str, body: bytes, **settings: str) -> Iterator[Limit]:
    """Put the same gateway, with further settings, before an empty service that answers every call with `body`."""
    empty, ads, https, http = (free_port() for _ in range(4))
    folder = measured.data / f"limit-{service}"
    folder.mkdir()
    answer = folder / "answer"
    answer.write_bytes(body)
    addresses = {**measured.grpc, service: [f"127.0.0.1:{empty}"]}
    tls = measured.data / "gateway" / "tls"
    gateway = {
        "DATA_DIR": str(folder),
        "ADS_LISTEN": f"127.0.0.1:{ads}",
        "SERVICES": json.dumps(addresses),
        "HTTPS_LISTEN": f"127.0.0.1:{https}",
        "HTTP_LISTEN": f"127.0.0.1:{http}",
        "TENANT_TARGET": f"ipv4:{','.join(measured.grpc['tenant'])}",
        "WORKLOAD_SECRET_FILE": str(measured.data / "secrets" / "workload-gateway"),
        "CERTIFICATE_FILE": str(tls / "server.pem"),
        "KEY_FILE": str(tls / "server.key"),
        "ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
        **settings,
    }
    environment = {**measured.environment, **{f"RAPPORT_GATEWAY_{name}": value for name, value in gateway.items()}}
    python = [sys.executable, "-m"]
    with (
        process([*python, "bench.empty", str(empty), str(answer)], environment, folder / "empty.log"),
        process([*python, "gateway", "serve"], environment, folder / "control-plane.log"),
        process([*python, "gateway", "envoy"], environment, folder / "envoy.log"),
    ):
        wait_until_answers(f"https://localhost:{https}/readyz", measured.ca_file, {})
        yield Limit(https, empty)


@contextlib.contextmanager
def peer(measured: Suite, name: str, workers: int, settings: dict[str, str]) -> Iterator[int]:
    """Run a peer with the suite's certificate; yield its HTTPS port."""
    port = free_port()
    tls = measured.data / "gateway" / "tls"
    command = [sys.executable, "-m", "uvicorn", f"bench.peers.{name}:app", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--ssl-certfile", str(tls / "server.pem"), "--ssl-keyfile", str(tls / "server.key")]
    command += ["--workers", str(workers), "--no-access-log", "--log-level", "warning"]
    with process(command, {**measured.environment, **settings}, measured.data / f"peer-{name}-{workers}.log"):
        wait_until_answers(f"https://localhost:{port}/openapi.json", measured.ca_file, {})
        yield port
