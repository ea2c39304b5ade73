"""The word vectors that ship with the suite, and the vector of a text: the mean of its pieces', of length one.

`tools/build_language.py` makes the table; where it comes from and its licence stand beside it in `data/NOTICE`.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from servicekit.embedding.tokenizer import Tokenizer

SIZE = 256
"""How many numbers the vector of a text has."""
MAX_PIECES = 512
"""How many pieces of a text count; more hardly move the mean and cost time."""
_STRAIGHT = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"'})


class Table:
    """Word vectors in 8-bit steps, each row with the size of its step."""

    def __init__(self, pieces: Sequence[str], vectors: NDArray[np.int8], scales: NDArray[np.float32]) -> None:
        self._tokenizer = Tokenizer({piece: number for number, piece in enumerate(pieces)})
        self._vectors = vectors
        self._scales = scales

    def vector(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a text; all zeros where no piece of it is known."""
        numbers = self._tokenizer.numbers(text.translate(_STRAIGHT), MAX_PIECES)
        if not numbers:
            return np.zeros(SIZE, np.float32)
        total = self._scales[numbers] @ self._vectors[numbers].astype(np.float32)
        length = float(np.sqrt(total @ total))
        return total / np.float32(length) if length > 0 else total

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts, one a row."""
        return np.stack([self.vector(text) for text in texts]) if texts else np.zeros((0, SIZE), np.float32)


@cache
def shipped() -> Table:
    """Return the table that ships with the suite; it is read once, in about a fifth of a second."""
    with as_file(files(__package__).joinpath("data", "table.npz")) as path, np.load(path, allow_pickle=False) as stored:
        pieces = stored["pieces"].tobytes().decode().split("\n")
        return Table(pieces, stored["vectors"], stored["scales"])
