"""How the service stands: whether it follows the log of recommendations, and looks at tickets when their time comes."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from uuid import UUID

import grpc

from servicekit.diagnosis import Examination, Finding, State, graded
from servicekit.figures import QUEUE_LATE

LATE_SECONDS = (30.0, 300.0)
"""How late a ticket's timer is when somebody should look, and when something does not work."""

_AGAIN_SECONDS = 1.5
_LOG = "log.recommendations"

Fetch = Callable[[str], Awaitable[tuple[Sequence[object], str]]]
"""Returns the changes of the log after a cursor, and the cursor behind them."""


def examinations(
    position: Callable[[], Awaitable[str]],
    fetch: Fetch | None,
    next_timer: Callable[[Collection[UUID]], Awaitable[datetime | None]],
    refused_tenants: Callable[[], Collection[UUID]],
) -> dict[str, Examination]:
    """Return what is examined beside what every process has; without `fetch` there is no log to follow."""

    async def log() -> Sequence[Finding]:
        return [await _log(position, fetch)]

    async def timers() -> Sequence[Finding]:
        due = await next_timer(refused_tenants())
        late = (datetime.now(UTC) - due).total_seconds() if due else 0.0
        return [judge_timers(late)]

    return {_LOG: log, "queue.timers": timers}


async def report_timers(
    next_timer: Callable[[Collection[UUID]], Awaitable[datetime | None]],
    refused_tenants: Callable[[], Collection[UUID]],
) -> None:
    """Tell Prometheus how late the first of the tickets' timers is."""
    due = await next_timer(refused_tenants())
    QUEUE_LATE.labels("timers").set(max(0.0, (datetime.now(UTC) - due).total_seconds()) if due else 0.0)


async def _log(position: Callable[[], Awaitable[str]], fetch: Fetch | None) -> Finding:
    """Look twice whether the log goes on behind the place that was reached: one look may be in the middle of work."""
    if fetch is None:
        return Finding(_LOG, State.OK, "No recommendations are set: there is no log to follow.")
    reached = await position()
    try:
        changes, _ = await fetch(reached)
    except grpc.aio.AioRpcError as error:
        return Finding(
            _LOG,
            State.FAILED,
            f"Recommendations cannot be asked for its log: {error.code().name}.",
            "inbox and ticket page answer with older profiles meanwhile; see `rapport status` and `rapport logs`",
        )
    if not changes:
        return Finding(_LOG, State.OK, "The log of recommendations is followed to its end.")
    await asyncio.sleep(_AGAIN_SECONDS)
    if await position() != reached:
        return Finding(_LOG, State.OK, "The log of recommendations is being followed.")
    return Finding(
        _LOG,
        State.FAILED,
        f"The log of recommendations is not followed: {len(changes)} changes or more wait.",
        "the inbox shows older profiles; `rapport logs tickets` has `follower_interrupted` or `log_follower_failed`",
        {"waiting": str(len(changes))},
    )


def judge_timers(late_seconds: float) -> Finding:
    """Judge how late the first timer of all tickets is; before its time it is not."""
    late = max(late_seconds, 0.0)
    state = graded(late, warning=LATE_SECONDS[0], failed=LATE_SECONDS[1])
    summary = f"The first of the tickets' timers is {late:.0f} s late." if late else "No ticket's timer is late."
    remedy = "" if state is State.OK else "clocks come due late; `rapport logs tickets` has `timers_interrupted`"
    return Finding("queue.timers", state, summary, remedy, {"late_seconds": f"{late:.1f}"})
