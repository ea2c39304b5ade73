"""What other currencies are worth to a shop: rates by day, and whom a rate concerns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.recommendations import money, order_store, store
from services.recommendations.customers import Customers
from services.recommendations.errors import ExchangeRateInvalidError, ShopCurrencyUnknownError

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


class Currencies:
    """Keeps the rates of all tenants."""

    def __init__(self, database: Database, customers: Customers) -> None:
        self._database = database
        self._customers = customers

    async def set(self, tenant_id: UUID, rates: Sequence[Rate]) -> Overview:
        """State rates, and compute the customers anew whose orders they are about.

        Raises:
            ShopCurrencyUnknownError: no order has come in yet.
            ExchangeRateInvalidError: a rate is of the shop's own currency, not above 0, or of no day of the calendar.
        """
        async with self._database.tenant(tenant_id) as connection:
            await order_store.lock_tenant(connection, tenant_id)
            shop = await store.load_shop(connection, tenant_id)
            if shop is None:
                raise ShopCurrencyUnknownError("No order has come in yet, so the shop has no currency.")
            days = [_checked(rate, shop.currency) for rate in rates]
            for rate, day in zip(rates, days, strict=True):
                await _set(connection, tenant_id, shop.currency, rate, day)
            touched = await _customers_of(connection, tenant_id, {rate.currency for rate in rates})
            await store.summarise(connection, tenant_id, touched, shop.currency)
            await self._customers.refresh_after_import(connection, tenant_id, touched)
            overview = await _overview(connection, tenant_id)
        await self._customers.announce(tenant_id)
        return overview

    async def get(self, tenant_id: UUID) -> Overview:
        """Return the shop's currency, its rates, and which currencies its orders are in."""
        async with self._database.tenant(tenant_id) as connection:
            return await _overview(connection, tenant_id)


def minor_rate(rate: str, currency: str, base: str) -> Decimal:
    """Return a rate between main units as one between minor units: 1 JPY for 0.0061 EUR is 0.61 cents."""
    return Decimal(rate).scaleb(money.decimals(base) - money.decimals(currency))


def _checked(rate: Rate, base: str) -> date:
    wrong = ""
    day = None
    try:
        day = date.fromisoformat(rate.day)
    except ValueError:
        wrong = f"{rate.day} is no day of the calendar."
    if rate.currency == base:
        wrong = f"{base} is the shop's own currency."
    elif rate.rate and Decimal(rate.rate) == 0:
        wrong = f"A unit of {rate.currency} cannot be worth nothing."
    if wrong or day is None:
        raise ExchangeRateInvalidError(wrong, metadata={"currency_code": rate.currency, "day": rate.day})
    return day


async def _set(connection: AsyncConnection, tenant_id: UUID, base: str, rate: Rate, day: date) -> None:
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


async def _customers_of(connection: AsyncConnection, tenant_id: UUID, currencies: set[str]) -> list[str]:
    result = await connection.exec_driver_sql(
        "SELECT DISTINCT customer_id FROM orders WHERE tenant_id = $1 AND currency = ANY ($2::text[]) ORDER BY 1",
        (tenant_id, list(currencies)),
    )
    return list(result.scalars())


async def _overview(connection: AsyncConnection, tenant_id: UUID) -> Overview:
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
