"""An operator's calls to the gateway's control plane, and what its status says in words."""

from typing import Any

from rapport.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc

from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder

_GATEWAY = "gateway"
_SHIFT_SECONDS = 20
_ANSWER_SECONDS = 10


async def gateway_status(folder: SuiteFolder) -> dict[str, Any]:
    """Return the status, with `problems` added: one sentence for each thing that is not as it should be."""
    async with operator_of(folder) as operator:
        stub = operator.stub(gateway_service_pb2_grpc.GatewayServiceStub, _GATEWAY)
        request = gateway_service_pb2.GetStatusRequest()
        answer = await stub.GetStatus(request, metadata=await operator.metadata(), timeout=_ANSWER_SECONDS)
    status = as_dict(answer)
    return status | {"problems": problems(status)}


async def shift_traffic(folder: SuiteFolder, service: str, percent: int, version: str) -> dict[str, Any]:
    """Send a share of a service's requests to a version of it; return where they go now."""
    async with operator_of(folder) as operator:
        stub = operator.stub(gateway_service_pb2_grpc.GatewayServiceStub, _GATEWAY)
        request = gateway_service_pb2.ShiftTrafficRequest(service=service, version=version, percent=percent)
        answer = await stub.ShiftTraffic(request, metadata=await operator.metadata(), timeout=_SHIFT_SECONDS)
    return as_dict(answer)


def problems(status: dict[str, Any]) -> list[str]:
    """Return what is wrong, one sentence each; nothing when every connected Envoy serves what is wanted."""
    found = []
    if not status["wanted_version"]:
        found.append("There is no configuration yet.")
    nodes = status["nodes"]
    if not any(node["connected"] for node in nodes):
        found.append("No Envoy is connected.")
    for node in nodes:
        found += [
            f"{node['id']} refuses {part['type']} {part['refused_version']}: {part['refuse_detail']}"
            for part in node["parts"]
            if node["refusing"] and part["refused_version"] and part["refused_version"] != part["accepted_version"]
        ]
        if node["connected"] and not node["refusing"] and not node["up_to_date"] and status["wanted_version"]:
            found.append(f"{node['id']} does not have all of {status['wanted_version']} yet.")
    return found
