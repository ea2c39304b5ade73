"""An operator's calls about the order of a shop's inbox."""

from typing import Any

from rapport.tickets.v1 import (
    policy_service_pb2,
    policy_service_pb2_grpc,
    ticket_service_pb2,
    ticket_service_pb2_grpc,
)

from cli.errors import CommandError
from cli.operator import Operator, as_dict, operator_of
from cli.pairs import named_values
from cli.suite.folder import SuiteFolder

_PAGE = 200
_SECONDS = 30

PolicyEdit = policy_service_pb2.PolicyEdit


def edit(name: str, weights: list[str], gamma: float | None, sla_share: float | None) -> PolicyEdit:
    """Return the changes that options ask for.

    Raises:
        CommandError: a weight is no number.
    """
    try:
        numbers = {weight: float(value) for weight, value in named_values("--weight", weights)}
    except ValueError as error:
        raise CommandError("--weight: a weight is a number from 0 to 2.", reason="USAGE") from error
    return PolicyEdit(name=name, weights=numbers, gamma=gamma, sla_share=sla_share)


async def get_policy(folder: SuiteFolder, tenant: str, version: int) -> dict[str, Any]:
    """Return a version of the policy, 0 for the active one."""
    return await _ask(folder, tenant, "GetPolicy", policy_service_pb2.GetPolicyRequest(version=version))


async def list_policies(folder: SuiteFolder, tenant: str, limit: int) -> list[dict[str, Any]]:
    """Return the versions, newest first."""
    found: list[dict[str, Any]] = []
    token = ""
    async with operator_of(folder) as operator:
        while True:
            size = min(_PAGE, limit - len(found))
            request = policy_service_pb2.ListPoliciesRequest(page_size=size, page_token=token)
            page = await _stub(operator).ListPolicies(
                request, metadata=await operator.metadata(tenant), timeout=_SECONDS
            )
            found += [as_dict(each) for each in page.policies]
            token = page.next_page_token
            if not token or len(found) >= limit:
                return found


async def set_policy(folder: SuiteFolder, tenant: str, wanted: PolicyEdit, etag: str, reason: str) -> dict[str, Any]:
    """Make a new version and return it."""
    request = policy_service_pb2.SetPolicyRequest(policy=wanted, etag=etag, reason=reason)
    return await _ask(folder, tenant, "SetPolicy", request)


async def roll_back(folder: SuiteFolder, tenant: str, version: int, etag: str, reason: str) -> dict[str, Any]:
    """Go back to an earlier version and return the new one."""
    request = policy_service_pb2.RollbackPolicyRequest(version=version, etag=etag, reason=reason)
    return await _ask(folder, tenant, "RollbackPolicy", request)


async def preview(folder: SuiteFolder, tenant: str, wanted: PolicyEdit, size: int) -> dict[str, Any]:
    """Return the head of the inbox as it would be."""
    request = policy_service_pb2.PreviewPolicyRequest(policy=wanted, size=size)
    return await _ask(folder, tenant, "PreviewPolicy", request)


async def compare(folder: SuiteFolder, tenant: str, ticket: str, other: str) -> dict[str, Any]:
    """Return why one of two tickets stands above the other."""
    request = policy_service_pb2.ComparePlacesRequest(ticket=ticket, other=other)
    return await _ask(folder, tenant, "ComparePlaces", request)


async def explain(folder: SuiteFolder, tenant: str, ticket: str) -> dict[str, Any]:
    """Return why a ticket stands where it stands."""
    request = ticket_service_pb2.ExplainTicketRequest(ticket=ticket)
    async with operator_of(folder) as operator:
        stub = operator.stub(ticket_service_pb2_grpc.TicketServiceStub, "tickets")
        answer = await stub.ExplainTicket(request, metadata=await operator.metadata(tenant), timeout=_SECONDS)
    return as_dict(answer)


async def _ask(folder: SuiteFolder, tenant: str, method: str, request: Any) -> dict[str, Any]:
    async with operator_of(folder) as operator:
        call = getattr(_stub(operator), method)
        return as_dict(await call(request, metadata=await operator.metadata(tenant), timeout=_SECONDS))


def _stub(operator: Operator) -> Any:
    return operator.stub(policy_service_pb2_grpc.PolicyServiceStub, "tickets")
