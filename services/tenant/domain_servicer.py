"""The servicer of own domains: a message in, one call, a message out."""

from datetime import UTC, datetime
from typing import Any

import grpc
from google.protobuf import empty_pb2
from rapport.tenant.v1 import domain_pb2, domain_service_pb2, domain_service_pb2_grpc

from servicekit.identity import HostRules, caller_tenant
from servicekit.pages import PageTokens, page_size
from services.tenant import domains, messages
from services.tenant.domain_proof import ProofFinder
from services.tenant.domain_store import DomainStore

Context = grpc.aio.ServicerContext[Any, Any]


class DomainServicer(domain_service_pb2_grpc.DomainServiceServicer):
    """Implements `rapport.tenant.v1.DomainService`."""

    def __init__(self, store: DomainStore, proofs: ProofFinder, hosts: HostRules, pages: PageTokens) -> None:
        self._store = store
        self._proofs = proofs
        self._hosts = hosts
        self._pages = pages

    async def CreateDomain(
        self, request: domain_service_pb2.CreateDomainRequest, _context: Context
    ) -> domain_pb2.Domain:
        """Add a domain."""
        domain = domains.new_domain(caller_tenant(), self._named(request.domain.name), datetime.now(UTC))
        return messages.domain_message(await self._store.create_domain(domain))

    async def ListDomains(
        self, request: domain_service_pb2.ListDomainsRequest, _context: Context
    ) -> domain_service_pb2.ListDomainsResponse:
        """Return a page of domains."""
        tenant_id, size = caller_tenant(), page_size(request.page_size)
        scope = ("domains", tenant_id)
        after = self._pages.open(request.page_token, scope=scope)["name"] if request.page_token else ""
        # One more than asked for tells whether there is another page.
        found = await self._store.list_domains(tenant_id, after, size + 1, datetime.now(UTC))
        page = found[:size]
        last = {"name": page[-1].name} if len(found) > size else None
        return domain_service_pb2.ListDomainsResponse(
            domains=[messages.domain_message(domain) for domain in page],
            next_page_token=self._pages.seal(last, scope=scope) if last else "",
        )

    async def VerifyDomain(
        self, request: domain_service_pb2.VerifyDomainRequest, _context: Context
    ) -> domain_pb2.Domain:
        """Look for the proof."""
        now = datetime.now(UTC)
        domain = await self._store.get_domain(caller_tenant(), self._named(request.domain), now)
        if domain.verify_time is None:
            await self._proofs.find(domain)
            domain = await self._store.set_verified(domains.verified(domain, now))
        return messages.domain_message(domain)

    async def DeleteDomain(self, request: domain_service_pb2.DeleteDomainRequest, _context: Context) -> empty_pb2.Empty:
        """Remove a domain."""
        await self._store.delete_domain(caller_tenant(), self._named(request.domain))
        return empty_pb2.Empty()

    def _named(self, name: str) -> str:
        return domains.canonical(name, self._hosts.base_domain, self._hosts.neutral)
