"""The `rapport` command as a person runs it, and one whole suite that all test processes share."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SECONDS = 100
_UP_SECONDS = 240
"""How long a whole suite may take to start on a busy machine."""


@dataclass(frozen=True)
class Ran:
    """What a finished command said."""

    code: int
    output: str
    messages: str

    @property
    def value(self) -> Any:
        """The one JSON value on the one line of standard output."""
        lines = self.output.splitlines()
        assert len(lines) == 1, f"{len(lines)} lines on standard output: {self.output}\n{self.messages}"
        return json.loads(lines[0])


def rapport(
    *arguments: str,
    text: str = "",
    cwd: Path | None = None,
    told: dict[str, str] | None = None,
    seconds: float = _SECONDS,
) -> Ran:
    """Run the command to its end, with `text` as its standard input and `told` in its environment."""
    environment = {name: value for name, value in os.environ.items() if name != "RAPPORT_DATA"}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        env=environment | {"COLUMNS": "120"} | (told or {}),
        cwd=cwd,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def domain_hosts_of(data: Path) -> Path:
    """Return the file in which tests say where the own domains of a suite's shops are."""
    return data.parent / "domain-hosts.json"


def start_suite(data: Path, *arguments: str, told: dict[str, str] | None = None) -> dict[str, Any]:
    """Start a detached suite on free ports, with `told` in its environment, and return what `up` printed."""
    told = (told or {}) | {"RAPPORT_TENANT_DOMAIN_HOSTS_FILE": str(domain_hosts_of(data))}
    ports = ("--https-port", "0", "--http-port", "0")
    ran = rapport("up", "--detach", "--json", *ports, "--data", str(data), *arguments, told=told, seconds=_UP_SECONDS)
    assert ran.code == 0, f"{ran.output}\n{ran.messages}"
    described: dict[str, Any] = ran.value
    return described


@contextlib.contextmanager
def own_suite(folder: Path, *arguments: str, told: dict[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """Give a suite of one's own in an empty folder, and stop it and remove the folder afterwards."""
    data = folder / "suite"
    try:
        yield start_suite(data, *arguments, told=told)
    finally:
        rapport("down", "--data", str(data))
        shutil.rmtree(folder, ignore_errors=True)


def shared_suite(folder: Path) -> dict[str, Any]:
    """Return the suite of this run; the first caller starts it, and one failure to start is everybody's."""
    described = folder / "suite.json"
    with locked(folder / "suite.lock"):
        if not described.exists():
            try:
                described.write_text(json.dumps(start_suite(folder / "suite")), encoding="utf-8")
            except AssertionError as error:
                described.write_text(json.dumps({"failed": str(error)}), encoding="utf-8")
    found: dict[str, Any] = json.loads(described.read_text(encoding="utf-8"))
    assert "failed" not in found, f"the shared suite did not start: {found['failed']}"
    return found


def stop_shared_suite(folder: Path) -> None:
    """Stop the suite of this run, if anybody started it."""
    if (folder / "suite").exists():
        rapport("down", "--data", str(folder / "suite"))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between the test processes."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
