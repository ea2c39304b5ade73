"""Who the customers of a shop are: contacts, stable ids, merges that can be taken back, forgetting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from services.recommendations.errors import (
    CustomerMergedError,
    IdentityInvalidError,
    MergeNotFoundError,
    TooManyConnectedError,
)
from services.recommendations.identities import EMAIL, PHONE, PROVIDER, Identity, Match
from services.recommendations.identity_store import StoredIdentity
from services.recommendations.merge_store import PERSON, Merge
from services.recommendations.settling import settle, settle_if_few
from services.recommendations.store import Contact

CONTACT = "contact"
"""The source of ids that a customer's contact gives."""
BY_A_PERSON = "a person undid it"
SAID = "a person said it"

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


@dataclass(frozen=True, slots=True)
class GivenContact:
    """How a customer can be reached, and with `changed` when that was changed at its source."""

    customer_id: str
    email: str
    display_name: str
    changed: datetime | None = None
    phone: str = ""
    provider_ids: Mapping[str, str] = field(default_factory=dict)


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
        given = GivenContact(customer_id, email, display_name, changed, phone, provider_ids or {})
        async with self._customers.changing(tenant_id) as connection:
            contact, gone = await _contact(connection, tenant_id, given)
            await self._settle(connection, tenant_id, [customer_id], gone, also=[customer_id])
        await self._customers.announce(tenant_id)
        return contact

    async def set_contacts(self, tenant_id: UUID, given: Sequence[GivenContact]) -> list[Contact]:
        """Do the same for many customers in one transaction."""
        ids = [one.customer_id for one in given]
        kept, gone = [], list[Identity]()
        async with self._customers.changing(tenant_id) as connection:
            for one in given:
                contact, went = await _contact(connection, tenant_id, one)
                kept.append(contact)
                gone += went
            try:
                moved = await settle(connection, tenant_id, ids, self._customers.now, gone)
            except TooManyConnectedError:
                # Too many together may be few each.
                moved = []
                for customer_id in ids:
                    moved += await settle_if_few(connection, tenant_id, [customer_id], self._customers.now, gone)
            await self._follow(connection, tenant_id, list(dict.fromkeys(moved)), ids)
        await self._customers.announce(tenant_id)
        return kept

    async def record(
        self,
        tenant_id: UUID,
        customer_id: str,
        stated: Sequence[tuple[str, str]],
        source: str,
        *,
        replace: bool = False,
    ) -> Person:
        """Keep stable ids (kind, value) of a customer and join whoever proves to be one.

        With `replace` those that the source stated before and does not now are taken back.

        Raises:
            IdentityInvalidError: one of them is no such id; nothing is kept then.
        """
        found = set()
        for kind, text in stated:
            value = identities.normalise(kind, text)
            if value is None:
                raise IdentityInvalidError(f"An id of the kind {kind} is none.", metadata={"kind": kind})
            found.add(Identity(kind, value))
        async with self._customers.changing(tenant_id) as connection:
            gone, came = await identity_store.state(connection, tenant_id, customer_id, source, found, replace=replace)
            moved = await self._settle(connection, tenant_id, [customer_id], gone)
            person = await _person(connection, tenant_id, customer_id)
        if came or gone or moved:
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
            CustomerMergedError: one of them is merged into somebody else already.
            TooManyConnectedError: they would be connected to more ids than are looked at together.
        """
        async with self._customers.changing(tenant_id) as connection:
            for named in (survivor_id, customer_id):
                if not await identity_store.is_stated(connection, tenant_id, named):
                    raise no_customer(named)
            survivors = await identity_store.survivors(connection, tenant_id, [survivor_id, customer_id])
            if survivors[survivor_id] != survivor_id:
                raise _merged(survivor_id, survivors[survivor_id])
            if survivors[customer_id] not in (customer_id, survivor_id):
                raise _merged(customer_id, survivors[customer_id])
            customer_id, standing = await _own_merge(connection, tenant_id, customer_id, survivor_id)
            if standing is not None:
                if standing.origin == PERSON:
                    return standing
                # Evidence may go, and what a person said must stay.
                await merge_store.end_merge(connection, tenant_id, standing.merge_id, SAID, self._customers.now)
            await identity_store.keep_apart(connection, tenant_id, customer_id, apart=False)
            merge = Merge(uuid7(), customer_id, survivor_id, PERSON, (), principal, self._customers.now)
            await merge_store.add_merge(connection, tenant_id, merge)
            await self._follow(
                connection, tenant_id, await self._settled(connection, tenant_id, customer_id, survivor_id)
            )
        await self._customers.announce(tenant_id)
        return merge

    async def undo_merge(self, tenant_id: UUID, merge_id: UUID) -> Merge:
        """Take a merge back; evidence alone does not join the two again.

        Raises:
            MergeNotFoundError: there is no such merge.
            TooManyConnectedError: they are connected to more ids than are looked at together.
        """
        async with self._customers.changing(tenant_id) as connection:
            merge = await merge_store.find_merge(connection, tenant_id, merge_id)
            if merge is None:
                raise MergeNotFoundError("There is no such merge.", metadata={"merge_id": str(merge_id)})
            if merge.undo_time is None:
                await merge_store.end_merge(connection, tenant_id, merge_id, BY_A_PERSON, self._customers.now)
                pair = [merge.customer_id, merge.survivor_id]
                # Whom evidence joins, or would join at once, it must leave alone from now on.
                if merge.origin == PERSON:
                    await self._follow(connection, tenant_id, await self._settled(connection, tenant_id, *pair))
                    together = await identity_store.survivors(connection, tenant_id, pair)
                if merge.origin != PERSON or len(set(together.values())) == 1:
                    await identity_store.keep_apart(connection, tenant_id, merge.customer_id, apart=True)
                    await self._follow(connection, tenant_id, await self._settled(connection, tenant_id, *pair))
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
        async with self._customers.changing(tenant_id) as connection:
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
            # One who is named again begins with the first version of their facts, which old advice may rest on.
            await advice_store.outdate(connection, tenant_id)
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
    ) -> Sequence[str]:
        """Find out who is who around customers, if they are few; compute anew whom that changes, and `also` these.

        Return whom it changes.
        """
        moved = await settle_if_few(connection, tenant_id, customer_ids, self._customers.now, gone)
        await self._follow(connection, tenant_id, moved, also)
        return moved

    async def _settled(self, connection: AsyncConnection, tenant_id: UUID, *customer_ids: str) -> list[str]:
        return await settle(connection, tenant_id, customer_ids, self._customers.now)

    async def _follow(
        self, connection: AsyncConnection, tenant_id: UUID, moved: Sequence[str], also: Sequence[str] = ()
    ) -> None:
        """Compute customers anew whose orders have moved, and judge `also` these."""
        if moved:
            shop = await store.load_shop(connection, tenant_id)
            await store.summarise(connection, tenant_id, moved, shop.currency if shop else _DEFAULT_CURRENCY)
        if touched := sorted({*moved, *also}):
            await self._customers.refresh(connection, tenant_id, touched)


async def _contact(connection: AsyncConnection, tenant_id: UUID, given: GivenContact) -> tuple[Contact, list[Identity]]:
    """Keep how a customer can be reached; return what is kept, and which ids went by it."""
    at_providers = {Identity(f"{PROVIDER}{name}", value) for name, value in given.provider_ids.items()}
    values = (given.customer_id, given.email, given.display_name, given.changed, given.phone)
    contact = await store.set_contact(connection, tenant_id, *values)
    reached = {
        Identity(kind, value)
        for kind, text in ((EMAIL, contact.email), (PHONE, contact.phone))
        if text and (value := identities.normalise(kind, text))
    }
    # What comes too late says nothing of the ids that were stated since.
    late = given.changed is not None and contact.update_time > given.changed
    instead = {EMAIL, PHONE} | (set() if late else {one.kind for one in at_providers})
    gone, _ = await identity_store.state(
        connection, tenant_id, given.customer_id, CONTACT, reached | at_providers, instead=instead
    )
    return contact, gone


async def _person(connection: AsyncConnection, tenant_id: UUID, customer_id: str) -> Person:
    ids = await _ids(connection, tenant_id, customer_id)
    try:
        connected = await identity_store.load_connected(connection, tenant_id, ids)
        matches = identities.matches(ids[0], connected.stated, connected.survivors)
    except TooManyConnectedError:
        matches = []
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


async def _own_merge(
    connection: AsyncConnection, tenant_id: UUID, customer_id: str, survivor_id: str
) -> tuple[str, Merge | None]:
    """Follow what people said of a customer; return whom that ends at before the survivor, and their own merge."""
    passed = set[str]()
    while customer_id not in passed:
        passed.add(customer_id)
        merges = await merge_store.list_merges(connection, tenant_id, [customer_id], standing=True)
        merge = next((merge for merge in merges if merge.customer_id == customer_id), None)
        if merge is None or merge.origin != PERSON or merge.survivor_id == survivor_id:
            return customer_id, merge
        customer_id = merge.survivor_id
    return customer_id, merge


def _merged(customer_id: str, survivor_id: str) -> CustomerMergedError:
    return CustomerMergedError(
        f"Customer {customer_id} is merged into {survivor_id}.",
        metadata={"customer_id": customer_id, "survivor_id": survivor_id},
    )
