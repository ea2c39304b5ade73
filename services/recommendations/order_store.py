"""The SQL of orders: staging, applying, parcels, and reading a customer's orders. All of it set-based.

The statements run on a transaction that is bound to the tenant; they say the tenant as well, so that they use its keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations.orders import MOST_OF_ORDER, OrderImport, OrderLine, Parcel
from services.recommendations.planning import PLAN_AS_USUAL, PLAN_FOR_MANY

_ABANDONED = "1 day"
_LOCK_NOT_AVAILABLE = "55P03"


_LINES_AT_ONCE = 150_000
"""How many staged lines a statement applies, about: each has to end well within the time that one may take."""

_LINES_LOOKED_UP = 2000
"""Up to how many staged lines may be joined by looking each one up."""

Lock = Literal["", "FOR KEY SHARE SKIP LOCKED", "FOR UPDATE"]
"""How an import is locked that is read: not at all, to append to it, to commit it."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What an import changed: how many orders it held, which are new or changed, and whom that touches.

    `customer_ids` are those whose orders they are or were; `source_ids` those under whose ids the orders came.
    """

    order_count: int
    new_order_count: int
    changed_order_count: int
    customer_ids: tuple[str, ...]
    source_ids: tuple[str, ...]


async def lock_tenant(connection: AsyncConnection, tenant_id: UUID, seconds: float) -> bool:
    """Let nobody else change the tenant's orders or profiles until this transaction ends.

    Whoever does at the moment is waited for so long; tell whether it is ours now.
    """
    try:
        async with connection.begin_nested():
            await _lock_timeout(connection, f"{seconds}s")
            await connection.exec_driver_sql(
                "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", (f"recommendations.orders:{tenant_id}",)
            )
            await _lock_timeout(connection, "0")
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        return False
    return True


async def _lock_timeout(connection: AsyncConnection, value: str) -> None:
    await connection.exec_driver_sql("SELECT set_config('lock_timeout', $1, true)", (value,))


async def try_lock_tenant(connection: AsyncConnection, tenant_id: UUID) -> bool:
    """Do the same if nobody does at the moment; tell whether it is ours now."""
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
    connection: AsyncConnection, tenant_id: UUID, import_id: UUID, lock: Lock = ""
) -> OrderImport | None:
    """Return an import, or None.

    Those who lock it to append may do so together; while it is locked to be committed they find none, without waiting.
    """
    result = await connection.exec_driver_sql(
        f"""
        SELECT committed, create_time, line_count, order_count, new_order_count, changed_order_count, customer_count
        FROM order_imports WHERE tenant_id = $1 AND import_id = $2 {lock}""",  # noqa: S608 - one of three texts
        (tenant_id, import_id),
    )
    row = result.one_or_none()
    if row is None:
        return None
    lines, following = row.line_count, 0
    if not row.committed:
        staged = await connection.exec_driver_sql(
            """
            SELECT coalesce(sum(line_count), 0) AS line_count,
                   coalesce(max(batch_number) FILTER (WHERE batch_number = place), 0) + 1 AS following
            FROM (SELECT batch_number, line_count, row_number() OVER (ORDER BY batch_number) AS place
                  FROM order_import_batches WHERE tenant_id = $1 AND import_id = $2) AS taken""",
            (tenant_id, import_id),
        )
        found = staged.one()
        lines, following = int(found.line_count), int(found.following)
    return OrderImport(
        str(import_id),
        row.committed,
        row.create_time,
        lines,
        row.order_count,
        row.new_order_count,
        row.changed_order_count,
        row.customer_count,
        following,
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
                                        change_time, refunded_minor, cancel_time)
        SELECT $1, $2, $3, line.* FROM unnest(
            $4::integer[], $5::text[], $6::text[], $7::timestamptz[], $8::text[], $9::text[], $10::integer[],
            $11::bigint[], $12::bigint[], $13::text[], $14::timestamptz[], $15::bigint[], $16::timestamptz[]
            ) AS line""",
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
            [line.refunded_minor for line in lines],
            [line.cancel_time for line in lines],
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


async def find_too_large(connection: AsyncConnection, tenant_id: UUID, import_id: UUID) -> str | None:
    """Return an order of the import whose lines come to too much; None when there is none."""
    result = await connection.exec_driver_sql(
        """
        SELECT order_id FROM order_import_lines WHERE tenant_id = $1 AND import_id = $2 GROUP BY order_id
        HAVING sum(abs(amount_minor)) > $3::bigint LIMIT 1""",
        (tenant_id, import_id, MOST_OF_ORDER),
    )
    found: str | None = result.scalar_one_or_none()
    return found


async def apply(connection: AsyncConnection, tenant_id: UUID, import_id: UUID, line_count: int) -> Applied:
    """Make the import's orders the tenant's: new ones are added, ones with other lines replaced, equal ones left.

    Of two states whose times of change are known, the later one stays. An order of a merged customer is the survivor's.
    What is not told of an order (its time of change, what was paid back, its cancellation) stays as it was told before.
    """
    parts = 1 + line_count // _LINES_AT_ONCE
    large = line_count > _LINES_LOOKED_UP
    if large:
        await connection.exec_driver_sql(PLAN_FOR_MANY)
    new = changed = 0
    touched: set[str] = set()
    sources: set[str] = set()
    for part in range(parts):
        result = await connection.exec_driver_sql(_UPSERT_ORDERS, (tenant_id, import_id, parts, part))
        rows = result.all()
        replaced = [row.order_id for row in rows if row.before is not None]
        new, changed = new + len(rows) - len(replaced), changed + len(replaced)
        touched |= {row.customer_id for row in rows} | {row.before for row in rows if row.before is not None}
        sources |= {row.source_id for row in rows}
        if replaced:
            await connection.exec_driver_sql(
                "DELETE FROM order_lines WHERE tenant_id = $1 AND order_id = ANY ($2::text[])", (tenant_id, replaced)
            )
        await connection.exec_driver_sql(
            _INSERT_LINES, (tenant_id, import_id, [row.order_id for row in rows], parts, part)
        )
    if large:
        await connection.exec_driver_sql(PLAN_AS_USUAL)
    counted = await connection.exec_driver_sql(
        "SELECT count(DISTINCT order_id) FROM order_import_lines WHERE tenant_id = $1 AND import_id = $2",
        (tenant_id, import_id),
    )
    return Applied(counted.scalar_one(), new, changed, tuple(sorted(touched)), tuple(sorted(sources)))


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
            applied.new_order_count,
            applied.changed_order_count,
        ),
    )
    await connection.exec_driver_sql(
        "DELETE FROM order_import_batches WHERE tenant_id = $1 AND import_id = $2", (tenant_id, import_id)
    )


async def drop_import(connection: AsyncConnection, tenant_id: UUID, import_id: UUID) -> None:
    """Remove an import that nobody will ask for."""
    await connection.exec_driver_sql(
        "DELETE FROM order_imports WHERE tenant_id = $1 AND import_id = $2", (tenant_id, import_id)
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


async def erase_orders(connection: AsyncConnection, tenant_id: UUID, customer_ids: Sequence[str]) -> int:
    """Remove customers' orders with their lines and parcels, staged lines too; return how many orders there were."""
    arguments = (tenant_id, list(customer_ids))
    await connection.exec_driver_sql(
        "DELETE FROM order_import_lines WHERE tenant_id = $1 AND customer_id = ANY ($2::text[])", arguments
    )
    result = await connection.exec_driver_sql(
        "DELETE FROM orders WHERE tenant_id = $1 AND customer_id = ANY ($2::text[])", arguments
    )
    return result.rowcount


# The digest covers all that an order is made of, so an order that is sent again unchanged touches nobody. A cancelled
# order was spent nothing on; of another one what was paid back counts where it is more than the goods that came back.
_UPSERT_ORDERS = """
WITH told AS (
SELECT order_id, min(customer_id) AS source_id, min(order_time) AS order_time, min(currency) AS currency,
       coalesce(sum(amount_minor) FILTER (WHERE quantity > 0), 0) AS ordered,
       coalesce(-sum(amount_minor) FILTER (WHERE quantity < 0), 0) AS returned,
       bool_or(quantity > 0 AND amount_minor > 0) AS purchased,
       bool_or(quantity < 0) AS came_back,
       max(refunded_minor) AS refunded,
       max(cancel_time) AS cancel_time,
       ROW(min(customer_id), extract(epoch FROM min(order_time)), min(currency))::text
           || string_agg(ROW(product_id, product_name, quantity, unit_price_minor, amount_minor)::text, ''
                         ORDER BY batch_number, place) AS content,
       max(change_time) AS change_time
FROM order_import_lines WHERE tenant_id = $1::uuid AND import_id = $2
  AND (hashtext(order_id) & 2147483647) % $3::integer = $4::integer GROUP BY order_id
), whole AS (
SELECT told.order_id, source_id, told.order_time, told.currency, ordered, told.returned, told.purchased, came_back,
       told.change_time, content, coalesce(told.cancel_time, known.cancel_time) AS cancel_time,
       coalesce(refunded, CASE WHEN known.currency = told.currency THEN known.refunded_minor END, 0) AS refunded
FROM told LEFT JOIN orders AS known ON known.tenant_id = $1::uuid AND known.order_id = told.order_id
), sent AS (
SELECT *, md5(content || coalesce(' refunded ' || nullif(refunded, 0), '')
                      || coalesce(' cancelled ' || extract(epoch FROM cancel_time), '')) AS digest
FROM whole
), stored AS (
INSERT INTO orders (tenant_id, order_id, customer_id, source_customer_id, order_time, currency, spent_minor,
                    returned_minor, ordered_minor, refunded_minor, cancel_time, purchased, returned, digest,
                    change_time)
SELECT $1::uuid, order_id, coalesce(survivor_id, source_id), CASE WHEN survivor_id IS NOT NULL THEN source_id END,
       order_time, currency,
       CASE WHEN cancel_time IS NULL THEN ordered ELSE 0 END,
       CASE WHEN cancel_time IS NULL THEN greatest(returned, least(refunded, ordered)) ELSE 0 END,
       CASE WHEN cancel_time IS NOT NULL THEN ordered END,
       refunded, cancel_time,
       purchased AND cancel_time IS NULL,
       came_back AND cancel_time IS NULL,
       digest, change_time
FROM sent LEFT JOIN customer_links ON customer_links.tenant_id = $1::uuid AND customer_links.customer_id = source_id
ON CONFLICT (tenant_id, order_id) DO UPDATE SET customer_id = excluded.customer_id,
    source_customer_id = excluded.source_customer_id, order_time = excluded.order_time, currency = excluded.currency,
    spent_minor = excluded.spent_minor, returned_minor = excluded.returned_minor,
    ordered_minor = excluded.ordered_minor, refunded_minor = excluded.refunded_minor,
    cancel_time = excluded.cancel_time, purchased = excluded.purchased, returned = excluded.returned,
    digest = excluded.digest, change_time = coalesce(excluded.change_time, orders.change_time)
WHERE (orders.digest <> excluded.digest OR orders.change_time < excluded.change_time)
  AND (orders.change_time <= excluded.change_time) IS NOT FALSE
RETURNING new.order_id, new.customer_id, old.customer_id AS before, old.digest IS DISTINCT FROM new.digest AS touched,
          coalesce(new.source_customer_id, new.customer_id) AS source_id)
SELECT order_id, customer_id, before, source_id FROM stored WHERE touched
"""

_INSERT_LINES = """
INSERT INTO order_lines (tenant_id, order_id, line_number, product_id, product_name, quantity, unit_price_minor,
                         amount_minor)
SELECT $1::uuid, order_id, row_number() OVER (PARTITION BY order_id ORDER BY batch_number, place), product_id,
       product_name, quantity, unit_price_minor, amount_minor
FROM order_import_lines JOIN unnest($3::text[]) AS touched (order_id) USING (order_id)
WHERE tenant_id = $1::uuid AND import_id = $2 AND (hashtext(order_id) & 2147483647) % $4::integer = $5::integer
"""
