"""Puts the parts of a score in words: a sentence that an agent understands, the value that went in, and who said so."""

import math
from dataclasses import dataclass

from services.tickets import weighing
from services.tickets.facts import Facts, Tier
from services.tickets.language import INTENT_TEXT, UNKNOWN
from services.tickets.policies import BASE_RANGE, Policy

_TEXT_ORIGIN = "the customer's text"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a score.

    Attributes:
        name: one of `weighing.NAMES`, limit or age.
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


def part(policy: Policy, facts: Facts, name: str, micros: int, lift: int) -> Part:
    """Return a part of the base in words."""
    given, origin, sentence, reason = _WORDS[name](policy, facts)
    return Part(name, micros, lift, given, origin, sentence, reason)


def reason(policy: Policy, facts: Facts, name: str) -> str:
    """Return a part's few words alone."""
    short = _SHORT.get(name)
    return short(facts) if short else _WORDS[name](policy, facts)[3]


def age(policy: Policy, hours: float, micros: int) -> Part:
    """Return what waiting has added, in words."""
    always = policy.calendar.always_open
    worked = "" if always else " in working hours"
    return Part(
        "age",
        micros,
        0,
        f"{hours:.2f}",
        "time since the ticket was opened" if always else "working hours since the ticket was opened",
        f"It has been waiting for {duration(hours)}{worked}.",
        f"Waiting {duration(hours)}",
    )


def tier_reason(tier: Tier) -> str:
    """Return why a ticket stands before all others, in a word."""
    return "Pinned" if tier is Tier.PINNED else "Escalated"


def duration(hours: float) -> str:
    """Return a time in words."""
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"  # noqa: PLR2004 - two days


def _value(_policy: Policy, facts: Facts) -> tuple[str, str, str, str]:
    known, counted = facts.customer.lifetime_value, weighing.counted_value(facts)
    if known is None:
        sentence = f"Nothing is known of the customer's purchases; a middling {counted:.0f} is assumed."
        return "unknown", "no purchase history", sentence, _value_reason(facts)
    return f"{known:.2f}", _origin(facts), f"The customer has spent {counted:,.2f} so far.", _value_reason(facts)


def _value_reason(facts: Facts) -> str:
    if facts.customer.lifetime_value is None:
        return "Unknown customer"
    return f"Spent {weighing.counted_value(facts):,.0f}"


def _churn(_policy: Policy, facts: Facts) -> tuple[str, str, str, str]:
    counted = weighing.counted_churn(facts)
    if facts.customer.churn_probability is None:
        sentence = f"How likely the customer is to leave is unknown; {counted:.0%} is assumed."
        return "unknown", "no purchase history", sentence, _churn_reason(facts)
    sentence = f"The probability of losing the customer is {counted:.0%}."
    return f"{counted:.4f}", _origin(facts), sentence, _churn_reason(facts)


def _churn_reason(facts: Facts) -> str:
    if facts.customer.churn_probability is None:
        return "Unknown churn risk"
    return f"Churn risk {weighing.counted_churn(facts):.0%}"


def _priority(_policy: Policy, facts: Facts) -> tuple[str, str, str, str]:
    sentence = f"The priority is {facts.priority}."
    return facts.priority, "priority of the ticket", sentence, f"Priority {facts.priority}"


def _answer_target(policy: Policy, facts: Facts) -> tuple[str, str, str, str]:
    hours = weighing.answer_hours(facts)
    if math.isinf(hours):
        return "none", facts.answer_origin, "No answer is promised.", "No answer promised"
    worked = "" if policy.calendar.always_open else " of work"
    sentence = f"An answer is due within {hours:g} hour{'' if hours == 1 else 's'}{worked}."
    origin = facts.answer_origin or f"usual target for the priority {facts.priority}"
    return f"{hours:g}", origin, sentence, f"Answer due within {hours:g} h"


def _urgent_words(_policy: Policy, facts: Facts) -> tuple[str, str, str, str]:
    signals = facts.signals
    found = ", ".join(f"“{words}”" for words in signals.urgent_words[:3])
    if found:
        sentence, reason = f"The text presses for time: {found}.", f"Says “{signals.urgent_words[0]}”"
    elif signals.urgency > 0:
        sentence, reason = "The text presses for time.", "Presses for time"
    else:
        sentence, reason = "Nothing in the text presses for time.", "No hurry in the text"
    if not signals.rules:
        return f"{signals.urgency:.2f}", _TEXT_ORIGIN, sentence, reason
    names = ", ".join(signals.rules[:3])
    if not found:
        sentence, reason = "", f"Rule {signals.rules[0]}"
    sentence = f"{sentence} The shop's keyword rules raise it: {names}.".strip()
    return f"{signals.urgency:.2f}", f"{_TEXT_ORIGIN} and the shop's keyword rules", sentence, reason


def _difficulty(policy: Policy, facts: Facts) -> tuple[str, str, str, str]:
    intent, minutes = facts.signals.intent, weighing.expected_minutes(policy, facts)
    what = INTENT_TEXT.get(intent, INTENT_TEXT[UNKNOWN])
    learned = policy.handling.get(intent)
    if learned is not None:
        origin = f"{learned.tickets} closed tickets of this shop"
        sentence = f"It looks like {what}: {minutes:.0f} minutes of work at this shop."
    elif intent not in INTENT_TEXT or intent == UNKNOWN:
        origin = _TEXT_ORIGIN
        sentence = f"What it is about is not clear; a middling {minutes:.0f} minutes of work are assumed."
    else:
        sure = f" ({facts.signals.confidence:.0%} sure)" if facts.signals.confidence else ""
        origin, sentence = _TEXT_ORIGIN + sure, f"It looks like {what}: usually {minutes:.0f} minutes of work."
    return intent, origin, sentence, f"Quick to answer: {what}"


def _sentiment(_policy: Policy, facts: Facts) -> tuple[str, str, str, str]:
    signals = facts.signals
    found = ", ".join(f"“{words}”" for words in signals.upset_words[:3])
    if not signals.has_text:
        sentence = "The customer has not written yet; a calm tone is assumed."
    elif signals.upset > 0:
        sentence = f"The customer sounds upset: {found}." if found else "The customer sounds upset."
    else:
        sentence = "The customer's tone is calm."
    return f"{signals.upset:.2f}" if signals.has_text else "unknown", _TEXT_ORIGIN, sentence, "Sounds upset"


def _topic_alerts(_policy: Policy, facts: Facts) -> tuple[str, str, str, str]:
    if not facts.topics:
        return "none", "stored topic alerts", "No stored topic alert matches.", "No topic alert"
    named = ", ".join(f"“{topic}”" for topic in facts.topics[:3])
    sentence = f"It matches the topic alert{'s' if len(facts.topics) > 1 else ''} {named}."
    return named, "stored topic alerts", sentence, f"Topic {named}"


def _limit(policy: Policy, _facts: Facts) -> tuple[str, str, str, str]:
    sentence = "It is at the upper limit: the rest does not count, so that nobody else has to wait without end."
    if math.isfinite(policy.bound_hours):
        sentence += f" No ticket that starts {policy.bound_hours:.0f} hours later can be above another."
    return f"{BASE_RANGE:g}", "range of the policy", sentence, "At the upper limit"


_WORDS = {
    "customer_value": _value,
    "churn_risk": _churn,
    "priority": _priority,
    "answer_target": _answer_target,
    "urgent_words": _urgent_words,
    "difficulty": _difficulty,
    "sentiment": _sentiment,
    "topic_alerts": _topic_alerts,
    "limit": _limit,
}


def _origin(facts: Facts) -> str:
    """Return who computed the customer's figures, and when."""
    customer = facts.customer
    when = f", {customer.update_time:%Y-%m-%d}" if customer.update_time else ""
    return f"{customer.origin or 'purchase history'}{when}"


# For placing many tickets: where the words around these cost most.
_SHORT = {"customer_value": _value_reason, "churn_risk": _churn_reason}
