"""Order imports: staged batch by batch, then applied with everything that follows from them, in one transaction."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from servicekit.ids import uuid7
from services.recommendations import order_store, orders, store
from services.recommendations.customers import Customers
from services.recommendations.errors import (
    OrderImportCommittedError,
    OrderImportIncompleteError,
    OrderImportNotFoundError,
    OrderNotFoundError,
)
from services.recommendations.order_store import Applied
from services.recommendations.orders import OrderImport, OrderLine, Parcel


class OrderImports:
    """Takes orders into the tenants' histories."""

    def __init__(self, database: Database, customers: Customers) -> None:
        self._database = database
        self._customers = customers

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
        """
        async with self._database.tenant(tenant_id) as connection:
            opened = await _find(connection, tenant_id, import_id)
            if opened.committed:
                raise OrderImportCommittedError(
                    "The import is committed; nothing can be added.", metadata={"import_id": str(import_id)}
                )
            await order_store.stage(connection, tenant_id, import_id, batch_number, lines)
            return await _find(connection, tenant_id, import_id)

    async def commit(self, tenant_id: UUID, import_id: UUID, expected_line_count: int) -> OrderImport:
        """Apply an import: its orders, a new model where there is evidence, everybody's profile.

        Raises:
            OrderImportNotFoundError: there is no such import.
            OrderImportIncompleteError: it does not hold the expected number of lines.
            OrderLinesInconsistentError: the lines of an order disagree.
        """
        async with self._database.tenant(tenant_id) as connection:
            await order_store.lock_tenant(connection, tenant_id)
            opened = await _find(connection, tenant_id, import_id, to_commit=True)
            if opened.committed:
                return opened
            if expected_line_count and expected_line_count != opened.line_count:
                raise OrderImportIncompleteError(
                    f"The import holds {opened.line_count} lines, not {expected_line_count}.",
                    metadata={"expected": str(expected_line_count), "found": str(opened.line_count)},
                )
            applied = await self._apply(connection, tenant_id, import_id)
            await self._summarise(connection, tenant_id, applied, settle_currency=True)
            await self._customers.refresh_all(connection, tenant_id, fit=True)
            await order_store.finish_import(connection, tenant_id, import_id, opened.line_count, applied)
            done = await _find(connection, tenant_id, import_id)
        await self._customers.announce()
        return done

    async def import_now(self, tenant_id: UUID, lines: Sequence[OrderLine]) -> OrderImport:
        """Take a few orders and refresh their customers, in one transaction.

        Raises:
            OrderLinesInconsistentError: the lines of an order disagree.
        """
        orders.check_consistent(lines)
        async with self._database.tenant(tenant_id) as connection:
            await order_store.lock_tenant(connection, tenant_id)
            import_id = uuid7()
            await order_store.create_import(connection, tenant_id, import_id)
            await order_store.stage(connection, tenant_id, import_id, 1, lines)
            applied = await self._apply(connection, tenant_id, import_id)
            everybody = await self._summarise(connection, tenant_id, applied, settle_currency=False)
            await self._customers.refresh(connection, tenant_id, everybody)
            await store.mark_day_if_new(connection, tenant_id, self._customers.today)
            await order_store.finish_import(connection, tenant_id, import_id, len(lines), applied)
            done = await _find(connection, tenant_id, import_id)
        await self._customers.announce()
        return done

    async def record_shipments(self, tenant_id: UUID, parcels: Sequence[Parcel]) -> int:
        """Store parcels and refresh their customers; return how many were stored.

        Raises:
            OrderNotFoundError: an order does not exist; nothing is stored then.
        """
        # Of a parcel that is named twice the last one counts.
        latest = list({(parcel.order_id, parcel.tracking_number): parcel for parcel in parcels}.values())
        async with self._database.tenant(tenant_id) as connection:
            await order_store.lock_tenant(connection, tenant_id)
            missing = await order_store.missing_orders(connection, tenant_id, [parcel.order_id for parcel in latest])
            if missing:
                raise OrderNotFoundError(f"There is no order {missing[0]}.", metadata={"order_id": missing[0]})
            touched = await order_store.store_shipments(connection, tenant_id, latest)
            shop = await store.load_shop(connection, tenant_id)
            if shop is not None:
                await store.summarise(connection, tenant_id, touched, shop.currency)
            await self._customers.refresh(connection, tenant_id, touched)
        await self._customers.announce()
        return len(latest)

    async def _apply(self, connection: AsyncConnection, tenant_id: UUID, import_id: UUID) -> Applied:
        odd = await order_store.find_inconsistent(connection, tenant_id, import_id)
        if odd is not None:
            raise orders.inconsistent(odd)
        return await order_store.apply(connection, tenant_id, import_id)

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


async def _find(
    connection: AsyncConnection, tenant_id: UUID, import_id: UUID, *, to_commit: bool = False
) -> OrderImport:
    found = await order_store.find_import(connection, tenant_id, import_id, to_commit=to_commit)
    if found is None:
        raise OrderImportNotFoundError("There is no such import.", metadata={"import_id": str(import_id)})
    return found
