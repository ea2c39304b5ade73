"""The numbers behind a place in the inbox: what each part adds to the base of a rank, in natural logarithms.

All parts are at least 0, and more of what makes waiting costly never adds less. What is unknown counts as a middling
value, never as zero.
"""

import math

from services.tickets.facts import Facts
from services.tickets.language import HANDLING_MINUTES, UNKNOWN
from services.tickets.policies import Policy

VALUE_FLOOR = 200.0
VALUE_CEILING = 50_000.0
VALUE_UNKNOWN = 500.0
CHURN_OFFSET = 0.3
CHURN_UNKNOWN = 0.5
PRIORITY_WEIGHT = {"low": 0.5, "normal": 1.0, "high": 2.0, "urgent": 3.0}
ANSWER_HOURS = {"low": 24.0, "normal": 8.0, "high": 4.0, "urgent": 1.0}
LONGEST_TARGET = 24.0
"""Working hours; an answer that is due later than that counts as due then."""
URGENT_WORDS_FACTOR = 2.0
UPSET_FACTOR = 2.5
QUICKEST_MINUTES, SLOWEST_MINUTES = 2.0, 25.0
"""Handling times outside of this count as its borders."""
MAX_TOPIC_WEIGHT = 2.0
"""The most that stored topic alerts add to the rank, however many match: as much as 20 hours of waiting."""

NAMES = (
    "customer_value",
    "churn_risk",
    "priority",
    "answer_target",
    "urgent_words",
    "difficulty",
    "sentiment",
    "topic_alerts",
)
"""The parts of a base, in the order in which `units` gives them."""


def units(policy: Policy, facts: Facts) -> tuple[float, ...]:
    """Return what each of `NAMES` adds to the base."""
    weights, signals = policy.weights, facts.signals
    value = min(max(counted_value(facts), VALUE_FLOOR), VALUE_CEILING)
    return (
        weights.customer_value * math.log(value / VALUE_FLOOR),
        weights.churn_risk * math.log((CHURN_OFFSET + counted_churn(facts)) / CHURN_OFFSET),
        weights.priority * math.log(PRIORITY_WEIGHT[facts.priority] / PRIORITY_WEIGHT["low"]),
        policy.gamma * policy.sla_share * (LONGEST_TARGET - min(answer_hours(facts), LONGEST_TARGET)),
        weights.urgent_words * math.log(1 + (URGENT_WORDS_FACTOR - 1) * signals.urgency),
        weights.handling_time * math.log(SLOWEST_MINUTES / counted_minutes(policy, facts)),
        weights.sentiment * math.log(1 + (UPSET_FACTOR - 1) * signals.upset),
        weights.topics * min(max(facts.topic_weight, 0.0), MAX_TOPIC_WEIGHT),
    )


def counted_value(facts: Facts) -> float:
    """Return the lifetime value that counts: a middling one where it is unknown or no number."""
    known = facts.customer.lifetime_value
    return VALUE_UNKNOWN if known is None or not math.isfinite(known) else known


def counted_churn(facts: Facts) -> float:
    """Return the churn probability that counts, from 0 to 1: a middling one where it is unknown or no number."""
    known = facts.customer.churn_probability
    return CHURN_UNKNOWN if known is None or not math.isfinite(known) else min(max(known, 0.0), 1.0)


def answer_hours(facts: Facts) -> float:
    """Return within how many working hours an answer is due."""
    return ANSWER_HOURS[facts.priority] if facts.answer_hours is None else max(0.0, facts.answer_hours)


def expected_minutes(policy: Policy, facts: Facts) -> float:
    """Return how long the ticket takes to handle: as the tenant's own tickets of its intent, or else as usual."""
    learned = policy.handling.get(facts.signals.intent)
    if learned is not None:
        return learned.minutes
    return HANDLING_MINUTES.get(facts.signals.intent, HANDLING_MINUTES[UNKNOWN])


def counted_minutes(policy: Policy, facts: Facts) -> float:
    """Return the handling time that counts."""
    return min(max(expected_minutes(policy, facts), QUICKEST_MINUTES), SLOWEST_MINUTES)
