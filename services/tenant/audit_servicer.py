"""The servicer of the audit log: a message in, one call, a message out."""

from datetime import UTC
from typing import Any
from uuid import UUID

import grpc
from rapport.tenant.v1 import audit_entry_pb2, audit_service_pb2, audit_service_pb2_grpc

from servicekit.audit import Entry, Kind, message_of
from servicekit.identity import caller
from servicekit.pages import PageTokens, page_size
from services.tenant.audit_store import DEPLOYMENT, AuditStore

_KINDS = {audit_entry_pb2.AuditEntry.KIND_ACT: Kind.ACT, audit_entry_pb2.AuditEntry.KIND_REFUSAL: Kind.REFUSAL}

Context = grpc.aio.ServicerContext[Any, Any]


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """Implements `rapport.tenant.v1.AuditService`."""

    def __init__(self, store: AuditStore, pages: PageTokens) -> None:
        self._store = store
        self._pages = pages

    async def RecordAuditEntries(
        self, request: audit_service_pb2.RecordAuditEntriesRequest, _context: Context
    ) -> audit_service_pb2.RecordAuditEntriesResponse:
        """Append entries."""
        await self._store.write([_entry(message) for message in request.entries])
        return audit_service_pb2.RecordAuditEntriesResponse()

    async def ListAuditEntries(
        self, request: audit_service_pb2.ListAuditEntriesRequest, _context: Context
    ) -> audit_service_pb2.ListAuditEntriesResponse:
        """Return a page of the log."""
        tenant_id = caller().tenant_id or DEPLOYMENT
        size = page_size(request.page_size)
        scope = ("audit_entries", tenant_id, request.kind)
        before = UUID(self._pages.open(request.page_token, scope=scope)["id"]) if request.page_token else None
        # One more than asked for tells whether there is another page.
        found = await self._store.page(tenant_id, before=before, kind=_KINDS.get(request.kind), at_most=size + 1)
        page = found[:size]
        last = {"id": str(page[-1].entry_id)} if len(found) > size else None
        return audit_service_pb2.ListAuditEntriesResponse(
            audit_entries=[message_of(entry) for entry in page],
            next_page_token=self._pages.seal(last, scope=scope) if last else "",
        )


def _entry(message: audit_entry_pb2.AuditEntry) -> Entry:
    return Entry(
        entry_id=UUID(message.id),
        tenant_id=UUID(message.tenant_id) if message.tenant_id else None,
        kind=_KINDS[message.kind],
        create_time=message.create_time.ToDatetime(tzinfo=UTC),
        subject=message.subject,
        method=message.method,
        resource=message.resource,
        request_id=message.request_id,
        outcome=message.outcome,
        count=message.count,
        tenant=message.tenant,
    )
