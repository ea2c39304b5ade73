"""An operator's calls about vendors' apps, and about the predecessor's ways into a connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.crm.v1 import app_service_pb2, app_service_pb2_grpc, connection_service_pb2, connection_service_pb2_grpc

from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder

_TIMEOUT_SECONDS = 30


@asynccontextmanager
async def _apps_of(folder: SuiteFolder) -> AsyncIterator[tuple[Any, Any]]:
    async with operator_of(folder) as operator:
        yield operator.stub(app_service_pb2_grpc.AppServiceStub, "crm"), await operator.metadata()


async def create_app(
    folder: SuiteFolder, provider: str, config: dict[str, str], secret: str, name: str
) -> dict[str, Any]:
    """Make an app; return it and the address for its vendor."""
    request = app_service_pb2.CreateAppRequest(
        provider=provider, display_name=name, config=config, webhook_secret=secret
    )
    async with _apps_of(folder) as (apps, metadata):
        return as_dict(await apps.CreateApp(request, metadata=metadata, timeout=_TIMEOUT_SECONDS))


async def list_apps(folder: SuiteFolder) -> list[dict[str, Any]]:
    """Return the apps, oldest first."""
    found: list[dict[str, Any]] = []
    token = ""
    async with _apps_of(folder) as (apps, metadata):
        while True:
            request = app_service_pb2.ListAppsRequest(page_size=200, page_token=token)
            page = await apps.ListApps(request, metadata=metadata, timeout=_TIMEOUT_SECONDS)
            found += [as_dict(app) for app in page.apps]
            token = page.next_page_token
            if not token:
                return found


async def rotate_app_secret(folder: SuiteFolder, app: str, secret: str, overlap: timedelta) -> dict[str, Any]:
    """Store a new webhook secret of an app; return the app."""
    request = app_service_pb2.RotateAppSecretRequest(app=app, webhook_secret=secret, overlap=_duration(overlap))
    async with _apps_of(folder) as (apps, metadata):
        return as_dict(await apps.RotateAppSecret(request, metadata=metadata, timeout=_TIMEOUT_SECONDS))


async def rotate_app_address(folder: SuiteFolder, app: str, overlap: timedelta) -> str:
    """Make a new address of an app; return it."""
    request = app_service_pb2.RotateAppAddressRequest(app=app, overlap=_duration(overlap))
    async with _apps_of(folder) as (apps, metadata):
        answer = await apps.RotateAppAddress(request, metadata=metadata, timeout=_TIMEOUT_SECONDS)
    return str(answer.webhook_url)


async def delete_app(folder: SuiteFolder, app: str) -> None:
    """Delete an app."""
    async with _apps_of(folder) as (apps, metadata):
        await apps.DeleteApp(app_service_pb2.DeleteAppRequest(app=app), metadata=metadata, timeout=_TIMEOUT_SECONDS)


async def set_predecessor_mode(
    folder: SuiteFolder, tenant: str, connection: str, until: datetime | None
) -> dict[str, Any]:
    """Begin a connection's predecessor mode until a time, or end it (None); return the connection."""
    request = connection_service_pb2.SetPredecessorModeRequest(connection=connection)
    if until is not None:
        stamp = Timestamp()
        stamp.FromDatetime(until)
        request.expire_time.CopyFrom(stamp)
    async with operator_of(folder) as operator:
        stub = operator.stub(connection_service_pb2_grpc.ConnectionServiceStub, "crm")
        metadata = await operator.metadata(tenant)
        return as_dict(await stub.SetPredecessorMode(request, metadata=metadata, timeout=_TIMEOUT_SECONDS))


def _duration(time: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(time)
    return duration
