"""Sends order lines to the recommendations service: staged in batches, committed as one, gone on with after a crash."""

import asyncio
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.recommendations.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc
from rich.progress import Progress

from cli.errors import CommandError
from cli.operator import Operator, as_dict, operator_of
from cli.order_row import OrderRow
from cli.suite.folder import SuiteFolder
from cli.suite.secret_files import write_private

Batch = list[order_pb2.OrderLine]

_BATCH_LINES = 2000
_BATCH_BYTES = 1_500_000
"""A batch's size bound; the services take messages up to 2 MiB."""
_TRIES = 6
_FIRST_PAUSE_SECONDS = 0.5
_COMMIT_SECONDS = 60
_COMMITS = 240
"""How often the end of a commit is asked for; each answer takes 20 seconds."""
_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_COMMITTED, _COMMITTING = "STATE_COMMITTED", "STATE_COMMITTING"


class ImportMemory:
    """Remembers which import a file is sent by, so that the same command goes on with it after an interruption."""

    def __init__(self, folder: SuiteFolder, tenant: str, file: Path, options: Iterable[str]) -> None:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        name = hashlib.sha256("\0".join([tenant, digest, *options]).encode()).hexdigest()
        self._path = folder.root / "imports" / f"{name}.json"

    @property
    def import_id(self) -> str:
        """The import that was begun; empty when there is none."""
        try:
            return str(json.loads(self._path.read_text(encoding="utf-8"))["import_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def keep(self, import_id: str) -> None:
        """Remember the import."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._path, json.dumps({"import_id": import_id}))

    def forget(self) -> None:
        """Forget the import: it is committed."""
        with suppress(FileNotFoundError):
            self._path.unlink()


async def import_batches(
    folder: SuiteFolder,
    tenant: str,
    batches: Iterable[Batch],
    progress: Progress,
    memory: ImportMemory | None = None,
) -> dict[str, Any]:
    """Stage all batches and commit them as one; return what the service says of the import.

    With a memory an import that was interrupted is gone on with: what it holds already is not sent again.

    Raises:
        CommandError: a call was refused or kept failing; then nothing of it is visible.
    """
    async with operator_of(folder) as operator:
        service = operator.stub(order_service_pb2_grpc.OrderServiceStub, "recommendations")
        opened = await _begun(operator, tenant, service, memory)
        state = order_pb2.OrderImport.State.Name(opened.state)
        if state == _COMMITTED:
            return _told(memory, opened)
        total = 0
        task = progress.add_task("sending", total=None)
        for number, batch in enumerate(batches, start=1):
            total += len(batch)
            if number >= opened.next_batch_number:
                request = order_service_pb2.AppendOrderLinesRequest(
                    import_id=opened.import_id, batch_number=number, lines=batch
                )
                await _again(operator, tenant, service.AppendOrderLines, request, 60)
            progress.update(task, completed=total)
        if not total:
            if memory is not None:
                memory.forget()
            raise CommandError("There is no order line to import.", reason="NOTHING_TO_IMPORT")
        progress.add_task("computing profiles", total=None)
        return _told(memory, await _committed(operator, tenant, service, opened.import_id, total))


async def _begun(operator: Operator, tenant: str, service: Any, memory: ImportMemory | None) -> order_pb2.OrderImport:
    """Return the import that was begun with this file, or a new one."""
    if memory is not None and memory.import_id:
        request = order_service_pb2.GetOrderImportRequest(import_id=memory.import_id)
        try:
            found: order_pb2.OrderImport = await _again(operator, tenant, service.GetOrderImport, request, 30)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        else:
            return found
    opened: order_pb2.OrderImport = await _again(
        operator, tenant, service.CreateOrderImport, order_service_pb2.CreateOrderImportRequest(), 30
    )
    if memory is not None:
        memory.keep(opened.import_id)
    return opened


async def _committed(
    operator: Operator, tenant: str, service: Any, import_id: str, total: int
) -> order_pb2.OrderImport:
    request = order_service_pb2.CommitOrderImportRequest(import_id=import_id, expected_line_count=total)
    for _ in range(_COMMITS):
        found: order_pb2.OrderImport = await _again(
            operator, tenant, service.CommitOrderImport, request, _COMMIT_SECONDS
        )
        if order_pb2.OrderImport.State.Name(found.state) != _COMMITTING:
            return found
    raise CommandError("The import is still being applied: run the command again later.", reason="STILL_COMMITTING")


def _told(memory: ImportMemory | None, committed: order_pb2.OrderImport) -> dict[str, Any]:
    if memory is not None:
        memory.forget()
    # JSON from protobuf writes 64-bit numbers as text; these counts are numbers to everybody.
    values = as_dict(committed).items()
    return {name: int(value) if name.endswith("_count") else value for name, value in values}


async def _again(operator: Operator, tenant: str, method: Any, request: Any, seconds: float) -> Any:
    """Call an idempotent method, and again after a longer and longer pause when the service did not answer."""
    for attempt in range(1, _TRIES + 1):
        try:
            return await method(request, metadata=await operator.metadata(tenant), timeout=seconds, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _RETRIED or attempt == _TRIES:
                raise
            await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
    raise AssertionError("the last try returns or raises")


def to_batches(rows: Iterable[OrderRow]) -> Iterator[Batch]:
    """Turn rows into messages, cut into batches of bounded lines and bytes; the same rows make the same batches."""
    batch: Batch = []
    room = _BATCH_BYTES
    for row in rows:
        line = _line(row)
        size = line.ByteSize()
        if batch and (room < size or len(batch) == _BATCH_LINES):
            yield batch
            batch, room = [], _BATCH_BYTES
        batch.append(line)
        room -= size
    if batch:
        yield batch


def _line(row: OrderRow) -> order_pb2.OrderLine:
    line = order_pb2.OrderLine(
        order_id=row.order_id,
        customer_id=row.customer_id,
        order_time=Timestamp(seconds=row.seconds, nanos=row.nanos),
        product_id=row.product_id,
        product_name=row.product_name,
        quantity=row.quantity,
        unit_price=row.unit_price,
        currency_code=row.currency,
        refunded_amount=row.refunded,
    )
    for moment, field in ((row.cancelled, line.cancel_time), (row.changed, line.change_time)):
        if moment is not None:
            field.seconds, field.nanos = moment
            field.SetInParent()
    return line
