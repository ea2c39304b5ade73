"""`rapport evaluate`: a shop's own files show what the models are worth to it."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Json
from cli.output import print_json, print_lines, print_table, say

_WORDS = {
    "churn": "Who does not come back",
    "clv": "What customers will spend",
    "products": "What they buy next",
    "products_new_items": "What they buy next, new to them",
}


def register(commands: typer.Typer) -> None:
    """Add the command."""
    commands.command()(evaluate)


def evaluate(
    *,
    orders: Annotated[Path, typer.Option(metavar="TRAIN.csv", help="The orders to learn from.")],
    holdout: Annotated[Path, typer.Option(metavar="TEST.csv", help="The orders of the time after them.")],
    as_json: Json = False,
) -> None:
    """Judge the models of customers and products by a later log; nothing needs to run, and nothing is stored.

    Both files have the columns of `rapport orders import` or those of the Online Retail log, as .csv or .csv.gz. The
    horizon of all predictions is the time that the second file covers. Each measure comes with the ends of its 95 %
    interval (bootstrap over customers) and beside plain baselines. Lines that cannot be read are left out and counted.
    The model has the correction by the shop's own past where one can be learnt; a shop is served it only where it was
    better on held-back time twice.
    """
    from cli.evaluation import evaluated, read_orders
    from cli.order_commands import progress_bar
    from cli.order_file import OrderFile

    with progress_bar() as progress:
        logs = []
        for path in (orders, holdout):
            file = OrderFile(path)
            task = progress.add_task(f"reading {path.name}", total=file.size)
            logs.append(read_orders(file, partial(progress.update, task)))
        task = progress.add_task("judging", total=None)
        result = evaluated(*logs)
        progress.update(task, total=1, completed=1)
    if as_json:
        print_json(result)
        return
    for name, reasons in result["left_out"].items():
        for reason, count in sorted(reasons.items()):
            say(f"  {name}: {count} lines were left out: {reason}")
    print_lines(
        f"{result['customers']} customers, of whom {result['active_customers']} came back within the "
        f"{result['horizon_days']} days of the holdout."
    )
    columns = [("measure", "left"), ("value", "right"), ("95 % interval", "right")]
    for group, title in _WORDS.items():
        print_table(title, columns, [_row(name, measure) for name, measure in result[group].items() if name != "model"])


def _row(name: str, measure: dict[str, Any]) -> list[str]:
    if measure["value"] is None:
        return [name.replace("_", " "), "unknown", ""]
    return [name.replace("_", " "), f"{measure['value']:.3f}", f"{measure['low']:.3f} to {measure['high']:.3f}"]
