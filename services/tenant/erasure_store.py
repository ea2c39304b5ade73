"""The SQL of erasures: which are due, what they removed, and their reports."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.tenant import registry
from services.tenant.erasure import REQUESTER_AFTER_GRACE, Erasure
from services.tenant.errors import ErasureNotFoundError, TenantNotFoundError
from services.tenant.registry import Tenant
from services.tenant.store import TenantStore
from services.tenant.tables import erasure_counts, erasures, tenants

_MOST_AT_ONCE = 100


class ErasureStore:
    """Reads and writes the erasures."""

    def __init__(self, database: Database, registered: TenantStore) -> None:
        self._database = database
        self._tenants = registered

    async def begin(self, reference: str, etag: str, requester: str, now: datetime) -> Erasure:
        """Take the way back from a deleted tenant and return the report; a repeat changes nothing.

        Raises:
            TenantNotFoundError: there is no such tenant.
            TenantNotDeletedError, EtagMismatchError: as for `registry.begin_erasure`.
        """
        return await self._begin(reference, partial(registry.begin_erasure, etag=etag, now=now), requester)

    async def begin_due(self, tenant_id: UUID, now: datetime) -> Erasure:
        """Do the same for a tenant whose time is over.

        Raises:
            TenantNotFoundError: there is no such tenant.
            TenantNotDeletedError: as for `registry.begin_due_erasure`.
        """
        decide = partial(registry.begin_due_erasure, now=now)
        return await self._begin(str(tenant_id), decide, REQUESTER_AFTER_GRACE)

    async def _begin(self, reference: str, decide: Callable[[Tenant], Tenant], requester: str) -> Erasure:

        async def note(connection: AsyncConnection, tenant: Tenant) -> None:
            # What the tenant was asked for with goes as well: it names a request of the shop's maker.
            row = update(tenants).where(tenants.c.tenant_id == tenant.tenant_id).values(request_id=None)
            await connection.execute(row)
            begun = insert(erasures).values(
                tenant_id=tenant.tenant_id, slug=tenant.slug, requester=requester, start_time=tenant.erase_time
            )
            await connection.execute(begun.on_conflict_do_nothing())

        tenant = await self._tenants.change_tenant(reference, decide, note)
        return await self.read(str(tenant.tenant_id))

    async def due(self) -> Sequence[UUID]:
        """Return the tenants whose time has come and of which something may be left, the longest due first."""
        async with self._database.spanning() as connection:
            found = await connection.execute(text("SELECT tenant.due_erasures(:most)"), {"most": _MOST_AT_ONCE})
            return list(found.scalars())

    async def record(self, tenant_id: UUID, service: str, counts: Mapping[str, int]) -> None:
        """Write down what a service has removed by now, by table."""
        rows = [
            {"tenant_id": tenant_id, "service": service, "table_name": table, "row_count": count}
            for table, count in counts.items()
        ]
        if not rows:
            return
        statement = insert(erasure_counts)
        statement = statement.on_conflict_do_update(
            index_elements=["tenant_id", "service", "table_name"],
            # Two reports may overtake each other; the sums only grow.
            set_={"row_count": func.greatest(erasure_counts.c.row_count, statement.excluded.row_count)},
        )
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(statement, rows)

    async def finish(self, tenant_id: UUID, now: datetime) -> None:
        """Note that nothing is left."""

        async def note(connection: AsyncConnection, tenant: Tenant) -> None:
            mine = erasures.c.tenant_id == tenant.tenant_id, erasures.c.complete_time.is_(None)
            await connection.execute(update(erasures).where(*mine).values(complete_time=now))

        await self._tenants.change_tenant(str(tenant_id), partial(registry.end_erasure, now=now), note)

    async def read(self, reference: str) -> Erasure:
        """Return the report of a tenant's erasure.

        Raises:
            TenantNotFoundError: there is no such tenant.
            ErasureNotFoundError: it was not erased.
        """
        tenant = await self._tenants.find_tenant(reference)
        if tenant is None:
            raise TenantNotFoundError
        mine = erasure_counts.c.tenant_id == tenant.tenant_id
        ordered = select(erasure_counts).where(mine).order_by(erasure_counts.c.service, erasure_counts.c.table_name)
        async with self._database.tenant(tenant.tenant_id) as connection:
            report = select(erasures).where(erasures.c.tenant_id == tenant.tenant_id)
            row = (await connection.execute(report)).mappings().one_or_none()
            counts = (await connection.execute(ordered)).all()
        if row is None:
            raise ErasureNotFoundError
        removed = {(count.service, count.table_name): count.row_count for count in counts}
        return Erasure(**row, removed=removed)
