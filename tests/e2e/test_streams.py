"""The inbox as a stream through the real gateway: at once, whole after every break, and over with its credential."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import pytest
from rapport.tickets.v1 import ticket_service_pb2

from tests.e2e.isolation.doors import edge_channel
from tests.support.events import EVENTS, events
from tests.support.grpc_web import BINARY, TEXT, web_call
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, call, key_token, new_shop, operator_token

WATCH = "rapport.tickets.v1.TicketService/WatchInbox"
NEW = {"customer_id": "c-1", "channel": "email", "initial_message": "Where is my parcel?"}


@dataclass
class Heard:
    """What one open stream has brought: whether it has begun, what it said, when and how it ended."""

    name: str
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    content: bytes = b""
    ended: float = 0.0
    end: grpc.StatusCode | None = None


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop of its own for each test."""
    return await new_shop(suite, "stream")


async def open_ticket(client: httpx.AsyncClient) -> str:
    """Open a ticket and return its number."""
    answer = await client.post("/v1/tickets", json=NEW)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["number"])


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
async def test_an_event_reaches_a_browser_within_a_second_of_the_change(
    suite: SuiteUnderTest, shop: Shop, http2: bool
) -> None:
    """Nothing on the way holds it back, though the client would take a compressed answer."""
    headers = {"x-api-key": shop.api_key}
    whole, behind = [], []
    async with (
        suite.client(http2=http2, **headers, **{"accept-encoding": "gzip, br"}) as browser,
        suite.client(**headers) as desk,
        aclosing(events(browser)) as stream,
    ):

        async def arrival() -> tuple[dict[str, str], float]:
            return await anext(stream), time.monotonic()

        assert (await anext(stream))["event"] == "caught_up"
        for _ in range(20):
            coming = asyncio.ensure_future(arrival())
            sent = time.monotonic()
            number = await open_ticket(desk)
            answered = time.monotonic()
            event, arrived = await coming
            whole.append(arrived - sent)
            behind.append(arrived - answered)
            assert (event["event"], f'"{number}"' in event["data"]) == ("created", True)
    figures = f"{statistics.median(whole) * 1000:.0f} ms, at most {max(whole) * 1000:.0f} ms after it was sent"
    print(f"change to event over {'h2' if http2 else 'h1'}: {figures}")  # noqa: T201 - the figures of the drill
    assert max(behind) < 1.0


async def test_a_browser_that_breaks_off_again_and_again_hears_of_each_ticket_once(
    suite: SuiteUnderTest, shop: Shop
) -> None:
    """It says the last id that it saw, as the standard has it."""
    async with suite.client(**{"x-api-key": shop.api_key}) as client:

        async def listen() -> list[str]:
            heard: list[str] = []
            last: dict[str, str] = {"last-event-id": first["id"]}
            for count in (3, 1, 4, 2, 99):
                async with aclosing(events(client, **last)) as stream:
                    for _ in range(count):
                        event = await anext(stream)
                        last = {"last-event-id": event["id"]}
                        if event.get("event") == "created":
                            heard.append(event["data"].partition('"ticket_number":"')[2].partition('"')[0])
                        if len(heard) == 12:
                            return heard
            return heard

        async with aclosing(events(client)) as stream:
            first = await anext(stream)
        listening = asyncio.ensure_future(listen())
        opened = await asyncio.gather(*(open_ticket(client) for _ in range(12)))
        async with asyncio.timeout(20):
            heard = await listening
    assert sorted(heard) == sorted(opened)
    assert len(set(heard)) == 12


async def test_a_place_that_is_none_is_refused_before_the_stream_begins(suite: SuiteUnderTest, shop: Shop) -> None:
    """With an ordinary problem, so that the browser's page can tell what is wrong."""
    async with suite.client(**{"x-api-key": shop.api_key, "last-event-id": "invented"}) as client:
        answer = await client.get(EVENTS)
    assert (answer.status_code, answer.json()["reason"]) == (400, "RESUME_TOKEN_INVALID")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_programs_without_grpc_read_one_json_object_a_line(suite: SuiteUnderTest, shop: Shop) -> None:
    """The typed stream over REST."""
    async with (
        suite.client(**{"x-api-key": shop.api_key}) as client,
        client.stream("GET", "/v1/tickets:watchLines") as response,
        aclosing(response.aiter_lines()) as lines,
    ):
        assert '"caught_up"' in await anext(lines)
        number = await open_ticket(client)
        line = await anext(lines)
    assert '"kind":"KIND_CREATED"' in line
    assert f'"{number}"' in line


async def revoke(suite: SuiteUnderTest, shop: Shop) -> None:
    """Revoke the key that the streams were opened with."""
    request = {"api_key": shop.ids["watching_key"]}
    await call(
        suite.grpc["tenant"],
        "rapport.tenant.v1.ApiKeyService/RevokeApiKey",
        request,
        await operator_token(suite, shop.slug),
    )


async def suspend(suite: SuiteUnderTest, shop: Shop) -> None:
    """Suspend the shop."""
    method = "rapport.tenant.v1.TenantService/SuspendTenant"
    await call(suite.grpc["tenant"], method, {"tenant": shop.slug}, await operator_token(suite))


async def delete(suite: SuiteUnderTest, shop: Shop) -> None:
    """Delete the shop."""
    method = "rapport.tenant.v1.TenantService/DeleteTenant"
    await call(suite.grpc["tenant"], method, {"tenant": shop.slug}, await operator_token(suite))


async def watch_over_grpc(channel: grpc.aio.Channel, credential: tuple[str, str], heard: Heard) -> None:
    """Read a stream over gRPC to its end."""
    stream: Any = channel.unary_stream(f"/{WATCH}", request_serializer=bytes)(b"", metadata=(credential,), timeout=30)
    try:
        while (message := await stream.read()) is not grpc.aio.EOF:
            heard.content += message
            heard.begun.set()
    except grpc.aio.AioRpcError as error:
        heard.end = error.code()
    heard.ended = time.monotonic()


async def watch_over_web(client: httpx.AsyncClient, kind: str, heard: Heard) -> None:
    """Read a stream over gRPC-Web to its end."""
    request = ticket_service_pb2.WatchInboxRequest().SerializeToString()
    async with web_call(client, WATCH, request, kind=kind) as under_way:
        async for message in under_way.messages():
            heard.content += message
            heard.begun.set()
        heard.end = under_way.code
    heard.ended = time.monotonic()


async def watch_as_browser(client: httpx.AsyncClient, heard: Heard) -> None:
    """Read Server-Sent Events to their end."""
    async with aclosing(events(client)) as stream:
        async for event in stream:
            heard.content += str(event).encode()
            heard.begun.set()
    heard.ended = time.monotonic()


@asynccontextmanager
async def watching_everywhere(suite: SuiteUnderTest, key: str) -> AsyncIterator[tuple[list[Heard], list[Any]]]:
    """Open a stream through every door, all under way when this is entered."""
    token = await key_token(suite, key)
    names = ("port", "grpc", "grpc-web", "grpc-web-text", "events h1", "events h2")
    heard = [Heard(name) for name in names]
    async with (
        grpc.aio.insecure_channel(suite.grpc["tickets"]) as port,
        edge_channel(suite) as edge,
        suite.client(**{"x-api-key": key}) as h1,
        suite.client(http2=True, **{"x-api-key": key}) as h2,
    ):
        work: list[Awaitable[None]] = [
            watch_over_grpc(port, ("authorization", f"Bearer {token}"), heard[0]),
            watch_over_grpc(edge, ("x-api-key", key), heard[1]),
            watch_over_web(h1, BINARY, heard[2]),
            watch_over_web(h2, TEXT, heard[3]),
            watch_as_browser(h1, heard[4]),
            watch_as_browser(h2, heard[5]),
        ]
        running = [asyncio.ensure_future(one) for one in work]
        async with asyncio.timeout(10):
            await asyncio.gather(*(each.begun.wait() for each in heard))
        yield heard, running
        for one in running:
            one.cancel()


@pytest.mark.parametrize("act", [revoke, suspend, delete])
async def test_every_stream_ends_within_a_second_of_its_credential(
    suite: SuiteUnderTest,
    shop: Shop,
    act: Callable[[SuiteUnderTest, Shop], Awaitable[None]],
) -> None:
    """A revoked key, a suspended and a deleted shop: through every door, and nobody gets in again."""
    made: Any = await call(
        suite.grpc["tenant"],
        "rapport.tenant.v1.ApiKeyService/CreateApiKey",
        {"api_key": {"name": "watching", "scopes": ["tickets.read"]}},
        await operator_token(suite, shop.slug),
    )
    shop.ids["watching_key"] = made.id
    async with watching_everywhere(suite, made.key) as (heard, running):
        await act(suite, shop)
        done = time.monotonic()
        async with asyncio.timeout(10):
            await asyncio.gather(*running)
        took = {each.name: each.ended - done for each in heard}
        ends = {each.end for each in heard if not each.name.startswith("events")}
    told = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in took.items())
    print(f"streams ended after {act.__name__}: {told}")  # noqa: T201 - the figures of the drill
    assert ends == {grpc.StatusCode.UNAUTHENTICATED}
    assert max(took.values()) < 1.0, told
    async with suite.client(**{"x-api-key": made.key}) as client:
        assert (await client.get(EVENTS)).status_code == 401


async def test_no_stream_tells_a_shop_of_anothers_changes(suite: SuiteUnderTest, shop: Shop) -> None:
    """Through every door a shop hears of its own ticket, and of none of those that another one opened before it."""
    other = await new_shop(suite, "other")
    async with (
        watching_everywhere(suite, shop.api_key) as (heard, _),
        suite.client(**{"x-api-key": other.api_key}) as elsewhere,
        suite.client(**{"x-api-key": shop.api_key}) as here,
    ):
        foreign = [(await elsewhere.post("/v1/tickets", json=NEW)).json()["id"] for _ in range(3)]
        assert (await elsewhere.post(f"/v1/tickets/{foreign[0]}:close", json={})).status_code == 200
        own = (await here.post("/v1/tickets", json=NEW)).json()["id"].encode()

        async def all_heard() -> bool:
            return all(own in each.content for each in heard)

        await eventually(all_heard)
        assert not [each.name for each in heard for ticket in foreign if ticket.encode() in each.content]
