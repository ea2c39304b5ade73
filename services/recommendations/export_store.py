"""The SQL of exports: rows of a customer as they are kept, and all advice on tickets."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations import advice_store
from services.recommendations.tables import advice_history, completed_actions, customers, order_import_lines

_NOT_EXPORTED = {"tenant_id", "profile"}


async def customer_rows(
    connection: AsyncConnection, tenant_id: UUID, customer_ids: Sequence[str]
) -> list[dict[str, Any]]:
    """Return contacts and histories as they are kept; the profile is told by itself."""
    columns = [column for column in customers.c if column.name not in _NOT_EXPORTED]
    chosen = select(*columns).where(customers.c.tenant_id == tenant_id, customers.c.customer_id.in_(list(customer_ids)))
    return [dict(row) for row in (await connection.execute(chosen)).mappings()]


async def staged_lines(
    connection: AsyncConnection,
    tenant_id: UUID,
    customer_ids: Sequence[str],
    limit: int,
    after: tuple[UUID, int, int] | None,
) -> list[dict[str, Any]]:
    """Return customers' lines of imports that are not committed, from an import, batch and place on."""
    lines = order_import_lines.c
    place = (lines.import_id, lines.batch_number, lines.place)
    chosen = select(*(column for column in lines if column.name not in _NOT_EXPORTED))
    chosen = chosen.where(lines.tenant_id == tenant_id, lines.customer_id.in_(list(customer_ids)))
    if after is not None:
        chosen = chosen.where(tuple_(*place) > tuple_(*(literal(value) for value in after)))
    return [dict(row) for row in (await connection.execute(chosen.order_by(*place).limit(limit))).mappings()]


async def advice(connection: AsyncConnection, tenant_id: UUID, tickets: Sequence[UUID]) -> list[tuple[str, Any]]:
    """Return the advice on tickets, what it was before, and the actions that were ticked off, each with its kind."""
    found: list[tuple[str, Any]] = [
        ("advice", asdict(one)) for one in await advice_store.load(connection, tenant_id, tickets)
    ]
    for kind, table in (("advice_history", advice_history), ("completed_action", completed_actions)):
        columns = [column for column in table.c if column.name != "tenant_id"]
        chosen = select(*columns).where(table.c.tenant_id == tenant_id, table.c.ticket_id.in_(list(tickets)))
        found += [(kind, dict(row)) for row in (await connection.execute(chosen)).mappings()]
    return found
