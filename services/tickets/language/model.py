"""The shipped model: a text's features, and the heads for intent, urgency and mood, fitted to the letters.

Beside its words a text's terms are the words that a negation governs (`no:cancel`), the kinds of phrases that the rules
found (`+cancel`, or `-cancel` where they are only denied) and how it is written (`+short`, `+question`). So the rules
speak first where they are right, and the letters say how often that is. Capitals are not seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from servicekit.embedding import shipped as shipped_table
from services.tickets.language import rules
from services.tickets.language.features import Encoder, Features, Vector, Vocabulary
from services.tickets.language.heads import Head
from services.tickets.language.languages import language_of
from services.tickets.language.reading import clauses, is_loud, said_now

MAX_MODELLED = 4_000
"""The most characters of a text that the model reads; the rules read more."""
URGENCY_LEVELS = ("low", "normal", "high", "urgent")
MOODS = ("calm", "annoyed", "angry")
HEADS = ("intent", "urgency", "mood")
_SHORT_WORDS = 3
_STORED = np.float16


@dataclass(frozen=True, slots=True)
class Read:
    """A text as it is read.

    Attributes:
        text: what the customer says now.
        clauses: the same as plain words; what is said twice stands there once.
        found: what the rules found.
        loud: whether it is shouted.
        language: its language, or `und`.
    """

    text: str
    clauses: tuple[str, ...]
    found: rules.Found
    loud: bool
    language: str


def read(message: str, subject: str = "") -> Read:
    """Return a message as it is read, together with the subject above it."""
    said = said_now(message)
    text = f"{subject}\n{said}" if subject else said
    parts = tuple(dict.fromkeys(clauses(text)))
    return Read(text, parts, rules.find(parts), is_loud(said), language_of(parts))


def terms(given: Read) -> Iterator[str]:
    """Yield what is counted of a text beside its vector."""
    count = 0
    for clause in given.clauses:
        found = clause.split()
        count += len(found)
        yield from found
        for word in rules.governed(found):
            yield f"no:{word}"
    for kind in given.found.plain:
        yield f"+{kind}"
    for kind in given.found.denied:
        yield f"-{kind}"
    if "?" in given.text:
        yield "+question"
    if count <= _SHORT_WORDS:
        yield "+short"


def encoded(vocabulary: Vocabulary, given: Read) -> Features:
    """Return what is counted of a text; a word that stands there many times counts once."""
    plain = " ".join(dict.fromkeys("".join(given.clauses)[:MAX_MODELLED].split()))
    return Encoder(shipped_table(), vocabulary).of(plain, dict.fromkeys(terms(given)))


@dataclass(frozen=True, slots=True)
class Model:
    """The vocabulary and the heads.

    Attributes:
        version: which letters and which settings it was fitted with.
        unknown_below: an intent that is less probable than this is told as unknown.
    """

    version: str
    vocabulary: Vocabulary
    intent: Head
    urgency: Head
    mood: Head
    unknown_below: float

    def features(self, given: Read) -> Features:
        """Return what is counted of a text."""
        return encoded(self.vocabulary, given)

    def save(self, path: Path) -> None:
        """Store the model in a file."""
        stored: dict[str, Any] = {"version": _bytes([self.version]), "unknown_below": np.array(self.unknown_below)}
        stored |= {"terms": _bytes(self.vocabulary.terms), "rarity": self.vocabulary.rarity.astype(_STORED)}
        for name in HEADS:
            head: Head = getattr(self, name)
            stored[f"{name}_labels"] = _bytes(head.labels)
            stored[f"{name}_vector"] = head.vector_weights.astype(_STORED)
            stored[f"{name}_terms"] = head.term_weights.astype(_STORED)
            stored[f"{name}_bias"] = head.bias
            stored[f"{name}_temperature"] = np.array(head.temperature)
        np.savez_compressed(path, **stored)


def load(path: Path) -> Model:
    """Return the model that a file holds."""
    with np.load(path, allow_pickle=False) as stored:

        def texts(name: str) -> tuple[str, ...]:
            return tuple(stored[name].tobytes().decode().split("\n"))

        def numbers(name: str) -> Vector:
            return stored[name].astype(np.float32)  # type: ignore[no-any-return]

        def head(name: str) -> Head:
            return Head(
                texts(f"{name}_labels"),
                numbers(f"{name}_vector"),
                numbers(f"{name}_terms"),
                numbers(f"{name}_bias"),
                float(stored[f"{name}_temperature"]),
            )

        vocabulary = Vocabulary(texts("terms"), numbers("rarity"))
        heads = {name: head(name) for name in HEADS}
        limit = float(stored["unknown_below"])
        return Model(texts("version")[0], vocabulary, unknown_below=limit, **heads)


@cache
def shipped() -> Model:
    """Return the model that ships with the service; it is read once."""
    with as_file(files(__package__).joinpath("data", "heads.npz")) as path:
        return load(path)


def _bytes(texts: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer("\n".join(texts).encode(), dtype=np.uint8)
