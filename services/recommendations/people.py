"""Who the customers of a shop are: contacts, stable ids, merges that can be taken back, forgetting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit import outbox
from servicekit.database import Database
from servicekit.ids import uuid7
from services.recommendations import (
    action_store,
    advice_store,
    identities,
    identity_store,
    merge_store,
    order_store,
    outcome_store,
    product_model_store,
    store,
)
from services.recommendations.customers import Customers, no_customer
from services.recommendations.errors import CustomerMergedError, IdentityInvalidError, MergeNotFoundError
from services.recommendations.identities import EMAIL, PHONE, PROVIDER, Identity, Match
from services.recommendations.identity_store import StoredIdentity
from services.recommendations.merge_store import PERSON, Merge
from services.recommendations.settling import settle
from services.recommendations.store import Contact

CONTACT = "contact"
"""The source of ids that a customer's contact gives."""
BY_A_PERSON = "a person undid it"

_MOST_IDENTITIES, _MOST_MERGES, _MOST_MATCHES = 500, 500, 100
_DEFAULT_CURRENCY = "EUR"


@dataclass(frozen=True, slots=True)
class Person:
    """Everything that is known of who a customer is; the surviving id comes first in `customer_ids`."""

    customer_id: str
    customer_ids: Sequence[str]
    identities: Sequence[StoredIdentity]
    merges: Sequence[Merge]
    matches: Sequence[Match]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was known of a customer who is forgotten, under all the ids of the shop that are this customer."""

    known: bool
    email: str
    order_count: int
    customer_ids: Sequence[str]


class People:
    """Keeps who the customers of all tenants are."""

    def __init__(self, database: Database, customers: Customers) -> None:
        self._database = database
        self._customers = customers

    async def set_contact(
        self,
        tenant_id: UUID,
        customer_id: str,
        email: str,
        display_name: str,
        changed: datetime | None = None,
        *,
        phone: str = "",
        provider_ids: Mapping[str, str] | None = None,
    ) -> Contact:
        """Keep how a customer can be reached; a customer that is new comes to be.

        With `changed`, when it was changed at its source, a contact that was changed later stays; return what is kept.
        """
        at_providers = {Identity(f"{PROVIDER}{name}", value) for name, value in (provider_ids or {}).items()}
        async with self._database.tenant(tenant_id) as connection:
            await order_store.lock_tenant(connection, tenant_id)
            contact = await store.set_contact(connection, tenant_id, customer_id, email, display_name, changed, phone)
            reached = {
                Identity(kind, value)
                for kind, text in ((EMAIL, contact.email), (PHONE, contact.phone))
                if text and (value := identities.normalise(kind, text))
            }
            gone = await identity_store.state(
                connection, tenant_id, customer_id, CONTACT, reached | at_providers, instead=(EMAIL, PHONE)
            )
            await self._settle(connection, tenant_id, [customer_id], gone, also=[customer_id])
        await self._customers.announce(tenant_id)
        return contact

    async def record(self, tenant_id: UUID, customer_id: str, stated: Sequence[tuple[str, str]], source: str) -> Person:
        """Keep stable ids (kind, value) of a customer and join whoever proves to be one.

        Raises:
            IdentityInvalidError: one of them is no such id; nothing is kept then.
        """
        found = set()
        for kind, text in stated:
            value = identities.normalise(kind, text)
            if value is None:
                raise IdentityInvalidError(f"An id of the kind {kind} is none.", metadata={"kind": kind})
            found.add(Identity(kind, value))
        async with self._database.tenant(tenant_id) as connection:
            await order_store.lock_tenant(connection, tenant_id)
            await identity_store.state(connection, tenant_id, customer_id, source, found)
            await self._settle(connection, tenant_id, [customer_id])
            person = await _person(connection, tenant_id, customer_id)
        await self._customers.announce(tenant_id)
        return person

    async def describe(self, tenant_id: UUID, customer_id: str) -> Person:
        """Return who a customer is.

        Raises:
            CustomerNotFoundError: nothing is known under this id.
        """
        async with self._database.tenant(tenant_id) as connection:
            if not await identity_store.is_stated(connection, tenant_id, customer_id):
                raise no_customer(customer_id)
            return await _person(connection, tenant_id, customer_id)

    async def merge(self, tenant_id: UUID, survivor_id: str, customer_id: str, principal: str) -> Merge:
        """Make a customer one with another one, who survives.

        Raises:
            CustomerNotFoundError: one of them is not known.
            CustomerMergedError: one of them is merged into somebody already.
        """
        async with self._database.tenant(tenant_id) as connection:
            await order_store.lock_tenant(connection, tenant_id)
            for named in (survivor_id, customer_id):
                if not await identity_store.is_stated(connection, tenant_id, named):
                    raise no_customer(named)
            survivors = await identity_store.survivors(connection, tenant_id, [survivor_id, customer_id])
            if survivors[survivor_id] != survivor_id:
                raise _merged(survivor_id, survivors[survivor_id])
            standing = await _standing(connection, tenant_id, customer_id)
            if survivors[customer_id] != customer_id:
                if survivors[customer_id] == survivor_id and standing is not None:
                    return standing
                raise _merged(customer_id, survivors[customer_id])
            await identity_store.keep_apart(connection, tenant_id, customer_id, apart=False)
            merge = Merge(uuid7(), customer_id, survivor_id, PERSON, (), principal, self._customers.now)
            await merge_store.add_merge(connection, tenant_id, merge)
            await self._settle(connection, tenant_id, [survivor_id, customer_id])
        await self._customers.announce(tenant_id)
        return merge

    async def undo_merge(self, tenant_id: UUID, merge_id: UUID) -> Merge:
        """Take a merge back; evidence alone does not join the two again.

        Raises:
            MergeNotFoundError: there is no such merge.
        """
        async with self._database.tenant(tenant_id) as connection:
            await order_store.lock_tenant(connection, tenant_id)
            merge = await merge_store.find_merge(connection, tenant_id, merge_id)
            if merge is None:
                raise MergeNotFoundError("There is no such merge.", metadata={"merge_id": str(merge_id)})
            if merge.undo_time is None:
                await merge_store.end_merge(connection, tenant_id, merge_id, BY_A_PERSON, self._customers.now)
                pair = [merge.customer_id, merge.survivor_id]
                # Whom evidence joins, or would join at once, it must leave alone from now on.
                if merge.origin == PERSON:
                    await self._settle(connection, tenant_id, pair)
                    together = await identity_store.survivors(connection, tenant_id, pair)
                if merge.origin != PERSON or len(set(together.values())) == 1:
                    await identity_store.keep_apart(connection, tenant_id, merge.customer_id, apart=True)
                    await self._settle(connection, tenant_id, pair)
                merge = await merge_store.find_merge(connection, tenant_id, merge_id) or merge
        await self._customers.announce(tenant_id)
        return merge

    async def known(self, tenant_id: UUID, customer_id: str) -> Forgotten:
        """Return what would be forgotten with a customer, but for the count of orders."""
        async with self._database.tenant(tenant_id) as connection:
            ids = await _ids(connection, tenant_id, customer_id)
            return await _known(connection, tenant_id, customer_id, ids)

    async def erase(self, tenant_id: UUID, customer_id: str, tickets: Sequence[UUID] = ()) -> Forgotten:
        """Forget a customer, under all ids that are this customer, and advice on these tickets.

        The log names the customer in either case: whoever still has a copy drops it.
        """
        async with self._database.tenant(tenant_id) as connection:
            await order_store.lock_tenant(connection, tenant_id)
            # Whoever takes down at this moment what the customer was given comes before this, or finds nothing.
            await outcome_store.lock_events(connection, tenant_id)
            ids = await _ids(connection, tenant_id, customer_id)
            known = await _known(connection, tenant_id, customer_id, ids)
            orders = await order_store.erase_orders(connection, tenant_id, ids)
            for one in ids:
                _, group = await store.erase_customer(connection, tenant_id, one)
                if group is not None:
                    await store.move_members(connection, tenant_id, [(group, None)])
            gone = await identity_store.erase(connection, tenant_id, ids)
            await self._settle(connection, tenant_id, [], gone)
            await advice_store.erase_advice(connection, tenant_id, tickets)
            await action_store.erase_grants(connection, tenant_id, ids, tickets)
            if orders:
                await product_model_store.forget_customer(connection, tenant_id)
            await outbox.append_all(connection, tenant_id, [(store.KIND_CUSTOMER, one) for one in ids])
        await self._customers.announce(tenant_id)
        return Forgotten(known.known, known.email, orders, ids)

    async def _settle(
        self,
        connection: AsyncConnection,
        tenant_id: UUID,
        customer_ids: Sequence[str],
        gone: Sequence[Identity] = (),
        also: Sequence[str] = (),
    ) -> None:
        """Find out who is who around customers, and compute anew whom that changes, and `also` these."""
        moved = await settle(connection, tenant_id, customer_ids, self._customers.now, gone)
        if moved:
            shop = await store.load_shop(connection, tenant_id)
            await store.summarise(connection, tenant_id, moved, shop.currency if shop else _DEFAULT_CURRENCY)
        if touched := sorted({*moved, *also}):
            await self._customers.refresh(connection, tenant_id, touched)


async def _person(connection: AsyncConnection, tenant_id: UUID, customer_id: str) -> Person:
    ids = await _ids(connection, tenant_id, customer_id)
    connected = await identity_store.load_connected(connection, tenant_id, ids)
    matches = identities.matches(ids[0], connected.stated, connected.survivors) if connected else []
    return Person(
        ids[0],
        ids,
        await identity_store.list_identities(connection, tenant_id, ids, _MOST_IDENTITIES),
        await merge_store.list_merges(connection, tenant_id, ids, limit=_MOST_MERGES),
        matches[:_MOST_MATCHES],
    )


async def _ids(connection: AsyncConnection, tenant_id: UUID, customer_id: str) -> list[str]:
    """Return all ids of the shop that are this customer, the surviving one first."""
    survivor = (await identity_store.survivors(connection, tenant_id, [customer_id]))[customer_id]
    return [survivor, *await identity_store.merged_into(connection, tenant_id, [survivor])]


async def _known(connection: AsyncConnection, tenant_id: UUID, customer_id: str, ids: Sequence[str]) -> Forgotten:
    emails = [await store.email_of(connection, tenant_id, one) for one in (customer_id, *ids)]
    known = any(email is not None for email in emails)
    stated = known or any([await identity_store.is_stated(connection, tenant_id, one) for one in ids])
    return Forgotten(stated, next((email for email in emails if email), ""), 0, ids)


async def _standing(connection: AsyncConnection, tenant_id: UUID, customer_id: str) -> Merge | None:
    merges = await merge_store.list_merges(connection, tenant_id, [customer_id], standing=True)
    return next((merge for merge in merges if merge.customer_id == customer_id), None)


def _merged(customer_id: str, survivor_id: str) -> CustomerMergedError:
    return CustomerMergedError(
        f"Customer {customer_id} is merged into {survivor_id}.",
        metadata={"customer_id": customer_id, "survivor_id": survivor_id},
    )
