"""A circuit breaker: calls to a vendor that keeps failing are not even tried for a while."""

from collections.abc import Callable

MOST_FAILURES = 5
"""How many failures in a row open the circuit."""

FIRST_REST = 5.0
LONGEST_REST = 120.0
"""Seconds that the circuit stays open: the first time, and at the longest when trials go on failing."""


class Breaker:
    """Counts the failures in a row of one connection; its times are those of `clock`, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._rest = FIRST_REST
        self._open_until = 0.0

    def rest(self) -> float:
        """Return for how many seconds no call may be made, 0 when one may.

        Once the rest is over the first to ask gets through, and the others wait until it is known how it went.
        """
        if self._failures < MOST_FAILURES:
            return 0.0
        left = self._open_until - self._clock()
        if left > 0:
            return left
        self._open_until = self._clock() + self._rest
        return 0.0

    def succeeded(self) -> None:
        """Note that the vendor answered."""
        self._failures = 0
        self._rest = FIRST_REST

    def failed(self) -> None:
        """Note that the vendor did not answer, or with an error of its own."""
        self._failures += 1
        if self._failures == MOST_FAILURES:
            self._open_until = self._clock() + self._rest
        elif self._failures > MOST_FAILURES:
            self._rest = min(self._rest * 2, LONGEST_REST)
            self._open_until = self._clock() + self._rest
