"""What other currencies are worth to a shop: rates by day, and whom a rate concerns."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from uuid import UUID

from servicekit.database import Database
from services.recommendations import currency_store, profile_store, store
from services.recommendations.currency_store import Overview, Rate
from services.recommendations.customers import MODELS_BELL, Customers
from services.recommendations.errors import ExchangeRateInvalidError, ShopCurrencyUnknownError

AT_ONCE = 2_000
"""How many customers are computed anew in one transaction; more wait for the background."""


class Currencies:
    """Keeps the rates of all tenants."""

    def __init__(self, database: Database, customers: Customers) -> None:
        self._database = database
        self._customers = customers

    async def set(self, tenant_id: UUID, rates: Sequence[Rate]) -> Overview:
        """State rates, and compute the customers anew whose orders they are about; many of them in the background.

        Raises:
            ShopCurrencyUnknownError: no order has come in yet.
            ExchangeRateInvalidError: a rate is of the shop's own currency, not above 0, or of no day of the calendar.
        """
        async with self._customers.changing(tenant_id) as connection:
            shop = await store.load_shop(connection, tenant_id)
            if shop is None:
                raise ShopCurrencyUnknownError("No order has come in yet, so the shop has no currency.")
            days = [_checked(rate, shop.currency) for rate in rates]
            # Of a rate that is stated twice the last one counts.
            stated = {(rate.currency, day): rate.rate for rate, day in zip(rates, days, strict=True)}
            await currency_store.state(connection, tenant_id, shop.currency, stated)
            currencies = {rate.currency for rate in rates}
            touched = await currency_store.customers_of(connection, tenant_id, currencies, AT_ONCE + 1)
            if len(touched) <= AT_ONCE:
                await store.summarise(connection, tenant_id, touched, shop.currency)
                await self._customers.refresh_after_import(connection, tenant_id, touched)
            else:
                await currency_store.mark(connection, tenant_id, currencies)
                await profile_store.ask_for_fit(connection, tenant_id, self._customers.now)
                await profile_store.mark_old(connection, tenant_id)
            overview = await currency_store.overview(connection, tenant_id)
        await self._customers.announce(tenant_id)
        await self._customers.doorbell.ring(MODELS_BELL)
        return overview

    async def get(self, tenant_id: UUID) -> Overview:
        """Return the shop's currency, its rates, and which currencies its orders are in."""
        async with self._database.tenant(tenant_id) as connection:
            return await currency_store.overview(connection, tenant_id)


async def revalue(database: Database, customers: Customers, tenant_id: UUID) -> None:
    """Value the orders anew that rates were stated for, some customers at a time; goes on where it was left.

    Raises:
        CustomersBusyError: others change the tenant's customers for long.
    """
    async with database.tenant(tenant_id) as connection:
        currencies, _ = await currency_store.marked(connection, tenant_id)
    while currencies:
        async with customers.changing(tenant_id) as connection:
            currencies, until = await currency_store.marked(connection, tenant_id)
            shop = await store.load_shop(connection, tenant_id)
            if shop is None or not currencies:
                return
            some = await currency_store.customers_of(connection, tenant_id, currencies, AT_ONCE, until)
            await store.summarise(connection, tenant_id, some, shop.currency)
            await currency_store.mark_done(connection, tenant_id, some[-1] if some else None)
        await customers.announce(tenant_id)


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
