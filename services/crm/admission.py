"""What is written down when a webhook is admitted: the key that finds its copies, and its bytes as they came."""

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from services.crm.providers.provider import Part, Request

MAX_KEPT_HEADER = 4096
"""How much of a header's value is kept, in characters."""

TRACE = "rapport-trace"
"""Under which name the trace stands among the kept headers; no request has a header of that name by itself."""

_FEWEST_PARTS = 3  # method, address, body
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Admission:
    """A verified webhook on its way into the inbox.

    `payload` is sealed under version `key_version` of the tenant's data key; `dedupe_key` finds copies within the
    tenant; deliveries of one `conversation` are processed in the order of their admission.
    """

    tenant_id: UUID
    delivery_id: UUID
    connection_id: UUID
    provider: str
    dedupe_key: bytes
    conversation: int
    secret_version: int
    key_version: int
    payload: bytes = field(repr=False)
    received: datetime


def length_prefixed(parts: Sequence[bytes]) -> bytes:
    """Join parts so that no two different sequences give the same bytes."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def dedupe_key(provider: str, connection: UUID, delivery: Sequence[str]) -> bytes:
    """Return the 32 bytes by which copies of a delivery are found; the tenant is a column of its own beside them."""
    parts = [part.encode("utf-8", "surrogatepass") for part in delivery]
    return sha256(length_prefixed([provider.encode(), connection.bytes, *parts])).digest()


def conversation_of(connection: UUID, part: Part, delivery: UUID) -> int:
    """Return the number of the conversation (63 bits) whose deliveries are kept in order.

    Deliveries about no ticket share none. Two tickets with the same number would merely wait for each other.
    """
    if part.conversation is not None:
        return conversation_number(connection, part.conversation)
    return _number([b"delivery", delivery.bytes])


def conversation_number(connection: UUID, ticket: str) -> int:
    """Return the number of the conversation about a ticket, by the provider's id of it."""
    return _number([b"ticket", connection.bytes, ticket.encode("utf-8", "surrogatepass")])


def _number(parts: Sequence[bytes]) -> int:
    return int.from_bytes(sha256(length_prefixed(parts)).digest()[:8]) >> 1


def pack(request: Request, kept: Collection[str], trace: str = "") -> bytes:
    """Return the request as one piece of bytes: method, address, the headers in `kept`, the body as it came.

    `trace` names the span by which it came in (`traceparent`), where that is recorded: the work on it goes on there.

    All other headers are dropped here, so that no credential among them is ever stored. The address is kept without its
    last part, which is the connection's secret token, and without its query.
    """
    parts = [request.method.encode(), request.url.partition("?")[0].rpartition("/")[0].encode("utf-8", "surrogatepass")]
    for name, value in request.headers:
        if name in kept:
            parts += [name.encode(), value[:MAX_KEPT_HEADER].encode("utf-8", "surrogatepass")]
    if trace:
        parts += [TRACE.encode(), trace.encode()]
    return length_prefixed([*parts, request.body])


def trace_of(request: Request) -> str:
    """Return the span by which an unpacked request came in; "" if its trace is not recorded."""
    return next((value for name, value in request.headers if name == TRACE), "")


def unpack(packed: bytes) -> Request:
    """Return the request that `pack` made the bytes of.

    Raises:
        ValueError: the bytes are not of that form.
    """
    parts = []
    position = 0
    while position < len(packed):
        start = position + _LENGTH.size
        if start > len(packed):
            raise ValueError("a packed request ends within a length")
        (length,) = _LENGTH.unpack_from(packed, position)
        position = start + length
        parts.append(packed[start:position])
    if position != len(packed) or len(parts) < _FEWEST_PARTS or len(parts) % 2 == 0:
        raise ValueError("a packed request has a method, an address, pairs of headers and a body")
    texts = [part.decode("utf-8", "surrogatepass") for part in parts[:-1]]
    return Request(texts[0], texts[1], tuple(zip(texts[2::2], texts[3::2], strict=True)), parts[-1])
