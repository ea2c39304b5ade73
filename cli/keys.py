"""An operator's calls about API keys and signing keys."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.tenant.v1 import (
    api_key_pb2,
    api_key_service_pb2,
    api_key_service_pb2_grpc,
    signing_key_service_pb2,
    signing_key_service_pb2_grpc,
)

from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder

_TIMEOUT_SECONDS = 30

Keys = api_key_service_pb2_grpc.ApiKeyServiceStub
SigningKeys = signing_key_service_pb2_grpc.SigningKeyServiceStub


async def create_key(folder: SuiteFolder, tenant: str, key: api_key_pb2.ApiKey) -> dict[str, Any]:
    """Make a key; the answer is the only one that holds its text."""
    request = api_key_service_pb2.CreateApiKeyRequest(api_key=key)
    return as_dict(await _ask(folder, tenant, lambda keys: keys.CreateApiKey, request))


async def list_keys(folder: SuiteFolder, tenant: str) -> list[dict[str, Any]]:
    """Return all keys of a shop, the newest first."""
    found: list[dict[str, Any]] = []
    token = ""
    async with operator_of(folder) as operator:
        keys = operator.stub(Keys, "tenant")
        while True:
            request = api_key_service_pb2.ListApiKeysRequest(page_size=200, page_token=token)
            page = await keys.ListApiKeys(request, metadata=await operator.metadata(tenant), timeout=_TIMEOUT_SECONDS)
            found += [as_dict(key) for key in page.api_keys]
            token = page.next_page_token
            if not token:
                return found


async def rotate_key(folder: SuiteFolder, tenant: str, key_id: str, overlap: timedelta | None) -> dict[str, Any]:
    """Replace a key; the answer is the only one that holds the new one's text."""
    request = api_key_service_pb2.RotateApiKeyRequest(api_key=key_id)
    if overlap is not None:
        request.overlap.CopyFrom(_duration(overlap))
    return as_dict(await _ask(folder, tenant, lambda keys: keys.RotateApiKey, request))


async def revoke_key(folder: SuiteFolder, tenant: str, key_id: str) -> dict[str, Any]:
    """Revoke a key."""
    request = api_key_service_pb2.RevokeApiKeyRequest(api_key=key_id)
    return as_dict(await _ask(folder, tenant, lambda keys: keys.RevokeApiKey, request))


async def list_signing_keys(folder: SuiteFolder) -> list[dict[str, Any]]:
    """Return the published signing keys."""
    async with operator_of(folder) as operator:
        request = signing_key_service_pb2.ListSigningKeysRequest()
        keys = operator.stub(SigningKeys, "tenant")
        answer = await keys.ListSigningKeys(request, metadata=await operator.metadata(), timeout=_TIMEOUT_SECONDS)
        return [as_dict(key) for key in answer.signing_keys]


async def rotate_signing_key(folder: SuiteFolder) -> dict[str, Any]:
    """Let the next signing key sign, and return it."""
    async with operator_of(folder) as operator:
        request = signing_key_service_pb2.RotateSigningKeyRequest()
        keys = operator.stub(SigningKeys, "tenant")
        return as_dict(
            await keys.RotateSigningKey(request, metadata=await operator.metadata(), timeout=_TIMEOUT_SECONDS)
        )


def ends_in(life: timedelta) -> Timestamp:
    """Return the end of a life that begins now."""
    end = Timestamp()
    end.FromDatetime(datetime.now(UTC) + life)
    return end


def _duration(span: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(span)
    return duration


async def _ask(
    folder: SuiteFolder,
    tenant: str,
    method: Callable[[Keys], Callable[..., Awaitable[Message]]],
    request: Message,
) -> Message:
    """Call a method of the keys' service inside a shop."""
    async with operator_of(folder) as operator:
        call = method(operator.stub(Keys, "tenant"))
        return await call(request, metadata=await operator.metadata(tenant), timeout=_TIMEOUT_SECONDS)
