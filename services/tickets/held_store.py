"""Changes of other services' logs that could not be copied, since their tenant was refused: kept until it is not."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import delete, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert

from servicekit.database import Database
from services.tickets.tables import held_changes

Held = tuple[int, str]
"""What changed: the number of its kind in the contract, and its subject."""

_TENANTS_AT_ONCE = 100
_CHANGES_AT_ONCE = 1000


class HeldChanges:
    """Reads and writes the changes that wait."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, tenant_id: UUID, changes: Collection[Held]) -> None:
        """Let changes wait; each waits once however often it came."""
        rows = [{"tenant_id": tenant_id, "kind": kind, "subject": subject} for kind, subject in sorted(set(changes))]
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(insert(held_changes).on_conflict_do_nothing(), rows)

    async def tenants(self, refused: Collection[UUID]) -> Sequence[UUID]:
        """Return tenants with changes that wait, without those that are refused."""
        finding = text("SELECT tickets.tenants_with_held_changes(:refused, :most)")
        async with self._database.spanning() as connection:
            found = await connection.execute(finding, {"refused": list(refused), "most": _TENANTS_AT_ONCE})
            return list(found.scalars())

    async def of(self, tenant_id: UUID) -> Sequence[Held]:
        """Return changes of a tenant that wait."""
        mine = select(held_changes.c.kind, held_changes.c.subject).where(held_changes.c.tenant_id == tenant_id)
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.execute(mine.order_by(held_changes.c.kind).limit(_CHANGES_AT_ONCE))
            return [(row.kind, row.subject) for row in rows]

    async def drop(self, tenant_id: UUID, changes: Collection[Held]) -> None:
        """Forget changes that have been copied."""
        pair = tuple_(held_changes.c.kind, held_changes.c.subject)
        mine = delete(held_changes).where(held_changes.c.tenant_id == tenant_id, pair.in_(list(changes)))
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(mine)
