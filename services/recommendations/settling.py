"""Bringing the merges of a shop's customers to what is stated about them, and their orders along."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit import outbox
from servicekit.ids import uuid7
from services.recommendations import advice_store, identities, identity_store, merge_store, store
from services.recommendations.errors import TooManyConnectedError
from services.recommendations.identities import Identity, Resolved
from services.recommendations.identity_store import Connected
from services.recommendations.merge_store import EVIDENCE, Merge

_log = structlog.get_logger(__name__)

NO_LONGER = "the evidence no longer holds"


async def settle(
    connection: AsyncConnection,
    tenant_id: UUID,
    customer_ids: Iterable[str],
    now: datetime,
    gone: Iterable[Identity] = (),
) -> list[str]:
    """Find out who is who around some customers, and around ids that are no longer stated, and store what follows.

    Orders then belong to the survivors. Returns the customers whose histories and profiles are to be computed anew; the
    log names every id that answers with another customer than before. The caller holds the tenant's lock.

    Raises:
        TooManyConnectedError: they are connected to more than are looked at together; nothing was changed.
    """
    connected = await identity_store.load_connected(connection, tenant_id, customer_ids, gone)
    resolved = identities.resolve(connected.stated)
    await _store_merges(connection, tenant_id, connected, resolved, now)
    changes = {
        customer: (before, after)
        for customer, after in sorted(resolved.survivors.items())
        if (before := connected.survivors.get(customer, customer)) != after
    }
    if not changes:
        return []
    await identity_store.link(connection, tenant_id, changes)
    everybody = sorted({*changes, *(one for pair in changes.values() for one in pair)})
    await outbox.append_all(connection, tenant_id, [(store.KIND_CUSTOMER, one) for one in everybody])
    left = await identity_store.drop_mere_names(connection, tenant_id, everybody)
    if left:
        await store.move_members(connection, tenant_id, [(group, None) for group in left if group is not None])
        # One who comes to be again begins with the first version of their facts, which old advice may rest on.
        await advice_store.outdate(connection, tenant_id)
    known = set(await identity_store.with_rows(connection, tenant_id, everybody))
    # Who survives of people with a history has one, though the id may have been but a helpdesk's so far.
    known |= {after for customer, (_, after) in changes.items() if customer in known}
    return sorted(known)


async def settle_if_few(
    connection: AsyncConnection,
    tenant_id: UUID,
    customer_ids: Iterable[str],
    now: datetime,
    gone: Iterable[Identity] = (),
) -> list[str]:
    """Do the same for what was stated by the way: where too many are connected, all stay who they are."""
    try:
        return await settle(connection, tenant_id, customer_ids, now, gone)
    except TooManyConnectedError:
        _log.warning("identities_not_settled", reason=TooManyConnectedError.reason, tenant_id=str(tenant_id))
        return []


async def _store_merges(
    connection: AsyncConnection, tenant_id: UUID, connected: Connected, resolved: Resolved, now: datetime
) -> None:
    """End the merges by evidence that no longer holds, and add those that it calls for."""
    wanted = {joined.customer_id: joined for joined in resolved.joined}
    for customer, merge in connected.merges.items():
        if merge.origin != EVIDENCE:
            continue
        joined = wanted.get(customer)
        if joined and (joined.survivor_id, joined.evidence) == (merge.survivor_id, merge.evidence):
            del wanted[customer]
        else:
            await merge_store.end_merge(connection, tenant_id, merge.merge_id, NO_LONGER, now)
    for joined in wanted.values():
        merge = Merge(uuid7(), joined.customer_id, joined.survivor_id, EVIDENCE, joined.evidence, "", now)
        await merge_store.add_merge(connection, tenant_id, merge)
