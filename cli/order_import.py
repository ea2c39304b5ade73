"""Sends order lines to the recommendations service: staged in batches, committed as one."""

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.recommendations.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc
from rich.progress import Progress

from cli.errors import CommandError
from cli.operator import Operator, as_dict, operator_of
from cli.order_file import OrderRow
from cli.suite.folder import SuiteFolder

_BATCH_LINES = 2000
_BATCH_BYTES = 1_500_000
"""A batch's size bound; the services take messages up to 2 MiB."""
_TRIES = 4
_COMMIT_SECONDS = 600
_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


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
        committed = as_dict(await _again(operator, tenant, service.CommitOrderImport, commit, _COMMIT_SECONDS))
    # JSON from protobuf writes 64-bit numbers as text; these counts are numbers to everybody.
    return {name: int(value) if name.endswith("_count") else value for name, value in committed.items()}


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
