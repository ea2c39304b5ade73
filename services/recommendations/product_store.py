"""The SQL of products: the catalogue, what a customer bought, and what a shop's model is loaded from.

The statements run on a transaction of the driver that is bound to the tenant; they say the tenant as well, so that they
use its keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from asyncpg.pool import PoolConnectionProxy

from services.recommendations.merchandise import Product, Settings, State
from services.recommendations.products.assortment import Offer
from services.recommendations.products.suggesting import Bought

Connection = PoolConnectionProxy

_COLUMNS = "product_id, title, category, price_minor, currency, stock, url, listed, update_time"


@dataclass(frozen=True, slots=True)
class Purchaser:
    """A customer's purchases, the products' names as they stood in the orders, and what holds for the shop."""

    known: bool
    bought: tuple[Bought, ...]
    titles: dict[str, str]
    state: State


async def upsert(
    connection: Connection, tenant_id: UUID, products: Sequence[Product], vectors: Sequence[bytes]
) -> tuple[int, int]:
    """Keep products in the catalogue; return how many are new to it and how many of it were changed."""
    revision = await next_revision(connection, tenant_id)
    rows = await connection.fetch(
        _UPSERT,
        tenant_id,
        revision,
        [one.product_id for one in products],
        [one.title for one in products],
        [one.category for one in products],
        [one.price_minor for one in products],
        [one.currency for one in products],
        [one.stock for one in products],
        [one.url for one in products],
        list(vectors),
    )
    new = sum(not row["before"] for row in rows)
    return new, len(rows) - new


async def next_revision(connection: Connection, tenant_id: UUID) -> int:
    """Return a new revision of the shop's products; until this transaction ends nobody else gets one."""
    return int(await connection.fetchval(_NEXT_REVISION, tenant_id))


async def listed_count(connection: Connection, tenant_id: UUID) -> int:
    """Return how many products the catalogue holds."""
    return int(await connection.fetchval("SELECT count(*) FROM products WHERE tenant_id = $1 AND listed", tenant_id))


async def take_out(connection: Connection, tenant_id: UUID, product_id: str) -> bool:
    """Take a product out of the catalogue; tell whether it was in it."""
    revision = await next_revision(connection, tenant_id)
    return await connection.fetchval(_TAKE_OUT, tenant_id, product_id, revision) is not None


async def find(connection: Connection, tenant_id: UUID, product_ids: Sequence[str]) -> dict[str, Product]:
    """Return the products of these that the shop has, by their ids."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM products"  # noqa: S608 - a list of columns
        " WHERE tenant_id = $1 AND product_id = ANY ($2::text[]) AND (listed OR ordered)",
        tenant_id,
        list(product_ids),
    )
    return {row["product_id"]: Product(*row) for row in rows}


async def page(
    connection: Connection, tenant_id: UUID, after: str, category: str, limit: int, *, with_unlisted: bool
) -> list[Product]:
    """Return products after an id, in the order of their ids."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM products WHERE tenant_id = $1 AND product_id > $2"  # noqa: S608 - a list of columns
        " AND (listed OR ($4 AND ordered)) AND ($3 = '' OR category = $3) ORDER BY product_id LIMIT $5",
        tenant_id,
        after,
        category,
        with_unlisted,
        limit,
    )
    return [Product(*row) for row in rows]


async def state(connection: Connection, tenant_id: UUID) -> State:
    """Return what holds for all products of the shop."""
    (row,) = await connection.fetch(f"SELECT {_STATE} FROM {_ONE} {_JOIN_STATE}", tenant_id)  # noqa: S608 - fragments
    return _state(row)


async def purchaser(connection: Connection, tenant_id: UUID, customer_id: str) -> Purchaser:
    """Return what a customer bought in the latest orders, and what holds for the shop, in one statement."""
    (row,) = await connection.fetch(_PURCHASER, tenant_id, customer_id)
    lines = list(zip(row["product_ids"], row["days"], row["lasts"], row["titles"], strict=True))
    return Purchaser(
        row["known"],
        tuple(Bought(product_id, days, last) for product_id, days, last, _ in lines),
        {product_id: title for product_id, _, _, title in lines if title},
        _state(row),
    )


async def offers(connection: Connection, tenant_id: UUID, after: int) -> tuple[list[Offer], int]:
    """Return what was changed after a revision, in the order of change, and the newest revision among it."""
    rows = await connection.fetch(
        """
        SELECT product_id, listed, ordered, category, stock IS NULL OR stock > 0, vector, revision FROM products
        WHERE tenant_id = $1 AND revision > $2 ORDER BY revision, product_id""",
        tenant_id,
        after,
    )
    return [Offer(*row[:6]) for row in rows], rows[-1]["revision"] if rows else after


async def packed_model(connection: Connection, tenant_id: UUID, version: int) -> bytes | None:
    """Return a version of the model as it was packed."""
    content: bytes | None = await connection.fetchval(
        "SELECT content FROM product_models WHERE tenant_id = $1 AND version = $2", tenant_id, version
    )
    return content


async def save_settings(connection: Connection, tenant_id: UUID, settings: Settings) -> Settings:
    """Keep settings under the next number and return them."""
    revision = await connection.fetchval(
        """
        INSERT INTO product_states (tenant_id, diversity, exploration, settings_revision) VALUES ($1, $2, $3, 1)
        ON CONFLICT (tenant_id) DO UPDATE SET diversity = excluded.diversity, exploration = excluded.exploration,
            settings_revision = product_states.settings_revision + 1
        RETURNING settings_revision""",
        tenant_id,
        settings.diversity,
        settings.exploration,
    )
    return Settings(settings.diversity, settings.exploration, revision)


def _state(row: Any) -> State:
    settings = Settings(row["diversity"], row["exploration"], row["settings_revision"])
    return State(row["revision"], row["serving_version"], settings)


_NEXT_REVISION = """
INSERT INTO product_states (tenant_id, revision) VALUES ($1, 1)
ON CONFLICT (tenant_id) DO UPDATE SET revision = product_states.revision + 1
RETURNING revision
"""

_UPSERT = """
INSERT INTO products AS known (tenant_id, revision, product_id, title, category, price_minor, currency, stock, url,
                               vector, listed)
SELECT $1, $2, one.*, true FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::integer[],
                                       $9::text[], $10::bytea[]) AS one
ON CONFLICT (tenant_id, product_id) DO UPDATE SET revision = excluded.revision, title = excluded.title,
    category = excluded.category, price_minor = excluded.price_minor, currency = excluded.currency,
    stock = excluded.stock, url = excluded.url, vector = excluded.vector, listed = true, update_time = now()
WHERE NOT known.listed OR (known.title, known.category, known.price_minor, known.currency, known.stock, known.url)
    IS DISTINCT FROM
    (excluded.title, excluded.category, excluded.price_minor, excluded.currency, excluded.stock, excluded.url)
RETURNING coalesce(old.listed, false) AS before
"""

# What is left is what orders tell: the name. The next fit takes it away if they tell nothing.
_TAKE_OUT = """
UPDATE products SET listed = false, category = '', price_minor = NULL, currency = '', stock = NULL, url = '',
    revision = $3, update_time = now()
WHERE tenant_id = $1 AND product_id = $2 AND listed RETURNING product_id
"""

_STATE = """
coalesce(state.revision, 0) AS revision, coalesce(state.serving_version, 0) AS serving_version,
coalesce(state.diversity, 0) AS diversity, coalesce(state.exploration, 0) AS exploration,
coalesce(state.settings_revision, 0) AS settings_revision
"""
_ONE = "(SELECT 1) AS one"
_PAID = "line.quantity > 0 AND line.amount_minor > 0"
_JOIN_STATE = "LEFT JOIN product_states AS state ON state.tenant_id = $1"

# The latest 500 orders of a customer say enough, and keep the work bounded for one with 50,000. An id that was merged
# into another asks for that one; what went back as often as it came is no purchase.
_PURCHASER = f"""
WITH asked AS (
    SELECT coalesce((SELECT survivor_id FROM customer_links WHERE tenant_id = $1 AND customer_id = $2), $2) AS customer
), latest AS (
    SELECT order_id, order_time, floor(extract(epoch FROM order_time) / 86400)::integer AS day FROM orders
    WHERE tenant_id = $1 AND customer_id = (SELECT customer FROM asked) AND cancel_time IS NULL
    ORDER BY order_time DESC, order_id LIMIT 500
), bought AS (
    SELECT line.product_id, count(DISTINCT day) FILTER (WHERE {_PAID})::integer AS days,
           max(day) FILTER (WHERE {_PAID}) AS last,
           (array_agg(line.product_name ORDER BY latest.order_time DESC))[1] AS title
    FROM latest JOIN order_lines AS line ON line.tenant_id = $1 AND line.order_id = latest.order_id
    GROUP BY line.product_id HAVING bool_or({_PAID}) AND sum(line.quantity) > 0 ORDER BY 3 DESC, 1 LIMIT 500
), lists AS (
    SELECT coalesce(array_agg(product_id), '{{}}') AS product_ids, coalesce(array_agg(days), '{{}}') AS days,
           coalesce(array_agg(last), '{{}}') AS lasts, coalesce(array_agg(title), '{{}}') AS titles
    FROM bought
)
SELECT EXISTS (SELECT FROM customers WHERE tenant_id = $1 AND customer_id = (SELECT customer FROM asked)) AS known,
       lists.*, {_STATE}
FROM lists {_JOIN_STATE}
"""  # noqa: S608 - fragments of our own
