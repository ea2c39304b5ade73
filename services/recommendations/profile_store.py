"""The SQL that goes through a whole shop's customers: their figures as columns, and which day they were judged on."""

from collections.abc import AsyncIterator
from datetime import date, datetime
from uuid import UUID

import numpy as np
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit import money
from servicekit.database import Database
from services.recommendations.activity import Log
from services.recommendations.renewal import Figures
from services.recommendations.tables import profile_days

_AT_ONCE = 20_000
_EPOCH = date(1970, 1, 1)
_READ_SECONDS = 600.0
"""For how long all purchases of a shop are read at most: nobody waits for them."""


def day_number(day: date) -> int:
    """Return the number of a day, counted from 1970-01-01."""
    return (day - _EPOCH).days


async def figures(database: Database, tenant_id: UUID, model: str) -> AsyncIterator[Figures]:
    """Yield all customers of a shop as columns, part by part; each part is read in a transaction of its own.

    `model` is the name of the model that serves.
    """
    after = ""
    while True:
        async with database.driver_tenant(tenant_id) as connection:
            rows = await connection.fetch(_FIGURES, tenant_id, after, _AT_ONCE, model)
        if rows:
            ids, *columns = zip(*rows, strict=True)
            yield Figures(list(ids), *(np.array(column, dtype=np.float64) for column in columns))
            after = ids[-1]
        if len(rows) < _AT_ONCE:
            return


async def purchases(database: Database, tenant_id: UUID, currency: str, most: int) -> Log:
    """Return the purchases of at most about `most` customers; amounts are in main units of the shop's currency.

    Which customers are taken hangs on their ids alone, so a fit that is repeated sees the same ones.
    """
    async with database.driver_tenant(tenant_id) as connection:
        count = await connection.fetchval(
            "SELECT count(*) FROM customers WHERE tenant_id = $1 AND order_count > 0", tenant_id, timeout=_READ_SECONDS
        )
        rows = await connection.fetch(_PURCHASES, tenant_id, max(-(-count // most), 1), timeout=_READ_SECONDS)
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), 3).T if rows else np.zeros((3, 0))
    return Log(columns[0], columns[1], columns[2] / 10.0 ** money.decimals(currency))


async def times_told(connection: AsyncConnection, tenant_id: UUID) -> int:
    """Return how often it was told that all of a tenant's profiles are to be looked at anew."""
    columns = profile_days.c
    return await connection.scalar(select(columns.times_told).where(columns.tenant_id == tenant_id)) or 0


async def mark_day(connection: AsyncConnection, tenant_id: UUID, today: date, told: int) -> None:
    """Note that the tenant's profiles are those of today, unless they are to be looked at once more.

    `told` is what `times_told` was before they were looked at: who tells it meanwhile may have come too late for some.
    """
    columns = profile_days.c
    done = update(profile_days).where(columns.tenant_id == tenant_id, columns.times_told == told)
    await connection.execute(done.values(day=today))


async def mark_day_if_new(connection: AsyncConnection, tenant_id: UUID, now: datetime) -> None:
    """Note that the tenant has profiles from today on, and let a model be made; what was noted stays."""
    given = insert(profile_days).values(tenant_id=tenant_id, day=now.date(), fit_time=now)
    await connection.execute(given.on_conflict_do_nothing())


async def ask_for_fit(connection: AsyncConnection, tenant_id: UUID, now: datetime) -> None:
    """Let a model be made from now on."""
    given = insert(profile_days).values(tenant_id=tenant_id, day=now.date(), fit_time=now)
    await connection.execute(given.on_conflict_do_update(index_elements=["tenant_id"], set_={"fit_time": now}))


async def mark_old(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Let all of a tenant's profiles be looked at anew, as on a new day."""
    given = insert(profile_days).values(tenant_id=tenant_id, day=_EPOCH)
    again = {"day": _EPOCH, "times_told": profile_days.c.times_told + 1}
    await connection.execute(given.on_conflict_do_update(index_elements=["tenant_id"], set_=again))


_FIGURES = """
SELECT customer_id, (first_at AT TIME ZONE 'UTC')::date - date '1970-01-01',
       (last_at AT TIME ZONE 'UTC')::date - date '1970-01-01', order_count, priced_orders, purchase_days, spent_minor,
       returned_minor, repeat_minor, profile_day - date '1970-01-01', churn_probability, expected_value,
       (origin = $4)::integer
FROM customers WHERE tenant_id = $1 AND customer_id > $2 ORDER BY customer_id LIMIT $3
"""

_PURCHASES = """
SELECT hashtextextended(customer_id, 0)::float8, (extract(epoch FROM order_time) / 86400)::float8,
       (CASE WHEN orders.currency = shops.currency THEN orders.spent_minor
             ELSE coalesce(worth($1, orders.spent_minor, orders.currency, shops.currency,
                                 (order_time AT TIME ZONE 'UTC')::date), 0) END)::float8
FROM orders JOIN shops USING (tenant_id)
WHERE orders.tenant_id = $1 AND purchased AND mod(hashtextextended(customer_id, 0), $2) = 0
"""
