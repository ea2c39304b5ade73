"""`rapport up`, `status`, `down` and `logs`."""

import re
import time
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json
from cli.output import print_json, print_lines, print_table, say, show_step
from cli.suite import control, state
from cli.suite.folder import SuiteFolder, suite_folder
from cli.suite.log_files import Follower, last_lines
from cli.suite.names import SERVICES
from cli.suite.plans import SuiteOptions

_MOST_PROCESSES = 32
_LAST_PORT = 65535
_LOOK_SECONDS = 0.2
_VERSION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")

HttpsPort = Annotated[int, typer.Option(min=0, max=65535, help="The gateway's port; 0 takes a free one.")]
HttpPort = Annotated[int, typer.Option(min=0, max=65535, help="The port that redirects to HTTPS; 0 takes a free one.")]


def register(commands: typer.Typer) -> None:
    """Add the commands."""
    commands.command("up")(up)
    commands.command("status")(status)
    commands.command("down")(down)
    commands.command("logs")(logs)


def up(
    *,
    https_port: HttpsPort = 8443,
    http_port: HttpPort = 8080,
    host: Annotated[str, typer.Option(help="The IPv4 address on which the gateway listens.")] = "127.0.0.1",
    processes: Annotated[
        list[str] | None,
        typer.Option(metavar="SERVICE=N", help="Run N processes of a service, e.g. tickets=2; may be repeated."),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE@VERSION[=N]",
            help="Run a further version of a service, e.g. tickets@green, which gets no traffic before "
            "`rapport gateway shift`; may be repeated.",
        ),
    ] = None,
    through: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE=HOST:PORT",
            help="Reach a service at this address instead of its own, for example through a proxy; may be repeated.",
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when everything is healthy.")] = False,
    mtls: Annotated[
        bool | None,
        typer.Option(
            "--mtls/--no-mtls",
            help="Mutual TLS between the processes; the data folder remembers it.",
            show_default="as before; at first without",
        ),
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Start the whole suite: Postgres, Valkey, the four services and the gateway.

    Without --detach it stays until Ctrl-C and then stops everything.
    """
    folder = suite_folder(data)
    counts = _counts(processes or [])
    options = SuiteOptions(
        host=host,
        https_port=https_port,
        http_port=http_port,
        processes=counts,
        also=_further(also or []),
        mtls=mtls,
        through=_through(through or []),
    )
    control.refuse_second(folder)
    say(f"Starting Rapport in {folder.root}")
    started = control.start(folder, options, show_step, leashed=not detach)
    try:
        report(folder, as_json=as_json)
        if not detach:
            stay(started)
    except BaseException:
        if not detach:
            started.stop(show_step)
        raise


def report(folder: SuiteFolder, *, as_json: bool) -> None:
    """Print how to reach the running suite."""
    described = control.describe(folder)
    if as_json:
        print_json(described)
        return
    print_lines(
        f"Rapport is running: {described['https_url']} (documentation at {described['https_url']}/docs)",
        f"  redirects from  {described['http_url']}",
        f"  certificate     {described['ca_file']}",
        f"  operator's key  {folder.secrets / 'operator-key'}",
        *(f"  gRPC {service:<16}{address}" for service, address in described["grpc"].items()),
    )


def stay(started: control.StartedSuite, line: str = "") -> None:
    """Print a line, stay until Ctrl-C, then stop the suite in order; whoever reads the line may press at once.

    Raises:
        CommandError: the suite ended by itself.
    """
    try:
        if line:
            print_lines(line)
        say("Press Ctrl-C to stop.")
        code = started.wait()
    except KeyboardInterrupt:
        say("Stopping")
        started.stop(show_step)
        return
    if code != 0:
        raise CommandError(f"The suite ended with code {code}: see {started.folder.logs}.", reason="SUITE_ENDED")


def status(*, as_json: Json = False, data: Data = None) -> None:
    """Say whether the suite runs, and how each of its processes does."""
    folder = suite_folder(data)
    running = state.running_state(folder)
    if running is None:
        if as_json:
            print_json({"state": "stopped", "data": str(folder.root)})
        else:
            print_lines(f"No suite is running on {folder.root}.")
        return
    processes = {name: _process(process) for name, process in sorted(running.processes.items())}
    if as_json:
        described = control.describe(folder)
        described.pop("operator_key")
        print_json({"state": running.phase, **described, "processes": processes})
        return
    print_lines(f"The suite on {folder.root} is {running.phase}: {running.https_url} (pid {running.supervisor.pid})")
    columns = [("process", "left"), ("pid", "right"), ("state", "left"), ("restarts", "right"), ("seconds up", "right")]
    rows = [
        [name, str(process["pid"]), process["state"], str(process["restarts"]), str(process["seconds_up"])]
        for name, process in processes.items()
    ]
    print_table("", columns, rows)


def down(*, as_json: Json = False, data: Data = None) -> None:
    """Stop the suite in order; also clears away what a killed one left behind."""
    folder = suite_folder(data)
    stopped = control.stop(folder, show_step)
    if as_json:
        print_json({"stopped": stopped, "data": str(folder.root)})
    else:
        print_lines(f"Stopped the suite on {folder.root}." if stopped else f"No suite was running on {folder.root}.")


def logs(
    service: Annotated[str | None, typer.Argument(help="A process, e.g. tickets or envoy; all without it.")] = None,
    *,
    lines: Annotated[int, typer.Option(min=0, help="How many of the last lines of each log.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with new lines until Ctrl-C.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show the logs of the suite's processes."""
    if follow and as_json:
        raise CommandError("--follow never ends, so it cannot be one JSON value.", reason="USAGE")
    files = control.log_files(suite_folder(data), service)
    found = {path.stem: last_lines(path, lines) for path in files}
    if as_json:
        print_json({"logs": found})
        return
    followers = {path.stem: Follower(path) for path in files}
    for name, last in found.items():
        _print_log(name, last, several=len(files) > 1)
    while follow:
        try:
            time.sleep(_LOOK_SECONDS)
        except KeyboardInterrupt:
            return
        for name, follower in followers.items():
            _print_log(name, list(follower.new_lines()), several=len(files) > 1)


def _print_log(name: str, lines: list[str], *, several: bool) -> None:
    print_lines(*(f"{name} | {line}" if several else line for line in lines))


def _process(process: state.ProcessState) -> dict[str, Any]:
    alive = state.living(process) is not None
    return {
        "pid": process.pid,
        "state": "running" if alive else "ended",
        "restarts": process.restarts,
        "seconds_up": max(0, round(time.time() - process.started)) if alive else 0,
    }


def _further(texts: list[str]) -> dict[str, int]:
    """Read `SERVICE@VERSION[=N]` texts."""
    counts = {}
    for text in texts:
        name, _, count = text.partition("=")
        service, _, version = name.partition("@")
        number = int(count or "1") if (count or "1").isdecimal() else 0
        if service not in SERVICES or not _VERSION.fullmatch(version) or not 1 <= number <= _MOST_PROCESSES:
            raise CommandError(
                f"--also {text}: write SERVICE@VERSION or SERVICE@VERSION=N with one of {', '.join(SERVICES)}, a "
                f"version of small letters, digits and hyphens, and 1 to {_MOST_PROCESSES}.",
                reason="USAGE",
            )
        counts[name] = number
    return counts


def _counts(texts: list[str]) -> dict[str, int]:
    """Read `SERVICE=N` texts."""
    counts = {}
    for text in texts:
        service, _, count = text.partition("=")
        if service not in SERVICES or not count.isdecimal() or not 1 <= int(count) <= _MOST_PROCESSES:
            raise CommandError(
                f"--processes {text}: write SERVICE=N with one of {', '.join(SERVICES)} and 1 to {_MOST_PROCESSES}.",
                reason="USAGE",
            )
        counts[service] = int(count)
    return counts


def _through(texts: list[str]) -> dict[str, str]:
    """Read `SERVICE=HOST:PORT` texts."""
    found = {}
    for text in texts:
        service, _, address = text.partition("=")
        host, _, port = address.rpartition(":")
        if service not in SERVICES or not host or not port.isdecimal() or not 1 <= int(port) <= _LAST_PORT:
            raise CommandError(
                f"--through {text}: write SERVICE=HOST:PORT with one of {', '.join(SERVICES)}.", reason="USAGE"
            )
        found[service] = address
    return found
