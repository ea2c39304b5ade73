"""Server-Sent Events of the inbox as a browser takes them, once or over every break."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import httpx

EVENTS = "/v1/tickets:watch"
_RETRY_SECONDS = 0.1


async def events(client: httpx.AsyncClient, **headers: str) -> AsyncGenerator[dict[str, str], None]:
    """Yield the events of one stream as fields; signs of life as well.

    Raises:
        httpx.HTTPStatusError: the stream was refused.
    """
    async with client.stream("GET", EVENTS, headers=headers) as response:
        response.raise_for_status()
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["cache-control"] == "no-store"
        assert "content-encoding" not in response.headers
        text = ""
        async for piece in response.aiter_text():
            text += piece
            while "\n\n" in text:
                event, _, text = text.partition("\n\n")
                yield fields(event)


def parsed(text: str) -> list[dict[str, str]]:
    """Return the events of a whole stream."""
    return [fields(event) for event in text.split("\n\n") if event]


def fields(event: str) -> dict[str, str]:
    """Return the fields of one event."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in event.splitlines())}


class Listener:
    """Listens for ever: after each break it says the last id that it saw. `created` are ids of tickets as heard."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._last = ""
        self.caught_up = asyncio.Event()
        self.created: list[str] = []
        self.breaks = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen while the block runs, from before its first statement on."""
        task = asyncio.create_task(self._listen())
        try:
            await self.caught_up.wait()
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _listen(self) -> None:
        while True:
            headers = {"last-event-id": self._last} if self._last else {}
            with contextlib.suppress(httpx.TransportError, httpx.HTTPStatusError):
                async with aclosing(events(self._client, **headers)) as stream:
                    async for event in stream:
                        self._take(event)
            self.breaks += 1
            # As a browser waits before it comes back.
            await asyncio.sleep(_RETRY_SECONDS)

    def _take(self, event: dict[str, str]) -> None:
        self._last = event["id"]
        if event.get("event") == "created":
            self.created.append(json.loads(event["data"])["ticket_id"])
        self.caught_up.set()
