"""A model's answer as it comes in: one JSON object a line, a sentence with what it rests on, or a new paragraph."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from services.recommendations.writers.checking import Said

_MOST_LINES = 60
_MOST_CITES = 12
_LONGEST_LINE = 4_000


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A new paragraph begins."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is none of what was asked for."""


Line = Said | Paragraph | Unreadable


class Lines:
    """Puts an answer's pieces together to lines; blank lines and the fences of code blocks are passed over."""

    def __init__(self) -> None:
        self._rest = ""
        self._count = 0

    def feed(self, piece: str) -> Iterator[Line]:
        """Yield the lines that a piece completes."""
        *whole, self._rest = (self._rest + piece).split("\n")
        for text in whole:
            yield from self._line(text)
        if len(self._rest) > _LONGEST_LINE:
            yield Unreadable()
            self._rest = ""

    def end(self) -> Iterator[Line]:
        """Yield what stands behind the last line break."""
        yield from self._line(self._rest)
        self._rest = ""

    def _line(self, text: str) -> Iterator[Line]:
        bare = text.strip()
        if not bare or bare.startswith("```"):
            return
        self._count += 1
        yield Unreadable() if self._count > _MOST_LINES else _read(bare)


def _read(text: str) -> Line:
    try:
        found: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Unreadable()
    if not isinstance(found, dict):
        return Unreadable()
    if found == {"p": True}:
        return Paragraph()
    said, cites = found.get("s"), found.get("f", [])
    if not isinstance(said, str) or not isinstance(cites, list) or not found.keys() <= {"s", "f"}:
        return Unreadable()
    if len(cites) > _MOST_CITES or not all(isinstance(name, str) for name in cites):
        return Unreadable()
    return Said(" ".join(said.split()), tuple(dict.fromkeys(cites)))
