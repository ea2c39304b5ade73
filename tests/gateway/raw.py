"""HTTP/1.1 by hand: bytes go out as they are, and what comes back is split into answers."""

import re
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

from tests.gateway.stack import Stack

SILENCE = 0.5
"""Seconds without a byte after which an answer is taken for whole, where nothing else tells its end."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, headers by lower-case name, and body."""

    status: int
    headers: dict[str, str]
    body: bytes


def connect(stack: Stack, *, tls: bool = True, source: str = "127.0.0.1", timeout: float = 20) -> socket.socket:
    """Open a connection to the listener of HTTPS or HTTP from an address of this machine."""
    port = stack.https if tls else stack.http
    plain = socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=(source, 0))
    if not tls:
        return plain
    context = ssl.create_default_context(cafile=str(stack.folder / "tls" / "ca.pem"))
    context.set_alpn_protocols(["http/1.1"])
    return context.wrap_socket(plain, server_hostname="localhost")


def exchange(
    stack: Stack, *parts: bytes, tls: bool = True, source: str = "127.0.0.1", patience: float = 20
) -> tuple[list[Reply], bool]:
    """Send the parts and return the answers that came, and whether the server closed the connection."""
    with connect(stack, tls=tls, source=source, timeout=patience) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except OSError:
            return read(connection)[0], True
        return read(connection)


def one(stack: Stack, head: bytes, *, tls: bool = True, source: str = "127.0.0.1") -> Reply:
    """Send one request and return its answer, without waiting for the end of the connection."""
    with connect(stack, tls=tls, source=source) as connection:
        connection.sendall(head)
        received = b""
        while not replies(received):
            more = connection.recv(65536)
            assert more, f"no answer, but {received!r}"
            received += more
    return replies(received)[0]


def read(connection: socket.socket) -> tuple[list[Reply], bool]:
    """Return the answers that come, and whether the server closed the connection; waits for one answer at least."""
    received = b""
    while True:
        try:
            more = connection.recv(65536)
        except TimeoutError:
            return replies(received), False
        except OSError:
            return replies(received), True
        if not more:
            return replies(received), True
        received += more
        if replies(received):
            connection.settimeout(SILENCE)


def request(verb: str, path: str, headers: Iterable[tuple[str, str]] = (), host: str = "localhost") -> bytes:
    """Return the head of a request."""
    lines = [f"{verb} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def replies(received: bytes) -> list[Reply]:
    """Split what was received into whole answers."""
    found: list[Reply] = []
    while (end := received.find(b"\r\n\r\n")) >= 0:
        head, rest = received[:end].decode("latin-1"), received[end + 4 :]
        status = int(head[9:12])
        headers = {
            name.lower(): value for name, value in re.findall(r"^([^:\r\n]+):[ \t]*([^\r\n]*)", head, re.MULTILINE)
        }
        if "chunked" in headers.get("transfer-encoding", ""):
            closing = rest.find(b"0\r\n\r\n")
            if closing < 0:
                break
            length = closing + 5
        else:
            length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            break
        found.append(Reply(status, headers, rest[:length]))
        received = rest[length:]
    return found
