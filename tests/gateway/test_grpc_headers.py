"""Headers by which layers of gRPC talk to each other, and heads that are long or no text: never a failure of ours."""

import concurrent.futures
import re

import httpx
import pytest

from gateway.edge.limits import LONGEST_HEADERS_KIBIBYTES
from gateway.edge.listeners import GRPC_HEADERS
from gateway.edge.messages import all_but
from tests.gateway import raw
from tests.gateway.stack import Stack
from tests.gateway.test_forged_headers import ECHO, MESSAGE
from tests.gateway.upstream import GOOD_KEY

Pair = tuple[str, str]
INTERNAL = (
    "grpc-internal-encoding-request",
    "grpc-previous-rpc-attempts",
    "grpc-retry-pushback-ms",
    "grpc-server-stats-bin",
    "grpc-tags-bin",
    "grpc-trace-bin",
    "grpc-status",
    "grpc-message",
    "grpc-",
    "grpc-timeouts",
    "Grpc-Encodin",
)
VALUES = ("evil", "-1", "9" * 30, "\xff\xfe", "")
KEY = ("x-api-key", GOOD_KEY)
GRPC, WEB = "application/grpc", "application/grpc-web+proto"
REST = {
    "reading": ("GET", "/v1/things/1", [KEY], b""),
    "writing": ("POST", "/v1/things", [KEY, ("content-type", "application/json")], b'{"name":"a"}'),
    "webhook": ("POST", "/webhooks/zendesk/t", [("content-type", "application/json")], b"{}"),
    "public": ("GET", "/v1/open/1", [], b""),
}
CALLS = {
    "grpc": ("POST", ECHO, [KEY, ("content-type", GRPC), ("te", "trailers")], MESSAGE),
    "grpc-web": ("POST", ECHO, [KEY, ("content-type", WEB)], MESSAGE),
}
KINDS = REST | CALLS


def ask(stack: Stack, kind: str, *more: Pair) -> raw.Reply:
    """Make a request with more headers than it needs."""
    verb, path, headers, body = KINDS[kind]
    length = [("content-length", str(len(body)))] if body else []
    return raw.one(stack, raw.request(verb, path, [*headers, *length, *more]) + body)


def check_served(reply: raw.Reply) -> None:
    """Check that a request was answered as any other, over gRPC too, where the status says little."""
    assert reply.status == 200, reply
    assert reply.headers.get("grpc-status", "0") == "0", reply


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", INTERNAL)
def test_what_layers_of_grpc_tell_each_other_does_not_come_in(stack: Stack, kind: str, name: str) -> None:
    """Whatever its value is, the request is served as if it had not been said."""
    before = len(stack.calls())
    for value in VALUES:
        check_served(ask(stack, kind, (name, value)))
    reached = stack.calls()[before:]
    assert len(reached) == len(VALUES)
    assert [found for _, headers in reached for found in headers if found == name.lower()] == []


@pytest.mark.parametrize("kind", REST)
@pytest.mark.parametrize("name", [f"grpc-{name}" for name in GRPC_HEADERS])
def test_what_clients_of_grpc_may_say_changes_nothing_over_rest(stack: Stack, kind: str, name: str) -> None:
    """A client of REST knows nothing of it; nonsense in it is no failure of ours."""
    for value in VALUES:
        check_served(ask(stack, kind, (name, value)))


def test_what_clients_of_grpc_may_say_reaches_the_service_over_grpc(stack: Stack) -> None:
    """The time that they wait, among others."""
    check_served(ask(stack, "grpc", ("grpc-timeout", "3S"), ("grpc-encoding", "identity")))
    assert 0 < float(stack.calls()[-1][1]["seconds-left"]) <= 3


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize(("name", "code"), [("grpc-timeout", "3"), ("grpc-encoding", "12")])
def test_a_value_that_grpc_cannot_read_is_refused_before_a_service(
    stack: Stack, kind: str, name: str, code: str
) -> None:
    """The call says what is wrong with it, and calls of others on Envoy's connection go on with theirs."""
    before = len(stack.calls())
    for value in ("evil", "-1", "9" * 30, "\xff\xfe", "", "3S,3S", " 3 S", "3s", "123456789S"):
        reply = ask(stack, kind, (name, value))
        assert (reply.status, reply.headers.get("grpc-status")) == (200, code), (value, reply)
        assert name in reply.headers["grpc-message"]
        check_served(ask(stack, kind, ("grpc-timeout", "3S"), ("grpc-encoding", "gzip")))
        check_served(ask(stack, "reading"))
    assert len(stack.calls()) == before + 18


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", ["evil", "gzip", "trailers, x", "", "\xff"])
def test_what_a_client_says_of_trailers_changes_nothing(stack: Stack, kind: str, value: str) -> None:
    """GRPC ends a call that says anything but "trailers"; the edge says that for everybody."""
    check_served(ask(stack, kind, ("te", value)))


def test_nobody_else_on_the_same_connection_is_harmed(stack: Stack) -> None:
    """Envoy asks a service for many clients on one connection."""
    poison = [(name, "evil") for name in INTERNAL] + [("x-long", "a" * 40_000), ("x-odd", "\xff")]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        bad = [pool.submit(ask, stack, kind, pair) for pair in poison for kind in KINDS]
        good = [pool.submit(ask, stack, kind) for _ in range(20) for kind in KINDS]
        for asked in good + bad:
            check_served(asked.result())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [20_000, 33_000, 40_000, 58_000])
def test_a_head_that_the_edge_takes_is_not_refused_behind_it(stack: Stack, kind: str, size: int) -> None:
    """In one header or in many, which gRPC counts for more; neither is it a limit of requests per time."""
    check_served(ask(stack, kind, ("x-long", "a" * size)))
    check_served(ask(stack, kind, *((f"x-long-{number}", "a" * (size // 80)) for number in range(80))))


def test_the_longest_host_is_told_twice_and_taken(stack: Stack) -> None:
    """Services hear it once more in a header of the edge."""
    head = raw.request("GET", "/v1/things/1", [KEY], host="a" * 58_000)
    check_served(raw.one(stack, head))


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_that_the_edge_does_not_take_is_431(stack: Stack, kind: str) -> None:
    """Over every protocol, as soon as it is longer than the limit."""
    before = len(stack.calls())
    reply = ask(stack, kind, ("x-long", "a" * (LONGEST_HEADERS_KIBIBYTES << 10)))
    assert reply.status == 431
    assert len(stack.calls()) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_is_no_text_does_no_harm(stack: Stack, kind: str) -> None:
    """Latin-1, cut UTF-8, and in headers that gRPC reads itself."""
    for name in ("x-odd", "user-agent", "accept-language", "lb-token", "x-webhook-token"):
        for value in ("caf\xe9", "\xff\xfe", "\xe2\x82"):
            check_served(ask(stack, kind, (name, value)))


@pytest.mark.parametrize("encoding", ["gzip, chunked", "gzip", "identity", "nonsense", "chunked, gzip"])
@pytest.mark.parametrize("path", ["/v1/things", "/webhooks/zendesk/t"])
def test_an_encoding_of_the_transfer_that_is_not_taken_is_the_clients_mistake(
    stack: Stack, encoding: str, path: str
) -> None:
    """A 400 that says so, not "we lack something"."""
    headers = [KEY, ("content-type", "application/json"), ("transfer-encoding", encoding)]
    reply = raw.one(stack, raw.request("POST", path, headers) + b"2\r\n{}\r\n0\r\n\r\n")
    assert (reply.status, reply.headers["content-type"]) == (400, "application/problem+json")
    assert httpx.Response(400, content=reply.body).json()["reason"] == "REQUEST_MALFORMED"


@pytest.mark.parametrize("words", [GRPC_HEADERS, ("a", "ab", "abc"), ("", "x"), ("x",)])
def test_all_but_some_words_is_every_other_text(words: tuple[str, ...]) -> None:
    """Their beginnings, what goes on after them, and the empty text included."""
    expression = re.compile(all_but(words))
    near = {word[:at] + more for word in words for at in range(len(word) + 1) for more in ("", "-", "e", "x", "t", "a")}
    for text in near | set(words) | {""}:
        assert bool(expression.fullmatch(text)) is (text not in words), text
