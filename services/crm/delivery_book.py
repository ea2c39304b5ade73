"""Shows the deliveries of a tenant, counts them, and carries out what people decide about those that got stuck."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from servicekit.ids import uuid7
from services.crm.deliveries import Balance, Delivery, Replay, Sought, require_content, require_stuck
from services.crm.delivery_store import DeliveryStore
from services.crm.errors import DeliveryNotFoundError


class DeliveryBook:
    """The tenants' deliveries; `wake` tells the workers that there is something to do."""

    def __init__(self, store: DeliveryStore, *, wake: Callable[[], None]) -> None:
        self._store = store
        self._wake = wake

    async def page(self, tenant_id: UUID, sought: Sought, *, before: UUID | None, limit: int) -> Sequence[Delivery]:
        """Return deliveries, newest first, from the one before `before` on."""
        return await self._store.page(tenant_id, sought, before=before, limit=limit)

    async def get(self, tenant_id: UUID, delivery_id: UUID) -> tuple[Delivery, Sequence[Replay]]:
        """Return a delivery with its latest replays.

        Raises:
            DeliveryNotFoundError: the tenant has no such delivery.
        """
        found = await self._store.get(tenant_id, delivery_id)
        if found is None:
            raise _not_found(delivery_id)
        return found

    async def balance(self, tenant_id: UUID) -> Balance:
        """Count what became of every webhook that was ever admitted."""
        return await self._store.balance(tenant_id)

    async def replay(self, tenant_id: UUID, delivery_id: UUID, replay_id: UUID | None = None) -> Delivery:
        """Have a dead or quarantined delivery processed anew, from the bytes that were received.

        What a run did is known by the events' own ids, which are the same in every run; `replay_id` only tells the runs
        apart. A replay that is asked for again by its id changes nothing.

        Raises:
            DeliveryNotFoundError: the tenant has no such delivery.
            DeliveryStateError: it is neither dead nor quarantined.
            DeliveryErasedError: there is nothing left to process.
        """
        async with self._store.decision(tenant_id, delivery_id) as decision:
            if decision is None:
                raise _not_found(delivery_id)
            if replay_id is not None and await decision.is_replay(replay_id):
                return decision.delivery
            require_content(decision.delivery)
            require_stuck(decision.delivery.state)
            delivery = await decision.replay(replay_id or uuid7(), datetime.now(UTC))
        self._wake()
        return delivery

    async def discard(self, tenant_id: UUID, delivery_id: UUID) -> Delivery:
        """Give up a dead or quarantined delivery.

        Raises:
            DeliveryNotFoundError: the tenant has no such delivery.
            DeliveryStateError: it is neither dead nor quarantined.
        """
        async with self._store.decision(tenant_id, delivery_id) as decision:
            if decision is None:
                raise _not_found(delivery_id)
            require_stuck(decision.delivery.state)
            return await decision.discard(datetime.now(UTC))


def _not_found(delivery_id: UUID) -> DeliveryNotFoundError:
    return DeliveryNotFoundError("Delivery not found.", metadata={"delivery": str(delivery_id)})
