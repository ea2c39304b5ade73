"""What lasts is judged again and again: a stream ends soon after the credential that opened it has lost its worth."""

import asyncio
from typing import Any

from servicekit.errors import CredentialInvalidError
from servicekit.identity import TokenVerifier
from servicekit.pipeline import Call, Handler, Layer, Method

LOOK_SECONDS = 0.25
"""How often the open streams are looked through; what a revocation takes to reach one beyond the news itself."""


def lasting(verifier: TokenVerifier) -> Layer:
    """Return the layer; it is for guarded methods that answer with a stream, and stands behind the identity.

    A stream ends with UNAUTHENTICATED once its tenant is refused, its key is revoked or its token has ended, and with
    UNAVAILABLE once what credentials are judged by is out of date. A message that is on its way out is not cut in two.
    """
    streams = _OpenStreams(verifier)

    def layer(method: Method, proceed: Handler) -> Handler:
        if method.public or not method.streams_responses:
            return proceed

        async def handle(call: Call) -> Any:
            task = streams.add(call)
            try:
                return await proceed(call)
            except asyncio.CancelledError:
                if call.refusal is None or task is None or call.context.cancelled():
                    raise
                task.uncancel()
                raise call.refusal from None
            finally:
                streams.remove(task)

        return handle

    return layer


class _OpenStreams:
    """The streams of a server, and the one task that looks through them for as long as there are any."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self._open: dict[asyncio.Task[Any], Call] = {}
        self._looking: asyncio.Task[None] | None = None

    def add(self, call: Call) -> asyncio.Task[Any] | None:
        """Begin to look after the stream that the running task serves; return that task."""
        task = asyncio.current_task()
        if task is not None:
            self._open[task] = call
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look(), name="open_streams")
        return task

    def remove(self, task: asyncio.Task[Any] | None) -> None:
        """Look after a stream no longer."""
        if task is not None:
            self._open.pop(task, None)

    async def _look(self) -> None:
        while self._open:
            await asyncio.sleep(LOOK_SECONDS)
            for task, call in tuple(self._open.items()):
                principal = call.principal
                if call.refusal is not None or principal is None or self._verifier.still_good(principal):
                    continue
                call.refusal = self._verifier.objection(principal) or CredentialInvalidError(
                    "The credential that opened the stream has ended."
                )
                call.ending = True
                if not call.writing:
                    task.cancel()
