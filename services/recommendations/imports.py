"""Order imports: staged batch by batch, then applied with everything that follows from them, in one transaction."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from servicekit.ids import uuid7
from services.recommendations import (
    identity_store,
    order_checksums,
    order_listing,
    order_store,
    orders,
    profile_store,
    store,
)
from services.recommendations.customers import MODELS_BELL, Customers, no_customer
from services.recommendations.errors import (
    CustomersBusyError,
    OrderImportCommittedError,
    OrderImportIncompleteError,
    OrderImportNotFoundError,
    OrderNotFoundError,
)
from services.recommendations.order_checksums import OrderChecksum
from services.recommendations.order_listing import OrderFilter, StoredOrder
from services.recommendations.order_store import Applied, Lock
from services.recommendations.orders import OrderImport, OrderLine, Parcel
from services.recommendations.settling import settle_if_few

_COMMIT_SECONDS = 20.0
"""How long a commit is waited for before the answer is that it goes on."""
_MOST_LINES, _LISTED_LINES = 1000, 50


class OrderImports:
    """Takes orders into the tenants' histories."""

    def __init__(self, database: Database, customers: Customers) -> None:
        self._database = database
        self._customers = customers
        self._commits: dict[tuple[UUID, UUID], asyncio.Task[OrderImport]] = {}

    async def create(self, tenant_id: UUID) -> OrderImport:
        """Open an import."""
        async with self._database.tenant(tenant_id) as connection:
            return await order_store.create_import(connection, tenant_id, uuid7())

    async def append(
        self, tenant_id: UUID, import_id: UUID, batch_number: int, lines: Sequence[OrderLine]
    ) -> OrderImport:
        """Stage a batch; one whose number is taken already changes nothing.

        Raises:
            OrderImportNotFoundError: there is no such import.
            OrderImportCommittedError: the import was committed.
            CustomersBusyError: it is being committed, which may fail.
        """
        async with self._database.tenant(tenant_id) as connection:
            opened = await order_store.find_import(connection, tenant_id, import_id, "FOR KEY SHARE SKIP LOCKED")
            if opened is None:
                opened = await _find(connection, tenant_id, import_id)
                if not opened.committed:
                    raise CustomersBusyError("The import is being committed.", retry_after=1)
            if opened.committed:
                raise OrderImportCommittedError(
                    "The import is committed; nothing can be added.", metadata={"import_id": str(import_id)}
                )
            await order_store.stage(connection, tenant_id, import_id, batch_number, lines)
            return await _find(connection, tenant_id, import_id)

    async def get(self, tenant_id: UUID, import_id: UUID) -> OrderImport:
        """Return how far an import is.

        Raises:
            OrderImportNotFoundError: there is no such import.
        """
        async with self._database.tenant(tenant_id) as connection:
            found = await order_store.find_import(connection, tenant_id, import_id)
        if found is None:
            raise _no_import(import_id)
        task = self._commits.get((tenant_id, import_id))
        return replace(found, committing=task is not None and not task.done() and not found.committed)

    async def commit(self, tenant_id: UUID, import_id: UUID, expected_line_count: int) -> OrderImport:
        """Apply an import: its orders, a new model where there is evidence, everybody's profile.

        A large one goes on after the answer, which then says so; asking again waits for it. If this process ends
        meanwhile, nothing is applied, and asking again begins anew.

        Raises:
            OrderImportNotFoundError: there is no such import.
            OrderImportIncompleteError: it does not hold the expected number of lines.
            OrderLinesInconsistentError: the lines of an order disagree.
        """
        key = tenant_id, import_id
        task = self._commits.get(key)
        if task is None:
            task = asyncio.create_task(self._commit(tenant_id, import_id, expected_line_count))
            self._commits[key] = task
            task.add_done_callback(lambda ended: self._ended(key, ended))
        done, _ = await asyncio.wait({task}, timeout=_COMMIT_SECONDS)
        if done:
            self._commits.pop(key, None)
            return task.result()
        return OrderImport(str(import_id), False, self._customers.now, committing=True)

    def _ended(self, key: tuple[UUID, UUID], task: asyncio.Task[OrderImport]) -> None:
        """Forget a commit that ended well; why another one failed is kept for whoever asks next."""
        if task.cancelled() or task.exception() is None:
            self._commits.pop(key, None)

    async def stop(self) -> None:
        """End commits that go on; nothing of them is applied."""
        for task in list(self._commits.values()):
            task.cancel()
        await asyncio.gather(*self._commits.values(), return_exceptions=True)

    async def _commit(self, tenant_id: UUID, import_id: UUID, expected_line_count: int) -> OrderImport:
        async with self._customers.changing(tenant_id) as connection:
            opened = await _find(connection, tenant_id, import_id, "FOR UPDATE")
            if opened.committed:
                return opened
            if expected_line_count and expected_line_count != opened.line_count:
                raise OrderImportIncompleteError(
                    f"The import holds {opened.line_count} lines, not {expected_line_count}.",
                    metadata={"expected": str(expected_line_count), "found": str(opened.line_count)},
                )
            applied = await self._apply(connection, tenant_id, import_id, opened.line_count)
            everybody = await self._summarise(connection, tenant_id, applied, settle_currency=True)
            await self._customers.refresh_after_import(connection, tenant_id, everybody)
            await order_store.finish_import(connection, tenant_id, import_id, opened.line_count, applied)
            done = await _find(connection, tenant_id, import_id)
        await self._customers.announce(tenant_id)
        await self._customers.doorbell.ring(MODELS_BELL)
        return done

    async def import_now(self, tenant_id: UUID, lines: Sequence[OrderLine]) -> OrderImport:
        """Take a few orders and refresh their customers, in one transaction.

        Raises:
            OrderLinesInconsistentError: the lines of an order disagree.
        """
        orders.check_consistent(lines)
        async with self._customers.changing(tenant_id) as connection:
            import_id = uuid7()
            await order_store.create_import(connection, tenant_id, import_id)
            await order_store.stage(connection, tenant_id, import_id, 1, lines)
            applied = await self._apply(connection, tenant_id, import_id, len(lines))
            everybody = await self._summarise(connection, tenant_id, applied, settle_currency=False)
            await self._customers.refresh(connection, tenant_id, everybody)
            await profile_store.mark_day_if_new(connection, tenant_id, self._customers.now)
            await order_store.finish_import(connection, tenant_id, import_id, len(lines), applied)
            done = await _find(connection, tenant_id, import_id)
            await order_store.drop_import(connection, tenant_id, import_id)
        await self._customers.announce(tenant_id)
        return done

    async def record_shipments(self, tenant_id: UUID, parcels: Sequence[Parcel]) -> int:
        """Store parcels and refresh their customers; return how many were stored.

        Raises:
            OrderNotFoundError: an order does not exist; nothing is stored then.
        """
        # Of a parcel that is named twice the last one counts.
        latest = list({(parcel.order_id, parcel.tracking_number): parcel for parcel in parcels}.values())
        async with self._customers.changing(tenant_id) as connection:
            missing = await order_store.missing_orders(connection, tenant_id, [parcel.order_id for parcel in latest])
            if missing:
                raise _no_order(missing[0])
            touched = await order_store.store_shipments(connection, tenant_id, latest)
            shop = await store.load_shop(connection, tenant_id)
            if shop is not None:
                await store.summarise(connection, tenant_id, touched, shop.currency)
            await self._customers.refresh(connection, tenant_id, touched)
        await self._customers.announce(tenant_id)
        return len(latest)

    async def order(self, tenant_id: UUID, order_id: str) -> StoredOrder:
        """Return an order.

        Raises:
            OrderNotFoundError: there is none with this id.
        """
        async with self._database.tenant(tenant_id) as connection:
            found = await order_listing.find_order(connection, tenant_id, order_id, lines=_MOST_LINES)
        if found is None:
            raise _no_order(order_id)
        return found

    async def orders_of(
        self, tenant_id: UUID, customer_id: str, limit: int, after: tuple[datetime, str] | None
    ) -> list[StoredOrder]:
        """Return a customer's orders, newest first, from where the page before ended.

        Raises:
            CustomerNotFoundError: the shop knows no such customer.
        """
        async with self._database.tenant(tenant_id) as connection:
            survivor = (await identity_store.survivors(connection, tenant_id, [customer_id]))[customer_id]
            if not await identity_store.with_rows(connection, tenant_id, [survivor]):
                raise no_customer(customer_id)
            return await order_listing.find_orders(
                connection, tenant_id, survivor, OrderFilter(), limit, after=after, lines=_LISTED_LINES
            )

    async def checksums(self, tenant_id: UUID, after: str, limit: int) -> tuple[list[OrderChecksum], bool]:
        """Return checksums of orders from behind an id on, and whether there are more."""
        async with self._database.snapshot(tenant_id) as connection:
            return await order_checksums.checksums(connection, tenant_id, after, limit)

    async def _apply(self, connection: AsyncConnection, tenant_id: UUID, import_id: UUID, line_count: int) -> Applied:
        """Apply what is staged; whoever is new by it and known by an id that others have may be one of them."""
        odd = await order_store.find_inconsistent(connection, tenant_id, import_id)
        if odd is not None:
            raise orders.inconsistent(odd)
        large = await order_store.find_too_large(connection, tenant_id, import_id)
        if large is not None:
            raise orders.too_large(large)
        applied = await order_store.apply(connection, tenant_id, import_id, line_count)
        stated = await identity_store.make_known(connection, tenant_id, applied.source_ids)
        if not stated:
            return applied
        joined = await settle_if_few(connection, tenant_id, stated, self._customers.now)
        return replace(applied, customer_ids=tuple(sorted({*applied.customer_ids, *joined})))

    async def _summarise(
        self, connection: AsyncConnection, tenant_id: UUID, applied: Applied, *, settle_currency: bool
    ) -> Sequence[str]:
        """Compute the touched histories anew and return whose they are.

        The currency of the sums is settled by whole imports, and by the first order of a shop: one order in another
        currency must not turn all sums around.
        """
        shop = await store.load_shop(connection, tenant_id)
        currency = shop.currency if shop else None
        if currency is None or settle_currency:
            currency = await store.main_currency(connection, tenant_id) or currency
        if currency is None:
            return ()
        touched: Sequence[str] = applied.customer_ids
        if shop is None or currency != shop.currency:
            await store.save_shop(connection, tenant_id, currency)
            touched = sorted({*touched, *await store.all_customer_ids(connection, tenant_id)})
        await store.summarise(connection, tenant_id, touched, currency)
        return touched


async def _find(connection: AsyncConnection, tenant_id: UUID, import_id: UUID, lock: Lock = "") -> OrderImport:
    found = await order_store.find_import(connection, tenant_id, import_id, lock)
    if found is None:
        raise _no_import(import_id)
    return found


def _no_import(import_id: UUID) -> OrderImportNotFoundError:
    return OrderImportNotFoundError("There is no such import.", metadata={"import_id": str(import_id)})


def _no_order(order_id: str) -> OrderNotFoundError:
    return OrderNotFoundError(f"There is no order {order_id}.", metadata={"order_id": order_id})
