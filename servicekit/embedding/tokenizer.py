"""Splits a text into WordPieces, as the model does that the word vectors come from, in plain Python.

Lower case, accents off, every punctuation mark and every Chinese character a word of its own; then of each word the
longest piece of the vocabulary that it begins with, and so on with what is left. A word that cannot be put together
from pieces is left out, which the model would read as "unknown".
"""

import re
import sys
import unicodedata
from collections.abc import Mapping

MAX_WORD = 100
"""Words of more characters are not split; they are left out."""
_CACHED_WORDS = 50_000
_CONTROLS = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127])
_ASCII_WORD = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
_CHINESE = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b820-\U0002ceaf"
    "\uf900-\ufaff\U0002f800-\U0002fa1f"
)
_CHINESE_CHARACTER = re.compile(f"([{_CHINESE}])")


class Tokenizer:
    """Splits texts by a vocabulary of pieces; a piece that continues a word begins with `##` there."""

    def __init__(self, pieces: Mapping[str, int]) -> None:
        self._pieces = pieces
        self._words: dict[str, tuple[int, ...]] = {}

    def numbers(self, text: str, most: int = sys.maxsize) -> list[int]:
        """Return the numbers of the first pieces of a text, in order."""
        found: list[int] = []
        known = self._words
        for word in plain_words(text):
            # Left out before it is remembered: only words of a bounded length are.
            if len(word) > MAX_WORD:
                continue
            pieces = known.get(word)
            if pieces is None:
                pieces = self._split(word)
                # A text can hold any number of words that are never seen again: what is remembered is bounded.
                if len(known) >= _CACHED_WORDS:
                    known.clear()
                known[word] = pieces
            found.extend(pieces)
            if len(found) >= most:
                break
        return found[:most]

    def _split(self, word: str) -> tuple[int, ...]:
        """Return the longest pieces that a word is made of; none where a part of it is in no piece."""
        numbers, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                number = self._pieces.get(prefix + word[start:end])
                if number is not None:
                    break
            else:
                return ()
            numbers.append(number)
            start = end
        return tuple(numbers)


def plain_words(text: str) -> list[str]:
    """Return the words and marks of a text in lower case and without accents."""
    if text.isascii():
        return _ASCII_WORD.findall(text.translate(_CONTROLS).lower())
    cleaned = "".join(_cleaned(text))
    spaced = _CHINESE_CHARACTER.sub(r" \1 ", cleaned)
    # As the model does it: lower case, then accents off.
    folded = "".join(
        character
        for character in unicodedata.normalize("NFD", spaced.lower())
        if unicodedata.category(character) != "Mn"
    )
    return [word for chunk in folded.split() for word in _at_marks(chunk)]


def _cleaned(text: str) -> list[str]:
    """Return the characters without control characters; every kind of blank is a blank."""
    kept = []
    for character in text:
        if character in "\t\n\r":
            kept.append(" ")
            continue
        category = unicodedata.category(character)
        if category == "Zs":
            kept.append(" ")
        elif not category.startswith("C") and character != "\ufffd":
            kept.append(character)
    return kept


def _at_marks(chunk: str) -> list[str]:
    """Return a chunk without blanks cut at its punctuation marks, each of which is a word."""
    words: list[str] = []
    open_word = False
    for character in chunk:
        if _is_mark(character):
            words.append(character)
            open_word = False
        elif open_word:
            words[-1] += character
        else:
            words.append(character)
            open_word = True
    return words


def _is_mark(character: str) -> bool:
    """Tell whether a character is punctuation; all marks of ASCII are, also those that Unicode calls symbols."""
    if character.isascii():
        return not character.isalnum()
    return unicodedata.category(character).startswith("P")
