"""A real HTTP server that stands for providers of language models: Anthropic's Messages and OpenAI's Chat Completions.

It refuses what the real ones refuse (no key, wrong fields), streams as they stream, and does what a test scripts:
speak, answer 429 or 500, hang, break off, send broken JSON, refuse, or go on for ten megabytes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

KEY = "the-key-of-the-tests"
_PIECE = 23


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    raw: bytes

    @property
    def text(self) -> str:
        """Everything that was sent, as text."""
        return self.raw.decode()

    @property
    def user(self) -> str:
        """The first words of the user's side."""
        return next(str(turn["content"]) for turn in self.body["messages"] if turn["role"] == "user")

    @property
    def turns(self) -> int:
        """How many turns the exchange has, without the rules of the work."""
        return sum(turn["role"] != "system" for turn in self.body["messages"])


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server does with a question.

    Attributes:
        text: what the model says.
        status, headers: of the answer; another status than 200 comes with the vendor's error and no text.
        usage: the tokens that are counted; None leaves them out.
        stop: why the model stopped: "end", "length", "refusal" or "tool".
        wait: "head" waits before the first byte, "middle" after half of the text, until the server is closed.
        cut: whether the connection breaks in the middle.
        error_midway: whether the provider tells of an error within the stream.
        body: sent instead of all that, as it is.
    """

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    usage: tuple[Any, Any] | None = (900, 120)
    stop: str = "end"
    wait: str = ""
    cut: bool = False
    error_midway: bool = False
    body: bytes | None = None


Script = Callable[[Asked], Reply]


def lines(*said: tuple[str, Sequence[str]] | None) -> str:
    """Return an answer in the form that is asked of models: sentences with what they cite, None for a new paragraph."""
    listed = ({"p": True} if one is None else {"s": one[0], "f": list(one[1])} for one in said)
    return "".join(f"{orjson.dumps(one).decode()}\n" for one in listed)


class ModelServer:
    """Providers of language models at one address; `replies` are given in turn, the last one for ever."""

    def __init__(self) -> None:
        """Begin with nothing scripted."""
        self.replies: list[Reply | Script] = []
        self.asked: list[Asked] = []
        self.url = ""
        self._closing = asyncio.Event()

    def script(self, *replies: Reply | Script) -> None:
        """Say how the next questions are answered, and forget the former ones."""
        self.replies = list(replies)
        self.asked.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the questions of one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while (asked := await _read(reader)) is not None:
                refusal = _refusal(asked)
                if refusal is None:
                    self.asked.append(asked)
                reply = refusal or self._next(asked)
                if reply.wait == "head":
                    await self._closing.wait()
                await self._send(writer, asked, reply)
                if reply.cut or reply.wait or reply.body is not None:
                    break
        writer.close()

    def close(self) -> None:
        """Let go of everybody who was kept waiting."""
        self._closing.set()

    def _next(self, asked: Asked) -> Reply:
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply if isinstance(reply, Reply) else reply(asked)

    async def _send(self, writer: asyncio.StreamWriter, asked: Asked, reply: Reply) -> None:
        if reply.status != HTTPStatus.OK:
            writer.write(_whole(reply.status, _error(asked), reply.headers))
            await writer.drain()
            return
        head = {"content-type": "text/event-stream", "transfer-encoding": "chunked", **reply.headers}
        writer.write(_head(200, head))
        events = [reply.body] if reply.body is not None else list(_events(asked, reply))
        half = len(events) // 2
        for place, event in enumerate(events):
            if place == half and reply.wait == "middle":
                await writer.drain()
                await self._closing.wait()
            if place == half and reply.cut:
                break
            writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            await writer.drain()
        else:
            writer.write(b"0\r\n\r\n")
        await writer.drain()


@asynccontextmanager
async def model_server() -> AsyncIterator[ModelServer]:
    """Run such a server for as long as the context lasts."""
    server = ModelServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=8 * 1024 * 1024)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}"
    try:
        yield server
    finally:
        server.close()
        listening.close()
        await listening.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    request, *rest = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(request.split()[1], headers, orjson.loads(raw or b"{}"), raw)


def _refusal(asked: Asked) -> Reply | None:
    """Return what the real API says to a question that is not in order."""
    body, messages = asked.body, asked.body.get("messages") or [{}]
    roles = [turn.get("role") for turn in messages if turn.get("role") != "system"]
    in_turn = roles == [("user", "assistant")[place % 2] for place in range(len(roles))] and roles[-1:] == ["user"]
    known = asked.headers.get("authorization") == f"Bearer {KEY}"
    if asked.path == "/v1/messages":
        # The vendor has taken the key in either header; its SDKs differ by their age.
        known = known or asked.headers.get("x-api-key") == KEY
        right = "anthropic-version" in asked.headers and isinstance(body.get("max_tokens"), int)
        right = right and all(turn.get("role") != "system" for turn in messages)
    elif asked.path == "/v1/chat/completions":
        right = body.get("stream_options") == {"include_usage": True}
    else:
        return Reply(status=404)
    if not known:
        return Reply(status=401)
    return None if right and in_turn and body.get("stream") is True and "model" in body else Reply(status=400)


def _error(asked: Asked) -> bytes:
    told = {"type": "some_error", "message": f"told at length, with the question: {asked.text[:200]}"}
    return orjson.dumps({"type": "error", "error": told} if asked.path == "/v1/messages" else {"error": told})


def _events(asked: Asked, reply: Reply) -> Iterable[bytes]:
    pieces = [reply.text[start : start + _PIECE] for start in range(0, len(reply.text), _PIECE)]
    return (_anthropic if asked.path == "/v1/messages" else _openai)(asked, reply, pieces)


def _anthropic(asked: Asked, reply: Reply, pieces: Sequence[str]) -> Iterable[bytes]:
    reads, writes = reply.usage or (None, None)
    usage = {"input_tokens": reads, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": asked.body["model"], "content": []}
    yield _sse("message_start", {"message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}})
    yield _sse("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
    yield _sse("ping", {})
    for place, piece in enumerate(pieces):
        if reply.error_midway and place == len(pieces) // 2:
            yield _sse("error", {"error": {"type": "overloaded_error", "message": "Overloaded"}})
            return
        yield _sse("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": piece}})
    yield _sse("content_block_stop", {"index": 0})
    stops = {"end": "end_turn", "length": "max_tokens", "refusal": "refusal", "tool": "tool_use"}
    delta = {"stop_reason": stops[reply.stop], "stop_sequence": None}
    yield _sse("message_delta", {"delta": delta, "usage": {"output_tokens": writes}})
    yield _sse("message_stop", {})


def _openai(asked: Asked, reply: Reply, pieces: Sequence[str]) -> Iterable[bytes]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": asked.body["model"]}

    def chunk(delta: dict[str, Any], stop: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": stop}
        return _data(orjson.dumps({**base, "choices": [choice], "usage": None}))

    yield chunk({"role": "assistant", "content": ""})
    for place, piece in enumerate(pieces):
        if reply.error_midway and place == len(pieces) // 2:
            yield _data(orjson.dumps({"error": {"message": "The server had an error", "type": "server_error"}}))
            return
        yield chunk({"content": piece})
    stops = {"end": "stop", "length": "length", "refusal": "content_filter", "tool": "tool_calls"}
    yield chunk({}, stops[reply.stop])
    if reply.usage is not None:
        reads, writes = reply.usage
        usage = {"prompt_tokens": reads, "completion_tokens": writes, "total_tokens": 1}
        yield _data(orjson.dumps({**base, "choices": [], "usage": usage}))
    yield _data(b"[DONE]")


def _sse(name: str, value: dict[str, Any]) -> bytes:
    return f"event: {name}\n".encode() + _data(orjson.dumps({"type": name, **value}))


def _data(value: bytes) -> bytes:
    return b"data: " + value + b"\n\n"


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    told = [f"HTTP/1.1 {status} {_phrase(status)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*told, "", ""]).encode()


def _phrase(status: int) -> str:
    """Return a status in words; one vendor has a status of its own."""
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Overloaded"


def _whole(status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
    return _head(status, {"content-type": "application/json", "content-length": str(len(body)), **headers}) + body
