"""`rapport migrate run`: shops, orders, tickets, then what changed meanwhile; each step goes on where it was."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from cli.errors import CommandError
from cli.migration.capture import Capture, end_capture, open_capture
from cli.migration.credentials import read_key
from cli.migration.handover import Handover
from cli.migration.order_moving import OrderMoving
from cli.migration.ownership import Owners
from cli.migration.plan import Plan
from cli.migration.reconciling import Reconciling
from cli.migration.shops import Shops
from cli.migration.source import Source
from cli.migration.state import State
from cli.migration.target import Target
from cli.migration.ticket_moving import Advance, TicketMoving
from cli.operator import operator_of
from cli.suite.folder import SuiteFolder

_OWNERS_SECONDS = 60.0
"""How long customers that appear at the source wait at most until it is read again whose they are."""

_CHANGES_AT_ONCE = 500
_GONE = "it was deleted at the source, or became another shop's, after it had moved"


@dataclass(frozen=True)
class Options:
    """How a run runs.

    Attributes:
        url: the source's address.
        state: the file in which the run keeps how far it is.
        handover: the file into which new keys and addresses are written.
        key_file: the file with the predecessor's Fernet key; None makes no connection.
        rate: how many tickets a second at most; 0 for as many as go.
        batch: how many tickets a call takes.
        follow: go on with what changes at the source until told to stop.
        delta: follow changes by looking again, whatever the plan says.
        finish: read what is left of the changes, compare everything once, and stop following for good.
        into: shops that Rapport has already and that rows may move into.
    """

    url: str
    state: Path
    handover: Path
    key_file: Path | None = None
    rate: float = 0.0
    batch: int = 200
    follow: bool = False
    finish: bool = False
    delta: bool = False
    into: tuple[str, ...] = ()


async def run_migration(folder: SuiteFolder, plan: Plan, options: Options, advance: Advance) -> dict[str, Any]:
    """Do what a plan says and return what was done.

    Raises:
        CommandError: the source is another one, a call was refused or nobody answered; the same command goes on.
    """
    key = read_key(options.key_file) if options.key_file else ""
    begun = time.monotonic()
    with State.open(options.state, plan) as state:
        async with Source.open(options.url, plan.origin.tables) as source, operator_of(folder) as operator:
            if source.fingerprint != plan.origin.fingerprint:
                raise CommandError("This is not the source that the plan was made for.", reason="SOURCE_IS_ANOTHER")
            target = Target(operator, batch=options.batch, rate=options.rate)
            await Shops(plan, source, target, state, Handover(options.handover), key, options.into).make()
            with Owners() as owners:
                await owners.read(source, plan.rules)
                run = _Run(plan, options, source, owners, target, state, advance)
                found = await run.run()
        return {
            **found,
            "seconds": round(time.monotonic() - begun, 1),
            "shops": {slug: dict(counts) for slug, counts in state.counts().items()},
            "stayed_behind": state.refused(),
            "handover": str(options.handover) if options.handover.exists() else "",
        }


class _Run:
    def __init__(
        self,
        plan: Plan,
        options: Options,
        source: Source,
        owners: Owners,
        target: Target,
        state: State,
        advance: Advance,
    ) -> None:
        slugs = [shop.slug for shop in plan.shops]
        self._plan = plan
        self._options = options
        self._source = source
        self._owners = owners
        self._target = target
        self._state = state
        self._advance = advance
        self._tickets = TicketMoving(slugs, plan.rules, target, state, advance)
        self._orders = OrderMoving(slugs, plan.rules, target, state, advance)
        self._slugs = slugs
        self._held: set[UUID] = set()
        self._owners_at = 0.0

    async def run(self) -> dict[str, Any]:
        followed = self._options.follow or self._options.finish
        capture: Capture | None = None
        if followed or self._state.get("capture"):
            # Before anything is read: what changes from now on is known.
            capture = await open_capture(
                self._options.url,
                self._plan,
                self._source,
                self._state,
                delta=self._options.delta,
                finish=self._options.finish,
            )
        try:
            await self._tickets.reserve(self._source)
            await self._orders.move(self._source, self._owners)
            await self._tickets.move(self._source, self._owners, _CHANGES_AT_ONCE)
            if capture is not None and followed:
                await self._follow(capture)
            found: dict[str, Any] = {"state": "moved"}
            if capture is not None:
                found["changes_followed_by"] = capture.kind
                found["state"] = "following"
            if self._options.finish:
                found |= await self._finish()
            return found
        finally:
            if capture is not None:
                await capture.close()

    async def _follow(self, capture: Capture) -> None:
        """Move what changes; until nothing is left, or with `follow` until somebody stops it."""
        with _stopped() as stop:
            while True:
                changes = await capture.changes(_CHANGES_AT_ONCE)
                await self._again(changes.tickets, now=False)
                self._advance("changes", len(changes.tickets))
                # Only now are they read for good: who is killed before reads them again.
                await capture.taken(changes)
                if stop.is_set() or (changes.last and not self._options.follow):
                    # With --finish everything is compared anyway.
                    await self._again((), now=not self._options.finish)
                    return
                if changes.last:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), capture.poll_seconds)

    async def _again(self, ids: Sequence[UUID], *, now: bool) -> None:
        """Move tickets that changed; whose customers are new waits until it was read again whose those are."""
        await self._moved_again(ids)
        if self._held and (now or time.monotonic() >= self._owners_at):
            await self._owners.read(self._source, self._plan.rules)
            self._owners_at = time.monotonic() + _OWNERS_SECONDS
            held, self._held = list(self._held), set()
            await self._moved_again(held)

    async def _moved_again(self, ids: Sequence[UUID]) -> None:
        gone, held = await self._tickets.again(self._source, self._owners, ids)
        self._held |= held
        for ticket in gone:
            self._state.refuse("tickets", str(ticket), "", _GONE)

    async def _finish(self) -> dict[str, Any]:
        """Compare everything once and move what differs; then nothing is followed any more."""
        self._owners = Owners()
        with self._owners:
            await self._owners.read(self._source, self._plan.rules)
            await self._orders.once_more(self._source, self._owners)
            reconciling = Reconciling(self._slugs, self._plan.rules, self._target, self._tickets, self._advance)
            found = await reconciling.run(self._source, self._owners)
        for slug, ids in found.gone.items():
            for legacy_id in ids:
                self._state.refuse("tickets", legacy_id, slug, _GONE)
        await end_capture(self._options.url, self._plan, self._state)
        self._state.put("finished", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        return {"state": "finished", "compared": found.compared, "different": found.different}


@contextlib.contextmanager
def _stopped() -> Iterator[asyncio.Event]:
    """Give an event that is set when somebody asks the process to stop; what is under way is ended first."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
