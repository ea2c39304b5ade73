"""`rapport demo`: the whole suite with two invented shops in it."""

import contextlib
import time
from typing import Annotated

import typer

from cli.options import Data, Json
from cli.output import print_json, print_lines, say, show_step
from cli.suite import control, state
from cli.suite.folder import SuiteFolder, suite_folder
from cli.suite.plans import SuiteOptions
from cli.suite_commands import HttpPort, HttpsPort, stay

_LOOK_SECONDS = 1.0


def register(commands: typer.Typer) -> None:
    """Add the command."""
    commands.command("demo")(demo)


def demo(
    *,
    https_port: HttpsPort = 8443,
    http_port: HttpPort = 8080,
    detach: Annotated[bool, typer.Option("--detach", help="Return when the demo world is there.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Start the suite, put two invented shops with customers and tickets into it, and show their inboxes.

    It stays until Ctrl-C and then stops what it started. A second run on the same data finds its world again.
    """
    folder = suite_folder(data)
    started = None
    if state.running_state(folder) is None:
        say(f"Starting Rapport in {folder.root}")
        options = SuiteOptions(https_port=https_port, http_port=http_port)
        started = control.start(folder, options, show_step, leashed=not detach)
    try:
        _show_world(folder, as_json=as_json)
        if not detach:
            _stay(folder, started)
    except BaseException:
        if started is not None and not detach:
            started.stop(show_step)
        raise


def _stay(folder: SuiteFolder, started: control.StartedSuite | None) -> None:
    """Stay until Ctrl-C; a suite that ran before goes on running."""
    if started is not None:
        stay(started, "Everything is running. Press Ctrl-C to stop.")
        return
    with contextlib.suppress(KeyboardInterrupt):
        print_lines("The suite was already running and goes on after Ctrl-C.")
        while state.running_state(folder) is not None:
            time.sleep(_LOOK_SECONDS)


def _show_world(folder: SuiteFolder, *, as_json: bool) -> None:
    """Make what is missing of the demo world and print it."""
    from cli.demo.inbox import show_inbox
    from cli.demo.world import DemoWorld
    from cli.operator import run

    described = control.describe(folder)
    url, ca_file = described["https_url"], described["ca_file"]
    world = DemoWorld(folder, lambda text: say(f"  {text}"))
    sent = run(world.make(url, ca_file))
    shops = world.shops
    if as_json:
        keys = ("slug", "name", "tenant_id", "api_key")
        print_json({**described, "shops": [{key: getattr(shop, key) for key in keys} for shop in shops]})
        return
    for shop in shops:
        run(show_inbox(shop, url, ca_file, expected=sent[shop.slug]))
    first = shops[0]
    print_lines(
        "",
        f"API            {url}/v1 and {url}/api, documented at {url}/docs",
        f"Redirects from {described['http_url']}",
        f"Certificate    {ca_file}",
        *(f"API key        {shop.api_key}  ({shop.name})" for shop in shops),
        f"Try            curl --cacert {ca_file} -H 'x-api-key: {first.api_key}' "
        f"'{url}/api/tickets?status=open&smart_order=true'",
        "",
    )
