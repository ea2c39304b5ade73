"""Policies: by what the inbox of a tenant is ordered. A version of a policy never changes, so keys made by it compare.

A policy has a name, which says how it thinks, and weights, which a tenant may edit. All weights lie in ranges for which
the properties of the order hold: time never reorders, nothing that costs more to leave waiting lowers a ticket, and
nobody is overtaken by a ticket that starts more than `bound_hours` later. That `rapport` costs less than the
predecessor is shown for its ranges one at a time only: with several values at their borders at once it need not.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from services.tickets.calendars import Calendar
from services.tickets.errors import PolicyInvalidError

BASE_RANGE = 8.0
"""The most by which two tickets that start together can differ."""
MAX_WEIGHT = 2.0
"""A weight is an exponent: 0 leaves a factor out, 1 counts it as it is, 2 counts it squared."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part counts, from 0 to 2.

    What is read from the ticket counts fully. Value and churn are estimates: the best guess behind a noisy estimate
    lies nearer to the middle than the estimate, so these count less, and churn, the rougher one, least.
    """

    customer_value: float = 0.75
    churn_risk: float = 0.3
    priority: float = 1.0
    urgent_words: float = 1.0
    sentiment: float = 1.0
    handling_time: float = 1.0
    topics: float = 1.0

    def by_name(self) -> dict[str, float]:
        """Return the weights by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Learned:
    """How long a tenant's own tickets of an intent take: the minutes that count, and how many tickets they are of."""

    minutes: float
    tickets: int


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of how a tenant's inbox is ordered.

    Attributes:
        name: rapport, sla-first, value-first, fifo or predecessor.
        version: counts the tenant's versions, from 1 (which nobody made) on.
        weights: how much each part counts.
        gamma: how much the rank rises in an hour of waiting.
        sla_share: how much of the time until an answer is due counts against waiting, from 0 to 1.
        calendar: the working hours in which tickets age; one for the whole tenant, or keys would not compare.
        handling: how long tickets of an intent take at this tenant; intents that are missing take the usual time.
    """

    name: str = "rapport"
    version: int = 1
    weights: Weights = field(default_factory=Weights)
    gamma: float = 0.1
    sla_share: float = 0.5
    calendar: Calendar = field(default_factory=Calendar)
    handling: Mapping[str, Learned] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    @property
    def label(self) -> str:
        """The name and the version, as explanations show them."""
        return f"{self.name}:v{self.version}"

    @property
    def bound_hours(self) -> float:
        """No ticket is overtaken by one of its tier that starts more than this many working hours later."""
        return BASE_RANGE / self.gamma if self.gamma else math.inf


_NOTHING = Weights(**{weight.name: 0.0 for weight in fields(Weights)})

DEFAULT = Policy()
"""What orders a tenant's inbox until it says otherwise."""

PRESETS: Mapping[str, Policy] = MappingProxyType(
    {
        "rapport": DEFAULT,
        "sla-first": Policy(
            "sla-first",
            weights=replace(_NOTHING, priority=0.25, urgent_words=0.25, topics=0.25),
            gamma=0.2,
            sla_share=1.0,
        ),
        "value-first": Policy(
            "value-first",
            weights=Weights(customer_value=1.5, churn_risk=1.5, priority=0.5, urgent_words=0.5, sentiment=0.5),
            gamma=0.05,
        ),
        "fifo": Policy("fifo", weights=_NOTHING, sla_share=0.0),
        "predecessor": Policy("predecessor", gamma=0.0),
    }
)
"""The policies by name, as they are before anything is edited; `predecessor` is for comparison only."""


@lru_cache(maxsize=256)
def settled(policy: Policy) -> Policy:
    """Return a policy as it counts for closed tickets: these keep their keys, so they age in the same way for ever."""
    return replace(policy, gamma=DEFAULT.gamma, calendar=DEFAULT.calendar)


FIXED = frozenset({"fifo", "predecessor"})
"""Policies of which nothing can be edited."""
GAMMAS = {"rapport": (0.05, 0.15), "sla-first": (0.1, 0.3), "value-first": (0.05, 0.1)}
"""The range of `gamma` that is proven by itself, by policy."""
WEIGHTS = {
    "customer_value": (0.6, 1.0),
    "churn_risk": (0.3, 1.0),
    "priority": (0.8, 1.3),
    "sentiment": (0.8, 1.2),
    "handling_time": (1.0, 1.2),
}
"""The ranges of weights of `rapport` in which simulations show both costs below the predecessor's, one at a time.

All other weights go from 0 to 2, in which the properties of the order hold.
"""
_SHARES = {"rapport": (0.5, 1.0), "sla-first": (0.75, 1.0), "value-first": (0.0, 1.0)}
# Between these lines the simulations show both costs below the predecessor's: slow ageing needs the targets, fast does
# not.
_STEEPNESS = 10.0
_ROUNDING = 1e-9
_NAMES = frozenset(weight.name for weight in fields(Weights))


@dataclass(frozen=True, slots=True)
class Edit:
    """What somebody wants of a policy; empty and None leave things as they are, or as the named policy has them."""

    name: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    gamma: float | None = None
    sla_share: float | None = None


def edited(policy: Policy, edit: Edit) -> Policy:
    """Return a policy with the changes; what the tenant has learned and its calendar stay.

    Raises:
        PolicyInvalidError: there is no such policy or weight, or a value lies outside of its range.
    """
    if edit.name and edit.name not in PRESETS:
        raise PolicyInvalidError("name", f"is none of {', '.join(PRESETS)}")
    if edit.name and edit.name != policy.name:
        preset = PRESETS[edit.name]
        policy = replace(preset, version=policy.version, calendar=policy.calendar, handling=policy.handling)
    if policy.name in FIXED and (edit.weights or edit.gamma is not None or edit.sla_share is not None):
        raise PolicyInvalidError("name", f"is {policy.name}, of which nothing can be edited")
    for name, weight in edit.weights.items():
        if name not in _NAMES:
            raise PolicyInvalidError(f"weights.{name[:64]}", f"is none of {', '.join(sorted(_NAMES))}")
        _check(f"weights.{name}", weight, *weights_range(policy.name, name))
    gamma = policy.gamma if edit.gamma is None else edit.gamma
    share = policy.sla_share if edit.sla_share is None else edit.sla_share
    if policy.name not in FIXED:
        _check("gamma", gamma, *GAMMAS[policy.name])
        _check("sla_share", share, *shares(policy.name, gamma))
    return replace(policy, weights=replace(policy.weights, **edit.weights), gamma=gamma, sla_share=share)


def weights_range(policy: str, weight: str) -> tuple[float, float]:
    """Return the range in which a weight of a policy may be set."""
    return WEIGHTS.get(weight, (0.0, MAX_WEIGHT)) if policy == "rapport" else (0.0, MAX_WEIGHT)


def shares(name: str, gamma: float) -> tuple[float, float]:
    """Return the range of `sla_share` that is proven at this rate of ageing."""
    least, most = _SHARES[name]
    if name != "rapport":
        return least, most
    return max(least, 1 - _STEEPNESS * (gamma - 0.05)), min(most, 1 - _STEEPNESS * (gamma - 0.1))


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least - _ROUNDING <= value <= most + _ROUNDING:
        raise PolicyInvalidError(name, f"lies between {least:.4g} and {most:.4g}")


def settings_of(policy: Policy) -> dict[str, Any]:
    """Return all of a policy but its name and version as plain JSON values."""
    calendar = policy.calendar
    return {
        "weights": policy.weights.by_name(),
        "gamma": policy.gamma,
        "sla_share": policy.sla_share,
        "calendar": {
            "time_zone": calendar.time_zone,
            "week": calendar.week,
            "country": calendar.country,
            "subdivision": calendar.subdivision,
            "closed_days": [day.isoformat() for day in calendar.closed_days],
        },
        "handling": {intent: asdict(learned) for intent, learned in policy.handling.items()},
    }


def policy_of(name: str, version: int, settings: Mapping[str, Any]) -> Policy:
    """Return the policy of `settings_of`; a weight that came later counts as it did before, which is not at all."""
    kept = settings["calendar"]
    calendar = Calendar(
        time_zone=kept["time_zone"],
        week=tuple(tuple((opens, closes) for opens, closes in spans) for spans in kept["week"]),
        country=kept["country"],
        subdivision=kept["subdivision"],
        closed_days=tuple(date.fromisoformat(day) for day in kept["closed_days"]),
    )
    handling = {intent: Learned(**learned) for intent, learned in settings["handling"].items()}
    weights = replace(_NOTHING, **settings["weights"])
    return Policy(
        name, version, weights, settings["gamma"], settings["sla_share"], calendar, MappingProxyType(handling)
    )
