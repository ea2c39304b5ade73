"""Health of a process, put together from its components: it serves when all of them are up.

The components are asked once a second in the background, so a probe costs nothing.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Sequence

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio
from prometheus_client import Gauge

_log = structlog.get_logger(__name__)

UP = Gauge("rapport_component_up", "Whether a part that a process needs is up, by part.", ("component",))
LOOP_LAG = Gauge("rapport_event_loop_lag_seconds", "By how much the process last woke too late; it looks each second.")

Component = tuple[str, Callable[[], bool | Awaitable[bool]]]
"""A name and a function that tells at once, or soon, whether the component is up."""

EVERY_SECONDS = 1.0

ALIVE = "alive"
"""The name by which a probe asks whether the process answers at all: it is SERVING from the start to the end, so nobody
restarts a process because its database is away."""


class Health:
    """The health servicer of one server, and the loop that keeps it true."""

    def __init__(self, components: Sequence[Component], services: Sequence[str]) -> None:
        self.servicer = health_aio.HealthServicer()
        self._components = tuple(components)
        self._names = ("", *services)
        self._up: bool | None = None
        self._stopped = False
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Say that the process is alive, and NOT_SERVING."""
        await self.servicer.set(ALIVE, health_pb2.HealthCheckResponse.SERVING)
        await self._say(up=False)

    async def watch(self) -> None:
        """Begin to look at the components; called when everything has been started."""
        await self.look()
        self._loop = asyncio.create_task(self._repeat(), name="health")

    async def stop(self) -> None:
        """Say NOT_SERVING for good."""
        self._stopped = True
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        await self._say(up=False)

    async def look(self) -> None:
        """Ask each component and say the outcome; a component that fails to answer is down."""
        up_now = {name: await _is_up(component) for name, component in self._components}
        for name, is_up in up_now.items():
            UP.labels(name).set(is_up)
        down = [name for name, is_up in up_now.items() if not is_up]
        if self._stopped:
            return
        up = not down
        if up != self._up:
            _log.info("health_changed", serving=up, down=down)
            await self._say(up=up)

    async def _repeat(self) -> None:
        while True:
            woken_at = asyncio.get_running_loop().time() + EVERY_SECONDS
            await asyncio.sleep(EVERY_SECONDS)
            LOOP_LAG.set(max(0.0, asyncio.get_running_loop().time() - woken_at))
            await self.look()

    async def _say(self, *, up: bool) -> None:
        self._up = up
        status = health_pb2.HealthCheckResponse.SERVING if up else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self.servicer.set(name, status)


async def _is_up(component: Callable[[], bool | Awaitable[bool]]) -> bool:
    try:
        answer = component()
        return await answer if inspect.isawaitable(answer) else answer
    except Exception as error:  # noqa: BLE001 - a component that cannot even answer is down
        _log.warning("health_component_failed", error=type(error).__name__)
        return False
