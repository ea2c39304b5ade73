"""An operator's calls to the registry of shops."""

from typing import Any

from rapport.tenant.v1 import tenant_pb2, tenant_service_pb2, tenant_service_pb2_grpc

from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder


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
