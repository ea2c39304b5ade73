"""gRPC-Web as a browser speaks it: frames made by hand, in binary and in text."""

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import grpc
import httpx

BINARY = "application/grpc-web+proto"
TEXT = "application/grpc-web-text+proto"
_HEAD = 5
_TRAILERS = 0x80


@dataclass
class WebCall:
    """One call under way: `messages` yields what comes, `trailers` are there when it has ended."""

    response: httpx.Response
    trailers: dict[str, str] = field(default_factory=dict)

    @property
    def code(self) -> grpc.StatusCode:
        """How the call ended."""
        number = int(self.trailers.get("grpc-status", 2))
        return next(code for code in grpc.StatusCode if code.value[0] == number)

    @property
    def detail(self) -> str:
        """What the call's end says."""
        return unquote(self.trailers.get("grpc-message", ""))

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """Yield the messages as their frames are complete; the last frame is the trailers."""
        content_type = self.response.headers.get("content-type", "")
        assert content_type.startswith("application/grpc-web"), (self.response.status_code, content_type)
        # A refusal without any message may have its status among the headers.
        if "grpc-status" in self.response.headers:
            self.trailers = dict(self.response.headers)
        pending = b""
        async for piece in self._pieces(text=content_type.startswith(TEXT)):
            pending += piece
            while len(pending) >= _HEAD and len(pending) >= _HEAD + (size := int.from_bytes(pending[1:_HEAD], "big")):
                flags, body, pending = pending[0], pending[_HEAD : _HEAD + size], pending[_HEAD + size :]
                if flags & _TRAILERS:
                    lines = body.decode().strip().splitlines()
                    self.trailers |= {key.lower(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
                else:
                    yield body
        assert not pending

    async def _pieces(self, *, text: bool) -> AsyncGenerator[bytes, None]:
        """Yield the body's bytes; in text each four characters stand for up to three of them."""
        pending = b""
        async for piece in self.response.aiter_bytes():
            if not text:
                yield piece
                continue
            pending += piece
            whole = len(pending) // 4 * 4
            yield b"".join(base64.b64decode(pending[at : at + 4]) for at in range(0, whole, 4))
            pending = pending[whole:]


@asynccontextmanager
async def web_call(
    client: httpx.AsyncClient, method: str, request: bytes, *, kind: str = BINARY, **options: Any
) -> AsyncIterator[WebCall]:
    """Call a method by its full name; leaving the context gives the call up."""
    frame = b"\0" + len(request).to_bytes(4, "big") + request
    content = base64.b64encode(frame) if kind == TEXT else frame
    headers = {"content-type": kind, "accept": kind, "x-grpc-web": "1", **options.pop("headers", {})}
    async with client.stream("POST", f"/{method}", content=content, headers=headers, **options) as response:
        yield WebCall(response)
