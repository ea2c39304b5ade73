"""An operator's calls about a shop's own domains."""

from typing import Any

from rapport.tenant.v1 import domain_pb2, domain_service_pb2, domain_service_pb2_grpc

from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder

_TIMEOUT_SECONDS = 30


async def add_domain(folder: SuiteFolder, tenant: str, name: str) -> dict[str, Any]:
    """Add a domain; return it with what proves it."""
    request = domain_service_pb2.CreateDomainRequest(domain=domain_pb2.Domain(name=name))
    async with operator_of(folder) as operator:
        domains = operator.stub(domain_service_pb2_grpc.DomainServiceStub, "tenant")
        metadata = await operator.metadata(tenant)
        return as_dict(await domains.CreateDomain(request, metadata=metadata, timeout=_TIMEOUT_SECONDS))


async def verify_domain(folder: SuiteFolder, tenant: str, name: str) -> dict[str, Any]:
    """Have the proof looked for; return the domain verified."""
    request = domain_service_pb2.VerifyDomainRequest(domain=name)
    async with operator_of(folder) as operator:
        domains = operator.stub(domain_service_pb2_grpc.DomainServiceStub, "tenant")
        metadata = await operator.metadata(tenant)
        return as_dict(await domains.VerifyDomain(request, metadata=metadata, timeout=_TIMEOUT_SECONDS))


async def remove_domain(folder: SuiteFolder, tenant: str, name: str) -> None:
    """Remove a domain."""
    request = domain_service_pb2.DeleteDomainRequest(domain=name)
    async with operator_of(folder) as operator:
        domains = operator.stub(domain_service_pb2_grpc.DomainServiceStub, "tenant")
        await domains.DeleteDomain(request, metadata=await operator.metadata(tenant), timeout=_TIMEOUT_SECONDS)


async def list_domains(folder: SuiteFolder, tenant: str) -> list[dict[str, Any]]:
    """Return a shop's domains by their names."""
    found: list[dict[str, Any]] = []
    token = ""
    async with operator_of(folder) as operator:
        domains = operator.stub(domain_service_pb2_grpc.DomainServiceStub, "tenant")
        while True:
            request = domain_service_pb2.ListDomainsRequest(page_size=200, page_token=token)
            metadata = await operator.metadata(tenant)
            page = await domains.ListDomains(request, metadata=metadata, timeout=_TIMEOUT_SECONDS)
            found += [as_dict(domain) for domain in page.domains]
            token = page.next_page_token
            if not token:
                return found
