"""Refused requests, counted in memory and written down each second: a stranger must not make us write per request.

When a connection is refused too often within a few minutes, somebody tries to guess, or a vendor signs with a secret
that nobody told us of: that is told once per such window, however many processes see a part of it.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from prometheus_client import Counter as Metric

from servicekit.audit import AuditTrail
from services.crm.refusal_store import RefusalStore

_log = structlog.get_logger(__name__)
_ALERTS = Metric("rapport_webhook_refusal_alerts_total", "Connections whose webhooks were refused too often lately.")

FLUSH_SECONDS = 1.0
ALERT_WINDOW = timedelta(minutes=5)
"""Within what time the refusals of a connection are counted together."""

ALERT_REASON = "WEBHOOK_REFUSALS_HIGH"
_METHOD = "rapport.crm.v1.WebhookService/ReceiveWebhook"


class Refusals:
    """The counts that are not written down yet; `alert_at` refusals of a connection in a window are told of."""

    def __init__(self, store: RefusalStore, audit: AuditTrail | None = None, *, alert_at: int = 20) -> None:
        """Count for the balance and, where there is a trail, for the audit log of the tenant."""
        self._store = store
        self._audit = audit
        self._alert_at = alert_at
        self._counts: Counter[tuple[UUID, UUID, str]] = Counter()

    def count(self, tenant_id: UUID, connection_id: UUID, reason: str) -> None:
        """Count one refused request to a connection's address; `reason` is a fixed word."""
        self._counts[tenant_id, connection_id, reason] += 1
        self._tell(tenant_id, connection_id, reason.upper())

    async def flush(self) -> None:
        """Write the counts down; those that cannot be written are kept for the next time."""
        counts, self._counts = self._counts, Counter()
        tenants: dict[UUID, dict[tuple[UUID, str], int]] = {}
        for (tenant_id, connection_id, reason), count in counts.items():
            tenants.setdefault(tenant_id, {})[connection_id, reason] = count
        for tenant_id, of_tenant in tenants.items():
            try:
                seen = await self._store.count(tenant_id, of_tenant, datetime.now(UTC), window=ALERT_WINDOW)
            except Exception as error:  # noqa: BLE001 - counting must never end
                _log.warning("refusals_not_written", error=type(error).__name__)
                for (connection_id, reason), count in of_tenant.items():
                    self._counts[tenant_id, connection_id, reason] += count
            else:
                for connection_id, (before, after) in seen.items():
                    if before < self._alert_at <= after:
                        self._alert(tenant_id, connection_id, after)

    async def run(self) -> None:
        """Write down each second, for ever."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    def _alert(self, tenant_id: UUID, connection_id: UUID, count: int) -> None:
        _ALERTS.inc()
        _log.warning(
            "webhook_refusals_high", tenant_id=str(tenant_id), connection_id=str(connection_id), refused_count=count
        )
        self._tell(tenant_id, connection_id, ALERT_REASON)

    def _tell(self, tenant_id: UUID, connection_id: UUID, reason: str) -> None:
        if self._audit is not None:
            self._audit.refused(tenant_id, f"webhook:{connection_id}", _METHOD, reason)
