"""Customers: their profiles kept right, for one after a change, for all after an import, and as days pass.

A stored profile belongs to a day. Read on the same day it is handed out as it is; later its figures are computed anew
from the history, which holds dates instead of "days since", and the daily run stores them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit import outbox
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from services.recommendations import advice_store, customer_orders, model, order_store, population, store
from services.recommendations.archetype import Archetype, full_id, main_segments
from services.recommendations.errors import ArchetypeNotFoundError, CustomerNotFoundError
from services.recommendations.model import Model
from services.recommendations.order_store import OrderFilter
from services.recommendations.population import Judged
from services.recommendations.store import Contact, FreshProfile, Shop, StoredCustomer

BELL = "recommendations.log"
"""The doorbell that rings when this service's log has grown."""

_TENANTS_AT_ONCE = 20
_DAILY_PAUSE_SECONDS = 60.0

_log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Known:
    """A customer as of today: what was judged, the profile and its JSON text, and what both rest on."""

    judged: Judged
    profile: Mapping[str, Any]
    profile_json: bytes
    facts_version: int
    profile_time: datetime
    model: Model


class Customers:
    """Reads and refreshes the customers of all tenants."""

    def __init__(self, database: Database, doorbell: Doorbell, clock: Clock = utc_now) -> None:
        self._database = database
        self._doorbell = doorbell
        self._clock = clock

    @property
    def doorbell(self) -> Doorbell:
        """The doorbells of this service."""
        return self._doorbell

    @property
    def now(self) -> datetime:
        """The present time."""
        return self._clock()

    @property
    def today(self) -> date:
        """The day (UTC) that figures are as of."""
        return self._clock().date()

    async def profile_json(self, tenant_id: UUID, customer_id: str) -> bytes:
        """Return a customer's profile as JSON.

        Raises:
            CustomerNotFoundError: the shop knows no such customer.
        """
        async with self._database.driver_tenant(tenant_id) as connection:
            row = await connection.fetchrow(
                "SELECT profile, profile_day FROM customers WHERE tenant_id = $1 AND customer_id = $2",
                tenant_id,
                customer_id,
            )
        if row is not None and row["profile_day"] == self.today:
            return str(row["profile"]).encode()
        return (await self.get(tenant_id, customer_id)).profile_json

    async def get(self, tenant_id: UUID, customer_id: str) -> Known:
        """Return a customer.

        Raises:
            CustomerNotFoundError: the shop knows no such customer.
        """
        found = await self.find(tenant_id, [customer_id])
        if not found:
            raise _no_customer(customer_id)
        return found[0]

    async def find(self, tenant_id: UUID, customer_ids: Sequence[str]) -> list[Known]:
        """Return the customers named that the shop knows, in no particular order."""
        async with self._database.tenant(tenant_id) as connection:
            shop = await _shop(connection, tenant_id)
            rows = await store.load_customers(connection, tenant_id, customer_ids, shop.currency)
            groups = await store.load_archetypes(connection, tenant_id)
        return self._as_of_today(rows, shop, groups)

    def _as_of_today(self, rows: Sequence[StoredCustomer], shop: Shop, groups: Mapping[str, Archetype]) -> list[Known]:
        """Return stored customers with today's figures; a profile of today stays as it was stored."""
        today, now = self.today, self._clock()
        found = []
        for row, judged in zip(rows, population.judge([row.history for row in rows], shop.model, today), strict=True):
            if row.profile_day == today and row.profile_time is not None:
                text, moment = row.profile.encode(), row.profile_time
                profile = orjson.loads(text)
            else:
                profile = population.describe(judged, _group(groups, judged), today)
                text, moment = orjson.dumps(profile), now
            found.append(Known(judged, profile, text, row.facts_version, moment, shop.model))
        return found

    async def orders(self, tenant_id: UUID, customer_id: str, chosen: OrderFilter, limit: int) -> dict[str, Any]:
        """Return a customer's orders as they are shown.

        Raises:
            CustomerNotFoundError: the shop knows no such customer.
        """
        async with self._database.tenant(tenant_id) as connection:
            shop = await _shop(connection, tenant_id)
            if not await store.load_customers(connection, tenant_id, [customer_id], shop.currency):
                raise _no_customer(customer_id)
            found, total, sums = await order_store.list_orders(connection, tenant_id, customer_id, chosen, limit)
        return customer_orders.describe(customer_id, found, total, sums, shop.currency)

    async def archetype(self, tenant_id: UUID, archetype_id: str) -> Archetype:
        """Return an archetype by its id, with or without the prefix.

        Raises:
            ArchetypeNotFoundError: no customer belongs to it.
        """
        async with self._database.tenant(tenant_id) as connection:
            groups = await store.load_archetypes(connection, tenant_id)
        found = groups.get(full_id(archetype_id))
        if found is None:
            raise ArchetypeNotFoundError("There is no such archetype.", metadata={"archetype_id": archetype_id})
        return found

    async def random(self, tenant_id: UUID) -> bytes:
        """Return the profile of some customer with purchases, as JSON.

        Raises:
            CustomerNotFoundError: there is none.
        """
        async with self._database.tenant(tenant_id) as connection:
            customer_id = await store.random_customer_id(connection, tenant_id)
        if customer_id is None:
            raise CustomerNotFoundError("There is no customer with purchases.")
        return await self.profile_json(tenant_id, customer_id)

    async def find_by_email(self, tenant_id: UUID, email: str) -> Contact:
        """Return the customer with an e-mail address.

        Raises:
            CustomerNotFoundError: nobody has it.
        """
        async with self._database.tenant(tenant_id) as connection:
            found = await store.find_by_email(connection, tenant_id, email.strip())
        if found is None:
            raise CustomerNotFoundError("There is no customer with this e-mail address.")
        return found

    async def set_contact(
        self, tenant_id: UUID, customer_id: str, email: str, display_name: str, changed: datetime | None = None
    ) -> Contact:
        """Keep how a customer can be reached; a customer that is new comes to be.

        With `changed`, when it was changed at its source, a contact that was changed later stays; return what is kept.
        """
        async with self._database.tenant(tenant_id) as connection:
            await order_store.lock_tenant(connection, tenant_id)
            contact = await store.set_contact(connection, tenant_id, customer_id, email, display_name, changed)
            await self.refresh(connection, tenant_id, [customer_id])
        await self.announce()
        return contact

    async def email(self, tenant_id: UUID, customer_id: str) -> str | None:
        """Return a customer's address, empty where there is none; None for a customer who is not known."""
        async with self._database.tenant(tenant_id) as connection:
            return await store.email_of(connection, tenant_id, customer_id)

    async def erase(self, tenant_id: UUID, customer_id: str, tickets: Sequence[UUID] = ()) -> tuple[bool, int]:
        """Forget a customer, and advice on these tickets; return whether there was one, and how many orders there were.

        The log names the customer in either case: whoever still has a copy drops it.
        """
        async with self._database.tenant(tenant_id) as connection:
            await order_store.lock_tenant(connection, tenant_id)
            orders = await order_store.erase_orders(connection, tenant_id, customer_id)
            known, group = await store.erase_customer(connection, tenant_id, customer_id)
            if group is not None:
                await store.move_members(connection, tenant_id, [(group, None)])
            await advice_store.erase_advice(connection, tenant_id, tickets)
            await outbox.append(connection, tenant_id, store.KIND_CUSTOMER, customer_id)
        await self.announce()
        return known, orders

    async def announce(self) -> None:
        """Ring the bell of this service's log; call it after the commit."""
        await self._doorbell.ring(BELL)

    async def refresh(self, connection: AsyncConnection, tenant_id: UUID, customer_ids: Sequence[str]) -> None:
        """Judge a few customers anew and store their profiles; the caller holds the tenant's lock."""
        today, shop = self.today, await _shop(connection, tenant_id)
        rows = await store.load_customers(connection, tenant_id, customer_ids, shop.currency)
        judged = population.judge([row.history for row in rows], shop.model, today)
        moves = [
            (row.archetype_id, _alone(one) if one.archetype_id else None)
            for row, one in zip(rows, judged, strict=True)
            if row.archetype_id != one.archetype_id
        ]
        if moves:
            await store.move_members(connection, tenant_id, moves)
        groups = await store.load_archetypes(connection, tenant_id)
        fresh = [_fresh(one, population.describe(one, _group(groups, one), today)) for one in judged]
        await self._save(connection, tenant_id, fresh)

    async def refresh_all(self, connection: AsyncConnection, tenant_id: UUID, *, fit: bool) -> None:
        """Judge all customers anew, by a new model if `fit` and there is evidence; the caller holds the lock."""
        shop = await _shop(connection, tenant_id)
        rows = await store.load_customers(connection, tenant_id, None, shop.currency)
        version = await store.next_model_version(connection, tenant_id) if fit else None
        # Fitting and describing a whole shop takes seconds: not on the loop that answers everybody else.
        fitted, groups, fresh = await asyncio.to_thread(_judge_all, rows, shop.model, version, self.today)
        if fitted is not None:
            await store.save_model(connection, tenant_id, fitted)
        await store.save_archetypes(connection, tenant_id, groups)
        await self._save(connection, tenant_id, fresh)
        await store.mark_day(connection, tenant_id, self.today)

    async def _save(self, connection: AsyncConnection, tenant_id: UUID, fresh: Sequence[FreshProfile]) -> None:
        """Store profiles and log the customers whose profile is another one now."""
        changed = await store.save_profiles(connection, tenant_id, fresh, self.today)
        await outbox.append_all(connection, tenant_id, [(store.KIND_CUSTOMER, customer) for customer in changed])

    async def run_daily(self) -> None:
        """Bring the profiles of every tenant to each new day, so that other services' copies keep up; for ever."""
        while True:
            try:
                while await self.refresh_old():
                    pass
            except Exception as error:  # noqa: BLE001 - the next round may work
                _log.warning("daily_refresh_failed", error=type(error).__name__)
            await asyncio.sleep(_DAILY_PAUSE_SECONDS)

    async def refresh_old(self) -> bool:
        """Refresh some tenants whose profiles are of an earlier day; tell whether there was any to refresh."""
        async with self._database.spanning() as connection:
            tenants = await store.tenants_with_old_profiles(connection, self.today, _TENANTS_AT_ONCE)
        done = False
        for tenant_id in tenants:
            async with self._database.tenant(tenant_id) as connection:
                # Somebody who holds the lock refreshes, or another process runs the same errand.
                if await order_store.try_lock_tenant(connection, tenant_id):
                    await self.refresh_all(connection, tenant_id, fit=False)
                    done = True
            await self.announce()
        return done


def _no_customer(customer_id: str) -> CustomerNotFoundError:
    return CustomerNotFoundError("There is no such customer.", metadata={"customer_id": customer_id})


async def _shop(connection: AsyncConnection, tenant_id: UUID) -> Shop:
    return await store.load_shop(connection, tenant_id) or Shop("EUR", Model())


def _judge_all(
    rows: Sequence[StoredCustomer], current: Model, version: int | None, today: date
) -> tuple[Model | None, dict[str, Archetype], list[FreshProfile]]:
    """Return the new model (if one was asked for and there is evidence), the archetypes and the profiles of a shop."""
    histories = [row.history for row in rows]
    fitted = model.fit(histories, version=version) if version is not None else None
    judged = population.judge(histories, fitted or current, today)
    groups = population.archetypes(judged)
    return fitted, groups, [_fresh(one, population.describe(one, _group(groups, one), today)) for one in judged]


def _fresh(judged: Judged, profile: dict[str, Any]) -> FreshProfile:
    known = judged.history.last_at is not None
    return FreshProfile(
        customer_id=judged.history.customer_id,
        profile=orjson.dumps(profile).decode(),
        archetype_id=judged.archetype_id,
        lifetime_value=profile["business_metrics"]["lifetime_value"] if known else None,
        churn_probability=judged.churn.probability,
        origin=judged.churn.origin,
    )


def _alone(judged: Judged) -> Archetype:
    """Return a customer's archetype as if nobody else belonged to it."""
    return Archetype(judged.archetype_id or "", main_segments(judged.segmentation.dominant), 1, 1)


def _group(groups: Mapping[str, Archetype], judged: Judged) -> Archetype | None:
    """Return a customer's archetype; one that the passing of days has just brought about has this one member."""
    if judged.archetype_id is None:
        return None
    if judged.archetype_id in groups:
        return groups[judged.archetype_id]
    alone = _alone(judged)
    known = next(iter(groups.values()), alone)
    return Archetype(alone.archetype_id, alone.segments, 1, known.population)
