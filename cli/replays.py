"""An operator's call to replay a shop's past."""

from typing import Any

from rapport.tickets.v1 import policy_replay_service_pb2, policy_replay_service_pb2_grpc

from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder

_SECONDS = 60


async def replay(folder: SuiteFolder, tenant: str, days: int) -> dict[str, Any]:
    """Return what each policy would have made of the last days."""
    request = policy_replay_service_pb2.ReplayPoliciesRequest(days=days)
    async with operator_of(folder) as operator:
        stub: Any = operator.stub(policy_replay_service_pb2_grpc.PolicyReplayServiceStub, "tickets")
        return as_dict(await stub.ReplayPolicies(request, metadata=await operator.metadata(tenant), timeout=_SECONDS))
