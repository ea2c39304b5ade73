"""An operator's calls about what language models may do for a shop, and what they have cost it."""

from typing import Any

from rapport.recommendations.v1 import writing_service_pb2, writing_service_pb2_grpc

from cli.operator import Operator, as_dict, operator_of
from cli.suite.folder import SuiteFolder

_SECONDS = 30


async def show(folder: SuiteFolder, tenant: str) -> dict[str, Any]:
    """Return the settings of a shop, and the models that it can choose from."""
    async with operator_of(folder) as operator:
        request = writing_service_pb2.GetWritingSettingsRequest()
        found = await _stub(operator).GetWritingSettings(
            request, metadata=await operator.metadata(tenant), timeout=_SECONDS
        )
        return as_dict(found)


async def change(
    folder: SuiteFolder, tenant: str, allowed: bool | None, model: str | None, budget: str | None
) -> dict[str, Any]:
    """Change what is named, keep the rest, and return all; a change that comes in between is refused."""
    async with operator_of(folder) as operator:
        metadata = await operator.metadata(tenant)
        stub = _stub(operator)
        known = await stub.GetWritingSettings(
            writing_service_pb2.GetWritingSettingsRequest(), metadata=metadata, timeout=_SECONDS
        )
        wanted = writing_service_pb2.SetWritingSettingsRequest(
            allowed=known.allowed if allowed is None else allowed,
            model=known.model if model is None else model,
            monthly_budget=known.monthly_budget if budget is None else budget,
            etag=known.etag,
        )
        return as_dict(await stub.SetWritingSettings(wanted, metadata=metadata, timeout=_SECONDS))


async def spend(folder: SuiteFolder, tenant: str) -> dict[str, Any]:
    """Return what language models have cost a shop, by month."""
    async with operator_of(folder) as operator:
        request = writing_service_pb2.GetWritingSpendRequest()
        found = await _stub(operator).GetWritingSpend(
            request, metadata=await operator.metadata(tenant), timeout=_SECONDS
        )
        return as_dict(found)


def _stub(operator: Operator) -> Any:
    return operator.stub(writing_service_pb2_grpc.WritingServiceStub, "recommendations")
