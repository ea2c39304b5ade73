"""An operator's reading of the audit log."""

from typing import Any

from rapport.tenant.v1 import audit_entry_pb2, audit_service_pb2, audit_service_pb2_grpc

from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder

_PAGE = 200


async def list_audit_entries(folder: SuiteFolder, slug: str, kind: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest entries of a shop's log, of the deployment's when the slug is empty, `limit` at most.

    `kind` is a name of `AuditEntry.Kind`; empty for all.
    """
    found: list[dict[str, Any]] = []
    token = ""
    async with operator_of(folder) as operator:
        log = operator.stub(audit_service_pb2_grpc.AuditServiceStub, "tenant")
        while len(found) < limit:
            request = audit_service_pb2.ListAuditEntriesRequest(
                page_size=min(_PAGE, limit - len(found)),
                page_token=token,
                kind=audit_entry_pb2.AuditEntry.Kind.Value(kind or "KIND_UNSPECIFIED"),
            )
            page = await log.ListAuditEntries(request, metadata=await operator.metadata(slug), timeout=30)
            found += [as_dict(entry) for entry in page.audit_entries]
            token = page.next_page_token
            if not token:
                break
    return found
