"""All SQL of a customer's erasure."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import and_, cast, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.tickets.changes import Kind
from services.tickets.tables import changes, customer_copies, messages, tickets


@dataclass(frozen=True, slots=True)
class ErasedTicket:
    """A ticket by its names; one that was made here has none at a provider."""

    id: UUID
    connection_id: UUID | None
    external_id: str | None


class ErasureStore:
    """Customers' tickets in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tickets_of(
        self, tenant_id: UUID, customer_id: str, *, after: UUID | None, limit: int
    ) -> tuple[list[ErasedTicket], list[str]]:
        """Return tickets of a customer in the order of their ids, and the customer's addresses in them."""
        async with self._database.tenant(tenant_id) as connection:
            return await _tickets_of(connection, tenant_id, customer_id, after or UUID(int=0), limit)

    async def merged(self, tenant_id: UUID, ids: Sequence[UUID]) -> list[UUID]:
        """Return which of these tickets were merged into others, and which others into these."""
        async with self._database.tenant(tenant_id) as connection:
            return [one for one, _ in await _merged(connection, tenant_id, ids)]

    async def erase(
        self, tenant_id: UUID, customer_id: str, *, limit: int
    ) -> tuple[list[ErasedTicket], list[str], bool]:
        """Erase tickets of a customer and the customer's copy, and tell the watchers; return what went.

        Those that are merged with others stay; the third value tells whether there are any.
        """
        async with self._database.tenant(tenant_id) as connection:
            found, emails = await _tickets_of(connection, tenant_id, customer_id, UUID(int=0), limit, lock=True)
            # Nobody can merge what is locked, in either direction.
            merged = {one for pair in await _merged(connection, tenant_id, [one.id for one in found]) for one in pair}
            alone = [ticket for ticket in found if ticket.id not in merged]
            await _log(connection, tenant_id, [ticket.id for ticket in alone])
            await connection.execute(select(func.tickets.erase_tickets([ticket.id for ticket in alone])))
            copy = customer_copies.c
            await connection.execute(
                delete(customer_copies).where(copy.tenant_id == tenant_id, copy.customer_id == customer_id)
            )
        return alone, emails, len(alone) < len(found)


async def _merged(connection: AsyncConnection, tenant_id: UUID, ids: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
    """Return which of these tickets were merged into others, and which others into these, each with the other one."""
    members = select(func.unnest(tickets.c.merged_from)).where(tickets.c.tenant_id == tenant_id, tickets.c.id.in_(ids))
    into_these = and_(tickets.c.id.in_(members), tickets.c.merged_into.in_(ids))
    from_these = and_(tickets.c.id.in_(ids), tickets.c.merged_into.is_not(None))
    query = select(tickets.c.id, tickets.c.merged_into).where(
        tickets.c.tenant_id == tenant_id, or_(into_these, from_these)
    )
    return [(row.id, row.merged_into) for row in await connection.execute(query.order_by(tickets.c.id))]


async def _tickets_of(
    connection: AsyncConnection, tenant_id: UUID, customer_id: str, after: UUID, limit: int, *, lock: bool = False
) -> tuple[list[ErasedTicket], list[str]]:
    query = (
        select(tickets.c.id, tickets.c.connection_id, tickets.c.external_id)
        .where(tickets.c.tenant_id == tenant_id, tickets.c.customer_id == customer_id, tickets.c.id > after)
        .order_by(tickets.c.id)
        .limit(limit)
    )
    rows = await connection.execute(query.with_for_update() if lock else query)
    found = [ErasedTicket(*row) for row in rows]
    wrote = select(messages.c.author_email).where(
        messages.c.tenant_id == tenant_id,
        messages.c.ticket_id.in_([ticket.id for ticket in found]),
        ~messages.c.from_agent,
        messages.c.author_email != "",
    )
    emails = await connection.scalars(wrote.distinct().order_by(messages.c.author_email))
    return found, list(emails)


async def _log(connection: AsyncConnection, tenant_id: UUID, ids: Sequence[UUID]) -> None:
    """Tell the watchers of the inbox that the tickets are closed: there is nothing more to say of them."""
    here = tickets.c
    names = ["tenant_id", "kind", "ticket_id", "number", "revision", "status", "previous_status"]
    gone = select(
        here.tenant_id,
        cast(Kind.CLOSED.value, changes.c.kind.type),
        here.id,
        here.number,
        here.revision,
        cast("closed", changes.c.status.type),
        here.status,
        here.rank_key,
        here.rank_key,
        here.start_time,
    ).where(here.tenant_id == tenant_id, here.id.in_(ids))
    columns = [*names, "rank_key", "previous_rank_key", "start_time"]
    await connection.execute(insert(changes).from_select(columns, gone))
