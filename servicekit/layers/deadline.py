"""No call runs for ever: the caller's deadline holds, and one that gave none gets ours."""

import asyncio
from typing import Any

from servicekit.errors import DeadlineError
from servicekit.pipeline import Call, Handler, Method

LONGEST_SECONDS = 30.0
"""The longest that a call with one answer may take. Streams may live on, within their caller's deadline."""


class DeadlineExceededError(DeadlineError):
    """The call took longer than it may."""


def deadline(method: Method, proceed: Handler) -> Handler:
    """End a call with one answer when its time is over; grpc itself ends streams at their caller's deadline."""
    if method.streams_responses:
        return proceed

    async def handle(call: Call) -> Any:
        remaining = call.context.time_remaining()
        limit = LONGEST_SECONDS if remaining is None else min(remaining, LONGEST_SECONDS)
        timeout = asyncio.timeout(limit)
        try:
            async with timeout:
                return await proceed(call)
        except TimeoutError as error:
            if timeout.expired():
                raise DeadlineExceededError("The call took longer than it may.") from error
            raise

    return handle
