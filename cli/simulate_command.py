"""`rapport simulate`: what the order of the inbox is worth, on simulated desks."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json
from cli.output import print_lines


def register(commands: typer.Typer) -> None:
    """Add the command."""
    commands.command()(simulate)


def simulate(
    *,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only this scenario; may be repeated: A, B, C, D, E, F (all six otherwise), B-misjudged, "
            "D-misjudged, D-exact, D-rough. See docs/ordering.md.",
        ),
    ] = None,
    runs: Annotated[int, typer.Option(min=2, max=1000, help="Runs of each scenario.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="The first run's seed; equal seeds give equal tickets.")] = 0,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw both costs of every policy.")] = None,
    as_json: Json = False,
) -> None:
    """Simulate support desks under all policies and compare what waiting costs; nothing needs to run.

    A cell of the table is weighted tardiness / cost of delay / missed targets in % / longest wait in hours. Below it
    stands, for each scenario, how the default compares to the predecessor with 95 % intervals, and which policies are
    better than it on both costs.
    """
    from cli.order_commands import progress_bar
    from cli.simulation import simulated

    with progress_bar() as progress:
        task = progress.add_task("simulating", total=None)

        def told(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        text = simulated(scenario or [], runs, seed, plot, as_json=as_json, told=told)
    print_lines(text.rstrip("\n"))
