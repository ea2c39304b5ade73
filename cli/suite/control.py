"""What the command does with a suite from outside: starts its supervisor, waits for it, asks it to stop."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil

from cli.errors import CommandError
from cli.suite import state
from cli.suite.folder import SuiteFolder
from cli.suite.plans import SuiteOptions, module_command
from cli.suite.secret_files import operator_key

_LOOK_SECONDS = 0.05
_STOP_SECONDS = 120.0

Listener = Callable[[dict[str, Any]], None]
"""Gets each progress event: `name` and `text`."""


@dataclass
class StartedSuite:
    """A suite that this command started and, when leashed, takes down with it."""

    folder: SuiteFolder
    supervisor: subprocess.Popen[bytes]
    progress: state.Progress
    offset: int

    def wait(self) -> int:
        """Wait until the supervisor ends; return its exit code."""
        return self.supervisor.wait()

    def stop(self, listener: Listener) -> None:
        """Ask for an orderly stop and wait for it, telling what is being stopped."""
        with contextlib.suppress(ProcessLookupError):
            self.supervisor.terminate()
        while self.supervisor.poll() is None:
            events, self.offset = self.progress.read(self.offset)
            for event in events:
                listener(event)
            time.sleep(_LOOK_SECONDS)
        self.progress.remove()


def start(folder: SuiteFolder, options: SuiteOptions, listener: Listener, *, leashed: bool) -> StartedSuite:
    """Start the suite and return when everything is healthy.

    Args:
        folder: the suite's folder.
        options: what the operator chose.
        listener: told of each step.
        leashed: whether the suite ends with this process, however this process ends.

    Raises:
        CommandError: the suite already runs, or something did not start; then nothing is left running.
    """
    refuse_second(folder)
    folder.create()
    progress = state.Progress(folder.run / f"progress-{os.getpid()}.jsonl")
    progress.clear()
    command = module_command("cli.suite.supervisor", str(folder.root), json.dumps(asdict(options)), str(progress.path))
    log_file = folder.logs / "supervisor.log"
    log_file.touch(mode=0o600)
    with log_file.open("ab") as log:
        supervisor = subprocess.Popen(
            [*command, *(["--leashed"] if leashed else [])],
            stdin=subprocess.PIPE if leashed else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            # The supervisor starts processes while gRPC's threads run; their fork handlers have no business there.
            env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"},
        )
    started = StartedSuite(folder, supervisor, progress, 0)
    try:
        _wait_until_ready(started, listener)
    except BaseException:
        started.stop(listener)
        raise
    if not leashed:
        progress.remove()
    return started


def refuse_second(folder: SuiteFolder) -> None:
    """Raise an error that names the process when a suite runs on the folder."""
    running = state.running_state(folder)
    if running is not None:
        where = f" at {running.https_url}" if running.https_url else ""
        raise CommandError(
            f"A suite is already running on {folder.root}{where} (pid {running.supervisor.pid}): "
            "stop it with `rapport down`, or use another --data.",
            reason="ALREADY_RUNNING",
        )


def describe(folder: SuiteFolder) -> dict[str, Any]:
    """Return what clients need to use the running suite: URLs, addresses, certificate, operator key."""
    running = require_running(folder)
    return {
        "https_url": running.https_url,
        "http_url": running.http_url,
        "ca_file": running.ca_file,
        "operator_key": operator_key(folder.secrets),
        "grpc": grpc_addresses(running),
        "grpc_all": running.addresses,
        "mtls": folder.certificates.exists(),
        "data": str(folder.root),
        "pid": running.supervisor.pid,
    }


def grpc_addresses(running: state.SuiteState) -> dict[str, str]:
    """Return where each service is called, one address each; the gateway's is that of its control plane."""
    services = {service: found[0] for service, found in running.addresses.items() if "@" not in service}
    return services | {"gateway": running.control_plane}


def require_running(folder: SuiteFolder) -> state.SuiteState:
    """Return the running suite's state, or raise an error that says how to start one."""
    running = state.running_state(folder)
    if running is None:
        raise CommandError(f"No suite is running on {folder.root}: start one with `rapport up`.", reason="NOT_RUNNING")
    return running


def stop(folder: SuiteFolder, listener: Listener) -> bool:
    """Stop the suite on the folder, or what a killed one left; return whether there was anything to stop.

    Raises:
        CommandError: it did not stop in time.
    """
    running = state.running_state(folder)
    if running is None:
        leftovers = state.kill_leftovers(folder)
        (folder.run / "suite.json").unlink(missing_ok=True)
        return bool(leftovers)
    supervisor = state.living(running.supervisor)
    if supervisor is not None:
        listener({"name": "suite", "text": f"stopping the suite (pid {supervisor.pid})"})
        supervisor.send_signal(signal.SIGTERM)
        try:
            supervisor.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired:
            raise CommandError(
                f"The suite (pid {supervisor.pid}) did not stop within {_STOP_SECONDS:.0f} s.", reason="NOT_STOPPED"
            ) from None
    return True


def _wait_until_ready(started: StartedSuite, listener: Listener) -> None:
    while True:
        ended = started.supervisor.poll() is not None
        events, started.offset = started.progress.read(started.offset)
        for event in events:
            if event["event"] == "ready":
                return
            if event["event"] == "failed":
                _fail(started, event["text"], event["reason"])
            listener(event)
        if ended:
            _fail(started, f"The suite ended while it started: see {started.folder.logs / 'supervisor.log'}.", "FAILED")
        time.sleep(_LOOK_SECONDS)


def _fail(started: StartedSuite, text: str, reason: str) -> NoReturn:
    started.wait()
    raise CommandError(text, reason=reason)


def log_files(folder: SuiteFolder, name: str | None) -> list[Path]:
    """Return the log files of the processes whose name is `name` or starts with it and a number; all without a name.

    Raises:
        CommandError: there is no such log; the message names those that there are.
    """
    found = sorted(folder.logs.glob("*.log"))
    if name is None:
        return found
    wanted = [path for path in found if path.stem == name or path.stem.rpartition("-")[0] == name]
    if not wanted:
        names = ", ".join(path.stem for path in found) or "none yet"
        raise CommandError(f"There is no log of '{name}' in {folder.logs}; there are: {names}.", reason="LOG_NOT_FOUND")
    return wanted
