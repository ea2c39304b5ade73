"""Refused requests, counted in memory and written down each second: a stranger must not make us write per request."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

import structlog

from servicekit.audit import AuditTrail
from services.crm.store import Store

_log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.0
_METHOD = "rapport.crm.v1.WebhookService/ReceiveWebhook"


class Refusals:
    """The counts that are not written down yet."""

    def __init__(self, store: Store, audit: AuditTrail | None = None) -> None:
        """Count for the balance and, where there is a trail, for the audit log of the tenant."""
        self._store = store
        self._audit = audit
        self._counts: Counter[tuple[UUID, UUID, str]] = Counter()

    def count(self, tenant_id: UUID, connection_id: UUID, reason: str) -> None:
        """Count one refused request to a connection's address; `reason` is a fixed word."""
        self._counts[tenant_id, connection_id, reason] += 1
        if self._audit is not None:
            self._audit.refused(tenant_id, f"webhook:{connection_id}", _METHOD, reason.upper())

    async def flush(self) -> None:
        """Write the counts down; those that cannot be written are kept for the next time."""
        counts, self._counts = self._counts, Counter()
        tenants: dict[UUID, dict[tuple[UUID, str], int]] = {}
        for (tenant_id, connection_id, reason), count in counts.items():
            tenants.setdefault(tenant_id, {})[connection_id, reason] = count
        for tenant_id, of_tenant in tenants.items():
            try:
                await self._store.count_refusals(tenant_id, of_tenant, datetime.now(UTC))
            except Exception as error:  # noqa: BLE001 - counting must never end
                _log.warning("refusals_not_written", error=type(error).__name__)
                for (connection_id, reason), count in of_tenant.items():
                    self._counts[tenant_id, connection_id, reason] += count

    async def run(self) -> None:
        """Write down each second, for ever."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()
