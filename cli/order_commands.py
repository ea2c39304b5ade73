"""`rapport orders import`: a shop's purchase history, as a whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.order_file import Findings, OrderFile, OrderRow
from cli.output import print_json, print_lines, say
from cli.suite.folder import suite_folder

if TYPE_CHECKING:
    from rapport.recommendations.v1 import order_pb2
    from rich.progress import Progress

commands = typer.Typer(help="Bring purchase histories in.", no_args_is_help=True)

_SHOWN_BAD_ROWS = 20
_REPORTED_BAD_ROWS = 1000


@commands.callback()
def orders() -> None:
    """Bring purchase histories in."""


@commands.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV file, gzipped or not.")],
    *,
    tenant: Tenant,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Import order lines from a CSV file. Importing a file again changes nothing.

    Columns: order_id, customer_id, ordered_at, product_id, product_name, quantity, unit_price, currency; or those of
    the Online Retail log (UCI). All lines are judged first: if one is wrong, its line number is told and nothing is
    imported.
    """
    from cli.operator import run
    from cli.order_import import import_batches

    findings = Findings()
    with progress_bar() as progress:
        batches = _read(OrderFile(file), findings, progress)
        if findings.bad_rows:
            raise _refusal(file, findings)
        result = run(import_batches(suite_folder(data), tenant, batches, progress))
    lines = sum(len(batch) for batch in batches)
    if as_json:
        print_json({"import": result, "lines": lines, "skipped": dict(findings.skipped)})
        return
    for reason, count in findings.skipped.most_common():
        say(f"  {count} lines were left out: {reason}")
    print_lines(
        f"Imported {lines} lines: {result['order_count']} orders of {result['customer_count']} customers, "
        f"{result['new_order_count']} orders new and {result['changed_order_count']} changed."
    )


def _read(file: OrderFile, findings: Findings, progress: "Progress") -> "list[list[order_pb2.OrderLine]]":
    from cli.order_import import to_batches

    task = progress.add_task("reading", total=file.size)

    def watched() -> Iterator[OrderRow]:
        for number, row in enumerate(file.rows(findings)):
            if number % 1000 == 0:
                progress.update(task, completed=file.position)
            yield row

    batches = to_batches(watched())
    progress.update(task, completed=file.size)
    return batches


def _refusal(file: Path, findings: Findings) -> CommandError:
    """Tell the first bad rows and return the error for all of them."""
    for bad in findings.bad_rows[:_SHOWN_BAD_ROWS]:
        say(f"  line {bad.line}: {bad.problem}")
    count = len(findings.bad_rows)
    if count > _SHOWN_BAD_ROWS:
        say(f"  … and {count - _SHOWN_BAD_ROWS} more")
    return CommandError(
        f"Nothing was imported: {count} {'line' if count == 1 else 'lines'} of {file} cannot be read, "
        f"the first is line {findings.bad_rows[0].line}.",
        reason="ROWS_INVALID",
        details={"bad_row_count": count, "bad_rows": [asdict(bad) for bad in findings.bad_rows[:_REPORTED_BAD_ROWS]]},
    )


@contextmanager
def progress_bar() -> "Iterator[Progress]":
    """Give a progress bar on standard error."""
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("  {task.description}"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress
