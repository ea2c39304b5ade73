"""Control plane and Envoy as one process to whoever starts it, for platforms where a container has a disk of its own.

Envoy reads certificates where the control plane lays them down. When one of the two ends, both end: what starts this
command starts it again.
"""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

from gateway.draining import drain

LAST_SECONDS = 15.0
"""How long each of the two may take to end once it was told to."""


def run(admin: str) -> int:
    """Run both until one ends or SIGTERM comes, which lets Envoy finish first; return the exit status.

    `admin` is where Envoy's admin interface listens. 0 means that it was told to stop.
    """
    told = threading.Event()
    ended = threading.Event()

    def tell(_number: int, _frame: FrameType | None) -> None:
        told.set()
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, tell)
    words = [sys.executable, "-m", "gateway"]
    processes = [subprocess.Popen([*words, command], start_new_session=True) for command in ("serve", "envoy")]
    for process in processes:
        threading.Thread(target=_watch, args=(process, ended), daemon=True).start()
    ended.wait()
    control_plane, envoy = processes
    if told.is_set() and envoy.poll() is None:
        _drain(admin)
    for process in (envoy, control_plane):
        _stop(process)
    return 0 if told.is_set() else 1


def _watch(process: subprocess.Popen[bytes], ended: threading.Event) -> None:
    process.wait()
    ended.set()


def _drain(admin: str) -> None:
    try:
        drain(admin)
    except SystemExit as error:
        print(error, file=sys.stderr)  # noqa: T201 - where an orchestrator reads it


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(LAST_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
