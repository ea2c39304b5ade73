"""How far what customers spend lies around what was expected of them, learnt from a time that is over."""

from dataclasses import dataclass

import numpy as np

from services.recommendations.bgnbd import Numbers

COVERAGE = 0.8
"""Which part of customers the interval is made for."""
_TAIL = (1.0 - COVERAGE) / 2.0
_GROUPS = 8
_LEAST = 50


@dataclass(frozen=True, slots=True)
class Spread:
    """Groups of customers by what is expected of them: where each begins, and the interval as multiples of that."""

    starts: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def around(self, expected: Numbers) -> tuple[Numbers, Numbers]:
        """Return the ends of the interval of each customer; what is expected lies within."""
        group = np.maximum(np.searchsorted(np.array(self.starts), expected, side="right") - 1, 0)
        low, high = expected * np.array(self.low)[group], expected * np.array(self.high)[group]
        return np.minimum(low, expected), np.maximum(high, expected)


def learnt(expected: Numbers, spent: Numbers) -> Spread | None:
    """Return the spread by what was expected and what was spent then; None with too few customers to say."""
    groups = min(_GROUPS, expected.size // _LEAST)
    if groups < 1:
        return None
    order = np.argsort(expected, kind="stable")
    starts, low, high = [], [], []
    for part in np.array_split(order, groups):
        ratio = spent[part] / np.maximum(expected[part], 1e-9)
        below, above = np.quantile(ratio, [_TAIL, 1.0 - _TAIL])
        starts.append(float(expected[part[0]]))
        low.append(float(below))
        high.append(float(above))
    return Spread(tuple(starts), tuple(low), tuple(high))


def coverage(spread: Spread, expected: Numbers, spent: Numbers) -> float:
    """Return which part of customers spent what lies within their interval."""
    low, high = spread.around(expected)
    return float(np.mean((spent >= low) & (spent <= high)))
