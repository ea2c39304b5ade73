"""What a process does beside its calls: none of it may end unseen while the process looks well."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog
from prometheus_client import Gauge

from servicekit.logs import describe_exception

_log = structlog.get_logger(__name__)

RUNNING = Gauge("rapport_background_running", "Whether a process's work beside its calls goes on, by kind.", ("work",))


class Background:
    """Work that goes on until the process stops; whatever ends before that makes the process unhealthy."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Let a piece of work go on under a name."""
        task = asyncio.create_task(work, name=name)
        RUNNING.labels(name).set(1)
        self._tasks.append(task)
        task.add_done_callback(self._ended)

    def ready(self) -> bool:
        """Tell whether all work still goes on; meant for the health loop."""
        return not any(task.done() for task in self._tasks)

    async def stop(self) -> None:
        """End all work and wait for that."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        RUNNING.labels(task.get_name()).set(0)
        error = None if task.cancelled() else task.exception()
        if not self._stopping:
            _log.error("background_ended", work=task.get_name(), error=describe_exception(error) if error else "")
