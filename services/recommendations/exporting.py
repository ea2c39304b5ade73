"""Everything that is kept of a customer, as lines of JSON, in pieces of a bounded size."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from servicekit.database import Database
from services.recommendations import action_store, export_store, order_listing
from services.recommendations.customers import Customers
from services.recommendations.order_listing import OrderFilter
from services.recommendations.people import People

_ORDERS_AT_ONCE = 200
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
        ids = {"customer_id": person.customer_id, "customer_ids": list(person.customer_ids)}
        yield "customer", ids
        for identity in person.identities:
            yield "identity", {**asdict(identity.identity), "source": identity.source, "since": identity.create_time}
        for merge in person.merges:
            yield "merge", asdict(merge)
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
        async for order in self._orders(tenant_id, person.customer_id):
            yield "order", order
        for start in range(0, len(tickets), _TICKETS_AT_ONCE):
            async with self._database.tenant(tenant_id) as connection:
                advice = await export_store.advice(connection, tenant_id, tickets[start : start + _TICKETS_AT_ONCE])
            for kind, value in advice:
                yield kind, value

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
