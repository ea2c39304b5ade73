"""`rapport migrate rollback`: the way back."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Data, Json
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import suite_folder

_SHOWN = 5


def register(commands: typer.Typer) -> None:
    """Add the command."""
    commands.command()(rollback)


def rollback(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="The plan that `rapport migrate plan` wrote.")],
    *,
    source: Annotated[
        str,
        typer.Option(
            "--source",
            envvar="RAPPORT_MIGRATE_SOURCE",
            metavar="URL",
            help="The predecessor's database, of a user who may write.",
        ),
    ],
    state: Annotated[
        Path | None, typer.Option(help="Where the run kept how far it was.", show_default="PLAN.state")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: only say what would be written.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Send all requests back to the predecessor, and write back to it what changed in Rapport since.

    New tickets, messages and notes are added, and fields brought to Rapport's values where the source did not change
    the ticket later. What the predecessor cannot hold is listed. It may be repeated: what is there is not written
    again. Nothing is deleted, on either side.
    """
    from cli.migration.cutover import take_back
    from cli.migration.plan import Plan
    from cli.migration.writing_back import Options, write_back
    from cli.operator import run
    from cli.order_commands import progress_bar

    loaded, folder = Plan.load(plan), suite_folder(data)
    routing = {} if dry_run else run(take_back(folder, loaded))
    if routing and not as_json:
        say("  all requests go to the predecessor again")
    options = Options(source, state or plan.with_name(plan.name + ".state"), dry_run)
    with progress_bar() as progress:
        task = progress.add_task("writing back", total=None)
        done = run(write_back(folder, loaded, options, lambda _, more: progress.advance(task, more)))
    if as_json:
        print_json(done | {"routing": routing})
    else:
        _show(done)


def _show(done: dict[str, Any]) -> None:
    counts = ", ".join(f"{count:,} {name}" for name, count in done["rollback"].items())
    print_lines(f"{'Would write' if done['dry_run'] else 'Wrote'} back: {counts}.")
    columns = [("cannot be written back", "left"), ("how many", "right"), ("why", "left"), ("for example", "left")]
    rows = [
        [
            one["what"],
            f"{one['count']:,}" if "count" in one else "",
            one["reason"],
            ", ".join(one.get("tickets", ())[:_SHOWN]),
        ]
        for one in done["cannot"]
    ]
    print_table("", columns, rows)
