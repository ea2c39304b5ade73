"""Policies: by what the inbox of a tenant is ordered. A version of a policy never changes, so keys made by it compare.

A policy has a name, which says how it thinks, and weights, which a tenant may edit. All weights lie in ranges for which
the properties of the order hold: time never reorders, nothing that costs more to leave waiting lowers a ticket, and
nobody is overtaken by a ticket that starts more than `bound_hours` later.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType

from services.tickets.calendars import Calendar

BASE_RANGE = 9.0
"""The most by which two tickets that start together can differ."""
MAX_WEIGHT = 2.0
"""A weight is an exponent: 0 leaves a factor out, 1 counts it as it is, 2 counts it squared."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part counts, from 0 to 2."""

    customer_value: float = 1.0
    churn_risk: float = 1.0
    priority: float = 1.0
    urgent_words: float = 1.0
    sentiment: float = 1.0
    handling_time: float = 1.0
    topics: float = 1.0


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
