"""An operator's calls to the registry of shops."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from rapport.tenant.v1 import tenant_pb2, tenant_service_pb2, tenant_service_pb2_grpc

from cli.errors import CommandError
from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder

_LOOK_SECONDS = 0.5
_ERASURE_SECONDS = 3600.0
_WORDS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


@dataclass(frozen=True)
class TenantChange:
    """What an operator wants to change of a shop; what is not said stays.

    Attributes:
        name: its name for people.
        environment: "production", "staging", "development" or "demo".
        features: features to switch, by name.
        settings: settings to set as they were typed, by name.
        unset: features and settings that go back to their defaults.
        etag: the version that it must still have.
    """

    name: str | None = None
    environment: str | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    unset: Sequence[str] = ()
    etag: str = ""


async def create_tenant(folder: SuiteFolder, slug: str, name: str, **fields: Any) -> tuple[dict[str, Any], str]:
    """Create a shop; return it and the text of its first API key. `fields` are further fields of the tenant."""
    async with operator_of(folder) as operator:
        tenants = operator.stub(tenant_service_pb2_grpc.TenantServiceStub, "tenant")
        request = tenant_service_pb2.CreateTenantRequest(tenant=tenant_pb2.Tenant(slug=slug, name=name, **fields))
        answer = await tenants.CreateTenant(request, metadata=await operator.metadata(), timeout=30)
    return as_dict(answer.tenant), answer.api_key


async def list_tenants(folder: SuiteFolder, *, deleted: bool) -> list[dict[str, Any]]:
    """Return all shops in the order of their slugs."""
    found: list[dict[str, Any]] = []
    token = ""
    async with operator_of(folder) as operator:
        tenants = operator.stub(tenant_service_pb2_grpc.TenantServiceStub, "tenant")
        while True:
            request = tenant_service_pb2.ListTenantsRequest(page_size=200, page_token=token, show_deleted=deleted)
            page = await tenants.ListTenants(request, metadata=await operator.metadata(), timeout=30)
            found += [as_dict(tenant) for tenant in page.tenants]
            token = page.next_page_token
            if not token:
                return found


async def call_for_tenant(folder: SuiteFolder, method: str, slug: str) -> dict[str, Any]:
    """Call a method that takes a tenant's slug and answers with the tenant."""
    async with operator_of(folder) as operator:
        tenants = operator.stub(tenant_service_pb2_grpc.TenantServiceStub, "tenant")
        request = getattr(tenant_service_pb2, f"{method}Request")(tenant=slug)
        answer = await getattr(tenants, method)(request, metadata=await operator.metadata(), timeout=30)
    return as_dict(answer)


async def update_tenant(folder: SuiteFolder, slug: str, change: TenantChange) -> dict[str, Any]:
    """Change a shop and return it.

    Raises:
        CommandError: the change cannot be had; the service says why.
    """
    async with operator_of(folder) as operator:
        tenants = operator.stub(tenant_service_pb2_grpc.TenantServiceStub, "tenant")
        asked = tenant_service_pb2.GetTenantRequest(tenant=slug)
        known = as_dict(await tenants.GetTenant(asked, metadata=await operator.metadata(), timeout=30))
        request = update_request(slug, change, known)
        return as_dict(await tenants.UpdateTenant(request, metadata=await operator.metadata(), timeout=30))


def update_request(slug: str, change: TenantChange, known: Mapping[str, Any]) -> tenant_service_pb2.UpdateTenantRequest:
    """Return the request for a change; `known` is the shop as it is, whose settings tell the types of all settings."""
    tenant = tenant_pb2.Tenant(slug=slug, name=change.name or "", etag=change.etag)
    paths = ["name"] if change.name is not None else []
    if change.environment is not None:
        tenant.environment = _environment(change.environment)
        paths.append("environment")
    for name, word in change.features.items():
        tenant.features[name] = _switch(name, word)
        paths.append(f"features.{name}")
    for name, text in change.settings.items():
        tenant.settings[name] = _typed(name, text, known["settings"].get(name))
        paths.append(f"settings.{name}")
    paths += [f"features.{name}" if name in known["features"] else f"settings.{name}" for name in change.unset]
    return tenant_service_pb2.UpdateTenantRequest(tenant=tenant, update_mask=FieldMask(paths=paths))


def _environment(word: str) -> tenant_pb2.Tenant.Environment.ValueType:
    try:
        return tenant_pb2.Tenant.Environment.Value(f"ENVIRONMENT_{word.upper()}")
    except ValueError:
        raise CommandError(
            f"There is no environment {word}: use production, staging, development or demo.", reason="USAGE"
        ) from None


def _switch(name: str, word: str) -> bool:
    try:
        return _WORDS[word.lower()]
    except KeyError:
        raise CommandError(f"{name} is switched on or off, not {word}.", reason="USAGE") from None


def _typed(name: str, text: str, known: Any) -> Any:
    """Return what was typed with the type that the setting has now; lists are typed with commas in between."""
    if isinstance(known, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(known, bool):
        return _switch(name, text)
    if isinstance(known, int | float):
        try:
            return float(text)
        except ValueError:
            raise CommandError(f"The setting {name} is a number, not {text}.", reason="USAGE") from None
    return text


async def erase_tenant(folder: SuiteFolder, slug: str, progress: Callable[[str], None]) -> dict[str, Any]:
    """Erase a deleted shop, wait until nothing is left, and return the report; `progress` is told how far it is.

    Raises:
        CommandError: the shop is not deleted, or something keeps the work up; it goes on all the same.
    """
    async with operator_of(folder) as operator:
        tenants = operator.stub(tenant_service_pb2_grpc.TenantServiceStub, "tenant")
        request = tenant_service_pb2.EraseTenantRequest(tenant=slug)
        erasure = await tenants.EraseTenant(request, metadata=await operator.metadata(), timeout=30)
        end, told = time.monotonic() + _ERASURE_SECONDS, -1
        while not erasure.HasField("complete_time"):
            removed = sum(row.row_count for row in erasure.removed)
            if removed != told:
                told = removed
                progress(f"{removed} rows removed; the last calls of the shop must have ended before it is done")
            if time.monotonic() > end:
                raise CommandError(f"{slug} is not erased yet; the work goes on.", reason="ERASURE_GOES_ON")
            await asyncio.sleep(_LOOK_SECONDS)
            asked = tenant_service_pb2.GetErasureRequest(tenant=slug)
            erasure = await tenants.GetErasure(asked, metadata=await operator.metadata(), timeout=30)
    return as_dict(erasure)
