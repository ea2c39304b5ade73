"""What is known about a running suite, in files: the lock, the state for other commands, and start-up progress."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from cli.suite.folder import SuiteFolder
from cli.suite.secret_files import write_private

Phase = Literal["starting", "running", "stopping"]
Event = Literal["step", "ready", "failed", "stopping"]


@dataclass
class ProcessState:
    """A process: its id, when it started (seconds since 1970, to tell it from a later one), and its restarts."""

    pid: int
    started: float
    restarts: int = 0


@dataclass
class SuiteState:
    """The suite as its supervisor last wrote it down.

    Attributes:
        supervisor: the supervising process.
        phase: what it is doing.
        addresses: gRPC addresses (host:port) by service or further version of one.
        control_plane: the gRPC address of the gateway's control plane.
        https_url: the gateway's address.
        http_url: the address that redirects to it.
        ca_file: the certificate that clients must trust.
        processes: the processes by name.
    """

    supervisor: ProcessState
    phase: Phase = "starting"
    addresses: dict[str, list[str]] = field(default_factory=dict)
    control_plane: str = ""
    https_url: str = ""
    http_url: str = ""
    ca_file: str = ""
    processes: dict[str, ProcessState] = field(default_factory=dict)

    def write(self, folder: SuiteFolder) -> None:
        """Replace the state file."""
        write_private(folder.run / "suite.json", json.dumps(asdict(self)))


def read_state(folder: SuiteFolder) -> SuiteState | None:
    """Return the state that was last written, or None when there is none; it may be of a suite that is gone."""
    try:
        values = json.loads((folder.run / "suite.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    values["supervisor"] = ProcessState(**values["supervisor"])
    values["processes"] = {name: ProcessState(**process) for name, process in values["processes"].items()}
    return SuiteState(**values)


def running_state(folder: SuiteFolder) -> SuiteState | None:
    """Return the state of the suite that runs on the folder, or None when none runs."""
    state = read_state(folder)
    return state if state is not None and living(state.supervisor) is not None else None


def living(process: ProcessState) -> psutil.Process | None:
    """Return the process if it still lives and is the same one, not a later one with its id."""
    with contextlib.suppress(psutil.Error):
        found = psutil.Process(process.pid)
        if abs(found.create_time() - process.started) < 1 and found.status() != psutil.STATUS_ZOMBIE:
            return found
    return None


def describe(pid: int) -> ProcessState:
    """Return what identifies a process that lives now."""
    try:
        return ProcessState(pid=pid, started=psutil.Process(pid).create_time())
    except psutil.Error:
        return ProcessState(pid=pid, started=time.time())


def kill_leftovers(folder: SuiteFolder) -> list[str]:
    """Kill what a killed supervisor left behind, children included; return the names of what was found.

    Raises:
        psutil.Error: a process could not be ended.
    """
    state = read_state(folder)
    if state is None:
        return []
    left = {name: found for name, process in state.processes.items() if (found := living(process)) is not None}
    processes = [child for found in left.values() for child in (found, *found.children(recursive=True))]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
    return sorted(left)


@contextlib.contextmanager
def lock(folder: SuiteFolder) -> Iterator[bool]:
    """Hold the folder's lock while the block runs; give False when another supervisor holds it.

    The kernel lets go of the lock when its holder dies, however it dies.
    """
    descriptor = os.open(folder.run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


class Progress:
    """Start-up progress as JSON lines in a file: the supervisor writes, a waiting command reads along."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def clear(self) -> None:
        """Begin a new story."""
        write_private(self.path, "")

    def remove(self) -> None:
        """Remove the file; nobody reads along any more, and what is told from now on is dropped."""
        self.path.unlink(missing_ok=True)

    def tell(self, event: Event, **values: Any) -> None:
        """Append an event, if somebody still reads along."""
        with contextlib.suppress(OSError), self.path.open("r+", encoding="utf-8") as file:
            file.seek(0, os.SEEK_END)
            file.write(json.dumps({"event": event, **values}) + "\n")

    def read(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """Return the events that were completed since `offset`, and the next offset."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                complete, newline, _ = file.read().rpartition(b"\n")
        except OSError:
            return [], offset
        if not newline:
            return [], offset
        return [json.loads(line) for line in complete.splitlines()], offset + len(complete) + 1
