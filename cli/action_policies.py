"""An operator's calls about a shop's policy of actions, and about what became of recommendations."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rapport.recommendations.v1 import (
    action_policy_service_pb2,
    action_policy_service_pb2_grpc,
    recommendation_service_pb2,
    recommendation_service_pb2_grpc,
)

from cli.errors import CommandError
from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder

_PAGE = 200
_SECONDS = 60
_LARGEST = 16_384


def read_document(path: Path) -> str:
    """Return the text of a policy file.

    Raises:
        CommandError: the file cannot be read, is no text, or is too long for a policy.
    """
    try:
        document = path.read_text("utf-8-sig")
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}.", reason="USAGE") from error
    except ValueError as error:
        raise CommandError(f"{path} is not text in UTF-8.", reason="USAGE") from error
    if not document or len(document) > _LARGEST:
        raise CommandError(f"{path}: a policy has 1 to {_LARGEST:,} characters.", reason="USAGE")
    return document


async def get_policy(folder: SuiteFolder, tenant: str, version: int) -> dict[str, Any]:
    """Return a version of the policy, 0 for the active one."""
    request = action_policy_service_pb2.GetActionPolicyRequest(version=version)
    return await _ask(folder, tenant, "GetActionPolicy", request)


async def list_policies(folder: SuiteFolder, tenant: str, limit: int) -> list[dict[str, Any]]:
    """Return the versions, newest first."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        request = action_policy_service_pb2.ListActionPolicyVersionsRequest(
            page_size=min(_PAGE, limit - len(found)), page_token=token
        )
        page = await _ask(folder, tenant, "ListActionPolicyVersions", request)
        found += page["action_policies"]
        token = page["next_page_token"]
        if not token or len(found) >= limit:
            return found


async def check_policy(folder: SuiteFolder, tenant: str, document: str) -> list[dict[str, Any]]:
    """Return what is wrong with a policy file."""
    request = action_policy_service_pb2.CheckActionPolicyRequest(document=document)
    found: list[dict[str, Any]] = (await _ask(folder, tenant, "CheckActionPolicy", request))["problems"]
    return found


async def set_policy(folder: SuiteFolder, tenant: str, document: str, etag: str, reason: str) -> dict[str, Any]:
    """Make a new version and return it."""
    request = action_policy_service_pb2.SetActionPolicyRequest(document=document, etag=etag, reason=reason)
    return await _ask(folder, tenant, "SetActionPolicy", request)


async def roll_back(folder: SuiteFolder, tenant: str, version: int, etag: str, reason: str) -> dict[str, Any]:
    """Go back to an earlier version and return the new one."""
    request = action_policy_service_pb2.RollbackActionPolicyRequest(version=version, etag=etag, reason=reason)
    return await _ask(folder, tenant, "RollbackActionPolicy", request)


async def preview(folder: SuiteFolder, tenant: str, document: str, version: int, size: int) -> dict[str, Any]:
    """Return what a file, or an earlier version, would recommend on past tickets."""
    request = action_policy_service_pb2.PreviewActionPolicyRequest(document=document, version=version, size=size)
    return await _ask(folder, tenant, "PreviewActionPolicy", request)


async def recommendation(folder: SuiteFolder, tenant: str, ticket: str) -> dict[str, Any]:
    """Return the current recommendation on a ticket."""
    request = recommendation_service_pb2.GetRecommendationRequest(ticket=ticket)
    async with operator_of(folder) as operator:
        stub = operator.stub(recommendation_service_pb2_grpc.RecommendationServiceStub, "recommendations")
        answer = await stub.GetRecommendation(request, metadata=await operator.metadata(tenant), timeout=_SECONDS)
    return as_dict(answer)


async def report(folder: SuiteFolder, tenant: str, days: int, version: int) -> dict[str, Any]:
    """Return what became of the recommendations of the last days."""
    request = recommendation_service_pb2.GetRecommendationReportRequest(policy_version=version)
    now = datetime.now(UTC)
    request.since.FromDatetime(now - timedelta(days=days))
    request.until.FromDatetime(now)
    async with operator_of(folder) as operator:
        stub = operator.stub(recommendation_service_pb2_grpc.RecommendationServiceStub, "recommendations")
        return as_dict(
            await stub.GetRecommendationReport(request, metadata=await operator.metadata(tenant), timeout=_SECONDS)
        )


async def _ask(folder: SuiteFolder, tenant: str, method: str, request: Any) -> dict[str, Any]:
    async with operator_of(folder) as operator:
        stub = operator.stub(action_policy_service_pb2_grpc.ActionPolicyServiceStub, "recommendations")
        call = getattr(stub, method)
        return as_dict(await call(request, metadata=await operator.metadata(tenant), timeout=_SECONDS))
