"""The HTTP client that the vendors' SDKs are given: one address, no redirects, answers of bounded size."""

import logging
from collections.abc import AsyncIterator

import httpx2

_MOST_BYTES = 2_000_000
"""Bytes of an answer with all its framing: many times what the longest draft takes."""

_CONNECT_SECONDS = 3.0
_QUIET = ("anthropic", "openai", "httpx2", "httpcore2")


class AnswerTooLongError(httpx2.HTTPError):
    """The answer is longer than any draft."""


class AnswerPackedError(httpx2.HTTPError):
    """The answer is compressed, though none was asked for: its true size is unknown."""


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with an error when it goes on for too long."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's pieces."""
        length = 0
        async for piece in self._stream:
            length += len(piece)
            if length > _MOST_BYTES:
                raise AnswerTooLongError("The answer is longer than any draft.")
            yield piece

    async def aclose(self) -> None:
        """Close the body."""
        await self._stream.aclose()


class _BoundedTransport(httpx2.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["accept-encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise AnswerPackedError("The answer is compressed.")
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _Bounded(response.stream)
        return response


def bounded_client(seconds: float) -> httpx2.AsyncClient:
    """Return a client whose calls take so many seconds at most between two pieces, and follow nobody elsewhere."""
    # The SDKs write whole questions into their logs at the level of debugging, and addresses above that.
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return httpx2.AsyncClient(
        transport=_BoundedTransport(retries=0),
        timeout=httpx2.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds)),
        follow_redirects=False,
        trust_env=False,
    )
