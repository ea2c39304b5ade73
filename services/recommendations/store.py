"""The SQL of customers: histories computed from orders, profiles, models, archetypes, contacts, and the log.

The statements run on a transaction that is bound to the tenant; they say the tenant as well, so that they use its keys.
What works on many rows at once is plain SQL over arrays.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations.archetype import Archetype
from services.recommendations.history import History
from services.recommendations.model import Model
from services.recommendations.tables import archetypes, customers, models, orders, shops

KIND_CUSTOMER = "customer"
KIND_ADVICE = "advice"

_CHUNK = 2000


@dataclass(frozen=True, slots=True)
class Shop:
    """What holds for a whole shop: the currency of its sums, and the model by which its customers are judged."""

    currency: str
    model: Model


@dataclass(frozen=True, slots=True)
class StoredCustomer:
    """A customer as stored: the history, and the profile as of a day (empty when none was computed yet)."""

    history: History
    facts_version: int
    archetype_id: str | None
    profile: str
    profile_day: date | None
    profile_time: datetime | None


@dataclass(frozen=True, slots=True)
class FreshProfile:
    """A profile to store, with what other services order by."""

    customer_id: str
    profile: str
    archetype_id: str | None
    lifetime_value: float | None
    churn_probability: float | None
    expected_value: float | None
    origin: str
    facts_version: int


@dataclass(frozen=True, slots=True)
class Contact:
    """How a customer can be reached; texts may be empty."""

    customer_id: str
    email: str
    display_name: str
    update_time: datetime
    phone: str = ""


async def load_shop(connection: AsyncConnection, tenant_id: UUID) -> Shop | None:
    """Return what holds for the shop; None before its first order."""
    current = (models.c.tenant_id == shops.c.tenant_id) & (models.c.version == shops.c.model_version)
    chosen = select(shops.c.currency, models.c.model).outerjoin_from(shops, models, current)
    row = (await connection.execute(chosen.where(shops.c.tenant_id == tenant_id))).one_or_none()
    if row is None:
        return None
    return Shop(row.currency, Model.from_json(row.model) if row.model else Model())


async def main_currency(connection: AsyncConnection, tenant_id: UUID) -> str | None:
    """Return the currency of most orders, the first by name among equals; None without orders."""
    currency = orders.c.currency
    chosen = select(currency).where(orders.c.tenant_id == tenant_id).group_by(currency)
    return await connection.scalar(chosen.order_by(func.count().desc(), currency).limit(1))


async def save_shop(connection: AsyncConnection, tenant_id: UUID, currency: str) -> None:
    """Keep the shop's currency."""
    given = insert(shops).values(tenant_id=tenant_id, currency=currency, model_version=0)
    # Figures of a model are in the currency that it was fitted in: in another one it must not serve.
    version = case((shops.c.currency == currency, shops.c.model_version), else_=0)
    kept = {"currency": currency, "model_version": version}
    await connection.execute(given.on_conflict_do_update(index_elements=["tenant_id"], set_=kept))


async def summarise(connection: AsyncConnection, tenant_id: UUID, customer_ids: Sequence[str], currency: str) -> None:
    """Compute the histories of customers anew from their orders; a customer that is new comes to be."""
    for start in range(0, len(customer_ids), _CHUNK):
        some = list(customer_ids[start : start + _CHUNK])
        await connection.exec_driver_sql(_SUMMARISE, (tenant_id, some, currency))


async def all_customer_ids(connection: AsyncConnection, tenant_id: UUID) -> list[str]:
    """Return the ids of all customers."""
    chosen = select(customers.c.customer_id).where(customers.c.tenant_id == tenant_id)
    return list((await connection.execute(chosen)).scalars())


async def load_customers(
    connection: AsyncConnection, tenant_id: UUID, customer_ids: Sequence[str], currency: str
) -> list[StoredCustomer]:
    """Return the customers named that exist."""
    rows = await connection.exec_driver_sql(_LOAD, (tenant_id, list(customer_ids)))
    return [_customer(row, currency) for row in rows]


async def save_profiles(
    connection: AsyncConnection, tenant_id: UUID, profiles: Sequence[FreshProfile], today: date
) -> list[str]:
    """Store profiles as of today and return the customers whose profile is another one than before.

    Advice rests on the profile as well, so that another one is another version of the facts. One that rests on facts
    which have changed meanwhile is not stored: whoever changed them stores a newer one.
    """
    changed: list[str] = []
    for start in range(0, len(profiles), _CHUNK):
        some = profiles[start : start + _CHUNK]
        result = await connection.exec_driver_sql(
            """
            UPDATE customers SET profile = fresh.profile, profile_day = $2, profile_time = now(),
                archetype_id = fresh.archetype_id, lifetime_value = fresh.lifetime_value,
                churn_probability = fresh.churn_probability, origin = fresh.origin,
                expected_value = fresh.expected_value,
                facts_version = customers.facts_version + (customers.profile <> fresh.profile)::integer
            FROM unnest($3::text[], $4::text[], $5::text[], $6::float8[], $7::float8[], $8::text[], $9::float8[],
                        $10::bigint[])
                AS fresh (customer_id, profile, archetype_id, lifetime_value, churn_probability, origin, expected_value,
                          facts_version)
            WHERE customers.tenant_id = $1 AND customers.customer_id = fresh.customer_id
              AND customers.facts_version = fresh.facts_version
            RETURNING new.customer_id, (old.profile, old.churn_probability, old.origin)
                IS DISTINCT FROM (new.profile, new.churn_probability, new.origin) AS changed""",
            (
                tenant_id,
                today,
                [fresh.customer_id for fresh in some],
                [fresh.profile for fresh in some],
                [fresh.archetype_id for fresh in some],
                [fresh.lifetime_value for fresh in some],
                [fresh.churn_probability for fresh in some],
                [fresh.origin for fresh in some],
                [fresh.expected_value for fresh in some],
                [fresh.facts_version for fresh in some],
            ),
        )
        changed += [row.customer_id for row in result if row.changed]
    return changed


async def save_archetypes(connection: AsyncConnection, tenant_id: UUID, groups: Mapping[str, Archetype]) -> None:
    """Replace the shop's archetypes."""
    await connection.execute(delete(archetypes).where(archetypes.c.tenant_id == tenant_id))
    if groups:
        await connection.execute(
            insert(archetypes),
            [
                {
                    "tenant_id": tenant_id,
                    "archetype_id": one.archetype_id,
                    "segments": dict(one.segments),
                    "member_count": one.member_count,
                    "population": one.population,
                }
                for one in groups.values()
            ],
        )


async def move_members(
    connection: AsyncConnection, tenant_id: UUID, moves: Sequence[tuple[str | None, Archetype | None]]
) -> None:
    """Count customers over from an archetype (or none) to another (or none)."""
    change = Counter(after.archetype_id for _, after in moves if after is not None)
    change.subtract(before for before, _ in moves if before is not None)
    segments = {after.archetype_id: dict(after.segments) for _, after in moves if after is not None}
    columns = archetypes.c
    for name, members in change.items():
        counted = {"member_count": columns.member_count + members}
        if name in segments:
            # Entered at 0 where it is new: a count below 0 would be one that was wrong before.
            given = insert(archetypes).values(
                tenant_id=tenant_id,
                archetype_id=name,
                segments=segments[name],
                member_count=max(members, 0),
                population=1,
            )
            await connection.execute(
                given.on_conflict_do_update(index_elements=["tenant_id", "archetype_id"], set_=counted)
            )
        else:
            left = update(archetypes).where(columns.tenant_id == tenant_id, columns.archetype_id == name)
            await connection.execute(left.values(counted))
    await connection.execute(delete(archetypes).where(columns.tenant_id == tenant_id, columns.member_count <= 0))
    everybody = select(func.sum(columns.member_count)).where(columns.tenant_id == tenant_id).scalar_subquery()
    await connection.execute(update(archetypes).where(columns.tenant_id == tenant_id).values(population=everybody))


async def load_archetypes(connection: AsyncConnection, tenant_id: UUID) -> dict[str, Archetype]:
    """Return the shop's archetypes by their ids."""
    columns = archetypes.c
    chosen = select(columns.archetype_id, columns.segments, columns.member_count, columns.population)
    rows = await connection.execute(chosen.where(columns.tenant_id == tenant_id))
    return {row.archetype_id: Archetype(*row) for row in rows}


async def random_customer_id(connection: AsyncConnection, tenant_id: UUID) -> str | None:
    """Return some customer with purchases; None when there is none. Reads them all: for demo shops only."""
    columns = customers.c
    chosen = select(columns.customer_id).where(columns.tenant_id == tenant_id, columns.order_count > 0)
    return await connection.scalar(chosen.order_by(func.random()).limit(1))


async def set_contact(
    connection: AsyncConnection,
    tenant_id: UUID,
    customer_id: str,
    email: str,
    display_name: str,
    changed: datetime | None = None,
    phone: str = "",
) -> Contact:
    """Keep how a customer can be reached; a customer that is new comes to be.

    With `changed`, when it was changed at its source, a contact that was changed later stays; return what is kept.
    """
    columns = customers.c
    contact = {"email": email, "phone": phone, "display_name": display_name, "contact_time": changed or func.now()}
    given = insert(customers).values(tenant_id=tenant_id, customer_id=customer_id, **contact)
    older = None if changed is None else func.coalesce(columns.contact_time <= changed, True)
    # Drafts know a customer's name, so that another one is another fact.
    renamed = case((columns.display_name != display_name, 1), else_=0)
    values = {**contact, "facts_version": columns.facts_version + renamed}
    await connection.execute(
        given.on_conflict_do_update(index_elements=["tenant_id", "customer_id"], set_=values, where=older)
    )
    chosen = select(*_CONTACT)
    kept = await connection.execute(chosen.where(columns.tenant_id == tenant_id, columns.customer_id == customer_id))
    return Contact(*kept.one())


async def erase_customer(connection: AsyncConnection, tenant_id: UUID, customer_id: str) -> tuple[bool, str | None]:
    """Remove a customer; return whether there was one, and the archetype that it belonged to."""
    columns = customers.c
    gone = delete(customers).where(columns.tenant_id == tenant_id, columns.customer_id == customer_id)
    row = (await connection.execute(gone.returning(columns.archetype_id))).one_or_none()
    return row is not None, None if row is None else row.archetype_id


async def email_of(connection: AsyncConnection, tenant_id: UUID, customer_id: str) -> str | None:
    """Return a customer's address, empty where there is none; None for a customer who is not known."""
    columns = customers.c
    chosen = select(columns.email).where(columns.tenant_id == tenant_id, columns.customer_id == customer_id)
    return (await connection.execute(chosen)).scalar_one_or_none()


async def contact_of(connection: AsyncConnection, tenant_id: UUID, customer_id: str) -> tuple[str, str, str]:
    """Return a customer's name, e-mail address and telephone number; each empty where the shop knows none."""
    columns = customers.c
    chosen = select(columns.display_name, columns.email, columns.phone).where(
        columns.tenant_id == tenant_id, columns.customer_id == customer_id
    )
    row = (await connection.execute(chosen)).one_or_none()
    return (row.display_name, row.email, row.phone) if row else ("", "", "")


async def names_of(connection: AsyncConnection, tenant_id: UUID, customer_ids: Collection[str]) -> dict[str, str]:
    """Return the names of customers as the shop knows them, by id; without those of whom it knows none."""
    columns = customers.c
    chosen = select(columns.customer_id, columns.display_name).where(
        columns.tenant_id == tenant_id, columns.customer_id.in_(customer_ids), columns.display_name != ""
    )
    return {row.customer_id: row.display_name for row in await connection.execute(chosen)}


async def find_by_email(connection: AsyncConnection, tenant_id: UUID, email: str) -> Contact | None:
    """Return the customer with this address, the one that was set last among several; None when there is none."""
    columns = customers.c
    chosen = select(*_CONTACT).where(
        columns.tenant_id == tenant_id, func.lower(columns.email) == func.lower(email), columns.email != ""
    )
    newest = chosen.order_by(columns.contact_time.desc(), columns.customer_id).limit(1)
    row = (await connection.execute(newest)).one_or_none()
    return None if row is None else Contact(*row)


_CONTACT = [customers.c[name] for name in ("customer_id", "email", "display_name", "contact_time", "phone")]


def _customer(row: Any, currency: str) -> StoredCustomer:
    customer_id, *sums, months, pairs, distinct, last_purchase, categories, facts, group, profile, day, moment = row
    last = orjson.loads(last_purchase) if last_purchase else None
    rest = (tuple(months), pairs, distinct, last, orjson.loads(categories) if categories else ())
    history = History(customer_id, currency, *[*sums, *rest])
    return StoredCustomer(history, facts, group, profile, day, moment)


# Many rows at once are read by this; the columns stand in the order of a history's fields.
_LOAD = """
SELECT customer_id, order_count, priced_orders, purchase_days, first_at, last_at, spent_minor, returned_minor,
       repeat_minor, return_count, weekend_orders, month_orders, product_pairs, distinct_products,
       last_purchase::text, categories::text, facts_version, archetype_id, profile, profile_day, profile_time
FROM customers WHERE tenant_id = $1 AND customer_id = ANY ($2::text[])
"""

# One pass over the orders of the customers named. Days and months are those of UTC, and money counts in the shop's
# currency, by the rate of the day where it is another; without a rate it is left out. A customer without orders (any
# more) keeps zeros. A sum of thousands of the largest orders that are taken ends at what its column holds.
# Lines and products are looked up by LATERAL … OFFSET 0: however few rows the planner expects, it does not compare all
# orders with all lines.
_SUMMARISE = """
WITH named AS (
    SELECT customer_id FROM unnest($2::text[]) AS given (customer_id)
), placed AS MATERIALIZED (
    SELECT order_id, customer_id, order_time, order_time AT TIME ZONE 'UTC' AS local_time, currency, spent_minor,
           returned_minor, purchased, returned,
           CASE WHEN currency = $3::text THEN spent_minor
                ELSE worth($1::uuid, spent_minor, currency, $3::text, (order_time AT TIME ZONE 'UTC')::date)
                END AS spent,
           CASE WHEN currency = $3::text THEN returned_minor
                ELSE worth($1::uuid, returned_minor, currency, $3::text, (order_time AT TIME ZONE 'UTC')::date)
                END AS given_back
    FROM orders WHERE tenant_id = $1::uuid AND customer_id = ANY ($2::text[])
), days AS (
    SELECT customer_id, local_time::date AS day, sum(spent) AS value
    FROM placed WHERE purchased GROUP BY 1, 2
), repeats AS (
    SELECT customer_id, count(*) AS purchase_days, sum(value) FILTER (WHERE day > first_day) AS repeat_minor
    FROM (SELECT *, min(day) OVER (PARTITION BY customer_id) AS first_day FROM days) AS dated GROUP BY 1
), sums AS (
    SELECT customer_id,
           count(*) FILTER (WHERE purchased) AS order_count,
           count(*) FILTER (WHERE purchased AND spent IS NOT NULL) AS priced_orders,
           min(order_time) FILTER (WHERE purchased) AS first_at,
           max(order_time) FILTER (WHERE purchased) AS last_at,
           sum(spent) AS spent_minor,
           sum(given_back) AS returned_minor,
           count(*) FILTER (WHERE returned) AS return_count,
           count(*) FILTER (WHERE purchased AND extract(isodow FROM local_time) >= 6) AS weekend_orders,
           array(SELECT count(*) FILTER (WHERE month = number)::integer
                 FROM generate_series(1, 12) AS number
                 LEFT JOIN unnest(array_agg(extract(month FROM local_time)) FILTER (WHERE purchased)) AS month ON true
                 GROUP BY number ORDER BY number) AS month_orders
    FROM placed GROUP BY 1
), bought AS MATERIALIZED (
    SELECT DISTINCT placed.customer_id, placed.order_id, line.product_id
    FROM placed CROSS JOIN LATERAL (
        SELECT product_id FROM order_lines
        WHERE tenant_id = $1::uuid AND order_lines.order_id = placed.order_id AND quantity > 0 OFFSET 0) AS line
    WHERE placed.purchased
), products AS (
    SELECT customer_id, count(*) AS product_pairs, count(DISTINCT product_id) AS distinct_products
    FROM bought GROUP BY 1
), sorted AS (
    SELECT DISTINCT bought.customer_id, bought.order_id, known.category
    FROM bought CROSS JOIN LATERAL (
        SELECT category FROM recommendations.products AS known
        WHERE tenant_id = $1::uuid AND known.product_id = bought.product_id AND category <> '' OFFSET 0) AS known
), favourites AS (
    SELECT customer_id, jsonb_agg(
        jsonb_build_object('category', category, 'order_count', found, 'share', round(found::numeric / orders, 4))
        ORDER BY place) AS categories
    FROM (SELECT customer_id, category, count(*) AS found,
                 row_number() OVER (PARTITION BY customer_id ORDER BY count(*) DESC, category) AS place
          FROM sorted GROUP BY 1, 2) AS counted
    JOIN (SELECT customer_id, count(DISTINCT order_id) AS orders FROM sorted GROUP BY 1) AS all_of USING (customer_id)
    WHERE place <= 10 GROUP BY 1
), newest AS (
    SELECT DISTINCT ON (customer_id) customer_id, order_id, local_time, currency, spent_minor, returned_minor
    FROM placed WHERE purchased ORDER BY customer_id, order_time DESC, order_id DESC
), last_purchases AS (
    SELECT customer_id, jsonb_build_object(
        'order_id', order_id,
        'order_time', to_char(local_time, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        'currency', currency,
        'total_minor', spent_minor,
        'returned', returned_minor >= spent_minor,
        'products', (
            SELECT coalesce(jsonb_agg(jsonb_build_object('title', product_name, 'quantity', quantity,
                                                         'price_minor', unit_price_minor) ORDER BY line_number), '[]')
            FROM (SELECT * FROM order_lines
                  WHERE tenant_id = $1::uuid AND order_lines.order_id = newest.order_id AND quantity > 0
                  ORDER BY line_number LIMIT 50) AS bought),
        'parcels', (
            SELECT coalesce(jsonb_agg(jsonb_build_object('tracking_number', tracking_number,
                'tracking_url', tracking_url, 'carrier', carrier, 'status', status)
                ORDER BY create_time, tracking_number), '[]')
            FROM shipments WHERE tenant_id = $1::uuid AND shipments.order_id = newest.order_id)) AS last_purchase
    FROM newest
)
INSERT INTO customers (tenant_id, customer_id, facts_version, order_count, priced_orders, purchase_days, first_at,
                       last_at, spent_minor, returned_minor, repeat_minor, return_count, weekend_orders, month_orders,
                       product_pairs, distinct_products, last_purchase, categories)
SELECT $1::uuid, customer_id, 1, coalesce(order_count, 0), coalesce(priced_orders, 0), coalesce(purchase_days, 0),
       first_at, last_at, least(coalesce(spent_minor, 0), 1000000000000000000),
       least(coalesce(returned_minor, 0), 1000000000000000000), least(coalesce(repeat_minor, 0), 1000000000000000000),
       coalesce(return_count, 0), coalesce(weekend_orders, 0), coalesce(month_orders, array_fill(0, ARRAY[12])),
       coalesce(product_pairs, 0), coalesce(distinct_products, 0), last_purchase, categories
FROM named LEFT JOIN sums USING (customer_id) LEFT JOIN repeats USING (customer_id)
LEFT JOIN products USING (customer_id) LEFT JOIN last_purchases USING (customer_id)
LEFT JOIN favourites USING (customer_id)
ON CONFLICT (tenant_id, customer_id) DO UPDATE SET facts_version = customers.facts_version + 1, profile_day = NULL,
    order_count = excluded.order_count, priced_orders = excluded.priced_orders, purchase_days = excluded.purchase_days,
    first_at = excluded.first_at, last_at = excluded.last_at, spent_minor = excluded.spent_minor,
    returned_minor = excluded.returned_minor, repeat_minor = excluded.repeat_minor,
    return_count = excluded.return_count, weekend_orders = excluded.weekend_orders,
    month_orders = excluded.month_orders, product_pairs = excluded.product_pairs,
    distinct_products = excluded.distinct_products, last_purchase = excluded.last_purchase,
    categories = excluded.categories
"""
