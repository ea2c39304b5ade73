"""gRPC-Web through the real gateway, as a browser's page calls it: frames made by hand, in binary and in text."""

import base64
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2
from rapport.tickets.v1 import ticket_pb2, ticket_service_pb2

from tests.support.grpc_web import BINARY, TEXT, web_call
from tests.support.world import SuiteUnderTest, new_shop

TICKETS = "rapport.tickets.v1.TicketService/"
PAGE = {"origin": "http://localhost:5173"}
NEW = ticket_service_pb2.CreateTicketRequest(
    customer_id="c-1", channel="email", initial_message="Where is my parcel?", subject="Größe „zu“ groß ✓"
)
both_kinds = pytest.mark.parametrize("kind", [BINARY, TEXT], ids=["binary", "text"])


@dataclass
class Web:
    """What a unary call came to."""

    code: grpc.StatusCode
    detail: str
    messages: list[bytes]
    trailers: dict[str, str]
    headers: httpx.Headers


@pytest.fixture(params=[False, True], ids=["h1", "h2"])
async def client(suite: SuiteUnderTest, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """A page's client with the key of a new shop."""
    shop = await new_shop(suite, "web")
    async with suite.client(http2=request.param, **{"x-api-key": shop.api_key}, **PAGE) as open_client:
        yield open_client


async def ask(client: httpx.AsyncClient, method: str, request: bytes, kind: str, **headers: str) -> Web:
    """Make a call and read it to its end."""
    async with web_call(client, method, request, kind=kind, headers=headers) as call:
        messages = [message async for message in call.messages()]
        return Web(call.code, call.detail, messages, call.trailers, call.response.headers)


@both_kinds
async def test_a_page_calls_a_method_and_reads_the_status_from_the_body(client: httpx.AsyncClient, kind: str) -> None:
    """One message, then the trailers in a frame of their own, since a browser cannot see real ones."""
    made = await ask(client, f"{TICKETS}CreateTicket", NEW.SerializeToString(), kind)
    assert (made.code, made.headers["content-type"]) == (grpc.StatusCode.OK, kind)
    ticket = ticket_pb2.Ticket.FromString(made.messages[0])
    assert (len(made.messages), ticket.number, ticket.subject) == (1, "T-001", NEW.subject)
    assert made.headers["access-control-allow-origin"] == PAGE["origin"]
    assert "content-encoding" not in made.headers, "the client would have taken it compressed"
    exposed = made.headers["access-control-expose-headers"]
    assert {"grpc-status", "grpc-message"} <= {name.strip() for name in exposed.split(",")}


@both_kinds
async def test_a_services_refusal_comes_with_its_details(client: httpx.AsyncClient, kind: str) -> None:
    """Code, words and the rich status with the reason, all in the frame of trailers or among the headers."""
    request = ticket_service_pb2.GetTicketRequest(ticket="T-404").SerializeToString()
    refused = await ask(client, f"{TICKETS}GetTicket", request, kind)
    assert (refused.code, refused.detail, refused.messages) == (
        grpc.StatusCode.NOT_FOUND,
        "There is no such ticket.",
        [],
    )
    details = refused.trailers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.metadata["ticket"]) == ("TICKET_NOT_FOUND", "T-404")


@both_kinds
@pytest.mark.parametrize(
    ("method", "key", "code"),
    [
        (f"{TICKETS}GetTicket", "rpk_wrong", grpc.StatusCode.UNAUTHENTICATED),
        (f"{TICKETS}NoSuchMethod", "", grpc.StatusCode.UNIMPLEMENTED),
        ("rapport.tickets.v1.IngestService/IngestEvents", "", grpc.StatusCode.UNIMPLEMENTED),
        ("grpc.health.v1.Health/Check", "", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
async def test_the_gateways_own_refusals_are_grpc_web_too(
    client: httpx.AsyncClient, kind: str, method: str, key: str, code: grpc.StatusCode
) -> None:
    """A wrong key, and what does not exist outside: with a status that the page's library understands."""
    refused = await ask(client, method, b"", kind, **({"x-api-key": key} if key else {}))
    assert refused.code is code
    assert refused.headers["access-control-allow-origin"] == PAGE["origin"]


@both_kinds
async def test_a_page_reads_a_stream_message_by_message(client: httpx.AsyncClient, kind: str) -> None:
    """The inbox: each message is there before the next change is made, and the stream ends when the page leaves."""
    async with (
        web_call(client, f"{TICKETS}WatchInbox", b"", kind=kind) as call,
        aclosing(call.messages()) as messages,
    ):
        first = ticket_service_pb2.WatchInboxResponse.FromString(await anext(messages))
        assert first.HasField("caught_up")
        for number in ("T-001", "T-002"):
            await ask(client, f"{TICKETS}CreateTicket", NEW.SerializeToString(), BINARY)
            told = ticket_service_pb2.WatchInboxResponse.FromString(await anext(messages))
            assert told.change.ticket_number == number


@pytest.mark.parametrize(
    ("method", "wished"),
    [
        ("POST", "content-type,x-api-key,x-grpc-web,x-user-agent,grpc-timeout"),
        ("PATCH", "content-type,authorization,if-match"),
        ("GET", "x-api-key,last-event-id,if-none-match"),
    ],
)
async def test_a_browser_may_ask_first(suite: SuiteUnderTest, method: str, wished: str) -> None:
    """The preflight of a page of the deployment names all headers that the page sends; it needs no credential."""
    asked = {"access-control-request-method": method, "access-control-request-headers": wished}
    async with suite.client(**PAGE, **asked) as browser:
        answer = await browser.options(f"/{TICKETS}GetTicket" if method == "POST" else "/v1/tickets/T-001")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE["origin"]
    assert method in answer.headers["access-control-allow-methods"]
    allowed = {name.strip() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert set(wished.split(",")) <= allowed


async def test_a_page_of_elsewhere_is_not_let_read(suite: SuiteUnderTest) -> None:
    """Neither by the preflight nor by the answer."""
    host = urllib.parse.urlsplit(suite.https_url).netloc
    for origin in ("https://evil.example", f"http://{host}.evil.example", "null"):
        headers = {"origin": origin, "access-control-request-method": "POST"}
        async with suite.client(**headers) as browser:
            answer = await browser.options(f"/{TICKETS}GetTicket")
            assert "access-control-allow-origin" not in answer.headers
            refused = await browser.post(f"/{TICKETS}GetTicket", headers={"content-type": BINARY}, content=b"\0" * 5)
            assert "access-control-allow-origin" not in refused.headers
