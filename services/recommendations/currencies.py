"""What other currencies are worth to a shop: rates by day, and whom a rate concerns."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from uuid import UUID

from servicekit.database import Database
from services.recommendations import currency_store, order_store, store
from services.recommendations.currency_store import Overview, Rate
from services.recommendations.customers import Customers
from services.recommendations.errors import ExchangeRateInvalidError, ShopCurrencyUnknownError


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
                await currency_store.state(connection, tenant_id, shop.currency, rate, day)
            touched = await currency_store.customers_of(connection, tenant_id, {rate.currency for rate in rates})
            await store.summarise(connection, tenant_id, touched, shop.currency)
            await self._customers.refresh_after_import(connection, tenant_id, touched)
            overview = await currency_store.overview(connection, tenant_id)
        await self._customers.announce(tenant_id)
        return overview

    async def get(self, tenant_id: UUID) -> Overview:
        """Return the shop's currency, its rates, and which currencies its orders are in."""
        async with self._database.tenant(tenant_id) as connection:
            return await currency_store.overview(connection, tenant_id)


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
