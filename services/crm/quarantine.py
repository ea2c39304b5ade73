"""What is kept of requests that were refused although their signature is right: their secret or their time is over.

A vendor that still signs with the secret from before a rotation, or whose clock is wrong, gets the answer of all that
are refused, and a person can see what came and decide. There is never more of it than a person would look at.
"""

from collections.abc import Sequence

import structlog
from prometheus_client import Counter

from services.crm.admission import Admission
from services.crm.quarantine_store import Late, QuarantineStore

_log = structlog.get_logger(__name__)
_KEPT = Counter("rapport_webhooks_quarantined_total", "Refused webhooks that were kept, by reason.", ("reason",))

MOST_KEPT = 100
"""How many refused deliveries of a connection are kept at a time; decide about some to make room."""


class Quarantine:
    """Keeps refused deliveries for a person's decision."""

    def __init__(self, store: QuarantineStore, *, most: int = MOST_KEPT) -> None:
        self._store = store
        self._most = most

    async def keep(self, late: Sequence[tuple[Admission, bytes]], reason: str) -> None:
        """Keep deliveries, each with the key that it had by right; they are refused whatever happens here."""
        of_tenants: dict[object, list[Late]] = {}
        for admission, key in late:
            of_tenants.setdefault(admission.tenant_id, []).append(Late(admission, key))
        for some in of_tenants.values():
            try:
                kept = await self._store.keep(some[0].admission.tenant_id, some, reason=reason, most=self._most)
            except Exception as error:  # noqa: BLE001 - a refusal is answered as one, whatever happens to its copy
                _log.warning("quarantine_not_written", error=type(error).__name__)
            else:
                _KEPT.labels(reason).inc(kept)
