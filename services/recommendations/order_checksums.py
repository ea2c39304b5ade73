"""Checksums of a tenant's orders, page by page, for whoever compares them with what another system says."""

from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.order_digest import Line, order_digest

_PAGE_LINES = 20_000
"""How many lines are read for a page, but for those of its first order."""


@dataclass(frozen=True, slots=True)
class OrderChecksum:
    """An order's checksum; `change_time` is when the shop last changed it, None where nobody told."""

    order_id: str
    digest: str
    line_count: int
    change_time: datetime | None


async def checksums(
    connection: AsyncConnection, tenant_id: UUID, after: str, limit: int
) -> tuple[list[OrderChecksum], bool]:
    """Return checksums of orders from behind an id on, by id, and whether there are more.

    They may be fewer than `limit`: a page of large orders ends early.
    """
    result = await connection.exec_driver_sql(_HEADS, (tenant_id, after, limit + 1))
    heads = result.all()
    sums = accumulate(head.line_count for head in heads)
    fitting = sum(read <= _PAGE_LINES for read in sums)
    page = heads[: min(limit, max(1, fitting))]
    lines: dict[str, list[Line]] = {head.order_id: [] for head in page}
    for row in await connection.exec_driver_sql(_LINES, (tenant_id, list(lines))):
        lines[row.order_id].append((row.product_id, row.product_name, row.quantity, row.unit_price_minor))
    found = [
        OrderChecksum(
            head.order_id,
            order_digest(
                head.source_id,
                head.order_time,
                head.currency,
                lines[head.order_id],
                head.refunded_minor,
                head.cancel_time,
            ),
            head.line_count,
            head.change_time,
        )
        for head in page
    ]
    return found, len(heads) > len(page)


_HEADS = """
SELECT order_id, coalesce(source_customer_id, customer_id) AS source_id, order_time, currency, refunded_minor,
       cancel_time, change_time,
       (SELECT count(*) FROM order_lines WHERE order_lines.tenant_id = $1
           AND order_lines.order_id = orders.order_id) AS line_count
FROM orders WHERE tenant_id = $1 AND order_id > $2 ORDER BY order_id LIMIT $3"""

_LINES = """
SELECT order_id, product_id, product_name, quantity, unit_price_minor FROM order_lines
WHERE tenant_id = $1 AND order_id = ANY ($2::text[])"""
