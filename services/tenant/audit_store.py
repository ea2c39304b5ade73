"""All SQL of the audit log."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import RowMapping, select
from sqlalchemy.dialects.postgresql import insert

from servicekit.audit import Entry, Kind
from servicekit.database import Database
from services.tenant.store import TenantStore
from services.tenant.tables import audit_entries

DEPLOYMENT = UUID(int=0)
"""Whose entries those are that belong to no tenant."""


class AuditStore:
    """Appends to the log and reads it."""

    def __init__(self, database: Database, tenants: TenantStore) -> None:
        self._database = database
        self._tenants = tenants

    async def write(self, entries: Sequence[Entry]) -> None:
        """Append entries; of one that is there only an empty outcome is filled in.

        What an operator does without being bound to a tenant stands in the deployment's log, and in the tenant's too if
        the request names one that exists. What is heard of an erased tenant stands in the deployment's log only: its
        own must not grow again, because nothing would erase it.
        """
        logs: dict[UUID, list[Entry]] = {}
        known: dict[tuple[UUID | None, str], Sequence[UUID]] = {}
        for entry in entries:
            named = entry.tenant_id, entry.tenant
            if named not in known:
                known[named] = await self._logs_of(*named)
            for tenant_id in known[named]:
                logs.setdefault(tenant_id, []).append(entry)
        for tenant_id, of_tenant in logs.items():
            statement = insert(audit_entries)
            statement = statement.on_conflict_do_update(
                index_elements=[audit_entries.c.tenant_id, audit_entries.c.entry_id],
                set_={"outcome": statement.excluded.outcome},
                where=(audit_entries.c.outcome == "") & (statement.excluded.outcome != ""),
            )
            async with self._database.tenant(tenant_id) as connection:
                await connection.execute(statement, [_values(tenant_id, entry) for entry in of_tenant])

    async def page(self, tenant_id: UUID, *, before: UUID | None, kind: Kind | None, at_most: int) -> Sequence[Entry]:
        """Return entries of a log, the newest first, from the first one that is older than `before`."""
        statement = select(audit_entries).where(audit_entries.c.tenant_id == tenant_id)
        if before is not None:
            statement = statement.where(audit_entries.c.entry_id < before)
        if kind is not None:
            statement = statement.where(audit_entries.c.kind == kind.value)
        statement = statement.order_by(audit_entries.c.entry_id.desc()).limit(at_most)
        async with self._database.tenant(tenant_id) as connection:
            return [_entry(row) for row in (await connection.execute(statement)).mappings()]

    async def _logs_of(self, tenant_id: UUID | None, named: str) -> Sequence[UUID]:
        """Return the logs in which an entry stands: of the tenant that it is bound to, or of the one that it names."""
        reference = str(tenant_id or named)
        tenant = await self._tenants.find_tenant(reference) if reference else None
        if tenant is not None and tenant.erase_time is not None:
            return [DEPLOYMENT]
        if tenant_id is not None:
            return [tenant_id]
        return [DEPLOYMENT, tenant.tenant_id] if tenant else [DEPLOYMENT]


def _values(tenant_id: UUID, entry: Entry) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "entry_id": entry.entry_id,
        "kind": entry.kind.value,
        "create_time": entry.create_time,
        "subject": entry.subject,
        "method": entry.method,
        "resource": entry.resource,
        "request_id": entry.request_id,
        "outcome": entry.outcome,
        "count": entry.count,
    }


def _entry(row: RowMapping) -> Entry:
    tenant_id = None if row["tenant_id"] == DEPLOYMENT else row["tenant_id"]
    return Entry(**{**row, "tenant_id": tenant_id, "kind": Kind(row["kind"])})
