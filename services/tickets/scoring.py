"""The order of the inbox, and why: a rank whose order time never changes, and parts that add up exactly to the score.

In units of natural logarithms a ticket's rank under a policy is

    rank(now) = base + gamma * hours waited,    base = ln(weight / handling time) - gamma * sla_share * answer target

where hours are hours of work by the tenant's one calendar. Every ticket ages at the same rate, so two tickets change
places only when something happens to one of them, and `key = rank(now) - gamma * hours(now)` can be stored and indexed.
The base lies between 0 and `BASE_RANGE`; so nobody is overtaken by a ticket of the same tier that starts more than
`BASE_RANGE / gamma` = 80 hours later. Tiers (pinned, escalated) stand before the key.

The score that people see is `a + b * rank(now)` with a = 0 and b = `POINTS`. The least pressing ticket there can be
starts at 0, an ordinary one at 5 to 8, and 10 is passed by about one ticket in twenty of a healthy queue. It is handled
in millionths of a point; the part `age` is what the rank at the moment leaves over the other parts, so the parts add up
exactly.

What is unknown counts as a middling value and says so; it never counts as zero. The numbers are made by `_micros`
alone, so the list (`key`), the cards (`rank`) and the explanation cannot tell different stories; wording.py puts them
in words.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter

from services.tickets import predecessor, weighing, wording
from services.tickets.facts import Facts, Tier
from services.tickets.policies import BASE_RANGE, Policy
from services.tickets.wording import Part

POINTS = 1.5
"""Points of the score per unit of the rank."""
HOT = 10.0
"""From this score on a ticket is hot."""
ALERT_BONUS = 3.0
"""What a topic alert of a request adds to the rank of the tickets that match: as much as 30 hours of waiting."""
_MICRO = 1_000_000
_WORTH_SAYING = 0.25 * POINTS * _MICRO
_MAX_REASONS = 3
_NAMES = (*weighing.NAMES, "limit")
_ANY_TIME = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rank:
    """A ticket's place: the tier and the key that are stored and sorted by, and the parts that time does not change."""

    key: float
    parts: tuple[Part, ...]
    tier: Tier = Tier.NORMAL

    def reasons(self) -> list[str]:
        """Return what lifts the ticket most, at most three short texts; empty when nothing stands out."""
        lifting = sorted((part for part in self.parts if part.lift >= _WORTH_SAYING), key=lambda part: -part.lift)
        return _with_tier(self.tier, [part.reason for part in lifting])


@dataclass(frozen=True, slots=True)
class Score:
    """A score at a moment: `micros` is the exact sum of the parts, those that weigh most first."""

    policy: Policy
    micros: int
    parts: tuple[Part, ...]
    age_hours: float
    moment: datetime

    def points_of(self, *names: str) -> float:
        """Return what the parts of these names add together, in points."""
        return sum(part.micros for part in self.parts if part.name in names) / _MICRO

    @property
    def points(self) -> float:
        """The score in points."""
        return self.micros / _MICRO


def rank(policy: Policy, facts: Facts) -> Rank:
    """Place a ticket under a policy, with the reasons."""
    micros = _micros(policy, facts)
    parts = tuple(
        wording.part(policy, facts, name, own, own - usual)
        for name, own, usual in zip(_NAMES, micros, _usual(policy), strict=True)
        if name != "limit" or own
    )
    return Rank(_key(policy, facts, micros), parts, facts.tier)


def key(policy: Policy, facts: Facts) -> float:
    """Return the key of `rank` alone."""
    return _key(policy, facts, _micros(policy, facts))


def standings(policy: Policy, many: Iterable[Facts]) -> Iterator[tuple[float, list[str]]]:
    """Return the keys and the reasons of `rank` without the rest of its words, for placing many tickets."""
    usual = _usual(policy)
    for facts in many:
        micros = _micros(policy, facts)
        lifts = [(plain - own, name) for own, plain, name in zip(micros, usual, _NAMES, strict=True)]
        lifting = sorted([each for each in lifts if each[0] <= -_WORTH_SAYING], key=itemgetter(0))[:_MAX_REASONS]
        reasons = [wording.reason(policy, facts, name) for _, name in lifting]
        yield _key(policy, facts, micros), _with_tier(facts.tier, reasons)


def score_micros(policy: Policy, key: float, now: datetime, bonus: float = 0.0) -> int:
    """Return the score at a moment in millionths of a point; a higher key never has a lower score.

    `bonus` is added to the rank (topic alerts of a request).
    """
    return round(POINTS * _MICRO * (key + bonus + policy.gamma * policy.calendar.hours_at(now)))


def points_text(micros: int) -> str:
    """Return a score in points as a JSON number."""
    return repr(micros / _MICRO)


def explain(policy: Policy, rank: Rank, start: datetime, now: datetime) -> Score:
    """Return the score at a moment with the parts that it is the sum of."""
    micros = score_micros(policy, rank.key, now)
    hours = max(0.0, policy.calendar.hours_at(now) - policy.calendar.hours_at(start))
    age = wording.age(policy, hours, micros - sum(part.micros for part in rank.parts))
    parts = tuple(sorted((*rank.parts, age), key=lambda part: -part.micros))
    return Score(policy, micros, parts, hours, now)


def weights(policy: Policy) -> Mapping[str, float]:
    """Return the constants of a policy by name, for people who want to check the arithmetic."""
    return {
        "points_per_unit": POINTS,
        "ageing_per_hour": policy.gamma,
        "answer_target_share": policy.sla_share,
        "base_range": BASE_RANGE,
        "topic_alert_bonus": round(POINTS * ALERT_BONUS, 6),
        "value_floor": weighing.VALUE_FLOOR,
        "value_unknown": weighing.VALUE_UNKNOWN,
        "churn_unknown": weighing.CHURN_UNKNOWN,
        "hot": HOT,
        **{f"weight_of_{name}": weight for name, weight in policy.weights.by_name().items()},
    }


def _key(policy: Policy, facts: Facts, micros: Sequence[int]) -> float:
    return sum(micros) / (POINTS * _MICRO) - policy.gamma * policy.calendar.hours_at(facts.start)


@lru_cache(maxsize=256)
def _usual(policy: Policy) -> tuple[int, ...]:
    """Return the parts of a ticket that has nothing special about it."""
    return tuple(_micros(policy, Facts(_ANY_TIME)))


def _with_tier(tier: Tier, reasons: list[str]) -> list[str]:
    said = reasons if tier is Tier.NORMAL else [wording.tier_reason(tier), *reasons]
    return said[:_MAX_REASONS]


def _micros(policy: Policy, facts: Facts) -> list[int]:
    """Return the parts of the base in millionths of a point; the last one keeps their sum inside the base's range."""
    if policy.name == "predecessor":
        minutes = weighing.counted_minutes(policy, facts)
        return [*(round(points * _MICRO) for points in predecessor.points(facts, minutes)), 0]
    micros = [round(units * POINTS * _MICRO) for units in weighing.units(policy, facts)]
    micros.append(min(0, round(BASE_RANGE * POINTS * _MICRO) - sum(micros)))
    return micros
