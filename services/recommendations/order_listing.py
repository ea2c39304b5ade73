"""Reading orders: a customer's, page by page and with their sums, or one by its id. All of it set-based.

The statements run on a transaction that is bound to the tenant; they say the tenant as well, so that they use its keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations.orders import Parcel


@dataclass(frozen=True, slots=True)
class StoredLine:
    """A line of an order, with money in minor units of its currency; a negative quantity is goods that came back."""

    product_id: str
    title: str
    quantity: int
    unit_price_minor: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order as it stands, with money in minor units of its currency.

    Attributes:
        customer_id: whose order it is.
        source_customer_id: under whose id it came in; another one where customers were merged.
        ordered_minor: what was ordered.
        returned_minor: what came back or was paid back of it; 0 for a cancelled order.
        refunded_minor: what was paid back as far as the shop told.
        cancel_time: when it was cancelled; None when it was not.
        line_count: how many lines it has; `lines` may be but the first of them.
        parcels: its parcels, the oldest first.
    """

    order_id: str
    customer_id: str
    source_customer_id: str
    order_time: datetime
    currency: str
    ordered_minor: int
    returned_minor: int
    refunded_minor: int
    cancel_time: datetime | None
    line_count: int = 0
    lines: tuple[StoredLine, ...] = ()
    parcels: tuple[Parcel, ...] = ()

    @property
    def cancelled_minor(self) -> int:
        """What of it was cancelled: all or nothing."""
        return self.ordered_minor if self.cancel_time is not None else 0

    @property
    def total_minor(self) -> int:
        """What is left of it."""
        return self.ordered_minor - self.returned_minor - self.cancelled_minor


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which of a customer's orders: words of which one must stand in a product's name, and a span of time."""

    words: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    order_ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class OrderSums:
    """How many orders there are and what is left of them in the shop's currency.

    `uncounted` is what is not in that sum, by currency, because no rate was stated for the orders' days.
    """

    count: int = 0
    spent_minor: int = 0
    uncounted: dict[str, int] = field(default_factory=dict)


async def find_orders(
    connection: AsyncConnection,
    tenant_id: UUID,
    customer_id: str,
    chosen: OrderFilter,
    limit: int,
    *,
    after: tuple[datetime, str] | None = None,
    lines: int = 1000,
) -> list[StoredOrder]:
    """Return a customer's orders, newest first, each with its first lines; `after` is where the page before ended."""
    time, order_id = after or (None, None)
    result = await connection.exec_driver_sql(
        f"SELECT {_HEAD} {_CHOSEN}"
        " AND ($7::timestamptz IS NULL OR order_time <= $7 AND (order_time < $7 OR order_id > $8::text))"
        " ORDER BY order_time DESC, order_id LIMIT $9",
        (*_arguments(tenant_id, customer_id, chosen), time, order_id, limit),
    )
    return await _whole(connection, tenant_id, result.all(), lines)


async def sum_orders(
    connection: AsyncConnection, tenant_id: UUID, customer_id: str, chosen: OrderFilter, currency: str
) -> OrderSums:
    """Return the sums of a customer's orders in a currency."""
    result = await connection.exec_driver_sql(
        f"{_SUMS_OF} {_CHOSEN}) AS counted GROUP BY currency ORDER BY currency",
        (*_arguments(tenant_id, customer_id, chosen), currency),
    )
    rows = result.all()
    return OrderSums(
        sum(row.found for row in rows),
        int(sum(row.worth for row in rows)),
        {row.currency: int(row.uncounted) for row in rows if row.some},
    )


async def find_order(connection: AsyncConnection, tenant_id: UUID, order_id: str, *, lines: int) -> StoredOrder | None:
    """Return an order by its id; None when there is none."""
    result = await connection.exec_driver_sql(
        f"SELECT {_HEAD} FROM orders WHERE tenant_id = $1 AND order_id = $2",  # noqa: S608 - our own columns
        (tenant_id, order_id),
    )
    found = await _whole(connection, tenant_id, result.all(), lines)
    return found[0] if found else None


def _arguments(tenant_id: UUID, customer_id: str, chosen: OrderFilter) -> tuple[Any, ...]:
    patterns = ["%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%" for word in chosen.words]
    order_ids = list(chosen.order_ids) if chosen.order_ids is not None else None
    return tenant_id, customer_id, patterns, chosen.since, chosen.until, order_ids


async def _whole(connection: AsyncConnection, tenant_id: UUID, heads: Sequence[Any], most: int) -> list[StoredOrder]:
    order_ids = [head.order_id for head in heads]
    lines, counts = await _lines(connection, tenant_id, order_ids, most)
    parcels = await _parcels(connection, tenant_id, order_ids)
    return [
        StoredOrder(
            head.order_id,
            head.customer_id,
            head.source_id,
            head.order_time,
            head.currency,
            head.ordered,
            head.returned_minor,
            head.refunded_minor,
            head.cancel_time,
            counts.get(head.order_id, 0),
            tuple(lines.get(head.order_id, ())),
            tuple(parcels.get(head.order_id, ())),
        )
        for head in heads
    ]


async def _lines(
    connection: AsyncConnection, tenant_id: UUID, order_ids: list[str], most: int
) -> tuple[dict[str, list[StoredLine]], dict[str, int]]:
    """Return the first lines of orders, and how many each has."""
    lines: dict[str, list[StoredLine]] = {}
    counts: dict[str, int] = {}
    result = await connection.exec_driver_sql(
        """
        SELECT line.*, (SELECT count(*) FROM order_lines AS one
                        WHERE one.tenant_id = $1 AND one.order_id = named.order_id) AS line_count
        FROM unnest($2::text[]) AS named (order_id) CROSS JOIN LATERAL (
            SELECT order_id, product_id, product_name, quantity, unit_price_minor, amount_minor FROM order_lines
            WHERE tenant_id = $1 AND order_lines.order_id = named.order_id ORDER BY line_number LIMIT $3) AS line""",
        (tenant_id, order_ids, most),
    )
    for row in result:
        line = StoredLine(row.product_id, row.product_name, row.quantity, row.unit_price_minor, row.amount_minor)
        lines.setdefault(row.order_id, []).append(line)
        counts[row.order_id] = row.line_count
    return lines, counts


async def _parcels(connection: AsyncConnection, tenant_id: UUID, order_ids: list[str]) -> dict[str, list[Parcel]]:
    parcels: dict[str, list[Parcel]] = {}
    result = await connection.exec_driver_sql(
        """
        SELECT order_id, tracking_number, tracking_url, carrier, status FROM shipments
        WHERE tenant_id = $1 AND order_id = ANY ($2::text[]) ORDER BY order_id, create_time, tracking_number""",
        (tenant_id, order_ids),
    )
    for row in result:
        parcel = Parcel(row.order_id, row.tracking_number, row.tracking_url, row.carrier, row.status)
        parcels.setdefault(row.order_id, []).append(parcel)
    return parcels


_HEAD = """
order_id, customer_id, coalesce(source_customer_id, customer_id) AS source_id, order_time, currency,
coalesce(ordered_minor, spent_minor) AS ordered, returned_minor, refunded_minor, cancel_time"""

_CHOSEN = """
FROM orders WHERE tenant_id = $1 AND customer_id = $2
  AND ($4::timestamptz IS NULL OR order_time >= $4) AND ($5::timestamptz IS NULL OR order_time < $5)
  AND ($6::text[] IS NULL OR order_id = ANY ($6))
  AND (cardinality($3::text[]) = 0 OR EXISTS (
      SELECT FROM order_lines WHERE order_lines.tenant_id = $1 AND order_lines.order_id = orders.order_id
        AND product_name ILIKE ANY ($3)))
"""

_SUMS_OF = """
SELECT currency, count(*) AS found, coalesce(sum(worth), 0) AS worth, bool_or(worth IS NULL) AS some,
       coalesce(sum(remaining) FILTER (WHERE worth IS NULL), 0) AS uncounted
FROM (SELECT currency, spent_minor - returned_minor AS remaining,
             CASE WHEN currency = $7::text THEN spent_minor - returned_minor
                  ELSE worth($1, spent_minor - returned_minor, currency, $7::text,
                             (order_time AT TIME ZONE 'UTC')::date) END AS worth
"""
