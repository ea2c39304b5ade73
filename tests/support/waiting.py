"""Waiting for what must come true, with a deadline instead of a sleep of a guessed length."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Answer = TypeVar("Answer")


async def eventually(ask: Callable[[], Awaitable[Answer | None]], within: float = 10.0) -> Answer:
    """Ask until the answer is true, and return it.

    Raises:
        AssertionError: it did not come true within so many seconds.
    """
    end = time.monotonic() + within
    while time.monotonic() < end:
        answer = await ask()
        if answer:
            return answer
        await asyncio.sleep(0.02)
    raise AssertionError(f"{getattr(ask, '__name__', ask)} did not come true within {within} s")
