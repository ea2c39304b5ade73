"""Why one ticket stands above another, and what would put a ticket somewhere else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from services.tickets.facts import Facts, Tier
from services.tickets.language import Signals
from services.tickets.scoring import Score
from services.tickets.weighing import PRIORITY_WEIGHT, counted_churn
from services.tickets.wording import Part

MOST_PLACES = 1_000
"""How many places are counted; more are as many."""

_PRIORITIES = tuple(PRIORITY_WEIGHT)
_HIGH_CHURN = 0.9
_POINT = 1_000_000
_MENTIONED = 3
_NAMED = {
    "customer_value": "what the customer has spent",
    "churn_risk": "the churn risk",
    "priority": "the priority",
    "answer_target": "when an answer is due",
    "urgent_words": "how the text presses for time",
    "difficulty": "how quickly it can be answered",
    "sentiment": "the customer's mood",
    "topic_alerts": "the topic alerts",
    "limit": "the upper limit",
    "age": "the time it has been waiting",
}


Target = Callable[[str], tuple[float | None, str]]
"""Within how many working hours an answer is due at a priority, and who says so."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """What a ticket would be like if one thing about it were different; `words` say which, after "if"."""

    name: str
    words: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """What would become of a ticket's place: how many tickets it would pass, or fall behind where that is below 0."""

    name: str
    places: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A ticket in the inbox at a moment: its names, all that its order depends on, and its score."""

    ticket_id: UUID
    number: str
    facts: Facts
    score: Score
    key: float


@dataclass(frozen=True, slots=True)
class Difference:
    """What one part adds to the difference of two scores, in millionths of a point."""

    name: str
    micros: int
    above: Part | None
    below: Part | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Why one ticket stands above another; `lead` is the exact sum of the differences."""

    above: str
    below: str
    lead: int
    differences: Sequence[Difference]
    tier_decides: bool
    sentence: str


def alternatives(facts: Facts, target: Target) -> list[Alternative]:
    """Return what could be different about a ticket that somebody can do or learn something about."""
    found = []
    place = _PRIORITIES.index(facts.priority)
    for other in _PRIORITIES[max(place - 1, 0) : place + 2]:
        if other != facts.priority:
            hours, origin = target(other)
            changed = replace(facts, priority=other, answer_hours=hours, answer_origin=origin)
            found.append(Alternative("priority", f"its priority were {other}", changed))
    if facts.tier is Tier.NORMAL:
        found.append(Alternative("escalation", "it were escalated", replace(facts, tier=Tier.ESCALATED)))
    if counted_churn(facts) < _HIGH_CHURN:
        customer = replace(facts.customer, churn_probability=_HIGH_CHURN)
        words = f"the customer's churn risk were {_HIGH_CHURN:.0%}"
        found.append(Alternative("churn_risk", words, replace(facts, customer=customer)))
    signals = facts.signals
    if signals.urgency > 0:
        calmer = replace(signals, urgency=0.0, urgent_words=(), rules=())
        found.append(Alternative("urgent_words", _pressing(signals), replace(facts, signals=calmer)))
    if signals.upset > 0:
        calmer = replace(signals, upset=0.0, upset_words=())
        found.append(Alternative("sentiment", "the customer did not sound upset", replace(facts, signals=calmer)))
    return found


def _pressing(signals: Signals) -> str:
    """Return what a ticket would be like without all that raises its urgency."""
    if not signals.rules:
        return "its text did not press for time"
    rules = "no keyword rule of the shop raised its urgency"
    return f"its text did not press for time and {rules}" if signals.urgent_words else rules


def counterfactuals(given: Sequence[tuple[Alternative, int]]) -> list[Counterfactual]:
    """Return what moves a ticket, each with how many places, in words; what moves it most comes first."""
    told = [
        Counterfactual(alternative.name, places, f"{_places(places)} if {alternative.words}.")
        for alternative, places in given
        if places
    ]
    return sorted(told, key=lambda one: -abs(one.places))


def compare(one: Standing, other: Standing) -> Comparison:
    """Return why the one of two tickets that stands above does so."""
    above, below = sorted((one, other), key=_order)
    differences = _differences(above.score, below.score)
    lead = above.score.micros - below.score.micros
    tier_decides = above.facts.tier is not below.facts.tier
    sentence = _sentence(above, below, differences, lead, tier_decides=tier_decides)
    return Comparison(above.number, below.number, lead, differences, tier_decides, sentence)


def _order(one: Standing) -> tuple[int, float, datetime, UUID]:
    return -one.facts.tier, -one.key, one.facts.start, one.ticket_id


def _differences(above: Score, below: Score) -> list[Difference]:
    upper, lower = ({part.name: part for part in score.parts} for score in (above, below))
    found = []
    for name in dict.fromkeys([*upper, *lower]):
        high, low = upper.get(name), lower.get(name)
        micros = (high.micros if high else 0) - (low.micros if low else 0)
        found.append(Difference(name, micros, high, low))
    return sorted(found, key=lambda difference: -abs(difference.micros))


def _sentence(
    above: Standing, below: Standing, differences: Sequence[Difference], lead: int, *, tier_decides: bool
) -> str:
    if tier_decides:
        tier = "pinned" if above.facts.tier is Tier.PINNED else "escalated"
        return f"{above.number} is above {below.number} because it is {tier}, whatever their scores."
    helping = [_points(each) for each in differences if each.micros > 0][:_MENTIONED]
    hindering = [_points(each) for each in differences if each.micros < 0][:_MENTIONED]
    if not lead:
        return f"{above.number} and {below.number} have the same score; the one that has been waiting longer is above."
    sentence = f"{above.number} is above {below.number} by {lead / _POINT:.2f} points: {_listed(helping)} for it"
    return f"{sentence}, {_listed(hindering)} against it." if hindering else f"{sentence}."


def _points(difference: Difference) -> str:
    return f"{_NAMED[difference.name]} ({difference.micros / _POINT:+.2f})"


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _places(places: int) -> str:
    count = abs(places)
    told = (
        {1: "One", 2: "Two", 3: "Three"}.get(count, f"{count:,}") if count < MOST_PLACES else f"{MOST_PLACES:,} or more"
    )
    return f"{told} place{'' if count == 1 else 's'} {'higher' if places > 0 else 'lower'}"
