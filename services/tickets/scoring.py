"""The order of the inbox, and why: a rank whose order time never changes, and parts that add up exactly to the score.

In units of natural logarithms a ticket's rank is

    rank(now) = base + GAMMA * hours waited,    base = ln(weight / handling time) - GAMMA * SLA_SHARE * answer target

Every ticket ages at the same rate, so two tickets change places only when something happens to one of them, and
`key = rank(now) - GAMMA * now` can be stored and indexed. The base lies between 0 and `BASE_RANGE`; so nobody is
overtaken by a ticket that starts more than `BASE_RANGE / GAMMA` = 90 hours later.

The score that people see is `POINTS * rank(now)`. The least pressing ticket there can be starts at 0, an ordinary one
at 5 to 8, and 10 is passed by about one ticket in twenty of a healthy queue. It is handled in millionths of a point;
the part `age` is what the rank at the moment leaves over the stored parts, so the parts add up exactly.

What is unknown counts as a middling value and says so; it never counts as zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.tickets.language import HANDLING_MINUTES, INTENT_TEXT, Signals

POLICY = "rapport:v1"
GAMMA = 0.1
"""How much the rank rises in an hour of waiting."""
SLA_SHARE = 0.5
"""How much of the time until an answer is due counts against waiting."""
POINTS = 1.3
"""Points of the score per unit of the rank."""
HOT = 10.0
"""From this score on a ticket is hot."""
BASE_RANGE = 9.0
"""The most by which two tickets that start together can differ."""
ALERT_BONUS = 3.0
"""What a topic alert of a request adds to the rank of the tickets that match: as much as 30 hours of waiting."""

VALUE_FLOOR = 200.0
VALUE_CEILING = 50_000.0
VALUE_UNKNOWN = 500.0
CHURN_OFFSET = 0.3
CHURN_UNKNOWN = 0.5
PRIORITY_WEIGHT = {"low": 0.5, "normal": 1.0, "high": 2.0, "urgent": 3.0}
ANSWER_HOURS = {"low": 24.0, "normal": 8.0, "high": 4.0, "urgent": 1.0}
URGENT_WORDS_FACTOR = 2.0
UPSET_FACTOR = 2.5
SLOWEST_MINUTES = 25.0

_MICRO = 1_000_000
_EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
_NEUTRAL_LIFT = 0.25
_MAX_REASONS = 3


@dataclass(frozen=True, slots=True)
class Customer:
    """What the order needs of a customer; None means unknown. `origin` says who computed it."""

    lifetime_value: float | None = None
    churn_probability: float | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a score.

    Attributes:
        name: customer_value, churn_risk, priority, urgent_words, difficulty, sentiment or age.
        micros: millionths of a point that it adds.
        lift: millionths of a point above what a ticket with nothing special about it gets here.
        input: the value that it was computed from.
        origin: where that value comes from.
        sentence: what it means, for the agent.
        reason: the same in a few words.
    """

    name: str
    micros: int
    lift: int
    input: str
    origin: str
    sentence: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rank:
    """A ticket's place: the key that is stored and sorted by, and the parts that do not change with time."""

    key: float
    parts: tuple[Part, ...]

    def reasons(self) -> list[str]:
        """Return what lifts the ticket most, at most three short texts; empty when nothing stands out."""
        lifting = sorted((part for part in self.parts if part.lift > 0), key=lambda part: -part.lift)
        return [part.reason for part in lifting[:_MAX_REASONS] if part.lift >= _NEUTRAL_LIFT * POINTS * _MICRO]


@dataclass(frozen=True, slots=True)
class Score:
    """A score at a moment: `micros` is the exact sum of the parts, those that weigh most first."""

    micros: int
    parts: tuple[Part, ...]
    age_hours: float

    def points_of(self, *names: str) -> float:
        """Return what the parts of these names add together, in points."""
        return sum(part.micros for part in self.parts if part.name in names) / _MICRO

    @property
    def points(self) -> float:
        """The score in points."""
        return self.micros / _MICRO


def rank(customer: Customer, priority: str, signals: Signals, start: datetime) -> Rank:
    """Place a ticket: what its customer, its priority and its text come to, and since when it has been waiting."""
    others = (
        _churn(customer),
        _priority(priority),
        _urgent_words(signals),
        _difficulty(signals),
        _sentiment(signals),
    )
    room = BASE_RANGE - sum(part.micros for part in others) / (POINTS * _MICRO)
    parts = (_value(customer, room), *others)
    base = sum(part.micros for part in parts) / (POINTS * _MICRO)
    return Rank(base - GAMMA * _hours(start), parts)


def score_micros(key: float, now: datetime, bonus: float = 0.0) -> int:
    """Return the score at a moment in millionths of a point; a higher key never has a lower score.

    `bonus` is added to the rank (topic alerts of a request).
    """
    return round(POINTS * _MICRO * (key + bonus + GAMMA * _hours(now)))


def points_text(micros: int) -> str:
    """Return a score in points as a JSON number."""
    return repr(micros / _MICRO)


def explain(key: float, parts: Sequence[Part], start: datetime, now: datetime) -> Score:
    """Return the score at a moment with the parts that it is the sum of."""
    micros = score_micros(key, now)
    hours = max(0.0, (now - start).total_seconds() / 3600)
    age = Part(
        "age",
        micros - sum(part.micros for part in parts),
        0,
        f"{hours:.2f}",
        "time since the ticket was opened",
        f"It has been waiting for {_duration(hours)}.",
        f"Waiting {_duration(hours)}",
    )
    return Score(micros, tuple(sorted((*parts, age), key=lambda part: -part.micros)), hours)


def weights() -> dict[str, float]:
    """Return the constants of the policy by name, for people who want to check the arithmetic."""
    return {
        "points_per_unit": POINTS,
        "ageing_per_hour": GAMMA,
        "answer_target_share": SLA_SHARE,
        "base_range": BASE_RANGE,
        "topic_alert_bonus": round(POINTS * ALERT_BONUS, 6),
        "value_floor": VALUE_FLOOR,
        "value_unknown": VALUE_UNKNOWN,
        "churn_unknown": CHURN_UNKNOWN,
        "hot": HOT,
    }


def _hours(moment: datetime) -> float:
    """Return hours since the fixed day from which keys count."""
    return (moment - _EPOCH).total_seconds() / 3600


def _micros(units: float) -> int:
    return round(units * POINTS * _MICRO)


def _duration(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"  # noqa: PLR2004 - two days


def _value(customer: Customer, room: float) -> Part:
    """Weigh the customer's spending, at most `room`: together with the other parts it stays inside the base's range."""
    known = customer.lifetime_value
    counted = VALUE_UNKNOWN if known is None or not math.isfinite(known) else known
    units = math.log(min(max(counted, VALUE_FLOOR), VALUE_CEILING) / VALUE_FLOOR)
    limited = units > room
    micros = _micros(min(units, room))
    lift = micros - _micros(math.log(VALUE_UNKNOWN / VALUE_FLOOR))
    if known is None:
        sentence = f"Nothing is known of the customer's purchases; a middling {VALUE_UNKNOWN:.0f} is assumed."
        return Part("customer_value", micros, lift, "unknown", "no purchase history", sentence, "Unknown customer")
    sentence = f"The customer has spent {counted:,.2f} so far."
    if limited:
        sentence += " It counts in part: the ticket is at the upper limit already."
    return Part("customer_value", micros, lift, f"{known:.2f}", customer.origin, sentence, f"Spent {counted:,.0f}")


def _churn(customer: Customer) -> Part:
    known = customer.churn_probability
    counted = CHURN_UNKNOWN if known is None or not math.isfinite(known) else min(max(known, 0.0), 1.0)
    micros = _micros(math.log((CHURN_OFFSET + counted) / CHURN_OFFSET))
    lift = micros - _micros(math.log((CHURN_OFFSET + CHURN_UNKNOWN) / CHURN_OFFSET))
    if known is None:
        sentence = f"How likely the customer is to leave is unknown; {CHURN_UNKNOWN:.0%} is assumed."
        return Part("churn_risk", micros, lift, "unknown", "no purchase history", sentence, "Unknown churn risk")
    sentence = f"The probability of losing the customer is {counted:.0%}."
    reason = f"Churn risk {counted:.0%}"
    return Part("churn_risk", micros, lift, f"{counted:.4f}", customer.origin, sentence, reason)


def _priority(priority: str) -> Part:
    def units(name: str) -> float:
        earlier = ANSWER_HOURS["low"] - ANSWER_HOURS[name]
        return math.log(PRIORITY_WEIGHT[name] / PRIORITY_WEIGHT["low"]) + GAMMA * SLA_SHARE * earlier

    micros = _micros(units(priority))
    hours = ANSWER_HOURS[priority]
    sentence = f"The priority is {priority}: an answer is due within {hours:.0f} hour{'s' if hours > 1 else ''}."
    lift = micros - _micros(units("normal"))
    return Part("priority", micros, lift, priority, "priority of the ticket", sentence, f"Priority {priority}")


def _urgent_words(signals: Signals) -> Part:
    micros = _micros(math.log(1 + (URGENT_WORDS_FACTOR - 1) * signals.urgency))
    found = ", ".join(f"“{words}”" for words in signals.urgent_words[:3])
    sentence = f"The text presses for time: {found}." if found else "Nothing in the text presses for time."
    reason = f"Says “{signals.urgent_words[0]}”" if found else "No hurry in the text"
    return Part("urgent_words", micros, micros, f"{signals.urgency:.2f}", "rules on the text", sentence, reason)


def _difficulty(signals: Signals) -> Part:
    minutes = HANDLING_MINUTES[signals.intent]
    micros = _micros(math.log(SLOWEST_MINUTES / minutes))
    lift = micros - _micros(math.log(SLOWEST_MINUTES / HANDLING_MINUTES["other"]))
    what = INTENT_TEXT[signals.intent]
    if signals.intent == "other":
        sentence = f"What it is about is not clear; a middling {minutes:.0f} minutes of work are assumed."
    else:
        sentence = f"It looks like {what}: usually {minutes:.0f} minutes of work."
    return Part("difficulty", micros, lift, signals.intent, "rules on the text", sentence, f"Quick to answer: {what}")


def _sentiment(signals: Signals) -> Part:
    micros = _micros(math.log(1 + (UPSET_FACTOR - 1) * signals.upset))
    found = ", ".join(f"“{words}”" for words in signals.upset_words[:3])
    if not signals.has_text:
        sentence = "The customer has not written yet; a calm tone is assumed."
    elif signals.upset > 0:
        sentence = f"The customer sounds upset: {found}." if found else "The customer sounds upset."
    else:
        sentence = "The customer's tone is calm."
    given = f"{signals.upset:.2f}" if signals.has_text else "unknown"
    return Part("sentiment", micros, micros, given, "rules on the text", sentence, "Sounds upset")
