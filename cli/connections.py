"""An operator's calls about a shop's connections."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from rapport.crm.v1 import connection_service_pb2, connection_service_pb2_grpc

from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder


async def create_connection(
    folder: SuiteFolder, tenant: str, provider: str, config: dict[str, str], secrets: dict[str, str], name: str = ""
) -> dict[str, Any]:
    """Make a connection of a shop; return it, the address for the provider's webhooks, and a secret made for them."""
    async with operator_of(folder) as operator:
        connections = operator.stub(connection_service_pb2_grpc.ConnectionServiceStub, "crm")
        request = connection_service_pb2.CreateConnectionRequest(
            provider=provider, display_name=name, config=config, secrets=secrets
        )
        answer = await connections.CreateConnection(request, metadata=await operator.metadata(tenant), timeout=30)
    return as_dict(answer)


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


async def get_connection(folder: SuiteFolder, tenant: str, connection: str) -> dict[str, Any]:
    """Return a shop's connection."""
    async with connections_of(folder, tenant) as (connections, metadata):
        request = connection_service_pb2.GetConnectionRequest(connection=connection)
        return as_dict(await connections.GetConnection(request, metadata=metadata, timeout=30))


async def update_connection(
    folder: SuiteFolder,
    tenant: str,
    connection: str,
    *,
    name: str | None,
    config: Mapping[str, str],
    secrets: Mapping[str, str],
    etag: str = "",
) -> dict[str, Any]:
    """Change what is given of a connection and return it; an empty setting or secret removes it."""
    paths = [f"config.{key}" for key in config] + [f"secrets.{key}" for key in secrets]
    async with connections_of(folder, tenant) as (connections, metadata):
        request = connection_service_pb2.UpdateConnectionRequest(
            connection=connection,
            display_name=name or "",
            config=config,
            secrets=secrets,
            update_mask=FieldMask(paths=paths if name is None else [*paths, "display_name"]),
            etag=etag,
        )
        return as_dict(await connections.UpdateConnection(request, metadata=metadata, timeout=30))


async def test_connection(folder: SuiteFolder, tenant: str, connection: str) -> dict[str, Any]:
    """Have a connection's provider called and return what was found."""
    async with connections_of(folder, tenant) as (connections, metadata):
        request = connection_service_pb2.TestConnectionRequest(connection=connection)
        return as_dict(await connections.TestConnection(request, metadata=metadata, timeout=60))


async def rotate_secret(
    folder: SuiteFolder, tenant: str, connection: str, secret: str, overlap: timedelta
) -> dict[str, Any]:
    """Store a new webhook secret and return the connection."""
    async with connections_of(folder, tenant) as (connections, metadata):
        request = connection_service_pb2.RotateWebhookSecretRequest(
            connection=connection, webhook_secret=secret, overlap=_duration(overlap)
        )
        return as_dict(await connections.RotateWebhookSecret(request, metadata=metadata, timeout=30))


async def rotate_address(folder: SuiteFolder, tenant: str, connection: str, overlap: timedelta) -> str:
    """Make a new address for a connection's webhooks and return it."""
    async with connections_of(folder, tenant) as (connections, metadata):
        request = connection_service_pb2.RotateWebhookAddressRequest(connection=connection, overlap=_duration(overlap))
        return str((await connections.RotateWebhookAddress(request, metadata=metadata, timeout=30)).webhook_url)


async def delete_connection(folder: SuiteFolder, tenant: str, connection: str) -> None:
    """Delete a connection with its address and its secrets."""
    async with connections_of(folder, tenant) as (connections, metadata):
        request = connection_service_pb2.DeleteConnectionRequest(connection=connection)
        await connections.DeleteConnection(request, metadata=metadata, timeout=30)


@asynccontextmanager
async def connections_of(folder: SuiteFolder, tenant: str) -> AsyncIterator[tuple[Any, Any]]:
    """Give the stub of the connections and the metadata of a call in a shop."""
    async with operator_of(folder) as operator:
        stub = operator.stub(connection_service_pb2_grpc.ConnectionServiceStub, "crm")
        yield stub, await operator.metadata(tenant)


def _duration(time: timedelta) -> Duration:
    found = Duration()
    found.FromTimedelta(time)
    return found
