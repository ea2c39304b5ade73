"""A whole migration of an invented predecessor into a suite of its own, step by step, with what each step took."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx

from tests.support.contents import superuser
from tests.support.predecessor import Built
from tests.support.predecessor_http import OldSide
from tests.support.suite import Ran, rapport
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest

_PAUSE_SECONDS = 0.02

ASKING = "Is anybody there?"
"""What the source's customers write while it is read."""


@dataclass
class Load:
    """What agents' pages were answered: by which side, with which status."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    def by(self, side: str) -> Counter[int]:
        """Return the statuses that a side answered with."""
        return Counter({status: count for (who, status), count in self.answers.items() if who == side})


@dataclass
class Journey:
    """The way of one migration.

    Attributes:
        suite: Rapport, with the old side's address in the gateway's settings.
        built: the source.
        old: what answers on the old side.
        folder: where plan, state and reports are.
        took: seconds by step.
        figures: what else was measured.
    """

    suite: SuiteUnderTest
    built: Built
    old: OldSide
    folder: Path
    took: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def plan(self) -> Path:
        """The plan's file."""
        return self.folder / "plan.json"

    def arguments(self, step: str, *more: str) -> tuple[str, ...]:
        """Return the arguments of a step's command."""
        source = ("--source", self.built.url) if step != "cutover" else ()
        plan = ("--out", str(self.plan)) if step == "plan" else (str(self.plan),)
        return ("migrate", step, *plan, *source, "--json", "--data", self.suite.data, *more)

    async def step(self, name: str, step: str, *more: str, seconds: float = 100) -> Ran:
        """Run a step's command to its end and note what it took."""
        begun = time.monotonic()
        ran = await asyncio.to_thread(rapport, *self.arguments(step, *more), seconds=seconds)
        self.took[name] = round(time.monotonic() - begun, 1)
        return ran

    @asynccontextmanager
    async def running(self, step: str, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Give a step's command while it runs; it ends with the block."""
        command = [sys.executable, "-m", "cli.main", *self.arguments(step, *more)]
        environment = {name: value for name, value in os.environ.items() if name != "RAPPORT_DATA"}
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            with suppress(ProcessLookupError):
                await process.communicate()

    async def tickets(self) -> int:
        """Return how many tickets Rapport has."""
        return await self._counted("SELECT count(*) FROM tickets.tickets")

    async def heard(self) -> int:
        """Return how many messages Rapport has that the source's customers wrote while it was read."""
        return await self._counted("SELECT count(*) FROM tickets.messages WHERE content = $1", ASKING)

    async def _counted(self, query: str, *values: str) -> int:
        connection = await superuser(self.suite)
        try:
            return int(await connection.fetchval(query, *values))
        finally:
            await connection.close()

    async def killed_at(self, tickets: int, *more: str, within: float) -> None:
        """Run, and kill the command once so many tickets are there."""
        async with self.running("run", *more) as process:

            async def far() -> bool:
                assert process.returncode is None, "it ended before it was killed"
                return await self.tickets() >= tickets

            await eventually(far, within=within)
            process.send_signal(signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL

    def key(self, slug: str) -> str:
        """Return a shop's new key from what the run handed over."""
        handed = json.loads(self.plan.with_name("plan.json.handover").read_text(encoding="utf-8"))
        return str(handed[slug]["api_key"])

    @asynccontextmanager
    async def load(self, slugs: list[str]) -> AsyncIterator[Load]:
        """Read shops' inboxes all the time."""
        load, over = Load(), asyncio.Event()

        async def read(slug: str) -> None:
            async with self.suite.client(**{"x-api-key": self.key(slug)}) as client:
                while not over.is_set():
                    await _ask(client, load)
                    await asyncio.sleep(_PAUSE_SECONDS)

        readers = [asyncio.create_task(read(slug)) for slug in slugs]
        try:
            yield load
        finally:
            over.set()
            await asyncio.gather(*readers)

    async def fails_until(self, condition: Callable[[], Awaitable[bool]], within: float) -> None:
        """Kill the tickets service again and again until a condition holds; the suite starts it anew each time."""

        async def killed() -> bool:
            with suppress(ProcessLookupError, KeyError, ValueError, OSError):
                os.kill(self.suite.pid("tickets"), signal.SIGKILL)
            return await condition()

        await eventually(killed, within=within)


async def _ask(client: httpx.AsyncClient, load: Load) -> None:
    try:
        answer = await client.get("/api/tickets?status=open&smart_order=true")
    except httpx.HTTPError as error:
        load.lost.append(type(error).__name__)
        return
    old = answer.status_code == httpx.codes.OK and b'"server": "predecessor"' in answer.content
    load.answers["predecessor" if old else "rapport", answer.status_code] += 1


class Writer:
    """The source's own agents, who go on working while it is read."""

    def __init__(self, built: Built, connection: "asyncpg.Connection[Any]") -> None:
        self._tables = built.tables
        self._connection = connection
        self.wrote: list[UUID] = []

    async def answer(self, ticket: UUID) -> None:
        """Let a customer write into a ticket."""
        ident = uuid4()
        await self._connection.execute(
            f"INSERT INTO {self._tables['ticket_messages']}"  # noqa: S608 - ours
            " (id, ticket_id, from_agent, content, author_name, created_at) VALUES"
            " ($1, $2, false, $3, 'Ada', now() AT TIME ZONE 'UTC')",
            ident,
            ticket,
            ASKING,
        )
        await self._connection.execute(
            f"UPDATE {self._tables['tickets']} SET updated_at = now() AT TIME ZONE 'UTC' WHERE id = $1",  # noqa: S608
            ticket,
        )
        self.wrote.append(ident)

    async def holds(self, content: str) -> int:
        """Return how many messages of the source have that text."""
        query = f"SELECT count(*) FROM {self._tables['ticket_messages']} WHERE content = $1"  # noqa: S608
        return int(await self._connection.fetchval(query, content))
