"""`rapport doctor`."""

import sys
from typing import Annotated

import typer

from cli.options import Data, Json
from cli.output import print_json, print_lines, print_table
from cli.suite.folder import suite_folder

FreeGb = Annotated[float, typer.Option(min=0, help="The least free space (GiB) on each disk of the suite.")]
BackupHours = Annotated[float, typer.Option(min=0, help="How old the newest backup may be.")]
Wait = Annotated[float, typer.Option(min=0, help="Examine again for so many seconds as long as anything is red.")]


def register(commands: typer.Typer) -> None:
    """Add the command."""
    commands.command("doctor")(doctor)


def doctor(
    *,
    all_checks: Annotated[bool, typer.Option("--all", help="Show also what is green.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with 1 also for what is yellow.")] = False,
    min_free: FreeGb = 2.0,
    backup_hours: BackupHours = 26.0,
    wait: Wait = 0.0,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Examine the running suite: settings, clocks, certificates, keys, connections, queues, replication, disk, backups.

    Each thing is green, yellow (somebody should look soon) or red (something does not work or is about to be lost),
    with what to do. Ends with 1 when anything is red. It only reads.
    """
    from cli.doctor.examination import examine_until
    from cli.doctor.report import COLOURS, Limits
    from cli.operator import run
    from servicekit.diagnosis import State

    limits = Limits(free_bytes=round(min_free * 2**30), backup_hours=backup_hours)
    report = run(examine_until(wait, suite_folder(data), limits))
    if as_json:
        print_json(report.as_dict())
    else:
        shown = [one for one in report.found if all_checks or one.finding.state is not State.OK]
        columns = [(name, "left") for name in ("", "where", "what", "found", "do")]
        rows = [
            [COLOURS[one.finding.state], one.where, one.finding.check, one.finding.summary, one.finding.remedy]
            for one in shown
        ]
        if rows:
            print_table("", columns, rows)
        counts = ", ".join(f"{len(report.of(state))} {colour}" for state, colour in COLOURS.items())
        print_lines(f"The suite is {COLOURS[report.state]}: {counts}.")
    bad = {State.FAILED, State.WARNING} if strict else {State.FAILED}
    if report.state in bad:
        sys.exit(1)
