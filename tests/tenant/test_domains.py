"""Own domains through the running service: added, proven, kept to one tenant, carried in tokens, removed."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import jwt
import pytest
from rapport.tenant.v1 import domain_service_pb2 as pb
from rapport.tenant.v1 import token_service_pb2
from rapport.tenant.v1.domain_pb2 import Domain

from tests.support.proof_server import ProofServer, proof_server
from tests.support.servers import ServiceDatabase
from tests.tenant.side import WORKLOADS, Metadata, Side, reason_of, running_side


@pytest.fixture
async def owner(files: Path) -> AsyncIterator[ProofServer]:
    """The web server of whoever owns the domains."""
    async with proof_server(files / "domain_hosts.json") as running:
        yield running


@pytest.fixture
async def side(tenant_database: ServiceDatabase, files: Path) -> AsyncIterator[Side]:
    """A running service that finds domains in a file instead of asking the resolver."""
    told = {"environment": "development", "domain_hosts_file": files / "domain_hosts.json"}
    async with running_side(tenant_database.app_url, files, **told) as running:
        yield running


def a_name() -> str:
    """A domain that no other test uses."""
    return f"support-{secrets.token_hex(6)}.example.com"


async def add(side: Side, shop: Metadata, name: str) -> Domain:
    """Add a domain."""
    return await side.domains.CreateDomain(pb.CreateDomainRequest(domain=Domain(name=name)), metadata=shop)


async def verify(side: Side, shop: Metadata, name: str) -> Domain:
    """Have the proof looked for."""
    return await side.domains.VerifyDomain(pb.VerifyDomainRequest(domain=name), metadata=shop)


async def prove(side: Side, owner: ProofServer, shop: Metadata, name: str) -> Domain:
    """Add a domain, serve its proof and have it verified."""
    domain = await add(side, shop, name)
    owner.stand_for(name)
    owner.serve(name, domain.proof_path, f"{domain.proof_text}\n")
    return await verify(side, shop, name)


async def listed(side: Side, shop: Metadata) -> list[str]:
    """The names of all domains, read in pages of two."""
    names: list[str] = []
    token = ""
    while True:
        page = await side.domains.ListDomains(pb.ListDomainsRequest(page_size=2, page_token=token), metadata=shop)
        names += [domain.name for domain in page.domains]
        token = page.next_page_token
        if not token:
            return names


async def refused(call: Any) -> str:
    """The reason for which a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return reason_of(raised.value)


def hosts_of(token: str) -> list[str] | None:
    """The hosts that a token names."""
    hosts: list[str] | None = jwt.decode(token, options={"verify_signature": False}).get("hosts")
    return hosts


async def test_a_proven_domain_stands_in_the_next_token_of_every_kind(side: Side, owner: ProofServer) -> None:
    """Tokens of keys, of operators in the tenant and of services working for it name the domain once it is verified."""
    tenant, key = await side.create()
    shop, name = await side.shop(key), a_name()
    domain = await add(side, shop, name.upper())
    assert (domain.name, domain.state, domain.HasField("expire_time")) == (name, Domain.STATE_PENDING, True)
    assert hosts_of((await side.exchange(key)).token) is None
    proven = await prove(side, owner, shop, name)
    assert (proven.state, proven.HasField("expire_time"), proven.HasField("verify_time")) == (
        Domain.STATE_VERIFIED,
        False,
        True,
    )
    assert owner.asked[-1] == (name, domain.proof_path)
    work = token_service_pb2.ExchangeWorkloadRequest(service="crm", secret=WORKLOADS["crm"], tenant_id=tenant.id)
    for token in (
        (await side.exchange(key)).token,
        (await side.operator(tenant.slug))[0][1].removeprefix("Bearer "),
        (await side.tokens.ExchangeWorkload(work)).token,
    ):
        assert hosts_of(token) == [name]


async def test_a_removed_domain_leaves_the_tokens_and_is_free(side: Side, owner: ProofServer) -> None:
    """Another tenant may prove it afterwards."""
    (_, one), (_, two) = await side.create(), await side.create()
    name = a_name()
    await prove(side, owner, await side.shop(one), name)
    await side.domains.DeleteDomain(pb.DeleteDomainRequest(domain=name), metadata=await side.shop(one))
    assert hosts_of((await side.exchange(one)).token) is None
    assert (await prove(side, owner, await side.shop(two), name)).state == Domain.STATE_VERIFIED


async def test_a_repeat_changes_nothing(side: Side, owner: ProofServer) -> None:
    """Adding twice shows the same proof, and a verified domain is not looked at again."""
    _, key = await side.create()
    shop, name = await side.shop(key), a_name()
    first = await add(side, shop, name)
    assert await add(side, shop, name) == first
    proven = await prove(side, owner, shop, name)
    asked = len(owner.asked)
    assert await verify(side, shop, name) == proven == await add(side, shop, name)
    assert len(owner.asked) == asked


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"status": "404 Not Found"}, "another status than 200"),
        ({"status": "302 Found", "headers": "location: http://127.0.0.1:1/\r\n"}, "another status than 200"),
        ({"body": "{text}x"}, "another text"),
        ({"body": "{text}" + "x" * 5000}, "another text"),
        ({"body": ""}, "another text"),
        ({"status": "500 Oops", "body": "{text}"}, "another status than 200"),
        ({"headers": "content-encoding: gzip\r\n", "body": "{path}"}, "another text"),
    ],
)
async def test_what_is_no_proof_proves_nothing(
    side: Side, owner: ProofServer, answer: dict[str, str], found: str
) -> None:
    """Only the very text with the status 200 does; a redirect is not followed, and a large answer not read."""
    _, key = await side.create()
    shop, name = await side.shop(key), a_name()
    domain = await add(side, shop, name)
    owner.stand_for(name)
    body = answer.get("body", "{text}").format(text=domain.proof_text, path=domain.proof_path)
    owner.serve(name, domain.proof_path, body, **{name: value for name, value in answer.items() if name != "body"})
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await verify(side, shop, name)
    assert reason_of(raised.value) == "DOMAIN_NOT_PROVEN"
    assert found in (raised.value.details() or "")
    assert domain.proof_text not in (raised.value.details() or "")
    assert len(owner.asked) == 1


async def test_of_a_tenant_one_proof_is_looked_for_at_a_time(side: Side, owner: ProofServer) -> None:
    """A second one at once is refused, another shop's is not; when the first is over the next may come."""
    (_, one), (_, two) = await side.create(), await side.create()
    shop, other = await side.shop(one), await side.shop(two)
    slow, quick, others = (a_name() for _ in range(3))
    await add(side, shop, slow)
    owner.stand_for(slow)
    owner.hold(slow)
    looking = asyncio.create_task(refused(verify(side, shop, slow)))
    await owner.wait_until_asked(slow)
    await add(side, shop, quick)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await verify(side, shop, quick)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(raised.value) == "DOMAIN_VERIFICATION_RUNNING"
    assert (await prove(side, owner, other, others)).state == Domain.STATE_VERIFIED
    owner.release()
    assert await looking == "DOMAIN_NOT_PROVEN"
    domain = await add(side, shop, quick)
    owner.stand_for(quick)
    owner.serve(quick, domain.proof_path, domain.proof_text)
    assert (await verify(side, shop, quick)).state == Domain.STATE_VERIFIED


async def test_a_domain_that_does_not_answer_is_not_proven(side: Side, owner: ProofServer) -> None:
    """Nor is one that answers to another tenant's proof."""
    (_, one), (_, two) = await side.create(), await side.create()
    name = a_name()
    mine, theirs = await add(side, await side.shop(one), name), await add(side, await side.shop(two), name)
    assert mine.proof_path != theirs.proof_path
    owner.stand_for(name)
    owner.serve(name, theirs.proof_path, theirs.proof_text)
    assert await refused(verify(side, await side.shop(one), name)) == "DOMAIN_NOT_PROVEN"


async def test_a_domain_is_of_the_tenant_that_proves_it_first(side: Side, owner: ProofServer) -> None:
    """Of two that can prove it at the same moment one gets it; the other is told so only with its proof in place."""
    shops = [await side.shop((await side.create())[1]) for _ in range(2)]
    name = a_name()
    owner.stand_for(name)
    for shop in shops:
        domain = await add(side, shop, name)
        owner.serve(name, domain.proof_path, domain.proof_text)
    outcomes = await asyncio.gather(*(verify(side, shop, name) for shop in shops), return_exceptions=True)
    states = [outcome.state for outcome in outcomes if isinstance(outcome, Domain)]
    reasons = [reason_of(outcome) for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert (states, reasons) == ([Domain.STATE_VERIFIED], ["DOMAIN_TAKEN"])


async def test_a_tenant_has_so_many_domains_and_no_more(side: Side) -> None:
    """Also when it adds them all at once."""
    _, key = await side.create()
    shop = await side.shop(key)
    names = [a_name() for _ in range(14)]
    outcomes = await asyncio.gather(*(add(side, shop, name) for name in names), return_exceptions=True)
    reasons = [reason_of(outcome) for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert reasons == ["DOMAIN_LIMIT_REACHED"] * 4
    assert len(await listed(side, shop)) == 10
    assert await listed(side, shop) == sorted(await listed(side, shop))


async def test_a_proof_that_came_too_late_is_none(
    side: Side, owner: ProofServer, tenant_database: ServiceDatabase
) -> None:
    """A domain whose proof was awaited too long is gone, makes room, and may be added anew with another proof."""
    tenant, key = await side.create()
    shop, name = await side.shop(key), a_name()
    domain = await add(side, shop, name)
    owner.stand_for(name)
    owner.serve(name, domain.proof_path, domain.proof_text)
    connection = await asyncpg.connect(tenant_database.superuser_url)
    try:
        await connection.execute(
            "UPDATE tenant.domains SET create_time = $1 WHERE tenant_id = $2::uuid",
            datetime.now(UTC) - timedelta(days=8),
            tenant.id,
        )
    finally:
        await connection.close()
    assert await listed(side, shop) == []
    assert await refused(verify(side, shop, name)) == "DOMAIN_NOT_FOUND"
    assert (await add(side, shop, name)).proof_text != domain.proof_text


async def test_one_tenants_domains_are_nothing_to_another(side: Side, owner: ProofServer) -> None:
    """A domain of another tenant looks like one that does not exist, verified or not."""
    (_, one), (_, two) = await side.create(), await side.create()
    name = a_name()
    await prove(side, owner, await side.shop(one), name)
    other = await side.shop(two)
    assert await listed(side, other) == []
    assert await refused(verify(side, other, name)) == "DOMAIN_NOT_FOUND"
    gone = side.domains.DeleteDomain(pb.DeleteDomainRequest(domain=name), metadata=other)
    assert await refused(gone) == "DOMAIN_NOT_FOUND"
    assert hosts_of((await side.exchange(one)).token) == [name]
