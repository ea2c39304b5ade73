"""Whether the tenant behind an address is served, on the host that was called: the routing decision for webhooks."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import grpc

from servicekit.errors import TrustStaleError
from servicekit.identity import (
    Credential,
    Host,
    HostRules,
    Principal,
    Standing,
    TokenVerifier,
    Trust,
    Verdict,
    Workload,
    decide,
)
from servicekit.identity.trust import MAX_AGE

_NOT_SERVED = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)


class Threshold:
    """Decides about tenants and hosts; what it knows of a tenant's hosts is what the tenant's tokens say."""

    def __init__(self, *, hosts: HostRules, trust: Trust, known_as: Callable[[UUID], Awaitable[Principal]]) -> None:
        self._hosts = hosts
        self._trust = trust
        self._known_as = known_as

    async def objection(
        self, tenant_id: UUID, authority: str | None, credential: Credential = Credential.WEBHOOK_TOKEN
    ) -> str:
        """Return why a webhook for the tenant is refused on this host (None: not said), as a fixed word; "" if not.

        `credential` is what the tenant follows from: the address' token, or the account behind an app's signature. Only
        a host that names a tenant costs a question, which is asked of the tenant service about once a minute.

        Raises:
            TrustStaleError: what the answer is judged by is out of date.
            grpc.aio.AioRpcError: the tenant service is out of reach.
        """
        if self._trust.age > MAX_AGE:
            raise TrustStaleError("Which shops are suspended is not known now; come again.", retry_after=2)
        standing = Standing.SUSPENDED if tenant_id in self._trust.refused_tenants else Standing.ACTIVE
        host = Host.AGREES
        if standing is Standing.ACTIVE and authority is not None and not self._hosts.is_neutral(authority):
            try:
                tenant = await self._known_as(tenant_id)
                host = self._hosts.judge(authority, tenant.slug, tenant.hosts)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _NOT_SERVED:
                    raise
                standing = Standing.UNKNOWN
        if decide(credential, standing, host) is Verdict.ALLOWED:
            return ""
        return "tenant_refused" if standing is not Standing.ACTIVE else "host_mismatch"


def by_workload(workload: Workload, verifier: TokenVerifier) -> Callable[[UUID], Awaitable[Principal]]:
    """Return what tells a tenant's slug and domains, by the token with which this service works for that tenant."""

    async def known_as(tenant_id: UUID) -> Principal:
        return verifier.verify(await workload.token(tenant_id))

    return known_as
