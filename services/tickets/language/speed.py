"""`speed`: how many messages a second are read on one core, by their length."""

import time
from collections.abc import Sequence
from typing import Any

from services.tickets.language.analyser import analyse

LONG = 1_000
"""How many characters a long message has here."""
_ACCENTED = " Zo\u00eb"
_ROUNDS = 3


def speed(texts: Sequence[str]) -> dict[str, Any]:
    """Return messages a second of processor time: the texts, and as many of them together as make a kilobyte.

    The best of three rounds counts, so that other work on the machine matters less.
    """
    joined = " ".join(texts)
    long = [joined[start : start + LONG] for start in range(0, len(joined) - LONG, LONG)]
    return {
        "as_they_are": _a_second(texts),
        "of_a_kilobyte": _a_second(long),
        "of_a_kilobyte_with_an_accent": _a_second([text + _ACCENTED for text in long]),
    }


def _a_second(texts: Sequence[str]) -> int:
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.process_time()
        for text in texts:
            analyse("", [text])
        best = min(best, time.process_time() - started)
    return round(len(texts) / best)
