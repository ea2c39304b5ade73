"""The last step of admission: what comes in at the same time goes to the database together.

A webhook that comes alone is written at once. Those that come while a write is under way wait for it and go with the
next one, so a busy inbox pays for one round trip and one flush to disk per group instead of per webhook.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from services.crm.admission import Admission

LARGEST_GROUP = 64
"""How many webhooks are written together at most."""

MOST_BYTES = 8 * 1024 * 1024
"""How many bytes are written together at most, unless a single webhook has more."""

Write = Callable[[Sequence[Admission]], Awaitable[list[bool]]]


class Entrance:
    """Groups admissions; `lanes` writes run at the same time at most."""

    def __init__(self, write: Write, *, lanes: int = 2) -> None:
        self._write = write
        self._free = lanes
        self._waiting: list[tuple[Admission, asyncio.Future[bool]]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def admit(self, admission: Admission) -> bool:
        """Store a webhook durably; return whether it is new and not a copy.

        Raises:
            DatabaseUnavailableError: it may or may not be stored; the provider is to come again.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((admission, done))
        if self._free:
            self._start()
        return await done

    def _start(self) -> None:
        self._free -= 1
        task = asyncio.create_task(self._drain())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _drain(self) -> None:
        """Write groups until nobody waits."""
        try:
            while self._waiting:
                await self._write_group(self._next_group())
        finally:
            self._free += 1

    def _next_group(self) -> list[tuple[Admission, asyncio.Future[bool]]]:
        size = count = 0
        for admission, _ in self._waiting[:LARGEST_GROUP]:
            size += len(admission.payload)
            if count and size > MOST_BYTES:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        # In one order everywhere, so that two processes that write copies of each other never wait in a circle.
        return sorted(group, key=lambda entry: (entry[0].tenant_id.bytes, entry[0].dedupe_key))

    async def _write_group(self, group: list[tuple[Admission, asyncio.Future[bool]]]) -> None:
        try:
            answers = await self._write([admission for admission, _ in group])
        except Exception as error:  # noqa: BLE001 - each waiting call answers for itself
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
        else:
            for (_, done), fresh in zip(group, answers, strict=True):
                if not done.done():
                    done.set_result(fresh)
