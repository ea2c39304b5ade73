"""A text's sentences: where one ends, and a text in pieces that make it again."""

import re

_END = re.compile(r"(?<=[.!?])(?<!\b\w\.)\s+|(?<=\S)\n+")


def split(text: str) -> list[str]:
    """Return a text's sentences. A date like "20. Februar" and an initial end none."""
    return [sentence for piece in pieces(text) if (sentence := piece.strip())]


def pieces(text: str) -> list[str]:
    """Return a text cut behind its sentences; joined they are the text again."""
    cuts = [found.end() for found in _END.finditer(text) if not _goes_on(text, found.start(), found.end())]
    ends = [*cuts, len(text)]
    return [text[start:end] for start, end in zip([0, *cuts], ends, strict=True) if start < end]


def _goes_on(text: str, dot: int, following: int) -> bool:
    """Tell whether a dot behind a number or before a small letter ends no sentence."""
    if "\n" in text[dot:following] or text[dot - 1] != ".":
        return False
    return text[dot - 2 : dot - 1].isdigit() and text[following : following + 1].isalpha() and _ordinal(text, dot)


_ORDINAL = re.compile(r"(?:^|\s)\d{1,2}\.$")


def _ordinal(text: str, dot: int) -> bool:
    return _ORDINAL.search(text[max(0, dot - 5) : dot]) is not None
