"""The meaning of questions and of passages as vectors that can be compared.

Words that say nothing of the subject are left out first: in the mean of a short question they would weigh more than all
else, and make every question near to every passage.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from servicekit.embedding import embed

_WORD = re.compile(r"\w+")
_EMPTY = frozenset(
    _WORD.findall(
        """a about after again all also am an and any are as at be because been before being but by can could d did do
        does doing don for from get got had has have having he hello her here hers hi him his how i if in into is it its
        just ll m me my no not now of off on once only or other our out over own please re s same she should so some
        such t than thank thanks that the their them then there they this those these to too under until up us ve very
        was we were what when where which while who whom why will with would you your yours"""
    )
)


def subject_words(text: str) -> str:
    """Return the words of a text that say what it is about; all of them where none does."""
    words = _WORD.findall(text)
    return " ".join(word for word in words if word.lower() not in _EMPTY) or text


def meanings(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the vectors of texts, one a row, each of length one; all zeros where nothing is known of a text."""
    return embed([subject_words(text) for text in texts])
