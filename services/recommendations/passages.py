"""Cuts an article into passages: pieces that can be found, shown and cited by themselves.

A passage stays within one section, between two headings. Paragraphs are put together until a passage is full, and only
one that is longer than a passage is cut, at the end of a sentence where there is one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from services.recommendations import article_text

MAX_CHARACTERS = 1000
"""The longest passage."""
_SENTENCE_END = re.compile(r"[.!?\u3002\uff01\uff1f]\s+|[\u3002\uff01\uff1f]")


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage of an article, below the headings that it stands under."""

    heading: str
    text: str


def cut(text: str) -> list[Piece]:
    """Return the passages of an article's text, in order; every word of it is in one of them, headings aside."""
    found: list[Piece] = []
    open_headings: dict[int, str] = {}
    lines: list[str] = []

    def close() -> None:
        heading = " \u2013 ".join(open_headings[level] for level in sorted(open_headings))
        found.extend(Piece(heading, piece) for piece in _packed(lines))
        lines.clear()

    for block in article_text.blocks_of(text):
        if block.level:
            close()
            open_headings = {level: each for level, each in open_headings.items() if level < block.level}
            open_headings[block.level] = block.text
        else:
            lines.append(f"{block.mark} {block.text}" if block.mark else block.text)
    close()
    return found or [Piece("", piece) for piece in _packed([block.text for block in article_text.blocks_of(text)])]


def _packed(lines: list[str]) -> Iterator[str]:
    """Yield passages of whole lines, as many as fit into each."""
    taken = ""
    for line in lines:
        for piece in _split(line):
            if taken and len(taken) + 1 + len(piece) > MAX_CHARACTERS:
                yield taken
                taken = piece
            else:
                taken = f"{taken}\n{piece}" if taken else piece
    if taken:
        yield taken


def _split(line: str) -> Iterator[str]:
    """Yield a line in pieces that fit: up to the last end of a sentence, else of a word, else just as much as fits."""
    while len(line) > MAX_CHARACTERS:
        ends = [match.end() for match in _SENTENCE_END.finditer(line, 0, MAX_CHARACTERS + 1)]
        place = ends[-1] if ends else line.rfind(" ", 0, MAX_CHARACTERS + 1)
        place = min(place if place > 0 else MAX_CHARACTERS, MAX_CHARACTERS)
        yield line[:place].rstrip()
        line = line[place:].lstrip()
    if line:
        yield line
