"""How a domain is asked: at the address that was checked, under its own name, over HTTPS with a certificate or HTTP."""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from servicekit.certificates import SERVER, Issued, issue, make_authority
from servicekit.ids import uuid7
from services.tenant.domain_proof import ProofFinder
from services.tenant.domains import Domain, new_domain
from services.tenant.errors import DomainNotProvenError
from tests.support.proof_server import ProofServer, proof_server

NAME = "support.example.com"
NOW = datetime.now(UTC)


@dataclass
class Web:
    """A domain's two web servers, and what asks them on this machine as if it were the internet."""

    https: ProofServer
    http: ProofServer
    finder: ProofFinder
    asked_for: list[str]


@asynccontextmanager
async def web(folder: Path, authority: Issued, certified: str) -> AsyncIterator[Web]:
    """Run both servers; the one of HTTPS shows a certificate for `certified` by an authority that is believed."""
    leaf = issue(authority, NAME, [certified], uses=[SERVER], now=NOW, life=timedelta(days=1))
    shown = folder / "shown.pem"
    shown.write_bytes(leaf.certificate_pem + leaf.key_pem)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(shown)
    believing = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    asked_for: list[str] = []

    async def resolve(name: str) -> Sequence[str]:
        asked_for.append(name)
        return ["127.0.0.1"]

    unused = folder / "hosts.json"
    async with proof_server(unused, serving) as https, proof_server(unused) as http:
        finder = ProofFinder(
            resolve=resolve,
            may_ask=lambda address: address == ip_address("127.0.0.1"),
            tls=believing,
            ports={name: int(server.address.rpartition(":")[2]) for name, server in (("https", https), ("http", http))},
        )
        yield Web(https, http, finder, asked_for)


@pytest.fixture
def authority() -> Issued:
    """An authority that is believed."""
    return make_authority("Test authority", now=NOW, life=timedelta(days=1))


@pytest.fixture
def domain() -> Domain:
    """A domain whose proof is awaited."""
    return new_domain(uuid7(), NAME, NOW)


async def test_https_proves_under_the_domains_own_name(tmp_path: Path, authority: Issued, domain: Domain) -> None:
    """The call goes to the address, and name and certificate are the domain's; HTTP is not asked then."""
    async with web(tmp_path, authority, NAME) as servers:
        servers.https.serve(NAME, domain.proof_path, domain.proof_text)
        await servers.finder.find(domain)
        assert servers.https.asked == [(NAME, domain.proof_path)]
        assert servers.http.asked == []
        assert servers.asked_for == [NAME]


async def test_http_proves_where_https_does_not(tmp_path: Path, authority: Issued, domain: Domain) -> None:
    """A shop that has no certificate yet can prove its domain as well."""
    async with web(tmp_path, authority, NAME) as servers:
        servers.http.serve(NAME, domain.proof_path, domain.proof_text)
        await servers.finder.find(domain)
        assert len(servers.https.asked) == len(servers.http.asked) == 1


async def test_a_certificate_of_another_name_is_no_proof(tmp_path: Path, authority: Issued, domain: Domain) -> None:
    """What is served behind it is not even asked for."""
    async with web(tmp_path, authority, "another.example.com") as servers:
        servers.https.serve(NAME, domain.proof_path, domain.proof_text)
        with pytest.raises(DomainNotProvenError):
            await servers.finder.find(domain)
        assert servers.https.asked == []


async def test_a_name_that_resolves_anew_is_asked_where_it_was_checked(
    tmp_path: Path, authority: Issued, domain: Domain
) -> None:
    """Both calls go to the one address of the one look-up: a second answer of the resolver plays no part."""
    async with web(tmp_path, authority, NAME) as servers:
        with pytest.raises(DomainNotProvenError):
            await servers.finder.find(domain)
        assert len(servers.https.asked) == len(servers.http.asked) == 1
        assert servers.asked_for == [NAME]
