"""The SQL of currencies: rates by day, and which currencies a shop's orders are in.

The statements run on a transaction that is bound to the tenant; they say the tenant as well, so that they use its keys.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit import money
from services.recommendations import store

_MOST_RATES = 5000


@dataclass(frozen=True, slots=True)
class Rate:
    """From `day` on a unit of `currency` is worth so many units of the shop's; an empty rate is none."""

    currency: str
    day: str
    rate: str


@dataclass(frozen=True, slots=True)
class Use:
    """How many orders are in a currency, and how many of them have no rate for their day."""

    currency: str
    order_count: int
    uncounted_order_count: int


@dataclass(frozen=True, slots=True)
class Overview:
    """A shop's currency (empty before its first order), its rates, and which currencies its orders are in."""

    currency: str
    rates: Sequence[Rate]
    uses: Sequence[Use]


def minor_rate(rate: str, currency: str, base: str) -> Decimal:
    """Return a rate between main units as one between minor units: 1 JPY for 0.0061 EUR is 0.61 cents."""
    return Decimal(rate).scaleb(money.decimals(base) - money.decimals(currency))


async def state(connection: AsyncConnection, tenant_id: UUID, base: str, rates: Mapping[tuple[str, date], str]) -> None:
    """Keep rates of currencies from days on into the currency `base`; an empty one removes what was stated."""
    gone = [key for key, rate in rates.items() if not rate]
    if gone:
        await connection.exec_driver_sql(
            """
            DELETE FROM exchange_rates USING unnest($3::text[], $4::date[]) AS gone (currency, day)
            WHERE tenant_id = $1 AND base = $2 AND exchange_rates.currency = gone.currency
              AND exchange_rates.day = gone.day""",
            (tenant_id, base, [currency for currency, _ in gone], [day for _, day in gone]),
        )
    stated = [(currency, day, rate) for (currency, day), rate in rates.items() if rate]
    await connection.exec_driver_sql(
        """
        INSERT INTO exchange_rates (tenant_id, base, currency, day, rate, minor_rate)
        SELECT $1, $2, given.* FROM unnest($3::text[], $4::date[], $5::text[], $6::numeric[]) AS given
        ON CONFLICT (tenant_id, base, currency, day) DO UPDATE SET rate = excluded.rate,
            minor_rate = excluded.minor_rate""",
        (
            tenant_id,
            base,
            [currency for currency, _, _ in stated],
            [day for _, day, _ in stated],
            [rate for _, _, rate in stated],
            [minor_rate(rate, currency, base) for currency, _, rate in stated],
        ),
    )


async def customers_of(
    connection: AsyncConnection, tenant_id: UUID, currencies: Collection[str], limit: int, after: str = ""
) -> list[str]:
    """Return customers with orders in these currencies, by their ids, from behind one on."""
    result = await connection.exec_driver_sql(
        """
        SELECT DISTINCT customer_id FROM orders
        WHERE tenant_id = $1 AND currency = ANY ($2::text[]) AND customer_id > $3 ORDER BY customer_id LIMIT $4""",
        (tenant_id, list(currencies), after, limit),
    )
    return list(result.scalars())


async def mark(connection: AsyncConnection, tenant_id: UUID, currencies: Collection[str]) -> None:
    """Note that all orders in these currencies are to be valued anew, beside those that already are."""
    await connection.exec_driver_sql(
        """
        UPDATE shops SET revalued_until = '',
            revalue = ARRAY (SELECT DISTINCT unnest(revalue || $2::text[]) AS currency ORDER BY currency)
        WHERE tenant_id = $1""",
        (tenant_id, list(currencies)),
    )


async def marked(connection: AsyncConnection, tenant_id: UUID) -> tuple[Sequence[str], str]:
    """Return in which currencies orders are to be valued anew, and up to which customer that is done."""
    result = await connection.exec_driver_sql(
        "SELECT revalue, revalued_until FROM shops WHERE tenant_id = $1", (tenant_id,)
    )
    row = result.one_or_none()
    return (row.revalue, row.revalued_until) if row else ((), "")


async def mark_done(connection: AsyncConnection, tenant_id: UUID, until: str | None) -> None:
    """Note up to which customer orders are valued anew; None for all."""
    await connection.exec_driver_sql(
        """
        UPDATE shops SET revalued_until = coalesce($2::text, ''),
            revalue = CASE WHEN $2::text IS NULL THEN '{}' ELSE revalue END
        WHERE tenant_id = $1""",
        (tenant_id, until),
    )


async def overview(connection: AsyncConnection, tenant_id: UUID) -> Overview:
    """Return the shop's currency, its rates, and which currencies its orders are in."""
    shop = await store.load_shop(connection, tenant_id)
    if shop is None:
        return Overview("", (), ())
    rates = await connection.exec_driver_sql(
        """
        SELECT currency, day, rate FROM (
            SELECT currency, day, rate FROM exchange_rates WHERE tenant_id = $1 AND base = $2
            ORDER BY day DESC, currency LIMIT $3) AS newest ORDER BY currency, day""",
        (tenant_id, shop.currency, _MOST_RATES),
    )
    uses = await connection.exec_driver_sql(
        """
        SELECT currency, sum(found)::bigint AS found, coalesce(sum(found) FILTER (
            WHERE currency <> $2::text AND worth($1::uuid, 0, currency, $2::text, day) IS NULL), 0)::bigint AS uncounted
        FROM (SELECT currency, (order_time AT TIME ZONE 'UTC')::date AS day, count(*) AS found
              FROM orders WHERE tenant_id = $1::uuid GROUP BY 1, 2) AS days
        GROUP BY currency ORDER BY found DESC, currency""",
        (tenant_id, shop.currency),
    )
    return Overview(
        shop.currency,
        [Rate(row.currency, row.day.isoformat(), row.rate) for row in rates],
        [Use(row.currency, row.found, row.uncounted) for row in uses],
    )
