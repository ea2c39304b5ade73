"""Everything that is kept of a customer, as lines of JSON, in pieces of a bounded size."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from servicekit.database import Database
from services.recommendations import action_store, export_store, identity_store, merge_store, order_listing
from services.recommendations.customers import Customers
from services.recommendations.identity_store import StoredIdentity
from services.recommendations.merge_store import Merge
from services.recommendations.order_listing import OrderFilter
from services.recommendations.people import People, Person

_ORDERS_AT_ONCE = 200
_ROWS_AT_ONCE = 500
_TICKETS_AT_ONCE = 20
_PIECE = 256 * 1024
"""About how many bytes are sent at once."""


class Exporting:
    """Exports customers of all tenants."""

    def __init__(self, database: Database, customers: Customers, people: People) -> None:
        self._database = database
        self._customers = customers
        self._people = people

    async def export(self, tenant_id: UUID, customer_id: str, tickets: Sequence[UUID]) -> AsyncIterator[bytes]:
        """Yield lines of JSON, {"kind": …, "value": …} each, whole lines in a piece.

        Raises:
            CustomerNotFoundError: nothing is known under this id.
        """
        held: list[bytes] = []
        size = 0
        async for kind, value in self._records(tenant_id, customer_id, tickets):
            # The names of columns are a kind of text of their own, which counts as a key only when that is said.
            line = orjson.dumps({"kind": kind, "value": value}, default=str, option=orjson.OPT_NON_STR_KEYS) + b"\n"
            held.append(line)
            size += len(line)
            if size > _PIECE:
                yield b"".join(held)
                held, size = [], 0
        yield b"".join(held)

    async def _records(
        self, tenant_id: UUID, customer_id: str, tickets: Sequence[UUID]
    ) -> AsyncIterator[tuple[str, Any]]:
        person = await self._people.describe(tenant_id, customer_id)
        async for record in self._who(tenant_id, person):
            yield record
        async for record in self._history(tenant_id, person):
            yield record
        for start in range(0, len(tickets), _TICKETS_AT_ONCE):
            async with self._database.tenant(tenant_id) as connection:
                advice = await export_store.advice(connection, tenant_id, tickets[start : start + _TICKETS_AT_ONCE])
            for kind, value in advice:
                yield kind, value

    async def _who(self, tenant_id: UUID, person: Person) -> AsyncIterator[tuple[str, Any]]:
        """Yield who a customer is: ids, what joined them, and whom evidence does not join."""
        ids = {"customer_id": person.customer_id, "customer_ids": list(person.customer_ids)}
        yield "customer", ids
        async for identity in self._identities(tenant_id, person.customer_ids):
            yield "identity", {**asdict(identity.identity), "source": identity.source, "since": identity.create_time}
        async for merge in self._merges(tenant_id, person.customer_ids):
            yield "merge", asdict(merge)
        async with self._database.tenant(tenant_id) as connection:
            apart = await identity_store.kept_apart(connection, tenant_id, person.customer_ids)
        for one in sorted(apart):
            yield "kept_apart", {"customer_id": one}

    async def _history(self, tenant_id: UUID, person: Person) -> AsyncIterator[tuple[str, Any]]:
        """Yield the profile and what it rests on."""
        for known in (await self._customers.find(tenant_id, [person.customer_id])).values():
            yield "profile", known.profile
        # Whoever reads slowly must not keep a transaction waiting: what is yielded was read before.
        async with self._database.tenant(tenant_id) as connection:
            rows = await export_store.customer_rows(connection, tenant_id, person.customer_ids)
            grants = await action_store.granted(connection, tenant_id, person.customer_ids)
        for row in rows:
            yield "contact_and_history", row
        for row in grants:
            yield "action_grant", row
        async for line in self._staged(tenant_id, person.customer_ids):
            yield "staged_order_line", line
        async for order in self._orders(tenant_id, person.customer_id):
            yield "order", order

    async def _identities(self, tenant_id: UUID, customer_ids: Sequence[str]) -> AsyncIterator[StoredIdentity]:
        after = ("", "", "")
        while True:
            async with self._database.tenant(tenant_id) as connection:
                page = await identity_store.list_identities(connection, tenant_id, customer_ids, _ROWS_AT_ONCE, after)
            for one in page:
                yield one
            if len(page) < _ROWS_AT_ONCE:
                return
            after = page[-1].identity.kind, page[-1].identity.value, page[-1].source

    async def _merges(self, tenant_id: UUID, customer_ids: Sequence[str]) -> AsyncIterator[Merge]:
        before: tuple[datetime, UUID] | None = None
        while True:
            async with self._database.tenant(tenant_id) as connection:
                page = await merge_store.list_merges(
                    connection, tenant_id, customer_ids, limit=_ROWS_AT_ONCE, before=before
                )
            for one in page:
                yield one
            if len(page) < _ROWS_AT_ONCE:
                return
            before = page[-1].create_time, page[-1].merge_id

    async def _staged(self, tenant_id: UUID, customer_ids: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
        """Yield a customer's lines of imports that are not committed."""
        after: tuple[UUID, int, int] | None = None
        while True:
            async with self._database.tenant(tenant_id) as connection:
                page = await export_store.staged_lines(connection, tenant_id, customer_ids, _ROWS_AT_ONCE, after)
            for line in page:
                yield line
            if len(page) < _ROWS_AT_ONCE:
                return
            after = page[-1]["import_id"], page[-1]["batch_number"], page[-1]["place"]

    async def _orders(self, tenant_id: UUID, customer_id: str) -> AsyncIterator[dict[str, Any]]:
        """Yield a customer's orders, page by page, so that nobody has to hold 50,000 of them."""
        after: tuple[datetime, str] | None = None
        while True:
            async with self._database.tenant(tenant_id) as connection:
                page = await order_listing.find_orders(
                    connection, tenant_id, customer_id, OrderFilter(), _ORDERS_AT_ONCE, after=after
                )
            for order in page:
                yield asdict(order)
            if len(page) < _ORDERS_AT_ONCE:
                return
            after = page[-1].order_time, page[-1].order_id
