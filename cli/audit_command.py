"""`rapport audit`: who did what, and which credentials were refused."""

from typing import Annotated, Any

import typer

from cli.options import Data, Json
from cli.output import print_json, print_table
from cli.suite.folder import suite_folder


def register(commands: typer.Typer) -> None:
    """Add the command."""
    commands.command()(audit)


def audit(
    slug: Annotated[str, typer.Argument(help="The shop's slug; without it, the log of the deployment.")] = "",
    *,
    acts: Annotated[bool, typer.Option("--acts", help="Show acts only.")] = False,
    refusals: Annotated[bool, typer.Option("--refusals", help="Show refused credentials only.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many entries to show at most.")] = 50,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show the audit log, the newest entry first: acts of administration and refused credentials."""
    from cli.audit import list_audit_entries
    from cli.operator import run

    kind = "" if acts == refusals else "KIND_ACT" if acts else "KIND_REFUSAL"
    entries = run(list_audit_entries(suite_folder(data), slug, kind, limit))
    if as_json:
        print_json({"audit_entries": entries})
        return
    columns = [("time", "left"), ("who", "left"), ("what", "left"), ("to", "left"), ("outcome", "left")]
    print_table("", columns, [_row(entry) for entry in entries])


def _row(entry: dict[str, Any]) -> list[str]:
    outcome = entry["outcome"] or "not known"
    refused = entry["kind"] == "KIND_REFUSAL"
    return [
        str(entry["create_time"])[:19].replace("T", " "),
        str(entry["subject"]),
        str(entry["method"]).rpartition("/")[2],
        str(entry["resource"]),
        f"refused {entry['count']} x: {outcome}" if refused else outcome,
    ]
