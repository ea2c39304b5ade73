"""`rapport orders import`: a shop's purchase history, as a whole or not at all."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.recommendations.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cli.errors import CommandError
from cli.operator import Operator, as_dict, operator_of, run
from cli.options import Data, Json, Tenant
from cli.order_file import Findings, OrderFile, OrderRow
from cli.output import print_json, print_lines, say
from cli.suite.folder import SuiteFolder, suite_folder

commands = typer.Typer(help="Bring purchase histories in.", no_args_is_help=True)

_BATCH_LINES = 2000
_BATCH_BYTES = 1_500_000
"""A batch's size bound; the services take messages up to 2 MiB."""
_TRIES = 4
_SHOWN_BAD_ROWS = 20
_REPORTED_BAD_ROWS = 1000
_COMMIT_SECONDS = 600
_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


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
    findings = Findings()
    with _progress() as progress:
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


async def import_batches(
    folder: SuiteFolder, tenant: str, batches: list[list[order_pb2.OrderLine]], progress: Progress
) -> dict[str, Any]:
    """Stage all batches and commit them as one; return what the service says of the import.

    Raises:
        CommandError: a call was refused or kept failing; then nothing of it is visible.
    """
    total = sum(len(batch) for batch in batches)
    if total == 0:
        raise CommandError("There is no order line to import.", reason="NOTHING_TO_IMPORT")
    async with operator_of(folder) as operator:
        service = operator.stub(order_service_pb2_grpc.OrderServiceStub, "recommendations")
        opened = await service.CreateOrderImport(
            order_service_pb2.CreateOrderImportRequest(), metadata=await operator.metadata(tenant), timeout=30
        )
        task = progress.add_task("sending", total=total)
        for number, batch in enumerate(batches, start=1):
            request = order_service_pb2.AppendOrderLinesRequest(
                import_id=opened.import_id, batch_number=number, lines=batch
            )
            await _again(operator, tenant, service.AppendOrderLines, request, 60)
            progress.advance(task, len(batch))
        progress.add_task("computing profiles", total=None)
        commit = order_service_pb2.CommitOrderImportRequest(import_id=opened.import_id, expected_line_count=total)
        return as_dict(await _again(operator, tenant, service.CommitOrderImport, commit, _COMMIT_SECONDS))


async def _again(operator: Operator, tenant: str, method: Any, request: Any, seconds: float) -> Any:
    """Call an idempotent method, and again when the service did not answer."""
    for attempt in range(1, _TRIES + 1):
        try:
            return await method(request, metadata=await operator.metadata(tenant), timeout=seconds, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _RETRIED or attempt == _TRIES:
                raise
    raise AssertionError("the last try returns or raises")


def to_batches(rows: Iterable[OrderRow]) -> list[list[order_pb2.OrderLine]]:
    """Turn rows into messages, cut into batches of a bounded number of lines and bytes."""
    batches: list[list[order_pb2.OrderLine]] = []
    room = 0
    for row in rows:
        line = order_pb2.OrderLine(
            order_id=row.order_id,
            customer_id=row.customer_id,
            order_time=Timestamp(seconds=row.seconds, nanos=row.nanos),
            product_id=row.product_id,
            product_name=row.product_name,
            quantity=row.quantity,
            unit_price=row.unit_price,
            currency_code=row.currency,
        )
        size = line.ByteSize()
        if not batches or room < size or len(batches[-1]) == _BATCH_LINES:
            batches.append([])
            room = _BATCH_BYTES
        batches[-1].append(line)
        room -= size
    return batches


def _read(file: OrderFile, findings: Findings, progress: Progress) -> list[list[order_pb2.OrderLine]]:
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
def _progress() -> Iterator[Progress]:
    """Give a progress bar on standard error."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress
