"""The SQL of product models: what they are fitted to, their versions, and which one is in service."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations.merchandise import ModelVersion
from services.recommendations.planning import PLAN_FOR_MANY

Connection = PoolConnectionProxy

HISTORY = timedelta(days=3 * 365)
"""How far back purchases are learnt from."""
MOST_ITEMS = 50_000
"""How many products a model knows: those with the most buyers."""
MOST_LINES = 5_000_000
"""How many order lines a model is fitted to: the newest."""
KEPT = 5
"""How many versions are kept beside the one in service."""
_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Item:
    """A product as orders know it: its id, the hash by which lines name it, and its name in the newest one."""

    product_id: str
    hash: int
    title: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a fit begins with.

    Attributes:
        forgetting: whether the versions that are kept know of somebody who was forgotten.
        serving_version: the version in service; 0 for none.
        digest: what the orders came to when the newest version was fitted; empty where somebody asked since.
    """

    forgetting: bool
    serving_version: int
    digest: str


@dataclass(frozen=True, slots=True)
class Log:
    """A shop's orders as a whole: what changes when they do, and when the newest was placed; None without any."""

    digest: str
    newest: datetime | None


@dataclass(frozen=True, slots=True)
class Made:
    """A new version: what is said of it, its model, and by what it was judged, both packed; the latter may be empty."""

    said: dict[str, Any]
    model: bytes
    trial: bytes


async def tenants_due(connection: AsyncConnection, before: datetime, at_most: int) -> list[UUID]:
    """Return shops for which a fit was asked, or was last thought of before a moment."""
    result = await connection.exec_driver_sql(
        "SELECT recommendations.tenants_with_products_to_fit($1, $2)", (before, at_most)
    )
    return list(result.scalars())


async def begin(connection: Connection, tenant_id: UUID, counts_as: datetime) -> Attempt | None:
    """Note that a fit is thought of, and return what it begins with; None for a shop without customers.

    Until `finish` it counts as one of an earlier moment, so that it is due again soon if it fails or its process dies.
    That somebody asked for it is kept as well: as orders of which nothing is known.
    """
    row = await connection.fetchrow(_BEGIN, tenant_id, counts_as)
    return None if row is None else Attempt(*row)


async def finish(connection: Connection, tenant_id: UUID, begun: datetime) -> None:
    """Note that a fit that was begun at a moment has come to its end."""
    await connection.execute("UPDATE product_states SET attempt_time = $2 WHERE tenant_id = $1", tenant_id, begun)


async def next_revision(connection: Connection, tenant_id: UUID) -> int | None:
    """Return a new revision of the shop's products; None where the shop was erased since the fit began."""
    revision: int | None = await connection.fetchval(
        "UPDATE product_states SET revision = revision + 1 WHERE tenant_id = $1 RETURNING revision", tenant_id
    )
    return revision


async def plan_for_many(connection: Connection) -> None:
    """Let the statements of this transaction be planned for a large shop, whatever the statistics say."""
    await connection.execute(PLAN_FOR_MANY)


async def log(connection: Connection, tenant_id: UUID, now: datetime) -> Log:
    """Return the shop's orders as a whole; those that say to be of the future are left out."""
    (row,) = await connection.fetch(
        """
        SELECT count(*) AS orders, max(order_time) AS newest,
               coalesce(sum(hashtextextended(order_id || digest, 0)::numeric), 0) AS sum
        FROM orders WHERE tenant_id = $1 AND purchased AND cancel_time IS NULL AND order_time <= $2""",
        tenant_id,
        now,
        timeout=_SECONDS,
    )
    return Log(f"{row['orders']}:{row['sum']}", row["newest"])


async def items(connection: Connection, tenant_id: UUID, newest: datetime) -> list[Item]:
    """Return the products that at least two customers bought, those with the most buyers first."""
    rows = await connection.fetch(_ITEMS, tenant_id, newest - HISTORY, newest, MOST_ITEMS, timeout=_SECONDS)
    return [Item(*row) for row in rows]


async def copy_lines(
    connection: Connection, tenant_id: UUID, newest: datetime, sink: Callable[[bytes], Coroutine[Any, Any, None]]
) -> None:
    """Copy the purchase lines into a sink in Postgres' binary form, see `products/__main__.py`."""
    await connection.copy_from_query(
        _LINES, tenant_id, newest - HISTORY, newest, MOST_LINES, output=sink, format="binary", timeout=_SECONDS
    )


async def trial(connection: Connection, tenant_id: UUID, version: int) -> bytes:
    """Return by what a version was judged, packed; empty where it could not be judged or is not kept."""
    found: bytes | None = await connection.fetchval(
        "SELECT trial FROM product_models WHERE tenant_id = $1 AND version = $2", tenant_id, version
    )
    return found or b""


async def save(
    connection: Connection, tenant_id: UUID, made: Made, until: datetime, *, serve: bool, digest: str
) -> int | None:
    """Keep a new version, in service if wanted; drop versions of which there are too many; return its number.

    None where the shop was erased since the fit began.

    A version that is fixed stays in service, unless it knows of somebody who was forgotten: then it goes, and all
    others with it. Whoever is forgotten while a version is made may be known to it, and is forgotten by the next one.
    """
    row = await connection.fetchrow(_NEXT_VERSION, tenant_id, serve, digest)
    if row is None:
        return None
    (version, forgot), said = row, made.said
    await connection.execute(
        """
        INSERT INTO product_models (tenant_id, version, neighbours, until, customer_count, item_count, purchase_count,
                                    judgement, content, trial)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10)""",
        tenant_id,
        version,
        said["neighbours"],
        until,
        said["customer_count"],
        said["item_count"],
        said["purchase_count"],
        orjson.dumps({name: said[name] for name in ("held_back_days", "customers", "ndcg10")}).decode(),
        made.model,
        made.trial,
    )
    await connection.execute(_PRUNE, tenant_id, 0 if forgot else KEPT)
    return int(version)


async def note_ordered(
    connection: Connection, tenant_id: UUID, revision: int, found: Sequence[Item], vectors: Sequence[bytes]
) -> None:
    """Keep the names of products as orders tell them, except of those in the catalogue."""
    await connection.execute(
        _NOTE_ORDERED,
        tenant_id,
        revision,
        [item.product_id for item in found],
        [item.title or item.product_id for item in found],
        list(vectors),
        timeout=_SECONDS,
    )


async def without_name(connection: Connection, tenant_id: UUID, found: Sequence[Item]) -> set[str]:
    """Return the ids of those of whom the products do not tell what the orders do."""
    rows = await connection.fetch(
        """
        SELECT one.product_id FROM unnest($2::text[], $3::text[]) AS one (product_id, title)
        LEFT JOIN products AS known ON known.tenant_id = $1 AND known.product_id = one.product_id
        WHERE known.product_id IS NULL OR NOT known.ordered OR NOT known.listed AND known.title <> one.title""",
        tenant_id,
        [item.product_id for item in found],
        [item.title or item.product_id for item in found],
        timeout=_SECONDS,
    )
    return {row["product_id"] for row in rows}


async def forget_ordered(connection: Connection, tenant_id: UUID, revision: int, found: Sequence[Item]) -> None:
    """Forget of products that are not among these that orders know them; drop those that nothing else knows."""
    ids = [item.product_id for item in found]
    await connection.execute(_UNORDERED, tenant_id, revision, ids, timeout=_SECONDS)
    # Whoever holds the row in memory hears of it by its revision first; a day later nobody needs it.
    await connection.execute(_DROP, tenant_id, timeout=_SECONDS)


async def versions(connection: Connection, tenant_id: UUID) -> list[ModelVersion]:
    """Return the versions that are kept, newest first."""
    rows = await connection.fetch(_VERSIONS, tenant_id)
    return [_version(row) for row in rows]


async def want(connection: Connection, tenant_id: UUID) -> None:
    """Ask for a fit, and let what is in service be replaced by it."""
    await connection.execute(
        """
        INSERT INTO product_states (tenant_id, wanted) VALUES ($1, true)
        ON CONFLICT (tenant_id) DO UPDATE SET wanted = true, fixed = false""",
        tenant_id,
    )


async def serve(connection: Connection, tenant_id: UUID, version: int) -> bool:
    """Put a version that is kept in service and fix it; tell whether it is kept."""
    found = await connection.fetchval(
        """
        UPDATE product_states SET serving_version = $2, fixed = true, wanted = wanted AND forgetting
        WHERE tenant_id = $1
          AND EXISTS (SELECT FROM product_models AS one WHERE one.tenant_id = $1 AND one.version = $2)
        RETURNING true""",
        tenant_id,
        version,
    )
    return bool(found)


async def forget_customer(connection: AsyncConnection, tenant_id: UUID) -> None:
    """After a customer's orders are gone: ask for a fit without them, and drop the versions that are not in service."""
    await connection.exec_driver_sql(
        "UPDATE product_states SET wanted = true, forgetting = true WHERE tenant_id = $1",
        (tenant_id,),
    )
    await connection.exec_driver_sql(
        """
        DELETE FROM product_models AS one USING product_states AS state
        WHERE one.tenant_id = $1 AND state.tenant_id = $1 AND one.version <> state.serving_version""",
        (tenant_id,),
    )


async def drop_all(connection: Connection, tenant_id: UUID) -> None:
    """Drop all versions: nothing is left that one could be fitted to."""
    await connection.execute("DELETE FROM product_models WHERE tenant_id = $1", tenant_id)
    await connection.execute(
        "UPDATE product_states SET serving_version = 0, fixed = false, forgetting = false WHERE tenant_id = $1",
        tenant_id,
    )


def _version(row: Any) -> ModelVersion:
    judgement = orjson.loads(row["judgement"])
    return ModelVersion(
        row["version"],
        row["neighbours"],
        row["create_time"],
        row["until"],
        row["customer_count"],
        row["item_count"],
        row["purchase_count"],
        judgement["held_back_days"] if judgement["ndcg10"] else 0,
        judgement["customers"],
        judgement["ndcg10"],
        row["version"] == row["serving_version"],
        row["fixed"],
    )


_BEGIN = """
INSERT INTO product_states AS state (tenant_id, attempt_time)
SELECT tenant_id, $2 FROM profile_days WHERE tenant_id = $1
ON CONFLICT (tenant_id) DO UPDATE SET attempt_time = excluded.attempt_time, wanted = false,
    orders_digest = CASE WHEN state.wanted THEN '' ELSE state.orders_digest END
RETURNING state.forgetting, state.serving_version, state.orders_digest
"""

_BOUGHT = """
FROM orders AS placed JOIN order_lines AS line ON line.tenant_id = $1 AND line.order_id = placed.order_id
WHERE placed.tenant_id = $1 AND placed.order_time BETWEEN $2 AND $3 AND placed.cancel_time IS NULL
  AND line.quantity > 0 AND line.amount_minor > 0
"""

_ITEMS = f"""
SELECT line.product_id, hashtextextended(line.product_id, 0),
       (array_agg(line.product_name ORDER BY placed.order_time DESC, placed.order_id))[1]
{_BOUGHT} GROUP BY line.product_id HAVING count(DISTINCT placed.customer_id) > 1
ORDER BY count(DISTINCT placed.customer_id) DESC, line.product_id LIMIT $4
"""

_LINES = f"""
SELECT hashtextextended(placed.customer_id, 0), hashtextextended(line.product_id, 0),
       floor(extract(epoch FROM placed.order_time) / 86400)::integer
{_BOUGHT} ORDER BY placed.order_time DESC LIMIT $4
"""  # noqa: S608 - fragments of our own

_NEXT_VERSION = """
UPDATE product_states SET newest_version = newest_version + 1, orders_digest = $3,
    serving_version = CASE WHEN $2 AND NOT fixed OR forgetting THEN newest_version + 1 ELSE serving_version END,
    fixed = fixed AND NOT forgetting, forgetting = forgetting AND wanted
WHERE tenant_id = $1 RETURNING new.newest_version, old.forgetting
"""

_PRUNE = """
DELETE FROM product_models AS one USING product_states AS state
WHERE one.tenant_id = $1 AND state.tenant_id = $1 AND one.version <> state.serving_version
  AND one.version <= state.newest_version - $2
"""

_NOTE_ORDERED = """
INSERT INTO products AS known (tenant_id, revision, product_id, title, vector, listed, ordered)
SELECT $1, $2, one.*, false, true FROM unnest($3::text[], $4::text[], $5::bytea[]) AS one
ON CONFLICT (tenant_id, product_id) DO UPDATE SET ordered = true, revision = excluded.revision, update_time = now(),
    title = CASE WHEN known.listed THEN known.title ELSE excluded.title END,
    vector = CASE WHEN known.listed THEN known.vector ELSE excluded.vector END
"""

_UNORDERED = """
UPDATE products SET ordered = false, revision = $2, update_time = now()
WHERE tenant_id = $1 AND ordered AND product_id <> ALL ($3::text[])
"""

_DROP = """
DELETE FROM products
WHERE tenant_id = $1 AND NOT listed AND NOT ordered AND update_time < now() - interval '1 hour'
"""

_VERSIONS = """
SELECT one.version, one.neighbours, one.create_time, one.until, one.customer_count, one.item_count, one.purchase_count,
       one.judgement::text, state.serving_version, state.fixed
FROM product_models AS one JOIN product_states AS state ON state.tenant_id = $1
WHERE one.tenant_id = $1 ORDER BY one.version DESC
"""
