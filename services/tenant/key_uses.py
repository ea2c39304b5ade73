"""When keys were last used: noted in memory, written in batches, so that no request waits for a write."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from uuid import UUID

import structlog

from servicekit.errors import DomainError

FLUSH_SECONDS = 5.0
"""How often the uses are written."""

_log = structlog.get_logger()

Uses = Mapping[tuple[UUID, UUID], datetime]
"""The time of the last use by tenant and key."""


class KeyUses:
    """The uses since the last write: at most one entry for each live key."""

    def __init__(self, write: Callable[[Uses], Awaitable[None]]) -> None:
        self._write = write
        self._noted: dict[tuple[UUID, UUID], datetime] = {}

    def note(self, tenant_id: UUID, key_id: UUID, now: datetime) -> None:
        """Keep in mind that a key was used."""
        self._noted[tenant_id, key_id] = now

    async def flush(self) -> None:
        """Write what was noted, if anything was; what could not be written is kept for the next time."""
        noted, self._noted = self._noted, {}
        if not noted:
            return
        try:
            await self._write(noted)
        except BaseException as error:
            self._noted = noted | self._noted
            if not isinstance(error, DomainError):
                raise
            _log.warning("key_uses_not_written", reason=error.reason, keys=len(noted))

    async def follow(self) -> None:
        """Write every few seconds until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 - whatever happens, it is tried again
                _log.error("key_uses_not_written", error=type(error).__name__)
