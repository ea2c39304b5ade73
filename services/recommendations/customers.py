"""Customers: their profiles kept right, for one after a change, for all after an import, and as days pass.

A stored profile is what everybody is shown; what merely counts days in it goes on by itself. It is judged anew when an
order changes, at once, and when its figures have moved (`renewal`), in the background. One that is out of date because
many were changed at once is judged on reading until the background comes to it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit import customer_profile, outbox
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from services.recommendations import (
    customer_orders,
    identity_store,
    order_listing,
    population,
    profile_store,
    store,
)
from services.recommendations.archetype import Archetype, full_id, main_segments
from services.recommendations.churn import Churn
from services.recommendations.errors import ArchetypeNotFoundError, CustomerNotFoundError
from services.recommendations.kept_profiles import KeptProfiles
from services.recommendations.model import Model
from services.recommendations.order_listing import OrderFilter
from services.recommendations.population import Judged
from services.recommendations.store import Contact, FreshProfile, Shop, StoredCustomer
from services.recommendations.turns import Turns

BELL = "recommendations.log"
"""The doorbell that rings when this service's log has grown."""

MODELS_BELL = "recommendations.models"
"""The doorbell that rings when there is work on models or profiles."""

_MOST_AT_ONCE = 5_000
"""How many customers are judged with the change that touched them; more wait for the background."""
_QUICKLY = 200
"""How many are judged on the loop that answers everybody else; more go to a thread."""

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

    def __init__(
        self, database: Database, doorbell: Doorbell, clock: Clock = utc_now, kept: KeptProfiles | None = None
    ) -> None:
        """Show profiles that are `kept` again; without it each read goes to the database."""
        self._database = database
        self._doorbell = doorbell
        self._clock = clock
        self._kept = kept
        self._turns = Turns(database)

    def changing(self, tenant_id: UUID) -> AbstractAsyncContextManager[AsyncConnection]:
        """Run one transaction inside a tenant while nobody else changes its orders or profiles.

        Raises: as for `Turns.take`.
        """
        return self._turns.take(tenant_id)

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
        if self._kept is None:
            return await self._read_profile(tenant_id, customer_id)
        return await self._kept.get(
            tenant_id, customer_id, self.today, lambda: self._read_profile(tenant_id, customer_id)
        )

    async def _read_profile(self, tenant_id: UUID, customer_id: str) -> bytes:
        """Return a profile as it is stored, in one round trip; one that is out of date is judged anew."""
        query = "SELECT profile, profile_day FROM stored_profile($1, $2)"
        rows = await self._database.fetch(query, tenant_id, customer_id)
        if rows and rows[0]["profile_day"] is not None and customer_profile.has_day(rows[0]["profile"]):
            return customer_profile.as_of(rows[0]["profile"], self.today).encode()
        return (await self.get(tenant_id, customer_id)).profile_json

    async def get(self, tenant_id: UUID, customer_id: str) -> Known:
        """Return a customer.

        Raises:
            CustomerNotFoundError: the shop knows no such customer.
        """
        found = await self.find(tenant_id, [customer_id])
        if not found:
            raise no_customer(customer_id)
        return found[customer_id]

    async def find(self, tenant_id: UUID, customer_ids: Sequence[str]) -> dict[str, Known]:
        """Return the customers named that the shop knows; of an id that was merged its surviving customer."""
        async with self._database.tenant(tenant_id) as connection:
            survivors = await identity_store.survivors(connection, tenant_id, customer_ids)
            shop = await _shop(connection, tenant_id)
            rows = await store.load_customers(connection, tenant_id, list(set(survivors.values())), shop.currency)
            groups = await store.load_archetypes(connection, tenant_id)
        found = {known.judged.history.customer_id: known for known in self._as_of_today(rows, shop, groups)}
        return {named: found[survivor] for named, survivor in survivors.items() if survivor in found}

    def _as_of_today(self, rows: Sequence[StoredCustomer], shop: Shop, groups: Mapping[str, Archetype]) -> list[Known]:
        """Return stored customers; one whose profile is out of date is judged here and now."""
        today, now = self.today, self._clock()
        found = []
        for row, judged in zip(rows, population.judge([row.history for row in rows], shop.model, today), strict=True):
            if row.profile_time is not None and row.profile_day and customer_profile.has_day(row.profile):
                text, moment = customer_profile.as_of(row.profile, today).encode(), row.profile_time
                profile = orjson.loads(text)
                one = replace(judged, churn=Churn.from_profile(profile["churn_risk"]))
            else:
                one, profile = judged, population.describe(judged, _group(groups, judged), today)
                text, moment = orjson.dumps(profile), now
            found.append(Known(one, profile, text, row.facts_version, moment, shop.model))
        return found

    async def orders(self, tenant_id: UUID, customer_id: str, chosen: OrderFilter, limit: int) -> dict[str, Any]:
        """Return a customer's orders as they are shown.

        Raises:
            CustomerNotFoundError: the shop knows no such customer.
        """
        async with self._database.tenant(tenant_id) as connection:
            shop = await _shop(connection, tenant_id)
            survivor = (await identity_store.survivors(connection, tenant_id, [customer_id]))[customer_id]
            if not await identity_store.with_rows(connection, tenant_id, [survivor]):
                raise no_customer(customer_id)
            found = await order_listing.find_orders(connection, tenant_id, survivor, chosen, limit)
            sums = await order_listing.sum_orders(connection, tenant_id, survivor, chosen, shop.currency)
        return customer_orders.describe(customer_id, found, sums, shop.currency)

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
            survivors = await identity_store.survivors(connection, tenant_id, [found.customer_id])
        return replace(found, customer_id=survivors[found.customer_id])

    async def announce(self, tenant_id: UUID) -> None:
        """Tell that customers of a tenant have changed, and ring the bell of this service's log; after the commit."""
        if self._kept is not None:
            await self._kept.changed(tenant_id)
        await self._doorbell.ring(BELL)

    async def refresh(self, connection: AsyncConnection, tenant_id: UUID, customer_ids: Sequence[str]) -> None:
        """Judge customers anew and store their profiles; the caller holds the tenant's lock."""
        today, shop = self.today, await _shop(connection, tenant_id)
        rows = await store.load_customers(connection, tenant_id, customer_ids, shop.currency)
        histories = [row.history for row in rows]
        if len(rows) > _QUICKLY:
            judged = await asyncio.to_thread(population.judge, histories, shop.model, today)
        else:
            judged = population.judge(histories, shop.model, today)
        moves = [
            (row.archetype_id, _alone(one) if one.archetype_id else None)
            for row, one in zip(rows, judged, strict=True)
            if row.archetype_id != one.archetype_id
        ]
        if moves:
            await store.move_members(connection, tenant_id, moves)
        groups = await store.load_archetypes(connection, tenant_id)
        await self._save(connection, tenant_id, _described(rows, judged, groups, today))

    async def refresh_after_import(
        self, connection: AsyncConnection, tenant_id: UUID, customer_ids: Sequence[str]
    ) -> None:
        """Judge the customers of an import anew, and let a model be made of it; the caller holds the tenant's lock.

        Where they are many, reading judges them until the background has done it.
        """
        await profile_store.ask_for_fit(connection, tenant_id, self.now)
        if len(customer_ids) <= _MOST_AT_ONCE:
            await self.refresh(connection, tenant_id, customer_ids)
        else:
            await profile_store.mark_old(connection, tenant_id)

    async def judge_anew(self, tenant_id: UUID, customer_ids: Sequence[str]) -> Sequence[FreshProfile]:
        """Return the profiles of customers as of today, to be stored; their archetypes are counted already."""
        async with self._database.tenant(tenant_id) as connection:
            shop = await _shop(connection, tenant_id)
            rows = await store.load_customers(connection, tenant_id, customer_ids, shop.currency)
            groups = await store.load_archetypes(connection, tenant_id)
        return await asyncio.to_thread(_judge_anew, rows, shop.model, groups, self.today)

    async def store_judged(self, tenant_id: UUID, fresh: Sequence[FreshProfile]) -> None:
        """Store profiles unless what they rest on has changed meanwhile."""
        async with self.changing(tenant_id) as connection:
            await self._save(connection, tenant_id, fresh)
        await self.announce(tenant_id)

    async def _save(self, connection: AsyncConnection, tenant_id: UUID, fresh: Sequence[FreshProfile]) -> None:
        """Store profiles and log the customers whose profile is another one now."""
        changed = await store.save_profiles(connection, tenant_id, fresh, self.today)
        # Whoever asks by an id that was merged is answered with the same profile.
        named = [*changed, *await identity_store.merged_into(connection, tenant_id, changed)]
        await outbox.append_all(connection, tenant_id, [(store.KIND_CUSTOMER, customer) for customer in named])


def no_customer(customer_id: str) -> CustomerNotFoundError:
    """Return the refusal of a customer who is not known."""
    return CustomerNotFoundError("There is no such customer.", metadata={"customer_id": customer_id})


async def _shop(connection: AsyncConnection, tenant_id: UUID) -> Shop:
    return await store.load_shop(connection, tenant_id) or Shop("EUR", Model())


def _judge_anew(
    rows: Sequence[StoredCustomer], model: Model, groups: Mapping[str, Archetype], today: date
) -> list[FreshProfile]:
    return _described(rows, population.judge([row.history for row in rows], model, today), groups, today)


def _described(
    rows: Sequence[StoredCustomer], judged: Sequence[Judged], groups: Mapping[str, Archetype], today: date
) -> list[FreshProfile]:
    """Return the profiles of customers that were judged."""
    return [
        _fresh(row, one, population.describe(one, _group(groups, one), today))
        for row, one in zip(rows, judged, strict=True)
    ]


def _fresh(row: StoredCustomer, judged: Judged, profile: dict[str, Any]) -> FreshProfile:
    known = judged.history.last_at is not None
    return FreshProfile(
        customer_id=judged.history.customer_id,
        profile=orjson.dumps(profile).decode(),
        archetype_id=judged.archetype_id,
        lifetime_value=profile["business_metrics"]["lifetime_value"] if known else None,
        churn_probability=judged.churn.probability,
        expected_value=judged.expected.amount if judged.expected else None,
        origin=judged.churn.origin,
        facts_version=row.facts_version,
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
