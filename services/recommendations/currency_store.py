"""The SQL of currencies: rates by day, and which currencies a shop's orders are in.

The statements run on a transaction that is bound to the tenant; they say the tenant as well, so that they use its keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations import money, store

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


async def state(connection: AsyncConnection, tenant_id: UUID, base: str, rate: Rate, day: date) -> None:
    """Keep a rate into the currency `base`; an empty one removes what was stated for the day."""
    if not rate.rate:
        await connection.exec_driver_sql(
            "DELETE FROM exchange_rates WHERE tenant_id = $1 AND base = $2 AND currency = $3 AND day = $4",
            (tenant_id, base, rate.currency, day),
        )
        return
    await connection.exec_driver_sql(
        """
        INSERT INTO exchange_rates (tenant_id, base, currency, day, rate, minor_rate) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (tenant_id, base, currency, day) DO UPDATE SET rate = excluded.rate,
            minor_rate = excluded.minor_rate""",
        (tenant_id, base, rate.currency, day, rate.rate, minor_rate(rate.rate, rate.currency, base)),
    )


async def customers_of(connection: AsyncConnection, tenant_id: UUID, currencies: set[str]) -> list[str]:
    """Return the customers with orders in these currencies."""
    result = await connection.exec_driver_sql(
        "SELECT DISTINCT customer_id FROM orders WHERE tenant_id = $1 AND currency = ANY ($2::text[]) ORDER BY 1",
        (tenant_id, list(currencies)),
    )
    return list(result.scalars())


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
        SELECT currency, count(*) AS found, count(*) FILTER (
            WHERE worth($1, 0, currency, $2, (order_time AT TIME ZONE 'UTC')::date) IS NULL) AS uncounted
        FROM orders WHERE tenant_id = $1 GROUP BY currency ORDER BY found DESC, currency""",
        (tenant_id, shop.currency),
    )
    return Overview(
        shop.currency,
        [Rate(row.currency, row.day.isoformat(), row.rate) for row in rates],
        [Use(row.currency, row.found, row.uncounted) for row in uses],
    )
