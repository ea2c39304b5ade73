"""When a connection's next call may start: as the vendor's headers say, and not many at once."""

from collections.abc import Callable

from services.crm.providers.api import Pace

LONGEST_WAIT = 3600.0
"""The longest time that a vendor is believed to want no calls, in seconds: then it is asked again."""

NEAR_THE_LIMIT = 5
"""With so many calls left or fewer, the rest of the time is shared among them."""


class Pacer:
    """Remembers until when a connection's calls have to wait; its times are those of `clock`, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next = 0.0

    @property
    def wait(self) -> float:
        """How many seconds the next call has to wait now."""
        return max(0.0, self._next - self._clock())

    def note(self, pace: Pace | None) -> None:
        """Take in what a reply says about the limit: with nothing left wait for the new calls, near the end go slow."""
        if pace is None or pace.remaining > NEAR_THE_LIMIT:
            return
        seconds = max(pace.reset_seconds, 0.0)
        self.hold(seconds if pace.remaining <= 0 else seconds / (pace.remaining + 1))

    def hold(self, seconds: float) -> None:
        """Let no call start for so many seconds, at most LONGEST_WAIT."""
        self._next = max(self._next, self._clock() + min(seconds, LONGEST_WAIT))
