"""Requests that two servers could read in two ways, and other bad input, byte by byte.

Each gets a clean 4xx or a closed connection, nothing of a smuggled part reaches a service, and the next request works.
"""

import socket
import time
from collections.abc import Iterator

import pytest

from tests.gateway import raw
from tests.gateway.stack import Stack, wait_until
from tests.gateway.upstream import GOOD_KEY

HOST = b"Host: localhost\r\n"
KEY = f"x-api-key: {GOOD_KEY}\r\n".encode()
SMUGGLED = b"GET /v1/things/smuggled HTTP/1.1\r\nHost: localhost\r\n" + KEY + b"\r\n"
POST = b"POST /v1/things HTTP/1.1\r\n" + HOST + KEY + b"Content-Type: application/json\r\n"
GET = b"GET /v1/things/1 HTTP/1.1\r\n" + HOST + KEY
JSON = b'{"name":"a"}'
CHUNKED = b"c\r\n" + JSON + b"\r\n0\r\n\r\n"
END = b"\r\n\r\n"

PAIRS: dict[str, bytes] = {
    "CL.TE": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE.CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + CHUNKED + SMUGGLED,
    "TE.CL, the length of all": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % (len(CHUNKED) + len(SMUGGLED))
    + CHUNKED
    + SMUGGLED,
    **{
        f"TE.TE {name}": POST + b"Content-Length: 5\r\n" + line + b"\r\n\r\n0\r\n\r\n" + SMUGGLED
        for name, line in {
            "xchunked": b"Transfer-Encoding: xchunked",
            "space before colon": b"Transfer-Encoding : chunked",
            "tab before value": b"Transfer-Encoding:\tchunked",
            "vertical tab": b"Transfer-Encoding:\x0bchunked",
            "leading space": b" Transfer-Encoding: chunked",
            "folded": b"Transfer-Encoding:\r\n chunked",
            "name in folded line": b"X: x\r\n Transfer-Encoding: chunked",
            "twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "list": b"Transfer-Encoding: chunked, identity",
            "list, other order": b"Transfer-Encoding: identity, chunked",
            "gzip": b"Transfer-Encoding: gzip, chunked",
            "quoted": b'Transfer-Encoding: "chunked"',
            "capitals": b"TRANSFER-ENCODING: CHUNKED",
            "bare newline": b"X: x\nTransfer-Encoding: chunked",
            "bare return": b"X: x\rTransfer-Encoding: chunked",
            "nul": b"Transfer-Encoding: chunked\x00",
            "trailing junk": b"Transfer-Encoding: chunked;x",
            "non-ascii": b"Transfer-Encoding: \xc3\xa7hunked",
        }.items()
    },
    "two lengths that differ": POST + b"Content-Length: 12\r\nContent-Length: 5\r\n\r\n" + JSON + SMUGGLED,
    "two lengths in one line": POST + b"Content-Length: 12, 12\r\n\r\n" + JSON + SMUGGLED,
    "length with a sign": POST + b"Content-Length: +12\r\n\r\n" + JSON,
    "negative length": POST + b"Content-Length: -1\r\n\r\n" + SMUGGLED,
    "length in hex": POST + b"Content-Length: 0xc\r\n\r\n" + JSON,
    "length beyond 64 bits": POST + b"Content-Length: 18446744073709551628\r\n\r\n" + JSON,
    "length that is no number": POST + b"Content-Length: twelve\r\n\r\n" + JSON,
    "length with a space in it": POST + b"Content-Length: 1 2\r\n\r\n" + JSON,
    "empty length": POST + b"Content-Length: \r\n\r\n" + SMUGGLED,
    **{
        f"chunk size {name}": POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + SMUGGLED
        for name, chunks in {
            "negative": b"-1\r\n" + JSON + b"\r\n0\r\n\r\n",
            "with 0x": b"0xc\r\n" + JSON + b"\r\n0\r\n\r\n",
            "beyond 64 bits": b"1000000000000000c\r\n" + JSON + b"\r\n0\r\n\r\n",
            "empty": b"\r\n" + JSON + b"\r\n0\r\n\r\n",
            "no number": b"zz\r\n" + JSON + b"\r\n0\r\n\r\n",
            "too small": b"5\r\n" + JSON + b"\r\n0\r\n\r\n",
            "without line end": b"c\r\n" + JSON + b"0\r\n\r\n",
            "with a bare newline in its extension": b"c;x\ny\r\n" + JSON + b"\r\n0\r\n\r\n",
        }.items()
    },
}
"""Every one must be refused, or read as the one request that it says, with what follows refused."""

MALFORMED: dict[str, bytes] = {
    "folded header": GET + b"X: a\r\n b" + END,
    "nul in a value": GET + b"X: a\x00b" + END,
    "return in a value": GET + b"X: a\rb" + END,
    "escape in a name": GET + b"X\x1b: a" + END,
    "space in a name": GET + b"X Y: a" + END,
    "no colon": GET + b"Nonsense" + END,
    "empty name": GET + b": a" + END,
    "no host": b"GET /v1/things/1 HTTP/1.1\r\n" + KEY + END,
    "two hosts": GET + b"Host: evil.example" + END,
    "host with a path": b"GET /v1/things/1 HTTP/1.1\r\nHost: a/b\r\n" + KEY + b"\r\n",
    "host with a user": b"GET /v1/things/1 HTTP/1.1\r\nHost: u:p@localhost\r\n" + KEY + b"\r\n",
    "host with a space": b"GET /v1/things/1 HTTP/1.1\r\nHost: a b\r\n" + KEY + b"\r\n",
    "HTTP/0.9": b"GET /v1/things/1\r\n\r\n",
    "HTTP/1.0": b"GET /v1/things/1 HTTP/1.0\r\n" + HOST + KEY + b"\r\n",
    "HTTP/1.2": b"GET /v1/things/1 HTTP/1.2\r\n" + HOST + KEY + b"\r\n",
    "HTTP/2 in words": b"GET /v1/things/1 HTTP/2.0\r\n" + HOST + KEY + b"\r\n",
    "HTTP/3 in words": b"GET /v1/things/1 HTTP/3\r\n" + HOST + KEY + b"\r\n",
    "two spaces": b"GET  /v1/things/1 HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "unknown method": b"EVIL /v1/things/1 HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "CONNECT": b"CONNECT localhost:443 HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "TRACE": b"TRACE /v1/things/1 HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "authority as a path": b"GET localhost:443 HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "path without a slash": b"GET v1/things/1 HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "absolute form of another scheme": b"GET ftp://localhost/v1/things/1 HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "%00 in the path": b"GET /v1/things/a%00b HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "nul in the path": b"GET /v1/things/a\x00b HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "raw bytes in the path": b"GET /v1/things/\xff\xfe HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "path out of the root": b"GET /../../etc/passwd HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "encoded path out of the root": b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "a header of 100 KB": GET + b"X: " + b"a" * 100_000 + END,
    "200 headers": GET + b"".join(b"X-%d: a\r\n" % number for number in range(200)) + b"\r\n",
    "a path of 100 KB": b"GET /v1/things/" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "no HTTP at all": b"\x00\x01\x02\x03" * 100 + END,
    "HTTP/2 preface on HTTP/1.1": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 100,
    "websocket upgrade": GET + b"Connection: upgrade\r\nUpgrade: websocket" + END,
    "h2c upgrade": GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk" + END,
}
# Read as the one request that they are, in the one way that is allowed: an upgrade is declined by ignoring it, a folded
# line and a lone return become a space or nothing. Services are asked over HTTP/2, where nothing of it is left.
LENIENT = {"h2c upgrade", "folded header", "return in a value", "two spaces"}


@pytest.fixture(autouse=True)
def _the_next_request_works(stack: Stack) -> Iterator[None]:
    """After each case, on a new connection."""
    yield
    assert raw.one(stack, raw.request("GET", "/v1/things/after", [("x-api-key", GOOD_KEY)])).status == 200


def reached(stack: Stack, before: int) -> list[str]:
    """Return the addresses of the requests that reached a service since."""
    return [path for path, _ in stack.calls()[before:]]


@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
@pytest.mark.parametrize("case", PAIRS)
def test_a_smuggled_request_reaches_no_service(stack: Stack, case: str, tls: bool) -> None:
    """One answer at most to what stands before it, then a refusal or the end of the connection."""
    before = len(stack.calls())
    answers, closed = raw.exchange(stack, PAIRS[case], tls=tls, patience=3)
    assert "/v1/things/smuggled" not in reached(stack, before), answers
    assert closed or answers, "the server neither answered nor closed"
    assert [answer.status for answer in answers if answer.status >= 500] == []
    if not tls:
        assert all(answer.status == 308 or 400 <= answer.status < 500 for answer in answers)


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_malformed_is_refused_cleanly(stack: Stack, case: str) -> None:
    """A 4xx or a closed connection; never a 5xx, never a service that is asked."""
    before = len(stack.calls())
    answers, closed = raw.exchange(stack, MALFORMED[case], patience=3)
    if case in LENIENT:
        assert [answer.status for answer in answers] == [200]
        assert reached(stack, before) == ["/v1/things/1"]
        return
    assert closed or answers
    assert all(400 <= answer.status < 500 for answer in answers), answers
    assert reached(stack, before) == []


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("a header of 100 KB", 431),
        ("200 headers", 431),
        ("two hosts", 400),
        ("CONNECT", 403),
        ("%00 in the path", 400),
        ("HTTP/1.0", 426),
    ],
)
def test_some_refusals_have_a_status_of_their_own(stack: Stack, case: str, status: int) -> None:
    """So that a client can tell what is wrong."""
    answers, _ = raw.exchange(stack, MALFORMED[case], patience=3)
    assert [answer.status for answer in answers] == [status]


NORMALISED = {
    "/v1//things///1": "/v1/things/1",
    "/v1/./things/1": "/v1/things/1",
    "/v1/x/../things/1": "/v1/things/1",
    "/v1/x/%2e%2e/things/1": "/v1/things/1",
    "/v1/%74hings/1": "/v1/things/1",
    "/docs/../v1/things/1": "/v1/things/1",
    "/v1/things/a%2F..%2Fb": "/v1/things/a%2F..%2Fb",
    "/v1/things/a%252Fb": "/v1/things/a%252Fb",
    "/v1/things/a%5C..%5Cb": "/v1/things/a%5C..%5Cb",
}


@pytest.mark.parametrize("path", NORMALISED)
def test_a_path_is_one_path_before_anything_looks_at_it(stack: Stack, path: str) -> None:
    """Dots and doubled slashes are resolved; an encoded slash stays part of a segment."""
    before = len(stack.calls())
    answer = raw.one(stack, raw.request("GET", path, [("x-api-key", GOOD_KEY)]))
    assert answer.status == 200
    assert [found.lower() for found in reached(stack, before)] == [NORMALISED[path].lower()]


def test_a_double_encoding_is_decoded_once(stack: Stack) -> None:
    """What is left is text."""
    answer = raw.one(stack, raw.request("GET", "/v1/things/a%252e%252e%252fb", [("x-api-key", GOOD_KEY)]))
    assert b'"id":"a%2e%2e%2fb"' in answer.body


@pytest.mark.parametrize(
    "path", ["/v1/things/%ff%fe", "/v1/things/%c0%ae%c0%ae", "/v1/things/%ed%a0%80", "/v1/things/%zz"]
)
def test_a_path_that_is_no_utf8_is_the_clients_mistake(stack: Stack, path: str) -> None:
    """Not ours."""
    before = len(stack.calls())
    answer = raw.one(stack, raw.request("GET", path, [("x-api-key", GOOD_KEY)]))
    assert 400 <= answer.status < 500
    assert reached(stack, before) == []


def test_the_absolute_form_names_the_host_and_nothing_else_does(stack: Stack) -> None:
    """As the standard says; services are told the one host that counts."""
    before = len(stack.calls())
    head = b"GET https://localhost/v1/things/1 HTTP/1.1\r\nHost: evil.example\r\n" + KEY + b"\r\n"
    assert raw.one(stack, head).status == 200
    assert [headers["x-rapport-host"] for _, headers in stack.calls()[before:]] == ["localhost"]


def test_requests_in_one_go_are_answered_in_order(stack: Stack) -> None:
    """Pipelining is no smuggling."""
    parts = b"".join(raw.request("GET", f"/v1/things/{n}", [("x-api-key", GOOD_KEY)]) for n in range(5))
    answers, _ = raw.exchange(stack, parts)
    assert [answer.status for answer in answers] == [200] * 5
    assert [b'"id":"%d"' % n in answer.body for n, answer in enumerate(answers)] == [True] * 5


@pytest.fixture(scope="module")
def hasty() -> Iterator[Stack]:
    """An edge that waits for nobody."""
    whole = Stack(HANDSHAKE_TIMEOUT="1", HEADERS_TIMEOUT="1", REQUEST_TIMEOUT="2", IDLE_TIMEOUT="3")
    try:
        yield whole.start()
    finally:
        whole.stop()


SLOW = {
    "headers": (GET, b"X: "),
    "body with a length": (POST + b"Content-Length: 1000\r\n\r\n", b'{"'),
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n{\r\n"),
    "webhook": (b"POST /webhooks/zendesk/slow HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n", b"x"),
}


@pytest.mark.parametrize("kind", SLOW)
def test_who_sends_too_slowly_is_sent_away(hasty: Stack, kind: str) -> None:
    """By 408 or a closed connection, after the time that the settings give; the service is not asked."""
    begin, drip = SLOW[kind]
    before = len(hasty.calls())
    started = time.monotonic()
    with raw.connect(hasty, timeout=15) as connection:
        connection.sendall(begin)
        connection.settimeout(0.3)
        received = b""
        closed = False
        while not closed:
            assert time.monotonic() - started < 15, "it waits for ever"
            try:
                connection.sendall(drip)
                received += (more := connection.recv(4096))
                closed = not more
            except TimeoutError:
                continue
            except OSError:
                closed = True
    assert [answer.status for answer in raw.replies(received)] in ([408], [])
    assert reached(hasty, before) == []


def test_who_does_not_finish_the_handshake_is_sent_away(hasty: Stack) -> None:
    """Neither does an open connection without a request stay for ever."""
    with socket.create_connection(("127.0.0.1", hasty.https), timeout=15) as connection:
        connection.sendall(b"\x16\x03\x01")
        assert raw.read(connection) == ([], True)
    with raw.connect(hasty, timeout=15) as idle:
        assert raw.read(idle) == ([], True)
    wait_until(lambda: hasty.status("/healthz") == 200, "others are served")
