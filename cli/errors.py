"""What the command says when something is not as it should be."""

from collections.abc import Mapping
from typing import Any


class CommandError(Exception):
    """A failure with one clear line for a person.

    Args:
        message: what is wrong and what to do, in one line, without secrets.
        reason: the same as UPPER_SNAKE word, for `--json`.
        details: more for `--json`, by name.
    """

    def __init__(self, message: str, *, reason: str = "FAILED", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.details = dict(details or {})
