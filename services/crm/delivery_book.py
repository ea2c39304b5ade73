"""Shows the deliveries of a tenant, counts them, and carries out what people decide about those that got stuck."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from services.crm.deliveries import Balance, Delivery, State, require_stuck
from services.crm.errors import DeliveryNotFoundError
from services.crm.store import Store


class DeliveryBook:
    """The tenants' deliveries; `wake` tells the workers that there is something to do."""

    def __init__(self, store: Store, *, wake: Callable[[], None]) -> None:
        self._store = store
        self._wake = wake

    async def page(
        self, tenant_id: UUID, *, state: State | None, connection_id: UUID | None, before: UUID | None, limit: int
    ) -> Sequence[Delivery]:
        """Return deliveries, newest first, from the one before `before` on."""
        return await self._store.deliveries(
            tenant_id, state=state, connection_id=connection_id, before=before, limit=limit
        )

    async def balance(self, tenant_id: UUID) -> Balance:
        """Count what became of every webhook that was ever admitted."""
        return await self._store.balance(tenant_id)

    async def replay(self, tenant_id: UUID, delivery_id: UUID) -> Delivery:
        """Have a dead or quarantined delivery processed anew, from the bytes that were received.

        Raises:
            DeliveryNotFoundError: the tenant has no such delivery.
            DeliveryStateError: it is neither dead nor quarantined.
        """
        async with self._store.decision(tenant_id, delivery_id) as decision:
            if decision is None:
                raise _not_found(delivery_id)
            require_stuck(decision.delivery.state)
            delivery = await decision.replay(datetime.now(UTC))
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
