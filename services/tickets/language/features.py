"""A text as numbers: the mean of its word vectors, and which of the known words and pairs of words stand in it.

The vector knows words that no training text had; the words know what the mean of vectors forgets (which of two names it
was, and what stood next to what).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from servicekit.embedding import Table, plain_words

VECTOR_SCALE = 6.0
TERM_SCALE = 4.0
"""How much the two kinds of features weigh against the pull of the weights towards zero."""

Vector = NDArray[np.float32]
Numbers = NDArray[np.int32]
TermsOf = Callable[[str], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Features:
    """What is counted of one text: its vector, and the numbers and weights of the terms in it."""

    vector: Vector
    numbers: Numbers
    weights: Vector


def words_and_pairs(text: str) -> Iterator[str]:
    """Yield the words of a text, and each two that stand next to each other, with the text's ends."""
    found = plain_words(text)
    yield from found
    for left, right in pairwise(["^", *found, "$"]):
        yield f"{left} {right}"


class Vocabulary:
    """The terms that count, each with a weight that is higher the fewer texts have it."""

    def __init__(self, terms: Sequence[str], rarity: Vector) -> None:
        self.terms = tuple(terms)
        self.rarity = rarity
        self._numbers = {term: number for number, term in enumerate(self.terms)}

    @classmethod
    def of(cls, texts: Iterable[Iterable[str]], at_least: int) -> "Vocabulary":
        """Return the terms that stand in that many of the texts, given as their terms."""
        seen: Counter[str] = Counter()
        count = 0
        for terms in texts:
            seen.update(set(terms))
            count += 1
        kept = sorted(term for term, times in seen.items() if times >= at_least)
        times = np.array([seen[term] for term in kept], np.float64)
        return cls(kept, (np.log((1 + count) / (1 + times)) + 1).astype(np.float32))

    def counted(self, terms: Iterable[str]) -> tuple[Numbers, Vector]:
        """Return the numbers of the known terms, and weights of which the squares add to the square of the scale."""
        known = self._numbers
        times = Counter(number for term in terms if (number := known.get(term)) is not None)
        numbers = np.fromiter(times, np.int32, len(times))
        weights = (1 + np.log(np.fromiter(times.values(), np.float32, len(times)))) * self.rarity[numbers]
        length = float(np.sqrt(weights @ weights))
        return numbers, (weights * np.float32(TERM_SCALE / length) if length else weights).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Encoder:
    """Turns texts into features; `terms_of` says what the terms of a text are. Without a table there is no vector."""

    table: Table | None
    vocabulary: Vocabulary
    terms_of: TermsOf = words_and_pairs

    def features(self, text: str) -> Features:
        """Return what is counted of a text."""
        return self.of(text, self.terms_of(text))

    def of(self, text: str, terms: Iterable[str]) -> Features:
        """Return what is counted of a text whose terms are known already."""
        numbers, weights = self.vocabulary.counted(terms)
        vector = np.zeros(0, np.float32) if self.table is None else self.table.vector(text) * np.float32(VECTOR_SCALE)
        return Features(vector, numbers, weights)
