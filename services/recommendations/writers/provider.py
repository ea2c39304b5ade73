"""The one interface behind which providers of language models stand."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from services.recommendations.writers.prices import Usage

Fault: TypeAlias = Literal[
    "busy", "broken", "credential", "refused", "timeout", "too_long", "unavailable", "unreachable", "rejected"
]
"""What can go wrong with a call; a word for metrics and logs."""

Delta: TypeAlias = str | Usage


class ProviderError(Exception):
    """A call that brought no whole answer. Its text never holds anything of the question or of the answer.

    Attributes:
        fault: what went wrong.
        retry_after: seconds after which the provider wants to be asked again; None when it did not say.
        free: whether the provider has certainly not begun, so that nothing was spent and a repeat harms nobody.
    """

    def __init__(self, fault: Fault, *, retry_after: float | None = None, free: bool = False) -> None:
        super().__init__(fault)
        self.fault: Fault = fault
        self.retry_after = retry_after
        self.free = free


@dataclass(frozen=True, slots=True)
class Turn:
    """One side's words in the exchange with a model."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked: the rules of the work, and the exchange, whose last word is ours."""

    system: str
    turns: tuple[Turn, ...]

    @property
    def size(self) -> int:
        """The bytes of all texts: no tokeniser makes more tokens of them."""
        return len(self.system.encode()) + sum(len(turn.text.encode()) for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take: the tokens of the answer, its characters, and seconds."""

    output_tokens: int
    characters: int
    seconds: float


class Provider(Protocol):
    """A provider of language models. Nothing but text goes out, nothing but text comes back: there are no tools."""

    def complete(self, prompt: Prompt, limits: Limits) -> AsyncIterator[Delta]:
        """Yield the answer piece by piece, and at its end what it cost if the provider says so.

        Raises:
            ProviderError: there is no whole answer.
        """

    async def close(self) -> None:
        """Let go of connections."""
