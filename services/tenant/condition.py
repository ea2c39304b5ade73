"""How the service stands: the age of the keys that sign, what wraps them, and erasures that are due."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from servicekit.diagnosis import DAY, Examination, Finding, State, graded
from servicekit.envelope import wrapped_by
from servicekit.kek import KekProvider
from services.tenant.rewrapping import Wrapped
from services.tenant.signing import SigningKeyLife

_OVERDUE = 1.5
"""How many times its time a signing key may sign before that is a failure; it is replaced by itself."""


def examinations(
    lives: Callable[[], Awaitable[Sequence[SigningKeyLife]]],
    wrapped: Callable[[], Awaitable[Sequence[Wrapped]]],
    keks: KekProvider,
    due_erasures: Callable[[], Awaitable[Sequence[UUID]]],
    max_age: timedelta,
) -> dict[str, Examination]:
    """Return what is examined beside what every process has."""

    async def signing() -> Sequence[Finding]:
        current = next(one for one in await lives() if one.slot == "current")
        return [judge_signing_key(datetime.now(UTC) - (current.activate_time or current.create_time), max_age)]

    async def wraps() -> Sequence[Finding]:
        names = {wrapped_by(one.wrapped) for one in await wrapped()}
        return [judge_wraps(await keks.active(), sorted(name for name in names if not keks.holds(name)))]

    async def erasures() -> Sequence[Finding]:
        return [judge_erasures(len(await due_erasures()))]

    return {"keys.signing": signing, "keys.wraps": wraps, "queue.erasures": erasures}


def judge_signing_key(age: timedelta, max_age: timedelta) -> Finding:
    """Judge for how long the current key has signed."""
    state = graded(age / max_age, warning=1.1, failed=_OVERDUE)
    days = age.total_seconds() / DAY
    summary = f"Tokens are signed by a key that has signed for {days:.1f} days; it is replaced after {max_age.days}."
    remedy = (
        "" if state is State.OK else "`rapport signing-key rotate`; `rapport logs tenant` has `signing_keys_not_kept`"
    )
    return Finding("keys.signing", state, summary, remedy, {"age_days": f"{days:.2f}"})


def judge_wraps(active: str, lost: Sequence[str]) -> Finding:
    """Judge whether what signs can be opened when a process starts."""
    if not lost:
        return Finding("keys.wraps", State.OK, f"The signing keys are wrapped by keys that are at hand, as {active}.")
    return Finding(
        "keys.wraps",
        State.FAILED,
        f"Signing keys are wrapped by {', '.join(lost)}, which no provider holds: the service would not start again.",
        "bring the key back before anything restarts: `rapport keys recover --escrow FILE`",
        {"lost": ", ".join(lost)},
    )


def judge_erasures(due: int) -> Finding:
    """Judge how many tenants wait to be erased."""
    state = graded(due, warning=5, failed=100)
    summary = f"{due} tenants are due to be erased." if due else "No tenant waits to be erased."
    remedy = "" if state is State.OK else "`rapport tenant report S` says what is in the way of each"
    return Finding("queue.erasures", state, summary, remedy, {"due": str(due)})
