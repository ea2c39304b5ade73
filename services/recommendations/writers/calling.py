"""Calls of one model: repeated where that costs nothing, bounded in time, and left out while the model fails."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from services.recommendations.writers.circuit import Circuit
from services.recommendations.writers.provider import Delta, Limits, Prompt, Provider, ProviderError

_ATTEMPTS = 3
_LONGEST_WAIT = 2.0
_FAIR_SHARE = 0.5
"""Of the time that a model may take: who was given less, because other calls took it, is not to blame for silence."""

_PASSING = frozenset({"busy", "unavailable", "unreachable"})
"""Faults that may be over in a moment."""

_QUIETLY = frozenset({"refused", "too_long", "rejected"})
"""Faults of the question rather than of the model: the circuit stays as it is."""


class Calls:
    """Calls one model of one provider."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._circuit = Circuit(time.monotonic)

    async def stream(self, prompt: Prompt, limits: Limits, until: float) -> AsyncGenerator[Delta, None]:
        """Yield an answer piece by piece until the time of the running loop is `until`, `limits.seconds` at most.

        Raises:
            ProviderError: there is no whole answer.
        """
        if not self._circuit.admits():
            raise ProviderError("unavailable", free=True)
        ended = False
        left = until - asyncio.get_running_loop().time()
        until -= max(0.0, left - limits.seconds)
        hurried = left < limits.seconds * _FAIR_SHARE
        try:
            async with aclosing(self._bounded(prompt, limits, until)) as deltas:
                async for delta in deltas:
                    yield delta
            ended = True
            self._circuit.succeeded()
        except ProviderError as error:
            ended = True
            if error.fault in _QUIETLY or (error.fault == "timeout" and hurried):
                self._circuit.given_up()
            else:
                self._circuit.failed(error.retry_after)
            raise
        finally:
            if not ended:
                self._circuit.given_up()

    async def close(self) -> None:
        """Let go of connections."""
        await self._provider.close()

    async def _bounded(self, prompt: Prompt, limits: Limits, until: float) -> AsyncGenerator[Delta, None]:
        answer, delta = await self._begun(prompt, limits, until)
        length = 0
        try:
            while delta is not None:
                if isinstance(delta, str):
                    length += len(delta)
                    if length > limits.characters:
                        raise ProviderError("too_long")
                yield delta
                delta = await _next(answer, until)
        finally:
            await answer.aclose()

    async def _begun(self, prompt: Prompt, limits: Limits, until: float) -> tuple["_Answer", Delta | None]:
        """Return an answer that has begun, with its first piece; until then nothing was spent and a repeat is safe."""

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked_for = error.retry_after if isinstance(error, ProviderError) else None
            return asked_for if asked_for is not None else random.uniform(0.1, 0.4 * state.attempt_number)  # noqa: S311 - spreads load

        def again(error: BaseException) -> bool:
            if not isinstance(error, ProviderError) or not error.free or error.fault not in _PASSING:
                return False
            pause = error.retry_after or 0.0
            return pause <= _LONGEST_WAIT and asyncio.get_running_loop().time() + pause < until

        attempts = AsyncRetrying(
            stop=stop_after_attempt(_ATTEMPTS), wait=wait, retry=retry_if_exception(again), reraise=True
        )
        async for attempt in attempts:
            with attempt:
                if asyncio.get_running_loop().time() >= until:
                    raise ProviderError("timeout", free=True)
                answer = _Answer(self._provider.complete(prompt, limits))
                return answer, await _next(answer, until)
        raise ProviderError("unavailable", free=True)


class _Answer:
    """An answer's pieces, to be asked for one by one and closed at any time."""

    def __init__(self, pieces: AsyncIterator[Delta]) -> None:
        self._pieces = pieces

    async def next(self) -> Delta | None:
        return await anext(self._pieces, None)

    async def aclose(self) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()


async def _next(answer: _Answer, until: float) -> Delta | None:
    """Return the next piece, None after the last.

    Raises:
        ProviderError: it does not come in time, or does not come at all.
    """
    try:
        async with asyncio.timeout_at(until):
            return await answer.next()
    except TimeoutError as error:
        raise ProviderError("timeout") from error
