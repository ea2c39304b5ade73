"""An operator's calls about draft answers."""

from collections.abc import Callable
from typing import Any

from rapport.recommendations.v1 import draft_service_pb2, draft_service_pb2_grpc

from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder

_SECONDS = 60


async def get_draft(folder: SuiteFolder, tenant: str, ticket: str) -> dict[str, Any]:
    """Return a ticket's current draft."""
    async with operator_of(folder) as operator:
        stub = operator.stub(draft_service_pb2_grpc.DraftServiceStub, "recommendations")
        request = draft_service_pb2.GetDraftRequest(ticket=ticket)
        return as_dict(await stub.GetDraft(request, metadata=await operator.metadata(tenant), timeout=_SECONDS))


async def write_draft(
    folder: SuiteFolder, tenant: str, ticket: str, wish: dict[str, Any], tell: Callable[[str], None]
) -> dict[str, Any]:
    """Have a ticket's draft written anew and return it; its text is told while it is written, "" where it restarts."""
    request = draft_service_pb2.StreamDraftRequest(ticket=ticket, wish=draft_service_pb2.DraftWish(**wish))
    made: dict[str, Any] = {}
    async with operator_of(folder) as operator:
        stub = operator.stub(draft_service_pb2_grpc.DraftServiceStub, "recommendations")
        metadata = await operator.metadata(tenant)
        async for event in stub.StreamDraft(request, metadata=metadata, timeout=_SECONDS):
            if event.HasField("draft"):
                made = as_dict(event.draft)
            else:
                tell(event.text)
    return made
