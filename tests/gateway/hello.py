"""ClientHellos made by hand: one version, one suite; and what a server answers to them."""

import os
import socket
import struct
from dataclasses import dataclass

SSL3, TLS10, TLS11, TLS12, TLS13 = 0x0300, 0x0301, 0x0302, 0x0303, 0x0304
GROUPS = (0x001D, 0x0017, 0x0018)
SIGNATURES = (0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0203, 0x0201)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the version and suite of a ServerHello, or None for each when there was none."""

    version: int | None
    suite: int | None


def ask(
    port: int,
    version: int,
    suites: list[int],
    *,
    name: str = "localhost",
    groups: tuple[int, ...] = GROUPS,
    signatures: tuple[int, ...] = SIGNATURES,
) -> Answer:
    """Send a ClientHello that knows one version only and return the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(_hello(version, suites, name, groups, signatures))
        try:
            return _read(connection)
        except OSError:
            return Answer(None, None)


def _hello(version: int, suites: list[int], name: str, groups: tuple[int, ...], signatures: tuple[int, ...]) -> bytes:
    legacy = min(version, TLS12)
    body = struct.pack(">H", legacy) + os.urandom(32) + b"\x20" + os.urandom(32)
    body += _sized(2, b"".join(struct.pack(">H", suite) for suite in suites)) + b"\x01\x00"
    if version != SSL3:
        body += _sized(2, _extensions(version, name, groups, signatures))
    handshake = b"\x01" + len(body).to_bytes(3) + body
    return struct.pack(">BHH", 22, SSL3 if version == SSL3 else TLS10, len(handshake)) + handshake


def _extensions(version: int, name: str, groups: tuple[int, ...], signatures: tuple[int, ...]) -> bytes:
    made = [
        (0, _sized(2, b"\x00" + _sized(2, name.encode()))),
        (10, _sized(2, b"".join(struct.pack(">H", group) for group in groups))),
        (11, b"\x01\x00"),
        (13, _sized(2, b"".join(struct.pack(">H", one) for one in signatures))),
        (23, b""),
        (0xFF01, b"\x00"),
    ]
    if version == TLS13:
        share = struct.pack(">H", 0x001D) + _sized(2, os.urandom(32))
        made += [(43, b"\x02" + struct.pack(">H", TLS13)), (51, _sized(2, share))]
    return b"".join(struct.pack(">H", kind) + _sized(2, content) for kind, content in made)


def _sized(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width) + content


def _read(connection: socket.socket) -> Answer:
    kind, _, length = struct.unpack(">BHH", _exactly(connection, 5))
    content = _exactly(connection, length)
    if kind != 22 or content[0] != 2:
        return Answer(None, None)
    version = struct.unpack(">H", content[4:6])[0]
    after = 39 + content[38]
    suite = struct.unpack(">H", content[after : after + 2])[0]
    # TLS 1.3 says so in an extension only.
    if suite >> 8 == 0x13:
        version = TLS13
    return Answer(version, suite)


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        more = connection.recv(size - len(content))
        if not more:
            raise OSError("the connection was closed")
        content += more
    return content
