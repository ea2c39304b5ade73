"""What this process told recommendations of requesters, so that each message of a customer does not tell it again."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from uuid import UUID

from services.crm.events import Requester, ShopEvent

_MOST = 50_000
_SECONDS = 3600.0


class Told:
    """Remembers requesters for an hour, as hashes: so whoever is erased meanwhile is told of again in the end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: OrderedDict[int, float] = OrderedDict()

    def news(self, tenant_id: UUID, events: Sequence[ShopEvent]) -> list[ShopEvent]:
        """Return the events without the requesters that were told already."""
        return [event for event in events if not (isinstance(event, Requester) and self._is_told(tenant_id, event))]

    def remember(self, tenant_id: UUID, events: Sequence[ShopEvent]) -> None:
        """Remember the requesters among events that were told."""
        for event in events:
            if isinstance(event, Requester):
                self._until[_name(tenant_id, event)] = self._clock() + _SECONDS
        while len(self._until) > _MOST:
            self._until.popitem(last=False)

    def _is_told(self, tenant_id: UUID, event: Requester) -> bool:
        return self._until.get(_name(tenant_id, event), 0.0) > self._clock()


def _name(tenant_id: UUID, event: Requester) -> int:
    return hash((tenant_id, event.source, event.provider, event.customer, event.email, event.phone))
