"""How one connection's calls get out: a few at a time, in the vendor's pace, repeated where that is safe."""

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from prometheus_client import Counter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay

from services.crm.calling.breaker import Breaker
from services.crm.calling.failures import CallError, OutOfReachError, failure_of
from services.crm.calling.pace import Pacer
from services.crm.calling.sender import BUSY, Sender
from services.crm.providers.api import Api, Call, Pace, Reply

MOST_ATTEMPTS = 4
"""How often a call is tried."""

MOST_AT_ONCE = 4
"""How many calls of one connection are under way in this process at the same time."""

CIRCUIT_OPEN = "CIRCUIT_OPEN"
"""The reason of a call that was not made, because those before it all failed."""

CALLS = Counter(
    "rapport_provider_calls_total",
    "Calls of vendors' APIs, by provider and what came of them.",
    ("provider", "outcome"),
)

_FIRST_WAIT = 0.25
_LONGEST_WAIT = 8.0


class Lane:
    """The calls of one connection in this process."""

    def __init__(self, sender: Sender, provider: str, clock: Callable[[], float]) -> None:
        self._sender = sender
        self._provider = provider
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._pacer = Pacer(clock)
        self._breaker = Breaker(clock)
        self._chance = random.Random()  # noqa: S311 - spreads retries, guards nothing

    async def send(self, api: Api, call: Call, address: str, headers: Mapping[str, str], *, patience: float) -> Reply:
        """Send a call and return the reply that its steps want to see, trying for at most `patience` seconds.

        Raises:
            CallError: the vendor refuses the call.
            OutOfReachError: it could not be done within that time.
        """
        attempts = AsyncRetrying(
            retry=retry_if_exception(lambda error: _may_repeat(call, error)),
            wait=self._wait,
            stop=stop_after_attempt(MOST_ATTEMPTS) | stop_before_delay(patience),
            reraise=True,
        )
        return await attempts(self._once, api, call, address, headers, patience)

    async def _once(self, api: Api, call: Call, address: str, headers: Mapping[str, str], patience: float) -> Reply:
        async with self._slots:
            await self._turn(patience)
            if rest := self._breaker.rest():
                raise OutOfReachError(CIRCUIT_OPEN, "the last calls all failed", retry_after=rest)
            try:
                reply = await self._sender.send(call, address, headers)
            except CallError as error:
                CALLS.labels(self._provider, error.reason).inc()
                if isinstance(error, OutOfReachError) and error.reason != BUSY:
                    self._breaker.failed()
                raise
        pace = _pace_of(api, reply)
        self._pacer.note(pace)
        failure = failure_of(call, reply, datetime.now(UTC), pace)
        CALLS.labels(self._provider, failure.reason if failure else "ok").inc()
        if failure is not None and failure.reason == "VENDOR_FAILING":
            self._breaker.failed()
        else:
            self._breaker.succeeded()
        if isinstance(failure, OutOfReachError) and failure.retry_after is not None:
            self._pacer.hold(failure.retry_after)
        if failure is not None:
            raise failure
        return reply

    async def _turn(self, patience: float) -> None:
        """Wait until the vendor's limit lets the next call start."""
        while wait := self._pacer.wait:
            if wait > patience:
                raise OutOfReachError("RATE_LIMITED", "the vendor's limit is used up", retry_after=wait)
            await asyncio.sleep(wait)

    def _wait(self, state: RetryCallState) -> float:
        """Return the seconds before the next attempt: what the vendor asked for, else longer each time."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, OutOfReachError) and error.retry_after is not None:
            return error.retry_after
        doubled = min(_FIRST_WAIT * 2.0 ** (state.attempt_number - 1), _LONGEST_WAIT)
        return doubled * (0.5 + 0.5 * self._chance.random())


def _pace_of(api: Api, reply: Reply) -> Pace | None:
    """Return what a reply says about the limit; numbers that none can be say nothing."""
    try:
        return api.pace(reply)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None


def _may_repeat(call: Call, error: BaseException) -> bool:
    """Return whether trying again is safe: nothing was done yet, or doing it twice changes nothing more."""
    if not isinstance(error, OutOfReachError) or error.reason == CIRCUIT_OPEN:
        return False
    return call.repeatable or not error.done
