"""All SQL about refused requests: how many there were, and how many came lately."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import case
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.dml import ReturningInsert

from servicekit.database import Database
from services.crm.tables import refusal_windows, refusals


class RefusalStore:
    """The counts of refused requests of the tenants' connections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(
        self, tenant_id: UUID, counts: Mapping[tuple[UUID, str], int], now: datetime, *, window: timedelta
    ) -> dict[UUID, tuple[int, int]]:
        """Add to the refused requests of connections, by reason.

        Return for each connection how many there were in its window before this and how many there are now. A window
        is counted in by all processes; it ends `window` after its first refusal, and the next refusal opens another.
        """
        rows = [
            {"tenant_id": tenant_id, "connection_id": connection, "reason": reason, "count": count, "last_time": now}
            for (connection, reason), count in sorted(counts.items())
        ]
        statement = upsert(refusals)
        statement = statement.on_conflict_do_update(
            index_elements=[refusals.c.tenant_id, refusals.c.connection_id, refusals.c.reason],
            set_={"count": refusals.c.count + statement.excluded.count, "last_time": statement.excluded.last_time},
        )
        sums: dict[UUID, int] = {}
        for (connection, _), count in sorted(counts.items()):
            sums[connection] = sums.get(connection, 0) + count
        async with self._database.tenant(tenant_id) as transaction:
            await transaction.execute(statement, rows)
            seen = {}
            for connection, count in sums.items():
                query = _in_window(tenant_id, connection, count, now, window)
                total = (await transaction.execute(query)).scalar_one()
                seen[connection] = (total - count, total)
        return seen


def _in_window(
    tenant_id: UUID, connection_id: UUID, count: int, now: datetime, window: timedelta
) -> ReturningInsert[int]:
    """Return the statement that counts in a connection's window, or opens a new one."""
    windows = refusal_windows.c
    new = upsert(refusal_windows).values(tenant_id=tenant_id, connection_id=connection_id, start_time=now, count=count)
    over = windows.start_time <= now - window
    return new.on_conflict_do_update(
        index_elements=[windows.tenant_id, windows.connection_id],
        set_={
            "start_time": case((over, new.excluded.start_time), else_=windows.start_time),
            "count": case((over, new.excluded.count), else_=windows.count + new.excluded.count),
        },
    ).returning(windows.count)
