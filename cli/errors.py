"""What the command says when something is not as it should be."""


class CommandError(Exception):
    """A failure with one clear line for a person; `reason` names it for programs.

    Args:
        message: what is wrong and what to do, in one line, without secrets.
        reason: the same as UPPER_SNAKE word, for `--json`.
    """

    def __init__(self, message: str, *, reason: str = "FAILED") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
