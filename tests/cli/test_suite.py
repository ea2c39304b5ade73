"""A whole suite by the command: what it prints, what it refuses, and that it comes back."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import psutil
import pytest

from cli.suite.folder import SuiteFolder
from cli.suite.state import living, read_state
from tests.support import servers
from tests.support.suite import Ran, rapport, start_suite
from tests.support.world import SuiteUnderTest

pytestmark = pytest.mark.timeout(300)  # a suite of its own is started


def until(true: Callable[[], bool], what: str, within: float = 30.0) -> None:
    """Wait until something is true, asking often."""
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, f"{what} within {within} s"
        time.sleep(0.02)


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder of its own; whatever suite runs on it is stopped."""
    folder = servers.new_folder()
    yield folder / "suite"
    rapport("down", "--data", str(folder / "suite"))
    shutil.rmtree(folder, ignore_errors=True)


def refused(ran: Ran, reason: str) -> str:
    """Check that a command failed with the reason, and return its message."""
    assert ran.code == 1, ran
    error = ran.value["error"]
    assert error["reason"] == reason
    assert error["message"] in ran.messages
    return str(error["message"])


def test_up_tells_how_to_reach_everything(suite: SuiteUnderTest) -> None:
    """The printed addresses are those of the running suite, and its certificate file exists."""
    status = rapport("status", "--json", "--data", suite.data).value
    assert status["state"] == "running"
    assert status["https_url"] == suite.https_url
    assert "operator_key" not in status
    assert set(status["processes"]) == {
        *("postgres", "valkey", "tenant", "crm", "tickets", "recommendations"),
        *("control-plane", "envoy"),
    }
    assert set(suite.grpc) == {"tenant", "crm", "tickets", "recommendations", "gateway"}
    assert "BEGIN CERTIFICATE" in Path(suite.ca_file).read_text(encoding="utf-8")
    assert suite.operator_key.startswith("rpo_")


def test_second_up_says_that_the_suite_runs(suite: SuiteUnderTest) -> None:
    """A second `up` on the same data fails, names the first one's process and does not disturb it."""
    before = rapport("status", "--json", "--data", suite.data).value
    ran = rapport("up", "--detach", "--json", "--https-port", "0", "--http-port", "0", "--data", suite.data)
    assert f"pid {before['pid']}" in refused(ran, "ALREADY_RUNNING")
    assert rapport("status", "--json", "--data", suite.data).value["processes"].keys() == before["processes"].keys()


def test_servers_run_unprivileged(suite: SuiteUnderTest) -> None:
    """Postgres and Valkey never run as root, and no process has a secret in its argument list."""
    state = read_state(SuiteFolder(Path(suite.data)))
    assert state is not None
    secrets = [
        word
        for path in (Path(suite.data) / "secrets").iterdir()
        for word in path.read_text(encoding="utf-8").replace('"', " ").replace(",", " ").split()
        if len(word) >= 40
    ]
    assert len(secrets) > 10
    for name, process in state.processes.items():
        running = psutil.Process(process.pid)
        arguments = " ".join(running.cmdline())
        assert not [secret for secret in secrets if secret in arguments], name
        if name in {"postgres", "valkey"}:
            assert running.uids().real != 0


def test_a_port_in_use_is_named(data: Path) -> None:
    """The message says which port, and nothing is left running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        ran = rapport("up", "--detach", "--json", "--https-port", str(port), "--http-port", "0", "--data", str(data))
    message = refused(ran, "PORT_IN_USE")
    assert str(port) in message
    assert "--https-port" in message
    assert rapport("status", "--json", "--data", str(data)).value["state"] == "stopped"


def test_data_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """The message names the path."""
    path = tmp_path / "file"
    path.touch()
    assert str(path) in refused(rapport("up", "--detach", "--json", "--data", str(path)), "DATA_NOT_USABLE")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers change their user")
def test_data_behind_a_closed_folder_is_refused(tmp_path: Path) -> None:
    """The message names the folder that the servers' account may not enter, and its mode stays as it is."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    ran = rapport("up", "--detach", "--json", "--https-port", "0", "--http-port", "0", "--data", str(closed / "data"))
    assert "may not enter" in refused(ran, "DATA_UNREACHABLE")
    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_data_without_permission_is_refused(tmp_path: Path) -> None:
    """The message names the folder and says that permission is missing."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    ran = rapport("up", "--detach", "--json", "--data", str(closed / "data"))
    assert "Permission denied" in refused(ran, "DATA_NOT_USABLE")


def test_without_a_suite_commands_say_how_to_start_one(data: Path) -> None:
    """A command that needs a running suite says so in one line."""
    message = refused(rapport("tenant", "list", "--json", "--data", str(data)), "NOT_RUNNING")
    assert "rapport up" in message


def test_a_killed_suite_comes_back(data: Path) -> None:
    """After kill -9 of the supervisor nothing is left running, and the next `up` serves the same data."""
    started = start_suite(data, "--processes", "tenant=2")
    assert len(started["grpc_all"]["tenant"]) == 2
    created = rapport("tenant", "create", "--slug", "kept", "--name", "Kept", "--json", "--data", str(data)).value
    state = read_state(SuiteFolder(data))
    assert state is not None
    os.kill(started["pid"], signal.SIGKILL)
    until(lambda: not any(living(process) for process in state.processes.values()), "all processes end")
    again = start_suite(data)
    assert again["pid"] != started["pid"]
    shown = rapport("tenant", "show", "kept", "--json", "--data", str(data)).value
    assert shown["tenant"]["id"] == created["tenant"]["id"]
    _kill_and_see_it_back(data, "crm")
    assert rapport("down", "--json", "--data", str(data)).value["stopped"] is True


def _kill_and_see_it_back(data: Path, name: str) -> None:
    """Kill one process and wait until it runs again as another one."""
    before = read_state(SuiteFolder(data))
    assert before is not None
    os.kill(before.processes[name].pid, signal.SIGKILL)

    def is_back() -> bool:
        now = read_state(SuiteFolder(data))
        return now is not None and now.processes[name].restarts == 1 and living(now.processes[name]) is not None

    until(is_back, f"{name} runs again")


def test_demo_shows_the_inboxes_and_stops_with_ctrl_c(data: Path) -> None:
    """The demo ends at a line with Ctrl-C; the signal stops everything that it started."""
    command = [sys.executable, "-m", "cli.main", "demo", "--https-port", "0", "--http-port", "0", "--data", str(data)]
    environment = os.environ | {"COLUMNS": "160"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        lines: list[str] = []
        for line in demo.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        shown = "".join(lines)
        state = read_state(SuiteFolder(data))
        demo.send_signal(signal.SIGINT)
        _, messages = demo.communicate(timeout=60)
        assert demo.returncode == 0, f"{shown}\n{messages}"
    assert shown.count("rpk_") >= 2
    assert shown.count("T-0") >= 50
    assert state is not None
    assert not any(living(process) for process in state.processes.values())
    with pytest.raises(OSError, match="refused"):
        build_opener(ProxyHandler({})).open(state.http_url, timeout=2)
