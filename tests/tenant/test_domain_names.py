"""Which names can be a tenant's own domain, and where the proof of one is looked for."""

import asyncio
import socket
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from uuid import UUID

import pytest

from servicekit.ids import uuid7
from services.tenant.domain_proof import ProofFinder, is_public
from services.tenant.domains import AWAITED, PROOF_FOLDER, canonical, new_domain, verified
from services.tenant.errors import DomainInvalidError, DomainNotProvenError, DomainVerificationRunningError
from services.tenant.settings import TenantSettings
from tests.servicekit.waiting import until

BASE = "rapport.example"
TAKEN = frozenset({"rapport.example", "www.gateway.example"})


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("support.example.com", "support.example.com"),
        ("Support.EXAMPLE.com", "support.example.com"),
        ("support.example.com.", "support.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("пример.example", "xn--e1afmkfd.example"),
        ("a-b.1.example", "a-b.1.example"),
        ("notrapport.example", "notrapport.example"),
        ("example.example", "example.example"),
    ],
)
def test_a_name_has_one_form(name: str, form: str) -> None:
    """However it is written, it is kept as a browser sends it."""
    assert canonical(name, BASE, TAKEN) == form


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "com",
        "localhost",
        "shop.localhost",
        "printer.local",
        "db.internal",
        "1.0.0.127.in-addr.arpa",
        "192.0.2.7",
        "[2001:db8::1]",
        "2001:db8::1",
        "0x7f.1",
        "support.example.com:443",
        "https://support.example.com",
        "support.example.com/path",
        "user@support.example.com",
        "support..example.com",
        ".support.example.com",
        "support.example.com..",
        "-a.example.com",
        "a-.example.com",
        "a_b.example.com",
        "*.example.com",
        "a b.example.com",
        "a\n.example.com",
        f"{'a' * 64}.example.com",
        ".".join(["a" * 60] * 5),
        "straße.example",
        "xn--\u00fc.example",
        "xn--99999999.example",
        "rapport.example",
        "acme.rapport.example",
        "a.acme.RAPPORT.example.",
        "www.gateway.example",
    ],
)
def test_what_cannot_be_a_tenants_own_is_refused(name: str) -> None:
    """Addresses, ports, names of nobody and names of the deployment are no domains of a tenant."""
    with pytest.raises(DomainInvalidError):
        canonical(name, BASE, TAKEN)


def test_a_proof_is_awaited_for_a_while_only() -> None:
    """After that the domain is not live any more, unless it was verified in time."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    domain = new_domain(uuid7(), "support.example.com", now)
    assert domain.is_live(now + AWAITED - timedelta(seconds=1))
    assert not domain.is_live(now + AWAITED)
    assert verified(domain, now).is_live(now + 100 * AWAITED)
    assert domain.proof_path.startswith(PROOF_FOLDER)
    assert domain.proof_text not in domain.proof_path
    assert domain.proof_text not in repr(domain)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - an address to refuse
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("192.0.2.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("100.127.255.254", False),
        ("192.0.0.9", False),
        ("192.0.0.1", False),
        ("192.88.99.1", False),
        ("168.63.129.16", False),
        ("fec0::1", False),
        ("feff::1", False),
        ("::ffff:168.63.129.16", False),
        ("2002:a83f:8110::", False),
        ("192.0.1.1", True),
        ("168.63.129.17", True),
    ],
)
def test_only_addresses_of_the_internet_are_asked(address: str, public: bool) -> None:
    """An address that leads into our own network, in whatever disguise, is none to call."""
    assert is_public(ip_address(address)) is public


@pytest.mark.parametrize(
    "addresses",
    [[], ["127.0.0.1"], ["93.184.215.14", "10.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%eth0"], ["nonsense"]],
)
async def test_a_domain_with_any_address_that_is_not_public_is_not_asked(addresses: Sequence[str]) -> None:
    """One private address among public ones is enough: nobody knows which one a call would reach."""

    async def resolve(_name: str) -> Sequence[str]:
        if not addresses:
            raise socket.gaierror
        return addresses

    domain = new_domain(uuid7(), "support.example.com", datetime.now(UTC))
    with pytest.raises(DomainNotProvenError, match="not public"):
        await ProofFinder(resolve=resolve).find(domain)


async def test_a_resolver_that_hangs_holds_up_its_tenant_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the threads of everybody else, and no other tenant; its own next proof waits until the resolver is done."""
    slow, again = (new_domain(tenant, f"{name}.example.com", datetime.now(UTC)) for tenant, name in _of_one_tenant())
    other = new_domain(uuid7(), "other.example.com", datetime.now(UTC))
    begun, end = threading.Event(), threading.Event()

    def resolve(name: str, *_: object, **__: object) -> list[object]:
        if name == "slow.example.com.":
            begun.set()
            end.wait(30)
        raise socket.gaierror

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    monkeypatch.setattr("services.tenant.domain_proof._SECONDS", 0.5)
    finder = ProofFinder()
    looking = asyncio.create_task(finder.find(slow))
    # All of the event loop's own threads wait for the resolver to be asked: it needs none of them.
    loop = asyncio.get_running_loop()
    waiting = [loop.run_in_executor(None, begun.wait, 20) for _ in range(64)]
    assert all(await asyncio.gather(*waiting))
    with pytest.raises(DomainVerificationRunningError):
        await finder.find(again)
    with pytest.raises(DomainNotProvenError):
        await finder.find(other)
    with pytest.raises(DomainNotProvenError):
        await looking
    with pytest.raises(DomainVerificationRunningError):
        await finder.find(again)
    end.set()
    await until(lambda: not finder.is_looking(again.tenant_id))
    with pytest.raises(DomainNotProvenError):
        await finder.find(again)


def _of_one_tenant() -> list[tuple[UUID, str]]:
    """Two names, with one tenant."""
    tenant_id = uuid7()
    return [(tenant_id, "slow"), (tenant_id, "again")]


def test_production_refuses_the_file_that_stands_in_for_the_resolver(tmp_path: object) -> None:
    """With it a tenant's word would lead into our own network."""
    with pytest.raises(ValueError, match="refused in production"):
        TenantSettings(domain_hosts_file=tmp_path, environment="production").domain_hosts()  # type: ignore[arg-type]
