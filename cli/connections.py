"""An operator's calls about a shop's connections."""

from typing import Any

from rapport.crm.v1 import connection_service_pb2, connection_service_pb2_grpc

from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder


async def create_connection(
    folder: SuiteFolder, tenant: str, provider: str, config: dict[str, str], secrets: dict[str, str], name: str = ""
) -> tuple[dict[str, Any], str]:
    """Make a connection of a shop; return it and the address for the provider's webhooks."""
    async with operator_of(folder) as operator:
        connections = operator.stub(connection_service_pb2_grpc.ConnectionServiceStub, "crm")
        request = connection_service_pb2.CreateConnectionRequest(
            provider=provider, display_name=name, config=config, secrets=secrets
        )
        answer = await connections.CreateConnection(request, metadata=await operator.metadata(tenant), timeout=30)
    return as_dict(answer.connection), answer.webhook_url


async def list_connections(folder: SuiteFolder, tenant: str) -> list[dict[str, Any]]:
    """Return a shop's connections, oldest first."""
    found: list[dict[str, Any]] = []
    token = ""
    async with operator_of(folder) as operator:
        connections = operator.stub(connection_service_pb2_grpc.ConnectionServiceStub, "crm")
        while True:
            request = connection_service_pb2.ListConnectionsRequest(page_size=200, page_token=token)
            page = await connections.ListConnections(request, metadata=await operator.metadata(tenant), timeout=30)
            found += [as_dict(connection) for connection in page.connections]
            token = page.next_page_token
            if not token:
                return found
