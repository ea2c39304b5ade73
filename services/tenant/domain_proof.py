"""Looks for the proof that a tenant controls a domain: the one place where this service calls a stranger's server.

What a tenant names must not lead into our own network. The name is resolved here, each address is checked, and the
connection goes to the address that was checked; a redirect is not followed, and little is read.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import httpx

from services.tenant.domains import Domain
from services.tenant.errors import DomainNotProvenError, DomainVerificationRunningError

_SECONDS = 4.0
_AT_ONCE = 8
# More than verifications at once, because the resolver may take longer than anybody waits for it.
_RESOLVERS = 16
_MOST_BYTES = 1024
_PORTS = {"https": 443, "http": 80}
# Addresses that a translator of the network turns into IPv4 ones (NAT64).
_TRANSLATED = IPv6Network("64:ff9b::/32")
# What the standard library takes for addresses of the internet, in one version or another, and what is none: protocol
# assignments, relays of 6to4, carriers' own networks, a cloud's own services, and sites' own networks.
_NOT_PUBLIC = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("100.64.0.0/10"),
    IPv4Network("168.63.129.16/32"),
    IPv6Network("fec0::/10"),
)

Address: TypeAlias = IPv4Address | IPv6Address
Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the addresses of a name; raises OSError when there are none."""


class ProofFinder:
    """Fetches proofs, a few at once and one of a tenant at a time, so that no tenant keeps the others waiting.

    The arguments are for tests. `hosts_file` is a JSON object of addresses (`host:port`) by domains, which are asked
    over HTTP instead of what the domains resolve to, and unchecked; the others replace the resolver, the check of
    addresses, the authorities that are believed, and the ports.
    """

    def __init__(
        self,
        *,
        hosts_file: Path | None = None,
        resolve: Resolve | None = None,
        may_ask: Callable[[Address], bool] | None = None,
        tls: ssl.SSLContext | None = None,
        ports: Mapping[str, int] = _PORTS,
    ) -> None:
        self._hosts_file = hosts_file
        # Threads of their own: a resolver that hangs must not hold up what else needs a thread.
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")
        self._resolve = resolve or self._resolved
        self._may_ask = may_ask or is_public
        self._tls = tls or ssl.create_default_context()
        self._ports = ports
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._verifying: set[UUID] = set()
        self._resolving: dict[UUID, asyncio.Future[Sequence[str]]] = {}

    async def find(self, domain: Domain) -> None:
        """Return when the domain serves its proof.

        Raises:
            DomainNotProvenError: it does not, or not where strangers can ask it.
            DomainVerificationRunningError: this process still looks for another proof of the same tenant, or its
                resolver has not answered yet.
        """
        if self.is_looking(domain.tenant_id):
            raise DomainVerificationRunningError
        self._verifying.add(domain.tenant_id)
        try:
            async with self._at_once:
                objection = await self._objection(domain)
        finally:
            self._verifying.discard(domain.tenant_id)
        if objection:
            raise DomainNotProvenError(domain.name, domain.proof_path, objection)

    def is_looking(self, tenant_id: UUID) -> bool:
        """Tell whether a proof of this tenant is looked for, or the resolver has not answered to an earlier one yet."""
        return tenant_id in self._verifying or tenant_id in self._resolving

    async def _objection(self, domain: Domain) -> str:
        """Return what is wrong with the last answer that was looked at; nothing when the proof was found."""
        if target := self._target_for_tests(domain.name):
            return await self._ask(f"http://{target}", domain)
        address = await self._public_address(domain)
        objection = ""
        for scheme in ("https", "http"):
            objection = await self._ask(f"{scheme}://{address}:{self._ports[scheme]}", domain)
            if not objection:
                break
        return objection

    async def _ask(self, base: str, domain: Domain) -> str:
        """Return what is wrong with the answer, in fixed words; nothing when it is the proof."""
        try:
            async with (
                asyncio.timeout(_SECONDS),
                # No proxy of the environment: it would resolve the name anew.
                httpx.AsyncClient(verify=self._tls, trust_env=False, follow_redirects=False) as client,
                client.stream(
                    "GET",
                    base + domain.proof_path,
                    headers={"host": domain.name, "accept": "text/plain", "accept-encoding": "identity"},
                    extensions={"sni_hostname": domain.name},
                ) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    return "the answer has another status than 200"
                body = b""
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > _MOST_BYTES:
                        return "the answer is another text"
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError):
            return "there is no answer"
        return "" if body.strip() == domain.proof_text.encode() else "the answer is another text"

    async def _public_address(self, domain: Domain) -> str:
        """Return an address of the domain in the form that a URL has it, if all of them are public."""
        try:
            async with asyncio.timeout(_SECONDS):
                found = [ip_address(text) for text in await self._addresses(domain)]
        except (OSError, ValueError, TimeoutError):
            found = []
        if not found or not all(map(self._may_ask, found)):
            raise DomainNotProvenError(domain.name, "", "the domain has no address, or one that is not public")
        # Most machines have no way to IPv6 addresses, so those come last.
        first = min(found, key=lambda address: address.version)
        return str(first) if isinstance(first, IPv4Address) else f"[{first}]"

    async def _addresses(self, domain: Domain) -> Sequence[str]:
        """Return the addresses of a domain; its tenant's next one waits until the resolver is done, even if we do not.

        Raises:
            OSError: there are none.
        """
        resolving = asyncio.ensure_future(self._resolve(domain.name))
        self._resolving[domain.tenant_id] = resolving
        resolving.add_done_callback(lambda _: self._resolving.pop(domain.tenant_id, None))
        # Giving up does not end a thread: a tenant could fill all of them, one after the other.
        return await asyncio.shield(resolving)

    async def _resolved(self, name: str) -> Sequence[str]:
        """Return the addresses that the machine's resolver knows.

        Raises:
            OSError: there are none.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, resolved, name)

    def _target_for_tests(self, name: str) -> str:
        if self._hosts_file is None or not self._hosts_file.exists():
            return ""
        return str(json.loads(self._hosts_file.read_text(encoding="utf-8")).get(name, ""))


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the internet; IPv6 addresses that stand for IPv4 ones are judged by these."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and (address in _TRANSLATED or address.teredo is not None):
            return False
        if inner is not None:
            return is_public(inner)
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def resolved(name: str) -> list[str]:
    """Return the addresses that the machine's resolver knows; it blocks until the resolver answers.

    Raises:
        OSError: there are none.
    """
    # The dot keeps the resolver from trying the name inside the network's own domains.
    found = socket.getaddrinfo(f"{name}.", None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]
