"""Tells workers that there is something to do: those of this process at once, others through the doorbell."""

import asyncio
from collections.abc import Awaitable, Callable

BELL = "crm.jobs"
"""The doorbell of the queue."""

QUIET_SECONDS = 0.2
"""How long the doorbell rests after a ring: a busy inbox must not ring for each webhook."""


class Waking:
    """Called after each admission; costs next to nothing."""

    def __init__(self, wake: Callable[[], None], ring: Callable[[], Awaitable[None]]) -> None:
        self._wake = wake
        self._ring = ring
        self._ringing: asyncio.Task[None] | None = None
        self._again = False

    def __call__(self) -> None:
        """Say that there may be something to do."""
        self._wake()
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.create_task(self._ring_and_rest(), name="waking")
        else:
            self._again = True

    async def _ring_and_rest(self) -> None:
        self._again = True
        while self._again:
            self._again = False
            await self._ring()
            await asyncio.sleep(QUIET_SECONDS)
