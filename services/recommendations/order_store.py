"""The SQL of orders: staging, applying, parcels, and reading a customer's orders. All of it set-based.

The statements run on a transaction that is bound to the tenant; they say the tenant as well, so that they use its keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations.orders import OrderImport, OrderLine, Parcel

_ABANDONED = "1 day"


@dataclass(frozen=True, slots=True)
class Applied:
    """What an import changed: how many orders it held, which are new or changed, and whom that touches."""

    order_count: int
    new_orders: tuple[str, ...]
    changed_orders: tuple[str, ...]
    customer_ids: tuple[str, ...]


async def lock_tenant(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Let nobody else change the tenant's orders or profiles until this transaction ends."""
    await connection.exec_driver_sql(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", (f"recommendations.orders:{tenant_id}",)
    )


async def try_lock_tenant(connection: AsyncConnection, tenant_id: UUID) -> bool:
    """Do the same if nobody holds the lock; tell whether it was had."""
    result = await connection.exec_driver_sql(
        "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", (f"recommendations.orders:{tenant_id}",)
    )
    return bool(result.scalar_one())


async def create_import(connection: AsyncConnection, tenant_id: UUID, import_id: UUID) -> OrderImport:
    """Open an import, and drop the tenant's imports that nobody finished within a day."""
    await connection.exec_driver_sql(
        "DELETE FROM order_imports WHERE tenant_id = $1 AND NOT committed AND create_time < now() - $2::text::interval",
        (tenant_id, _ABANDONED),
    )
    result = await connection.exec_driver_sql(
        "INSERT INTO order_imports (tenant_id, import_id) VALUES ($1, $2) RETURNING create_time", (tenant_id, import_id)
    )
    return OrderImport(str(import_id), committed=False, create_time=result.scalar_one())


async def find_import(
    connection: AsyncConnection, tenant_id: UUID, import_id: UUID, *, to_commit: bool = False
) -> OrderImport | None:
    """Return an import, or None; it cannot be committed meanwhile, and with `to_commit` nothing can be appended."""
    lock = "FOR UPDATE" if to_commit else "FOR KEY SHARE"
    result = await connection.exec_driver_sql(
        f"""
        SELECT committed, create_time, line_count, order_count, new_order_count, changed_order_count, customer_count
        FROM order_imports WHERE tenant_id = $1 AND import_id = $2 {lock}""",  # noqa: S608 - one of two words
        (tenant_id, import_id),
    )
    row = result.one_or_none()
    if row is None:
        return None
    lines = row.line_count
    if not row.committed:
        staged = await connection.exec_driver_sql(
            "SELECT coalesce(sum(line_count), 0) FROM order_import_batches WHERE tenant_id = $1 AND import_id = $2",
            (tenant_id, import_id),
        )
        lines = int(staged.scalar_one())
    return OrderImport(
        str(import_id),
        row.committed,
        row.create_time,
        lines,
        row.order_count,
        row.new_order_count,
        row.changed_order_count,
        row.customer_count,
    )


async def stage(
    connection: AsyncConnection, tenant_id: UUID, import_id: UUID, batch_number: int, lines: Sequence[OrderLine]
) -> bool:
    """Keep a batch; False when its number is taken already, and then nothing changes."""
    result = await connection.exec_driver_sql(
        """
        INSERT INTO order_import_batches (tenant_id, import_id, batch_number, line_count) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING RETURNING true""",
        (tenant_id, import_id, batch_number, len(lines)),
    )
    if result.scalar_one_or_none() is None:
        return False
    await connection.exec_driver_sql(
        """
        INSERT INTO order_import_lines (tenant_id, import_id, batch_number, place, order_id, customer_id, order_time,
                                        product_id, product_name, quantity, unit_price_minor, amount_minor, currency,
                                        change_time)
        SELECT $1, $2, $3, line.* FROM unnest(
            $4::integer[], $5::text[], $6::text[], $7::timestamptz[], $8::text[], $9::text[], $10::integer[],
            $11::bigint[], $12::bigint[], $13::text[], $14::timestamptz[]) AS line""",
        (
            tenant_id,
            import_id,
            batch_number,
            list(range(len(lines))),
            [line.order_id for line in lines],
            [line.customer_id for line in lines],
            [line.order_time for line in lines],
            [line.product_id for line in lines],
            [line.product_name for line in lines],
            [line.quantity for line in lines],
            [line.unit_price_minor for line in lines],
            [line.amount_minor for line in lines],
            [line.currency for line in lines],
            [line.change_time for line in lines],
        ),
    )
    return True


async def find_inconsistent(connection: AsyncConnection, tenant_id: UUID, import_id: UUID) -> str | None:
    """Return an order of the import whose lines disagree about customer, time or currency; None when all agree."""
    result = await connection.exec_driver_sql(
        """
        SELECT order_id FROM order_import_lines WHERE tenant_id = $1 AND import_id = $2 GROUP BY order_id
        HAVING min(customer_id) <> max(customer_id) OR min(order_time) <> max(order_time)
            OR min(currency) <> max(currency)
        LIMIT 1""",
        (tenant_id, import_id),
    )
    found: str | None = result.scalar_one_or_none()
    return found


async def apply(connection: AsyncConnection, tenant_id: UUID, import_id: UUID) -> Applied:
    """Make the import's orders the tenant's: new ones are added, ones with other lines replaced, equal ones left.

    Of two states whose times of change are known, the later one stays.
    """
    result = await connection.exec_driver_sql(_UPSERT_ORDERS, (tenant_id, import_id))
    rows = result.all()
    new = tuple(row.order_id for row in rows if row.before is None)
    changed = tuple(row.order_id for row in rows if row.before is not None)
    touched = {row.customer_id for row in rows} | {row.before for row in rows if row.before is not None}
    if changed:
        await connection.exec_driver_sql(
            "DELETE FROM order_lines WHERE tenant_id = $1 AND order_id = ANY ($2::text[])", (tenant_id, list(changed))
        )
    await connection.exec_driver_sql(_INSERT_LINES, (tenant_id, import_id, [*new, *changed]))
    counted = await connection.exec_driver_sql(
        "SELECT count(DISTINCT order_id) FROM order_import_lines WHERE tenant_id = $1 AND import_id = $2",
        (tenant_id, import_id),
    )
    return Applied(counted.scalar_one(), new, changed, tuple(sorted(touched)))


async def finish_import(
    connection: AsyncConnection, tenant_id: UUID, import_id: UUID, line_count: int, applied: Applied
) -> None:
    """Mark the import as committed with its counts, and drop what was staged."""
    await connection.exec_driver_sql(
        """
        UPDATE order_imports SET committed = true, line_count = $3, order_count = $4, new_order_count = $5,
            changed_order_count = $6, customer_count = (
                SELECT count(DISTINCT customer_id) FROM order_import_lines WHERE tenant_id = $1 AND import_id = $2)
        WHERE tenant_id = $1 AND import_id = $2""",
        (
            tenant_id,
            import_id,
            line_count,
            applied.order_count,
            len(applied.new_orders),
            len(applied.changed_orders),
        ),
    )
    await connection.exec_driver_sql(
        "DELETE FROM order_import_batches WHERE tenant_id = $1 AND import_id = $2", (tenant_id, import_id)
    )


async def store_shipments(connection: AsyncConnection, tenant_id: UUID, parcels: Sequence[Parcel]) -> list[str]:
    """Store parcels of orders that exist and return their customers; the caller has checked the orders."""
    result = await connection.exec_driver_sql(
        """
        WITH stored AS (
            INSERT INTO shipments (tenant_id, order_id, tracking_number, tracking_url, carrier, status)
            SELECT $1, parcel.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS parcel
            ON CONFLICT (tenant_id, order_id, tracking_number) DO UPDATE SET tracking_url = excluded.tracking_url,
                carrier = excluded.carrier, status = excluded.status, update_time = now()
            RETURNING order_id)
        SELECT DISTINCT customer_id FROM orders WHERE tenant_id = $1 AND order_id IN (SELECT order_id FROM stored)""",
        (
            tenant_id,
            [parcel.order_id for parcel in parcels],
            [parcel.tracking_number for parcel in parcels],
            [parcel.tracking_url for parcel in parcels],
            [parcel.carrier for parcel in parcels],
            [parcel.status for parcel in parcels],
        ),
    )
    return list(result.scalars())


async def missing_orders(connection: AsyncConnection, tenant_id: UUID, order_ids: Sequence[str]) -> list[str]:
    """Return which of the orders do not exist."""
    result = await connection.exec_driver_sql(
        """
        SELECT named.order_id FROM unnest($2::text[]) AS named (order_id)
        WHERE NOT EXISTS (SELECT FROM orders WHERE orders.tenant_id = $1 AND orders.order_id = named.order_id)""",
        (tenant_id, list(order_ids)),
    )
    return list(result.scalars())


async def erase_orders(connection: AsyncConnection, tenant_id: UUID, customer_id: str) -> int:
    """Remove a customer's orders with their lines and parcels, staged lines too; return how many orders there were."""
    await connection.exec_driver_sql(
        "DELETE FROM order_import_lines WHERE tenant_id = $1 AND customer_id = $2", (tenant_id, customer_id)
    )
    result = await connection.exec_driver_sql(
        "DELETE FROM orders WHERE tenant_id = $1 AND customer_id = $2", (tenant_id, customer_id)
    )
    return result.rowcount


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order with its lines (title, quantity, unit price in minor units) and parcels, oldest parcel first."""

    order_id: str
    order_time: datetime
    currency: str
    total_minor: int
    lines: tuple[tuple[str, int, int], ...]
    parcels: tuple[Parcel, ...]


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which of a customer's orders: words of which one must stand in a product's name, and a span of time."""

    words: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    order_ids: tuple[str, ...] | None = None


async def list_orders(
    connection: AsyncConnection, tenant_id: UUID, customer_id: str, chosen: OrderFilter, limit: int
) -> tuple[list[StoredOrder], int, dict[str, int]]:
    """Return a customer's orders, newest first, how many the filter leaves in all, and their sums by currency."""
    patterns = ["%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%" for word in chosen.words]
    arguments = (
        tenant_id,
        customer_id,
        patterns,
        chosen.since,
        chosen.until,
        list(chosen.order_ids) if chosen.order_ids is not None else None,
    )
    sums = await connection.exec_driver_sql(
        f"SELECT currency, count(*) AS found, sum(spent_minor - returned_minor)::bigint AS spent {_CHOSEN} GROUP BY 1",
        arguments,
    )
    totals = sums.all()
    result = await connection.exec_driver_sql(
        f"SELECT order_id, order_time, currency, spent_minor - returned_minor AS total {_CHOSEN}"
        " ORDER BY order_time DESC, order_id LIMIT $7",
        (*arguments, limit),
    )
    heads = result.all()
    lines, parcels = await _parts(connection, tenant_id, [head.order_id for head in heads])
    found = [
        StoredOrder(
            head.order_id,
            head.order_time,
            head.currency,
            head.total,
            tuple(lines.get(head.order_id, ())),
            tuple(parcels.get(head.order_id, ())),
        )
        for head in heads
    ]
    return found, sum(row.found for row in totals), {row.currency: row.spent for row in totals}


async def _parts(
    connection: AsyncConnection, tenant_id: UUID, order_ids: list[str]
) -> tuple[dict[str, list[tuple[str, int, int]]], dict[str, list[Parcel]]]:
    """Return the lines and the parcels of orders, by order."""
    lines: dict[str, list[tuple[str, int, int]]] = {}
    result = await connection.exec_driver_sql(
        """
        SELECT order_id, product_name, quantity, unit_price_minor FROM order_lines
        WHERE tenant_id = $1 AND order_id = ANY ($2::text[]) ORDER BY order_id, line_number""",
        (tenant_id, order_ids),
    )
    for row in result:
        lines.setdefault(row.order_id, []).append((row.product_name, row.quantity, row.unit_price_minor))
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
    return lines, parcels


_CHOSEN = """
FROM orders WHERE tenant_id = $1 AND customer_id = $2
  AND ($4::timestamptz IS NULL OR order_time >= $4) AND ($5::timestamptz IS NULL OR order_time < $5)
  AND ($6::text[] IS NULL OR order_id = ANY ($6))
  AND (cardinality($3::text[]) = 0 OR EXISTS (
      SELECT FROM order_lines WHERE order_lines.tenant_id = $1 AND order_lines.order_id = orders.order_id
        AND product_name ILIKE ANY ($3)))
"""

# The digest covers all that an order is made of, so an order that is sent again unchanged touches nobody.
_UPSERT_ORDERS = """
WITH stored AS (
INSERT INTO orders (tenant_id, order_id, customer_id, order_time, currency, spent_minor, returned_minor, purchased,
                    returned, digest, change_time)
SELECT $1::uuid, order_id, min(customer_id), min(order_time), min(currency),
       coalesce(sum(amount_minor) FILTER (WHERE quantity > 0), 0),
       coalesce(-sum(amount_minor) FILTER (WHERE quantity < 0), 0),
       bool_or(quantity > 0 AND amount_minor > 0),
       bool_or(quantity < 0),
       md5(ROW(min(customer_id), extract(epoch FROM min(order_time)), min(currency))::text
           || string_agg(ROW(product_id, product_name, quantity, unit_price_minor, amount_minor)::text, ''
                         ORDER BY batch_number, place)),
       max(change_time)
FROM order_import_lines WHERE tenant_id = $1::uuid AND import_id = $2 GROUP BY order_id
ON CONFLICT (tenant_id, order_id) DO UPDATE SET customer_id = excluded.customer_id,
    order_time = excluded.order_time, currency = excluded.currency, spent_minor = excluded.spent_minor,
    returned_minor = excluded.returned_minor, purchased = excluded.purchased, returned = excluded.returned,
    digest = excluded.digest, change_time = excluded.change_time
WHERE (orders.digest <> excluded.digest OR orders.change_time < excluded.change_time)
  AND (orders.change_time <= excluded.change_time) IS NOT FALSE
RETURNING new.order_id, new.customer_id, old.customer_id AS before, old.digest IS DISTINCT FROM new.digest AS touched)
SELECT order_id, customer_id, before FROM stored WHERE touched
"""

_INSERT_LINES = """
INSERT INTO order_lines (tenant_id, order_id, line_number, product_id, product_name, quantity, unit_price_minor,
                         amount_minor)
SELECT $1::uuid, order_id, row_number() OVER (PARTITION BY order_id ORDER BY batch_number, place), product_id,
       product_name, quantity, unit_price_minor, amount_minor
FROM order_import_lines JOIN unnest($3::text[]) AS touched (order_id) USING (order_id)
WHERE tenant_id = $1::uuid AND import_id = $2
"""
