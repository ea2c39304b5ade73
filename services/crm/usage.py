"""Each use of what the predecessor had is written in the tenant's audit log before it has any effect."""

from datetime import UTC, datetime
from uuid import UUID

import structlog

from servicekit.audit import AuditTrail, Entry, Kind
from servicekit.ids import uuid7

_log = structlog.get_logger(__name__)

METHOD = "rapport.crm.v1.WebhookService/ReceivePredecessorWebhook"
OUTCOME = "PREDECESSOR_MODE"


class PredecessorUses:
    """Writes down webhooks that only predecessor mode lets in; such are few, and none passes unseen."""

    def __init__(self, audit: AuditTrail | None = None) -> None:
        self._audit = audit

    async def note(self, tenant_id: UUID, connection_id: UUID, provider: str) -> None:
        """Write one use down.

        Raises:
            AuditUnavailableError: it could not be written; the webhook is not taken, and its sender is to come again.
        """
        _log.info("predecessor_webhook", connection_id=str(connection_id), provider=provider)
        if self._audit is None:
            return
        await self._audit.begin(
            Entry(
                entry_id=uuid7(),
                tenant_id=tenant_id,
                kind=Kind.ACT,
                create_time=datetime.now(UTC),
                subject=f"webhook:{connection_id}",
                method=METHOD,
                resource=f"connection={connection_id}, provider={provider}",
                outcome=OUTCOME,
            )
        )
