"""`rapport sync …`: bring in what a helpdesk had before, and what its webhooks missed."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import suite_folder

if TYPE_CHECKING:
    from rich.progress import Progress

commands = typer.Typer(help="Read tickets by a helpdesk's list API.", no_args_is_help=True)

Connection = Annotated[str, typer.Argument(help="The connection's id.", show_default=False)]
Reconcile = Annotated[bool, typer.Option("--reconcile", help="Of the reconciliation instead of the backfill.")]

_COLUMNS = [
    ("what", "left"),
    ("state", "left"),
    ("reason", "left"),
    ("done", "right"),
    ("since", "left"),
    ("read up to", "left"),
    ("read", "right"),
    ("new", "right"),
    ("refused", "right"),
    ("next run", "left"),
]


@commands.command()
def start(
    connection: Connection,
    *,
    tenant: Tenant,
    reconcile: Annotated[bool, typer.Option("--reconcile", help="Reconcile now instead of a backfill.")] = False,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Read what changed since then (ISO 8601).", show_default="90 days ago")
    ] = "",
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of going on.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Start a backfill, or go on with one that stopped, and show how far it is until it ends.

    Ctrl-C ends the showing, not the backfill.
    """
    from cli import syncs
    from cli.operator import run

    folder = suite_folder(data)
    begun = run(syncs.start(folder, tenant, connection, reconcile=reconcile, since=since, restart=restart))
    found = begun if detach else run(_shown(folder, tenant, connection, begun))
    _tell(found, as_json)
    if found["state"] == "STATE_FAILED":
        say(f"It was given up: {found['reason']}. A start goes on where it failed.")
        raise typer.Exit(1)


@commands.command()
def stop(
    connection: Connection, *, tenant: Tenant, reconcile: Reconcile = False, as_json: Json = False, data: Data = None
) -> None:
    """Stop a backfill after the page that is being read; a start goes on from there."""
    from cli import syncs
    from cli.operator import run

    _tell(run(syncs.stop(suite_folder(data), tenant, connection, reconcile=reconcile)), as_json)


@commands.command()
def status(connection: Connection, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Show how far a connection's backfill is, and what its reconciliations found and repaired."""
    from cli import syncs
    from cli.operator import run

    found = run(syncs.status(suite_folder(data), tenant, connection))
    if as_json:
        print_json({"syncs": found})
        return
    print_table("", _COLUMNS, [_row(each) for each in found])
    print_lines(f"Missed changes repaired so far: {found[1]['repaired_count']}.")


@commands.command()
def schedule(
    connection: Connection,
    *,
    tenant: Tenant,
    every_minutes: Annotated[float, typer.Option(min=0, max=43_200, help="How often; 0 turns it off.")] = 60,
    look_back_hours: Annotated[
        float, typer.Option(min=0, max=2160, help="How far back.", show_default="twice as long, a day at least")
    ] = 0,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Set how often a connection is reconciled with its helpdesk, and how far back each run looks."""
    from cli import syncs
    from cli.operator import run

    found = run(syncs.schedule(suite_folder(data), tenant, connection, every_minutes * 60, look_back_hours * 3600))
    _tell(found, as_json)


async def _shown(folder: Any, tenant: str, connection: str, begun: dict[str, Any]) -> dict[str, Any]:
    """Show the progress of a run until it is over; return how it ended."""
    from cli import syncs

    found = begun
    with _progress() as progress:
        task = progress.add_task("", total=1.0)
        async for found in syncs.watch(folder, tenant, connection, begun):
            why = f", {found['reason']}" if found["reason"] else ""
            told = f"read {found['read_count']}, new {found['changed_count']}{why}"
            progress.update(task, completed=found["progress"], description=told)
    return found


def _tell(found: dict[str, Any], as_json: bool) -> None:
    """Tell how a sync stands."""
    if as_json:
        print_json({"sync": found})
        return
    what, state = _word(found["kind"]), _word(found["state"])
    counts = f"{found['read_count']} changes read, {found['changed_count']} of them new"
    refused = f", {found['refused_count']} refused" if found["refused_count"] else ""
    print_lines(f"The {what} is {state}: {counts}{refused}.")
    if following := found.get("next_time"):
        print_lines(f"The next one begins at {following}.")


def _row(found: dict[str, Any]) -> list[str]:
    return [
        _word(found["kind"]),
        _word(found["state"]),
        found["reason"],
        f"{found['progress']:.0%}",
        found.get("since", ""),
        found.get("cursor_time", ""),
        str(found["read_count"]),
        str(found["changed_count"]),
        str(found["refused_count"]),
        found.get("next_time", ""),
    ]


def _word(name: str) -> str:
    return name.partition("_")[2].lower()


def _progress() -> "Progress":
    """Return a progress bar on standard error."""
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TextColumn("{task.description}"),
        bars.TimeElapsedColumn(),
    )
    return bars.Progress(*columns, console=Console(stderr=True))
