"""A call over gRPC by hand, with headers that gRPC's own client refuses to send."""

import asyncio
from collections.abc import Sequence

from google.protobuf.message import Message
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived

PATIENCE = 20
"""Seconds until a call that is not answered fails."""


async def call(
    address: str, method: str, message: Message, headers: Sequence[tuple[bytes, bytes]]
) -> dict[bytes, bytes]:
    """Call a method at host:port on a connection of its own and return the answer's headers and trailers together.

    Without `grpc-status` among them the stream or the connection was cut off.
    """
    connection = H2Connection(H2Configuration(header_encoding=None, validate_outbound_headers=False))
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        connection.initiate_connection()
        connection.send_headers(1, [*_head(method), *headers])
        body = message.SerializeToString()
        connection.send_data(1, b"\0" + len(body).to_bytes(4, "big") + body, end_stream=True)
        writer.write(connection.data_to_send())
        async with asyncio.timeout(PATIENCE):
            return await _answer(connection, reader, writer)
    finally:
        writer.close()


def _head(method: str) -> list[tuple[bytes, bytes]]:
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", method.encode()),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]


async def _answer(
    connection: H2Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> dict[bytes, bytes]:
    said: dict[bytes, bytes] = {}
    while received := await reader.read(65536):
        for event in connection.receive_data(received):
            if isinstance(event, ResponseReceived | TrailersReceived):
                said |= dict(event.headers)
            if isinstance(event, DataReceived):
                connection.acknowledge_received_data(event.flow_controlled_length, 1)
            if isinstance(event, StreamEnded | StreamReset | ConnectionTerminated):
                return said
        writer.write(connection.data_to_send())
    return said
