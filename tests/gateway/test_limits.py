"""What one request may cost: its size, its time, its media type, and the room that a slow service may take."""

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Awaitable, Iterator
from typing import Any

import grpc
import httpx
import pytest
from envoy_data_plane.envoy.config.core.v3 import RoutingPriority

from gateway.edge.limits import LIMITS, ROOM, Kind, kind_of
from tests.gateway.stack import Stack, wait_until
from tests.gateway.test_errors import problem
from tests.gateway.upstream import GOOD_KEY, HANGING, SERVICE

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("surface", "verb", "method", "streaming", "kind"),
    [
        ("api", "GET", "GetTicket", False, Kind.READ),
        ("v1", "DELETE", "DeleteTenant", False, Kind.READ),
        ("v1", "POST", "CreateTicket", False, Kind.WRITE),
        ("v1", "PATCH", "UpdateTicket", False, Kind.WRITE),
        ("v1", "POST", "ImportCustomers", False, Kind.IMPORT),
        ("v1", "GET", "WatchInbox", True, Kind.STREAM),
        ("webhooks", "POST", "ReceiveWebhook", False, Kind.WEBHOOK),
    ],
)
def test_each_route_has_a_kind(surface: str, verb: str, method: str, streaming: bool, kind: Kind) -> None:
    """By what the contract says of it."""
    assert kind_of(surface=surface, verb=verb, method=method, streaming=streaming) is kind


def test_only_streams_have_no_end() -> None:
    """Every other kind of request has a time-out, a longest body and a crowd with room."""
    assert LIMITS.keys() == set(Kind)
    assert {kind for kind, limits in LIMITS.items() if not limits.timeout} == {Kind.STREAM}
    assert all(limits.longest_body > 0 and ROOM[limits.crowd] > 0 for limits in LIMITS.values())
    # Machines must not take the room of people.
    assert LIMITS[Kind.WEBHOOK].crowd is not LIMITS[Kind.WRITE].crowd


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_says_that_it_is_no_json_is_415(client: httpx.Client, kind: str) -> None:
    """Before anybody reads it; a page may read the refusal."""
    headers = {"content-type": kind, "origin": "http://localhost:5173"}
    response = client.post("/v1/things", content=b'{"name":"a"}', headers=headers)
    assert problem(response, 415)["reason"] == "MEDIA_TYPE_UNSUPPORTED"
    assert response.headers["access-control-allow-origin"] == "http://localhost:5173"


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json", None]
)
def test_a_body_of_json_is_taken(client: httpx.Client, kind: str | None) -> None:
    """Also one that does not say what it is."""
    headers = {"content-type": kind} if kind else {}
    response = client.post("/v1/things", content=b'{"name":"a"}', headers=headers)
    assert (response.status_code, response.json()["name"]) == (200, "a")


def test_webhooks_are_taken_as_they_come(client: httpx.Client) -> None:
    """Vendors send what they like."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/webhooks/zendesk/form", content=b"a=b", headers=headers).status_code == 200


def test_what_only_reads_takes_no_body(client: httpx.Client) -> None:
    """One is refused instead of being read and forgotten."""
    problem(client.request("GET", "/v1/things/7", content=b"a body"), 413)
    assert client.get("/v1/things/7").status_code == 200


def test_a_large_body_is_judged_the_same_while_its_key_is_exchanged(stack: Stack) -> None:
    """The first request of a key waits for the tenant service; its body is too large all the same, nothing hangs."""
    for number in range(3):
        key = f"rpk_{number}ewnewnewnewnewnew_abc123"
        stack.tokens.good_keys.add(key)
        with stack.client() as client:
            answer = client.post("/v1/things", content=b"x" * (2 << 20), headers={"x-api-key": key} | JSON)
        assert answer.status_code == 413


@pytest.fixture(scope="module")
def crowded() -> Iterator[Stack]:
    """An edge whose services are about to hang."""
    whole = Stack()
    try:
        yield whole.start()
    finally:
        whole.stop()


def call(stack: Stack, channel: grpc.aio.Channel, name: str) -> Awaitable[bytes]:
    """Call the probe as a tenant whose quota is not what is tested."""
    metadata = (("authorization", f"Bearer {stack.tokens.token(quota=10_000_000)}"),)
    # The message EchoRequest{id = 1}.
    request = bytes((10, len(name))) + name.encode()
    method: Any = channel.unary_unary(f"/{SERVICE}/Echo")
    answer: Awaitable[bytes] = method(request, metadata=metadata, timeout=60)
    return answer


def test_a_service_that_does_not_answer_is_504(crowded: Stack) -> None:
    """After its time-out, with the time to come again; meanwhile others are answered."""
    headers = {"x-api-key": GOOD_KEY}
    with concurrent.futures.ThreadPoolExecutor() as pool, crowded.client() as client, crowded.client() as other:
        late = pool.submit(client.get, f"/v1/things/{HANGING}", headers=headers, timeout=60)
        wait_until(lambda: crowded.hanging() > 0, "a request hangs")
        assert other.get("/v1/things/7", headers=headers).status_code == 200
        answer = late.result()
    assert problem(answer, 504)["reason"] == "DEADLINE_EXCEEDED"
    assert answer.headers["retry-after"] == "1"


def test_a_service_that_is_full_refuses_at_once_and_takes_no_others_room(crowded: Stack) -> None:
    """Beyond its room is 503 with a reason; webhooks, which have a room of their own, are taken; then all goes on."""
    room, before = ROOM[RoutingPriority.DEFAULT], crowded.hanging()
    pem = (crowded.folder / "tls" / "ca.pem").read_bytes()

    async def fill() -> list[bytes]:
        options = (("grpc.use_local_subchannel_pool", 1),)
        credentials = grpc.ssl_channel_credentials(pem)
        async with contextlib.AsyncExitStack() as stack:
            # A connection carries a hundred requests at once.
            channels = [
                await stack.enter_async_context(
                    grpc.aio.secure_channel(f"localhost:{crowded.https}", credentials, options)
                )
                for _ in range(room // 64)
            ]
            return await asyncio.gather(
                *(call(crowded, channels[number % len(channels)], HANGING) for number in range(room))
            )

    with concurrent.futures.ThreadPoolExecutor() as pool, crowded.client() as client:
        filled = pool.submit(asyncio.run, fill())
        wait_until(lambda: crowded.hanging() - before >= room, "the room is full")
        answer = client.get("/v1/things/7", headers={"x-api-key": GOOD_KEY})
        assert problem(answer, 503)["reason"] == "OVERLOADED"
        assert answer.headers["retry-after"] == "1"
        assert client.post("/webhooks/zendesk/room", content=b"x").status_code == 200
        crowded.loop.run(crowded.release())
        assert len(filled.result()) == room
        assert client.get("/v1/things/7", headers={"x-api-key": GOOD_KEY}).status_code == 200
