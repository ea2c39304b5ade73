"""The predecessor's smart order, computed as it did, and why Rapport's order of two tickets is another one.

Its defects are kept here on purpose: the younger a ticket the higher, value without a bound, nothing for unknown
customers. A pair that both order alike needs no reason.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations

_URGENCY = {"urgent": 4.0, "high": 3.0, "normal": 1.0, "low": 0.5}
_EASY = ("tracking", "status", "when", "where is", "can you")
_HARD = ("refund", "broken", "wrong", "damaged", "defective")
_AN_HOUR = 0.15
"""What an hour of waiting is worth here, in points, unless a shop's policy says otherwise."""
_VALUE_THAT_COUNTS = 1000.0
_NEARLY = 0.05
"""By how many points two scores may differ that were asked for one after the other."""

REASONS = {
    "unknown": "the predecessor gave customers without a profile nothing at all",
    "age": "the predecessor put young tickets first; here waiting lifts a ticket",
    "value": "the predecessor counted value without a bound; here it has one",
    "difficulty": "the predecessor sank refunds and damage and lifted questions about tracking",
    "several": "several of these together",
    "other": "what only Rapport weighs, or weighs by its own figures",
}
"""Why two tickets stand the other way round, in words."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the predecessor's order looked at; `value` and `churn` are None without a profile.

    `parts` are those of Rapport's score, by name.
    """

    id: str
    priority: str
    created: datetime
    last_text: str
    value: float | None
    churn: float | None
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two orders of the same tickets differ.

    Attributes:
        pairs: how many pairs there are.
        turned: how many stand the other way round.
        reasons: why, by reason.
        decided: of those with the reason "other": the part of Rapport's score that decided, by name.
        unexplained: how many pairs stand otherwise than Rapport's own parts add up to, or the other way round without a
            part that decided it.
    """

    pairs: int
    turned: int
    reasons: Counter[str]
    decided: Counter[str]
    unexplained: int


def old_score(facts: Facts, now: datetime, *, without: frozenset[str] = frozenset()) -> float:
    """Return the predecessor's score; `without` names defects that are put right."""
    if facts.value is None and "unknown" not in without:
        return 0.0
    hours = (now - facts.created).total_seconds() / 3600
    value, churn = facts.value or 0.0, facts.churn or 0.0
    age = hours * _AN_HOUR if "age" in without else 1 / max(hours, 0.1)
    worth = min(value, _VALUE_THAT_COUNTS) if "value" in without else value
    difficulty = 0.0 if "difficulty" in without else _difficulty(facts.last_text.lower())
    return churn * 3 + worth / 1000 * 2 + _URGENCY.get(facts.priority, 1.0) * 1.5 + age + difficulty


def compare(order: Sequence[Facts], now: datetime) -> Comparison:
    """Compare Rapport's order of tickets with the predecessor's, pair by pair."""
    scores = {facts.id: old_score(facts, now) for facts in order}
    reasons, decided = Counter[str](), Counter[str]()
    pairs = unexplained = 0
    for above, below in combinations(order, 2):
        pairs += 1
        leads = {name: points - below.parts.get(name, 0.0) for name, points in above.parts.items()}
        contradicts = sum(leads.values()) < -_NEARLY
        unexplained += contradicts
        if scores[above.id] < scores[below.id]:
            reason = _reason(above, below, now)
            reasons[reason] += 1
            if reason == "other":
                part = max(leads, key=lambda name: leads[name], default="")
                if part and leads[part] > 0:
                    decided[part] += 1
                else:
                    unexplained += not contradicts
    return Comparison(pairs, reasons.total(), reasons, decided, unexplained)


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
