"""`rapport orders import`: a shop's purchase history; whole orders go in, and what is wrong is told of line by line."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.order_dates import Order
from cli.order_file import Findings, OrderFile
from cli.order_rejects import Rejects
from cli.order_row import OrderRow, Reading
from cli.output import print_json, print_lines, say
from cli.suite.folder import suite_folder

if TYPE_CHECKING:
    from rich.progress import Progress

    from cli.order_heads import OrderHeads

commands = typer.Typer(help="Bring purchase histories in.", no_args_is_help=True)

_SHOWN_BAD_ROWS = 20
_DATES = get_args(Order)


@commands.callback()
def orders() -> None:
    """Bring purchase histories in."""


@commands.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV file, gzipped or not.")],
    *,
    tenant: Tenant,
    encoding: Annotated[
        str, typer.Option(help="The file's encoding, for example cp1252.", show_default="its mark, else UTF-8")
    ] = "",
    dates: Annotated[
        str, typer.Option(help="How days are written that do not begin with the year: dmy, mdy or ymd.")
    ] = "",
    decimal_comma: Annotated[
        bool, typer.Option("--decimal-comma", help="A comma stands before the decimals of amounts.")
    ] = False,
    rejects: Annotated[
        Path | None,
        typer.Option(help="Where to write the lines that do not go in.", show_default="FILE.rejects.csv"),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Import nothing if a line is wrong.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Import order lines from a CSV file, separated by commas, semicolons or tabs. Importing it again changes nothing.

    Columns: order_id, customer_id, ordered_at, product_id, product_name, quantity, unit_price, currency; where there
    are any refunded_amount, cancelled_at, changed_at; or those of the Online Retail log (UCI). A negative quantity or
    price is goods that came back. Orders with a wrong line go whole to the file of rejects, each line with its number
    and the reason; all others are imported, at once or not at all. After an interruption the same command goes on.
    """
    from cli.operator import run
    from cli.order_heads import OrderHeads
    from cli.order_import import ImportMemory, import_batches, to_batches

    if dates not in _DATES:
        raise CommandError(f"--dates is dmy, mdy or ymd, not {dates}.", reason="USAGE")
    reading = Reading(cast("Order", dates), decimal_comma)
    orders_file = OrderFile(file, encoding=encoding, reading=reading)
    left_out = Rejects(rejects or file.with_name(f"{file.name}.rejects.csv"))
    findings = Findings()
    with progress_bar() as progress, OrderHeads() as heads:
        _judge(orders_file, heads, findings, progress)
        if findings.bad_row_count and strict:
            raise _refusal(file, findings)
        left_out.begin(orders_file.header)
        sent = _Sent()
        rows = sent.counted(orders_file.good_rows(heads, findings, left_out.add))
        folder = suite_folder(data)
        memory = ImportMemory(folder, tenant, file, [encoding, dates, str(decimal_comma)])
        try:
            result = run(import_batches(folder, tenant, to_batches(rows), progress, memory))
            # An import that was committed before the interruption asks for no lines, but the rejects are told again.
            deque(rows, maxlen=0)
        except CommandError as error:
            if error.reason == "NOTHING_TO_IMPORT" and findings.bad_row_count:
                raise _refusal(file, findings) from error
            raise
        finally:
            left_out.close()
    _tell(file, findings, sent.count, result, left_out, as_json=as_json)


@dataclass
class _Sent:
    """How many lines were sent."""

    count: int = 0

    def counted(self, rows: Iterable[OrderRow]) -> Iterator[OrderRow]:
        for row in rows:
            self.count += 1
            yield row


def _judge(file: OrderFile, heads: "OrderHeads", findings: Findings, progress: "Progress") -> None:
    task = progress.add_task("reading", total=file.size)
    for number, _ in enumerate(file.judge(heads, findings)):
        if number % 1000 == 0:
            progress.update(task, completed=file.position)
    progress.update(task, completed=file.size)


def _tell(
    file: Path, findings: Findings, lines: int, result: dict[str, Any], left_out: Rejects, *, as_json: bool
) -> None:
    """Tell what came of an import."""
    if findings.bad_row_count:
        _show_bad_rows(findings)
        say(f"  {left_out.count} lines of {file} stayed out and are in {left_out.path}")
    if as_json:
        rejected = {
            "lines": left_out.count,
            "bad_row_count": findings.bad_row_count,
            "held_back": findings.held_back,
            "file": str(left_out.path) if left_out.count else None,
            "bad_rows": [asdict(bad) for bad in findings.bad_rows[:_SHOWN_BAD_ROWS]],
        }
        print_json({"import": result, "lines": lines, "skipped": dict(findings.skipped), "rejected": rejected})
        return
    for reason, count in findings.skipped.most_common():
        say(f"  {count} lines were left out: {reason}")
    print_lines(
        f"Imported {result['line_count']} lines: {result['order_count']} orders of {result['customer_count']} "
        f"customers, {result['new_order_count']} orders new and {result['changed_order_count']} changed."
    )


def _refusal(file: Path, findings: Findings) -> CommandError:
    """Tell the first bad rows and return the error for all of them."""
    _show_bad_rows(findings)
    count = findings.bad_row_count
    return CommandError(
        f"Nothing was imported: {count} {'line' if count == 1 else 'lines'} of {file} cannot be read, "
        f"the first is line {findings.bad_rows[0].line}.",
        reason="ROWS_INVALID",
        details={"bad_row_count": count, "bad_rows": [asdict(bad) for bad in findings.bad_rows]},
    )


def _show_bad_rows(findings: Findings) -> None:
    for bad in findings.bad_rows[:_SHOWN_BAD_ROWS]:
        say(f"  line {bad.line}: {bad.problem}")
    if findings.bad_row_count > _SHOWN_BAD_ROWS:
        say(f"  … and {findings.bad_row_count - _SHOWN_BAD_ROWS} more")


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
