"""`rapport migrate verify` and `rapport migrate cutover`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json
from cli.output import print_json, print_lines, say
from cli.suite.folder import suite_folder

if TYPE_CHECKING:
    from cli.migration.sayings import Advance

PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="The plan that `rapport migrate plan` wrote.")]
SourceUrl = Annotated[
    str,
    typer.Option(
        "--source", envvar="RAPPORT_MIGRATE_SOURCE", metavar="URL", help="The predecessor's database, postgresql://…"
    ),
]

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def register(commands: typer.Typer) -> None:
    """Add the commands."""
    commands.command()(verify)
    commands.command()(cutover)


def verify(
    plan: PlanFile,
    *,
    source: SourceUrl,
    only: Annotated[
        list[str] | None, typer.Option(metavar="PART", help="rows, shops, day or week; may be repeated.")
    ] = None,
    week: Annotated[bool, typer.Option("--week", help="Check the list of the first week as well.")] = False,
    prometheus: Annotated[str, typer.Option(metavar="URL", help="The Prometheus that watches, for --week.")] = "",
    database: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="RAPPORT_MIGRATE_DATABASE",
            help="Rapport's database (superuser), if not the suite's.",
        ),
    ] = "",
    valkey: Annotated[
        str, typer.Option(metavar="URL", envvar="RAPPORT_MIGRATE_VALKEY", help="Rapport's Valkey, if not the suite's.")
    ] = "",
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as one page as well.")] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Hold both sides against each other row by row, try what shops see, and go through the list of the first day.

    Each thing is green, yellow (a person must look) or red, with evidence. Ends with 1 when anything is red. It writes
    nothing but a shop for trying webhooks, which it deletes again.
    """
    from cli.migration.plan import Plan
    from cli.migration.report import write_page
    from cli.migration.verifying import PARTS, Options, verify
    from cli.operator import run

    parts: Any = tuple(only or PARTS)
    if unknown := set(parts) - {*PARTS, "week"}:
        raise CommandError(f"There is no part {min(unknown)}: rows, shops, day, week.", reason="USAGE")
    parts = (*parts, "week") if week and "week" not in parts else parts
    options = Options(source, parts, database, valkey, prometheus)
    with _advancing() as advance:
        report = run(verify(suite_folder(data), Plan.load(plan), options, advance))
    if html:
        write_page(html, report)
    if as_json:
        print_json(report.as_dict())
    else:
        print_lines(*report.lines(), report.verdict)
        if html:
            say(f"  The report is in {html}.")
    if not report.green:
        raise typer.Exit(1)


def cutover(
    plan: PlanFile,
    *,
    to: Annotated[int, typer.Option(min=0, max=100, help="Rapport's share of the requests at the end, in percent.")],
    steps: Annotated[str, typer.Option(metavar="LIST", help="The shares on the way there.")] = "1,5,10,25,50,75,100",
    watch: Annotated[
        str, typer.Option(metavar="TIME", help="How long each step is watched, and over how long failures count.")
    ] = "5m",
    max_errors: Annotated[
        float,
        typer.Option(min=0.001, max=100, help="The percentage of failures beyond which everything goes back."),
    ] = 0.5,
    by: Annotated[
        str,
        typer.Option(
            help="What stays together on one side: a whole `shop`, or a `client` within its shop.",
            show_default="shop; client where there is one shop only",
        ),
    ] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Let Rapport answer more and more of the shops' requests; the rest goes to the predecessor.

    It stops at each step and watches. When too many requests fail on Rapport's side the gateway sends everything back
    by itself, also when nobody watches any more; this command says why and ends with 1. It also ends with 1, and
    changes nothing, when somebody else set another share meanwhile. `--to 0` takes it back.
    """
    from cli.migration.cutover import Wish, cut_over, rate, shops_moved
    from cli.migration.plan import Plan
    from cli.operator import run

    if by not in ("", "shop", "client"):
        raise CommandError("--by is shop or client.", reason="USAGE")
    wish = Wish(to, _shares(steps), _seconds(watch), max_errors, by)
    shown = [-1]

    def told(state: dict[str, Any]) -> None:
        if state["percent"] != shown[0]:
            shown[0] = state["percent"]
            what = shops_moved(state) or f"{state['percent']} % of the clients"
            say(f"  at {state['percent']} %: {what} are answered by Rapport, the rest by the predecessor")

    state = run(cut_over(suite_folder(data), Plan.load(plan), wish, told))
    if as_json:
        print_json(state)
        return
    for name in ("rapport", "predecessor"):
        side = state[name]
        print_lines(f"{name}: {side['request_count']} requests, {side['failure_count']} failed ({rate(side):.2f} %)")


@contextmanager
def _advancing() -> "Iterator[Advance]":
    """Give what shows how far comparing is."""
    from cli.order_commands import progress_bar

    with progress_bar() as progress:
        tasks: dict[str, Any] = {}

        def advance(what: str, more: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(f"comparing {what}", total=total)
            progress.advance(tasks[what], more)

        yield advance


def _shares(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() and int(word) <= 100 for word in words):  # noqa: PLR2004 - per cent
        raise CommandError("--steps is a list of percents, for example 1,10,50.", reason="USAGE")
    return tuple(int(word) for word in words)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not found:
        raise CommandError("--watch is a time: 30s, 5m or 1h.", reason="USAGE")
    return float(found[1]) * _UNITS[found[2]]
