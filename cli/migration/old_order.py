"""The predecessor's smart order, computed as it did, and why Rapport's order of two tickets is another one.

Its defects are kept here on purpose: the younger a ticket the higher, value without a bound, nothing for unknown
customers. A pair that both order alike needs no reason.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

_URGENCY = {"urgent": 4.0, "high": 3.0, "normal": 1.0, "low": 0.5}
_EASY = ("tracking", "status", "when", "where is", "can you")
_HARD = ("refund", "broken", "wrong", "damaged", "defective")
_DAYS_THAT_COUNT = 2.0
_VALUE_THAT_COUNTS = 1000.0

REASONS = {
    "unknown": "the predecessor gave customers without a profile nothing at all",
    "age": "the predecessor put young tickets first; here waiting lifts a ticket",
    "value": "the predecessor counted value without a bound; here it has one",
    "difficulty": "the predecessor sank refunds and damage and lifted questions about tracking",
    "several": "several of these together",
    "other": "what only Rapport weighs: categories, promises, its own churn figures, unread customers",
}
"""Why two tickets stand the other way round, in words."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the predecessor's order looked at; `value` and `churn` are None without a profile."""

    id: str
    priority: str
    created: datetime
    last_text: str
    value: float | None
    churn: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two orders of the same tickets differ: pairs in all, those the other way round, and why, by reason."""

    pairs: int
    turned: int
    reasons: Counter[str]


def old_score(facts: Facts, now: datetime, *, without: frozenset[str] = frozenset()) -> float:
    """Return the predecessor's score; `without` names defects that are put right."""
    if facts.value is None and "unknown" not in without:
        return 0.0
    hours = (now - facts.created).total_seconds() / 3600
    value, churn = facts.value or 0.0, facts.churn or 0.0
    age = 10 * min(hours / 24, _DAYS_THAT_COUNT) / _DAYS_THAT_COUNT if "age" in without else 1 / max(hours, 0.1)
    worth = min(value, _VALUE_THAT_COUNTS) if "value" in without else value
    difficulty = 0.0 if "difficulty" in without else _difficulty(facts.last_text.lower())
    return churn * 3 + worth / 1000 * 2 + _URGENCY.get(facts.priority, 1.0) * 1.5 + age + difficulty


def compare(order: Sequence[Facts], now: datetime) -> Comparison:
    """Compare Rapport's order of tickets with the predecessor's, pair by pair."""
    scores = {facts.id: old_score(facts, now) for facts in order}
    reasons: Counter[str] = Counter()
    pairs = 0
    for above, below in combinations(order, 2):
        pairs += 1
        if scores[above.id] < scores[below.id]:
            reasons[_reason(above, below, now)] += 1
    return Comparison(pairs, reasons.total(), reasons)


def _reason(above: Facts, below: Facts, now: datetime) -> str:
    def agrees(*mended: str) -> bool:
        without = frozenset(mended)
        return old_score(above, now, without=without) >= old_score(below, now, without=without)

    if (above.value is None) != (below.value is None) and agrees("unknown"):
        return "unknown"
    single = next((defect for defect in ("age", "value", "difficulty") if agrees(defect)), "")
    return single or ("several" if agrees("unknown", "age", "value", "difficulty") else "other")


def _difficulty(text: str) -> float:
    if any(word in text for word in _EASY):
        return 1.0
    return -1.5 if any(word in text for word in _HARD) else 0.0
