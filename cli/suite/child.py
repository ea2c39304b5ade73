"""One process of the suite: started, started again when it ends by itself, and stopped."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.errors import CommandError
from cli.suite.account import ServerAccount
from cli.suite.launch import start_command
from cli.suite.state import ProcessState, describe

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
_STEADY_SECONDS = 20.0
"""A process that ran this long is started again at once when it ends."""


@dataclass(frozen=True)
class ProcessPlan:
    """How one process is run.

    Attributes:
        name: its name in messages, in the state and of its log file.
        command: the argument list; it never holds a secret.
        environment: its whole environment.
        account: the account it runs as, or None for the caller's own.
        death_signal: what it gets when the supervisor dies.
        stop_signal: what asks it to stop.
        stop_seconds: how long it may take to stop before it is killed.
        before_start: what must be done before each start.
    """

    name: str
    command: list[str]
    environment: Mapping[str, str]
    account: ServerAccount | None = None
    death_signal: int = signal.SIGKILL
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = 15.0
    before_start: Callable[[], None] = field(default=lambda: None)


def last_words(log: Path) -> str:
    """Return the last line of a log, for an error message."""
    with contextlib.suppress(OSError):
        text = log.read_text(encoding="utf-8", errors="replace")[-4000:]
        lines = [line for line in text.splitlines() if line.strip()]
        if lines:
            return lines[-1][:500]
    return "its log is empty"


class Child:
    """A process that is kept running until it is stopped."""

    def __init__(self, plan: ProcessPlan, log: Path, changed: Callable[[str, ProcessState], None]) -> None:
        self.plan = plan
        self.log = log
        self.exits: list[int] = []
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Start the process and keep it running."""
        await self._spawn()
        self._watch = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """Ask the process to stop, and kill it when it takes too long."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(self.plan.stop_signal)
            try:
                await asyncio.wait_for(process.wait(), self.plan.stop_seconds)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _spawn(self) -> None:
        self.plan.before_start()
        # Appending: the log may be cut while the process writes it, and the next write then lands at its new end.
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *start_command(self.plan.command, self.plan.account, self.plan.death_signal),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=dict(self.plan.environment),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise CommandError(
                f"{self.plan.name} cannot be started: {error.strerror}.", reason="PROCESS_NOT_STARTED"
            ) from error
        finally:
            os.close(descriptor)
        state = describe(self._process.pid)
        state.restarts = len(self.exits)
        self._changed(self.plan.name, state)

    async def _keep_running(self) -> None:
        delay = 0.0
        while self._process is not None:
            started = time.monotonic()
            code = await self._process.wait()
            if self._stopping:
                return
            self.exits.append(code)
            steady = time.monotonic() - started > _STEADY_SECONDS
            await asyncio.sleep(0.0 if steady else delay)
            delay = 0.0 if steady else min(max(delay * 2, _FIRST_DELAY), _LONGEST_DELAY)
            await self._spawn_again()

    async def _spawn_again(self) -> None:
        """Start the process again, and again later where even that fails (say, for lack of memory)."""
        while True:
            try:
                await self._spawn()
            except CommandError:
                await asyncio.sleep(_LONGEST_DELAY)
            else:
                return
