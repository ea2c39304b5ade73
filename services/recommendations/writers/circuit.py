"""When a model that keeps failing is left alone for a while, so that nobody waits for it."""

from collections.abc import Callable

_MOST_FAILURES = 5
_OPEN_SECONDS = 30.0
_LONGEST_SECONDS = 300.0


class Circuit:
    """Opens after five failures in a row, or for as long as a provider asks; then one call at a time finds out."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Measure time in seconds by `now`, which never goes back."""
        self._now = now
        self._failures = 0
        self._open_until = 0.0
        self._trying = False

    def admits(self) -> bool:
        """Tell whether a call may be made; after a failure row it has to be followed by `succeeded` or `failed`."""
        if self._now() < self._open_until or self._trying:
            return False
        self._trying = self._failures >= _MOST_FAILURES
        return True

    def succeeded(self) -> None:
        """Take note of an answer."""
        self._failures, self._trying = 0, False

    def failed(self, wait: float | None = None) -> None:
        """Take note of a failure; `wait` is for how long the provider wants to be left alone."""
        self._failures, self._trying = self._failures + 1, False
        if self._failures >= _MOST_FAILURES:
            wait = max(wait or 0.0, _OPEN_SECONDS)
        if wait is not None:
            self._open_until = self._now() + min(wait, _LONGEST_SECONDS)

    def given_up(self) -> None:
        """Take note of a call that nobody waited for: it says nothing about the model."""
        self._trying = False
