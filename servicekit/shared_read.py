"""One read for a crowd, without anybody seeing what was read before they asked."""

import asyncio
from collections.abc import Awaitable, Callable


class SharedRead:
    """Shares one read among all who ask for it, each of whom gets a read that began after they asked.

    While one read is on its way, those who come wait together for the next one; so a crowd costs two reads, not one
    each.
    """

    def __init__(self, read: Callable[[], Awaitable[str | None]], spacing: float = 0.0) -> None:
        """Share `read`, and begin one no sooner than so many seconds after the one before."""
        self._read = read
        self._spacing = spacing
        self._last = -spacing
        self._running: asyncio.Task[str | None] | None = None
        self._next: asyncio.Task[str | None] | None = None

    async def get(self) -> str | None:
        """Return what a read gave that began after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._follow(self._running))
        return await asyncio.shield(self._next)

    async def _follow(self, running: asyncio.Task[str | None] | None) -> str | None:
        if running is not None and not running.done():
            await asyncio.wait([running])
        clock = asyncio.get_running_loop().time
        if (early := self._last + self._spacing - clock()) > 0:
            await asyncio.sleep(early)
        self._last = clock()
        self._running, self._next = self._next, None
        return await self._read()
