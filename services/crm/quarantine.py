"""What is kept of requests that were refused although their signature is right: their secret or their time is over.

A vendor that still signs with the secret from before a rotation, or whose clock is wrong, gets the answer of all that
are refused, and a person can see what came and decide. There is never more of it than a person would look at.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from uuid import UUID

from prometheus_client import Counter

from services.crm.admission import Admission
from services.crm.quarantine_store import Kept, Late, QuarantineStore

_KEPT = Counter("rapport_webhooks_quarantined_total", "Refused webhooks that were kept, by reason.", ("reason",))

MOST_KEPT = 100
"""How many refused deliveries of a connection are kept at a time; decide about some to make room."""

REMEMBER_SECONDS = 10.0
"""How long it is remembered that a delivery was kept, and that a connection has no room."""

MOST_REMEMBERED = 20_000
"""How many of these are remembered."""

_ANY = b""
"""Stands for every delivery of a connection that has no room."""


class Quarantine:
    """Keeps refused deliveries for a person's decision.

    Whoever has captured one may send it again and again: what was kept a moment ago, or found no room, costs no second
    transaction.
    """

    def __init__(
        self, store: QuarantineStore, *, most: int = MOST_KEPT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._most = most
        self._clock = clock
        self._seen: OrderedDict[tuple[UUID, bytes], float] = OrderedDict()

    def has_room(self, connection_id: UUID, key: bytes | None) -> bool:
        """Return whether a delivery may be kept as far as is remembered.

        `key` is the one that it has by right, None where nothing tells it from others.
        """
        now = self._clock()
        return all(self._seen.get((connection_id, each or _ANY), 0.0) <= now for each in (key, _ANY))

    async def keep(self, late: Sequence[tuple[Admission, bytes]], reason: str) -> None:
        """Keep deliveries, each with the key that it had by right.

        Raises:
            DatabaseUnavailableError: some of them may not be kept.
        """
        of_tenants: dict[UUID, list[Late]] = {}
        for admission, key in late:
            of_tenants.setdefault(admission.tenant_id, []).append(Late(admission, key))
        for tenant_id, some in of_tenants.items():
            outcomes = await self._store.keep(tenant_id, some, reason=reason, most=self._most)
            for each, outcome in zip(some, outcomes, strict=True):
                full = outcome is Kept.FULL
                self._remember(each.admission.connection_id, _ANY if full else each.admitted_key)
            _KEPT.labels(reason).inc(outcomes.count(Kept.NEW))

    def _remember(self, connection_id: UUID, key: bytes) -> None:
        self._seen[connection_id, key] = self._clock() + REMEMBER_SECONDS
        self._seen.move_to_end((connection_id, key))
        while len(self._seen) > MOST_REMEMBERED:
            self._seen.popitem(last=False)
