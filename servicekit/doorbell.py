"""Doorbells: "look again", from process to process through Valkey. A ring that is lost delays, it never loses."""

import asyncio
import contextlib
from typing import Any

import structlog

from servicekit.cache import FAILURES, Cache

_log = structlog.get_logger(__name__)
_CHANNEL = "doorbell:"
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_SUBSCRIBE_SECONDS = 1.0


class Doorbell:
    """Rings and hears bells by name; names are static words ("tickets.inbox"), without data of any tenant.

    One consumer per name waits on one object: a ring that comes while it works is kept for its next wait.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._bells: dict[str, asyncio.Event] = {}
        self._listener: asyncio.Task[None] | None = None

    async def ring(self, name: str) -> None:
        """Wake whoever waits for the name, here at once and elsewhere through Valkey."""
        if (bell := self._bells.get(name)) is not None:
            bell.set()

        async def publish(client: Any) -> bool:
            await client.publish(_CHANNEL + name, b"")
            return True

        await self._cache.insist(publish)

    async def wait(self, name: str, timeout: float) -> bool:  # noqa: ASYNC109 - the fallback is the very point of it
        """Return True when the bell rang since the last wait, False after `timeout` silent seconds: look then too."""
        bell = self._bells.setdefault(name, asyncio.Event())
        if (self._listener is None or self._listener.done()) and self._cache.client is not None:
            self._listener = asyncio.create_task(self._listen(), name="doorbell")
        try:
            async with asyncio.timeout(timeout):
                await bell.wait()
        except TimeoutError:
            return False
        bell.clear()
        return True

    async def close(self) -> None:
        """Stop to listen."""
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
            self._listener = None

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._hear()
                pause = _FIRST_PAUSE
            except (*FAILURES, TimeoutError) as error:
                _log.info("doorbell_away", error=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _hear(self) -> None:
        """Set bells for as long as the subscription lasts; each new one rings all, for what was missed before it."""
        client = self._cache.client
        if client is None:
            return
        async with asyncio.timeout(_SUBSCRIBE_SECONDS):
            await self._cache.join()
        async with client.pubsub(ignore_subscribe_messages=False) as subscription:
            async with asyncio.timeout(_SUBSCRIBE_SECONDS):
                await subscription.psubscribe(_CHANNEL + "*")
            while True:
                message = await subscription.get_message(timeout=None)
                if message is None:
                    continue
                if message["type"] == "psubscribe":
                    for bell in self._bells.values():
                        bell.set()
                elif message["type"] == "pmessage":
                    name = message["channel"].decode().removeprefix(_CHANNEL)
                    if name in self._bells:
                        self._bells[name].set()
