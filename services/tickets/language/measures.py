"""How good labels and probabilities are: shares with intervals, errors by label, calibration, what is out of scope."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_Z = 1.959964
BINS = 10
"""Into how many groups of equal size texts are put, by how sure the model is, to see whether it is right as often."""


def interval(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson's): it is sensible for few and for all or none as well."""
    if count == 0:
        return 0.0, 1.0
    share, spread = right / count, _Z * _Z / count
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    # At the ends the bound is the share itself, but for rounding.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


def f1_by_label(wanted: Sequence[str], given: Sequence[str]) -> dict[str, float]:
    """Return for each label that is wanted the harmonic mean of precision and recall."""
    right = Counter(one for one, other in zip(wanted, given, strict=True) if one == other)
    asked, told = Counter(wanted), Counter(given)
    return {label: 2 * right[label] / (asked[label] + told[label]) for label in sorted(asked)}


def confusion(wanted: Sequence[str], given: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return how often each label was taken for each, where it happened at all."""
    table: dict[str, dict[str, int]] = {}
    for (one, other), count in sorted(Counter(zip(wanted, given, strict=True)).items()):
        table.setdefault(one, {})[other] = count
    return table


def calibration_error(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error: how far sureness is from being right, in groups of equal size."""
    groups = np.array_split(np.argsort(sure, kind="stable"), BINS)
    gaps = [len(group) * abs(sure[group].mean() - right[group].mean()) for group in groups if len(group)]
    return float(sum(gaps) / len(sure)) if len(sure) else 0.0


def area(inside: Iterable[float], outside: Iterable[float]) -> float:
    """Return how often a value from inside is above one from outside (the area under the curve); ties count half."""
    first, second = np.array(list(inside)), np.array(list(outside))
    values, inverse = np.unique(np.concatenate([first, second]), return_inverse=True)
    counts = np.bincount(inverse, minlength=len(values))
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    above = ranks[: len(first)].sum() - len(first) * (len(first) + 1) / 2
    return float(above / (len(first) * len(second)))
