"""The whole suite with mutual TLS between its processes, and an exchange of all certificates while it works."""

import asyncio
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.suite.certificates import IDENTITIES
from servicekit.authority import Lives, issue
from servicekit.channel import open_channel
from servicekit.peers import PeerFiles, PeerTls
from tests.support import servers
from tests.support.suite import own_suite, rapport
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, send_webhook, zendesk_event

pytestmark = pytest.mark.timeout(300)  # a suite of its own is started

SETTLE = timedelta(seconds=1.5)


@pytest.fixture(scope="module")
def guarded() -> Iterator[SuiteUnderTest]:
    """A suite of its own with mutual TLS."""
    with own_suite(servers.new_folder(), "--mtls") as described:
        assert described["mtls"] is True
        yield SuiteUnderTest.of(described)


@pytest.fixture(scope="module")
def shop(guarded: SuiteUnderTest) -> Shop:
    """A shop with a connection, made by the operator's commands, which show the operator's certificate."""
    shop = Shop(slug="guarded", marker="guarded", webhook_secret="a-secret-of-thirty-two-characters")
    shop.ids["customer"] = "customer-1"
    data = ["--json", "--data", guarded.data]
    created = rapport("tenant", "create", "--slug", shop.slug, "--name", "Guarded", *data)
    shop.api_key = created.value["api_key"]
    connect = ["connection", "create", "--tenant", shop.slug, "--provider", "zendesk", "--config", "subdomain=acme"]
    connected = rapport(*connect, "--secret-stdin", "webhook_secret", *data, text=shop.webhook_secret)
    shop.webhook_url = connected.value["webhook_url"]
    return shop


async def serving(address: str, name: str, tls: PeerTls | None) -> bool:
    """Tell whether the process lets us in and serves."""
    async with open_channel(f"ipv4:{address}", name, tls) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def operator(suite: SuiteUnderTest) -> PeerTls:
    """Return what the operator's command shows."""
    return PeerTls(PeerFiles.of(Path(suite.data) / "certificates" / "operator"), look_seconds=0)


async def ticket_in_the_inbox(client: httpx.AsyncClient, number: int) -> dict[str, Any]:
    """Wait until so many tickets stand in the inbox; return the newest."""

    async def arrived() -> dict[str, Any] | None:
        tickets = (await client.get("/api/tickets?status=open&smart_order=true")).json()["tickets"]
        return tickets[0] if len(tickets) == number else None

    return await eventually(arrived)


async def test_services_let_in_only_who_has_a_certificate(guarded: SuiteUnderTest) -> None:
    """Every port of the suite, the control plane's included."""
    for name, address in guarded.grpc.items():
        assert not await serving(address, name, None), name
        assert await serving(address, name, operator(guarded)), name


async def test_a_webhook_becomes_a_ticket_with_a_draft(guarded: SuiteUnderTest, shop: Shop) -> None:
    """Envoy → crm → tickets → recommendations → tickets: each hop proves itself to the next."""
    async with guarded.client(**{"x-api-key": shop.api_key}) as client:
        sent = await send_webhook(client, shop, zendesk_event(shop, "7001"))
        assert sent.status_code < 300, sent.text
        card = await ticket_in_the_inbox(client, 1)
        draft = await client.get(f"/api/ai/tickets/{card['id']}/draft-response")
        assert draft.status_code == 200, draft.text
        assert draft.json()["draft"]


async def test_the_authority_is_exchanged_under_load_and_nothing_is_restarted(
    guarded: SuiteUnderTest, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the exchange everything old is forgotten, no request failed, and a new connection stands at once."""
    folder, lives = Path(guarded.data) / "certificates", Lives(settle=SETTLE)
    before = {name: guarded.pid(name) for name in ("crm", "envoy", "control-plane", "recommendations")}
    old = operator(guarded).held()
    done, failed, exchanged = 0, [], asyncio.Event()

    async def load(client: httpx.AsyncClient) -> None:
        nonlocal done
        while not exchanged.is_set():
            answer = await client.get("/api/tickets?status=open&smart_order=true")
            done += 1
            if answer.status_code != 200:
                failed.append(answer.text)
            # Below the shop's quota of requests.
            await asyncio.sleep(0.05)

    async def exchange() -> int:
        steps = 0
        end = time.monotonic() + 4 * SETTLE.total_seconds()
        await asyncio.to_thread(issue, folder, IDENTITIES, lives=lives, roll=True)
        while time.monotonic() < end:
            steps += await asyncio.to_thread(issue, folder, IDENTITIES, lives=lives)
            await asyncio.sleep(0.1)
        exchanged.set()
        return steps

    async with guarded.client(**{"x-api-key": shop.api_key}) as client:
        *_, steps = await asyncio.gather(load(client), load(client), exchange())
        new = operator(guarded).held()
        assert old.authorities not in new.authorities
        # A process that starts anew is connected to by all the others with what they read meanwhile.
        killed = guarded.pid("tickets")
        await asyncio.to_thread(_end, killed)

        async def answers_again() -> bool:
            there = guarded.pid("tickets") != killed
            return there and (await client.get("/api/tickets?status=open")).status_code == 200

        await eventually(answers_again, within=60)
        sent = await send_webhook(client, shop, zendesk_event(shop, "7002"))
        assert sent.status_code < 300, sent.text
        await ticket_in_the_inbox(client, 2)
    with capsys.disabled():
        sys.stdout.write(f"\n  authority exchanged live: {done} requests, {len(failed)} failed, {steps} later steps\n")
    assert failed == []
    assert steps >= 2
    assert {name: guarded.pid(name) for name in before} == before
    assert await serving(guarded.grpc["tickets"], "tickets", operator(guarded))


def _end(pid: int) -> None:
    import psutil

    psutil.Process(pid).kill()
