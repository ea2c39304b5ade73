"""A tenant service that runs in the test's own process, behind a real server, with real stubs to call it."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.rpc import error_details_pb2, status_pb2
from rapport.tenant.v1 import (
    api_key_service_pb2_grpc,
    audit_service_pb2_grpc,
    domain_service_pb2_grpc,
    oauth_service_pb2_grpc,
    signing_key_service_pb2_grpc,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)
from rapport.tenant.v1.tenant_pb2 import Tenant

from servicekit.envelope import KeyEncryptionKeys
from servicekit.server import start_server
from services.tenant.__main__ import wired
from services.tenant.settings import TenantSettings

OPERATOR_KEY = "rpo_" + secrets.token_urlsafe(24)
WORKLOADS = {name: secrets.token_urlsafe(24) for name in ("crm", "tickets", "recommendations", "gateway")}

Metadata = tuple[tuple[str, str], ...]


def bearer(token: str) -> Metadata:
    """The metadata of a call with this token."""
    return (("authorization", f"Bearer {token}"),)


def write_files(folder: Path) -> dict[str, Path]:
    """Write the files that the settings of the service name, and return them by the settings' names."""
    files = {name: folder / name for name in ("kek_file", "operator_key_file", "workload_secrets_file")}
    if not files["kek_file"].exists():
        KeyEncryptionKeys.create(files["kek_file"])
    files["operator_key_file"].write_text(OPERATOR_KEY + "\n")
    files["workload_secrets_file"].write_text(json.dumps(WORKLOADS))
    return files


@dataclass(frozen=True, slots=True)
class Side:
    """The stubs of a running service, and the calls that most tests begin with."""

    tokens: token_service_pb2_grpc.TokenServiceStub
    tenants: tenant_service_pb2_grpc.TenantServiceStub
    keys: api_key_service_pb2_grpc.ApiKeyServiceStub
    audit: audit_service_pb2_grpc.AuditServiceStub
    signing_keys: signing_key_service_pb2_grpc.SigningKeyServiceStub
    oauth: oauth_service_pb2_grpc.OAuthServiceStub
    domains: domain_service_pb2_grpc.DomainServiceStub

    @classmethod
    def on(cls, channel: grpc.aio.Channel) -> "Side":
        """The stubs on a channel."""
        return cls(
            token_service_pb2_grpc.TokenServiceStub(channel),
            tenant_service_pb2_grpc.TenantServiceStub(channel),
            api_key_service_pb2_grpc.ApiKeyServiceStub(channel),
            audit_service_pb2_grpc.AuditServiceStub(channel),
            signing_key_service_pb2_grpc.SigningKeyServiceStub(channel),
            oauth_service_pb2_grpc.OAuthServiceStub(channel),
            domain_service_pb2_grpc.DomainServiceStub(channel),
        )

    async def operator(self, tenant: str = "") -> Metadata:
        """The metadata of an operator, bound to a tenant where one is named."""
        request = token_service_pb2.ExchangeOperatorKeyRequest(operator_key=OPERATOR_KEY, tenant=tenant)
        return bearer((await self.tokens.ExchangeOperatorKey(request)).token)

    async def workload(self, service: str) -> Metadata:
        """The metadata of a service without tenant."""
        request = token_service_pb2.ExchangeWorkloadRequest(service=service, secret=WORKLOADS[service])
        return bearer((await self.tokens.ExchangeWorkload(request)).token)

    async def shop(self, api_key: str) -> Metadata:
        """The metadata of a shop's own caller."""
        return bearer((await self.exchange(api_key)).token)

    async def exchange(self, api_key: str) -> token_service_pb2.AccessToken:
        """The token that the key is exchanged for."""
        return await self.tokens.ExchangeApiKey(token_service_pb2.ExchangeApiKeyRequest(api_key=api_key))

    async def create(self, slug: str = "", **said: object) -> tuple[Tenant, str]:
        """A new tenant and its first key; without a slug an unused one is taken."""
        tenant = Tenant(slug=slug or f"shop-{secrets.token_hex(6)}", name="A shop")
        tenant.MergeFrom(Tenant(**said))  # type: ignore[arg-type] # the test says which fields
        request = tenant_service_pb2.CreateTenantRequest(tenant=tenant)
        made = await self.tenants.CreateTenant(request, metadata=await self.operator())
        return made.tenant, made.api_key

    async def suspend(self, tenant: str) -> Tenant:
        """Suspend a tenant."""
        request = tenant_service_pb2.SuspendTenantRequest(tenant=tenant)
        return await self.tenants.SuspendTenant(request, metadata=await self.operator())

    async def erase(self, tenant: str) -> None:
        """Delete a tenant and take the way back from it."""
        holder = await self.operator()
        await self.tenants.DeleteTenant(tenant_service_pb2.DeleteTenantRequest(tenant=tenant), metadata=holder)
        await self.tenants.EraseTenant(tenant_service_pb2.EraseTenantRequest(tenant=tenant), metadata=holder)


@asynccontextmanager
async def running_side(database_url: str, folder: Path, **told: object) -> AsyncIterator[Side]:
    """Run a service on the database; files of settings are written to the folder, and `told` are further settings."""
    files = write_files(folder)
    settings = TenantSettings(database_url=database_url, **files, **told)  # type: ignore[arg-type] # pydantic converts
    async with wired(settings) as parts:
        server = await start_server(
            parts.registrations, trust=parts.feed, audit=parts.audit, components=parts.components
        )
        try:
            async with grpc.aio.insecure_channel(server.address) as channel:
                yield Side.on(channel)
        finally:
            await server.stop()


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason in the one ErrorInfo of a refusal."""
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    infos = [
        any_detail
        for any_detail in status_pb2.Status.FromString(details).details
        if any_detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)
    ]
    assert len(infos) == 1
    info = error_details_pb2.ErrorInfo()
    infos[0].Unpack(info)
    return str(info.reason)
