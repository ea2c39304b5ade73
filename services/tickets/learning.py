"""Learns once a day how long each tenant's tickets take, in one process of the service at a time."""

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta
from uuid import UUID

import structlog

from servicekit.errors import DomainError, UnavailableError
from services.tickets.desk import Caller
from services.tickets.policy_desk import PolicyDesk
from services.tickets.store import Store

EVERY = timedelta(days=1)
"""How often a tenant's tickets are looked at."""
AT_ONCE = 20
LEARNER = "learning"
"""Whom the versions of a policy name that follow from what was learned."""

_LOOK_SECONDS = 60.0

_log = structlog.get_logger(__name__)


async def learn_for_ever(store: Store, desk: PolicyDesk, refused: Callable[[], Collection[UUID]]) -> None:
    """Learn from the tenants whose turn it is and who are not refused, whenever no other process does."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            async with store.alone("tickets.learn") as still_alone:
                if still_alone is not None:
                    await learn(store, desk, refused())
        except (DomainError, OSError) as error:
            _log.warning("learning_failed", error=type(error).__name__)
        except Exception:  # noqa: BLE001 - the next one may work
            _log.exception("learning_failed")


async def learn(store: Store, desk: PolicyDesk, refused: Collection[UUID]) -> int:
    """Learn from some of the tenants whose turn it is; return how many of them have a new version of their policy.

    A tenant from whom nothing can be learned is left until its next turn, and holds up no other.
    """
    tenants = await store.tenants_to_learn_from(EVERY, AT_ONCE + len(refused))
    changed = 0
    for tenant_id in tenants:
        if tenant_id in refused:
            continue
        try:
            changed += await desk.learn(Caller(tenant_id, LEARNER))
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - the other tenants must not wait for this one
            _log.warning("tenant_not_learned_from", tenant_id=str(tenant_id), error=type(error).__name__)
    return changed
