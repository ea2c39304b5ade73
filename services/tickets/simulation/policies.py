"""The policies that are compared. All see the same noisy picture, and the hours that a message has waited.

A *stored* policy ranks by `base + gamma · hours waited`: two tickets keep their order while time passes, so one number
per ticket can be indexed. A *moving* one ranks anew at each moment.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.tickets import weighing
from services.tickets.policies import BASE_RANGE, DEFAULT, PRESETS
from services.tickets.policies import Policy as TenantPolicy
from services.tickets.simulation.world import Numbers, Picture

PRIORITIES = ("low", "normal", "high", "urgent")
TOPIC_WEIGHT = float(np.log(2))
"""What the stored topic alert of the simulated shop adds."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A policy whose order time never changes.

    Attributes:
        name: as tables call it.
        base: what a message is worth at its start.
        gamma: how much its rank rises in an hour of waiting; 0 or more.
    """

    name: str
    base: Callable[[Picture], Numbers]
    gamma: float


@dataclass(frozen=True, slots=True)
class Moving:
    """A policy whose order changes as time passes.

    Attributes:
        name: as tables call it.
        columns: what its index needs of each message, one line for each thing.
        index: those lines of the waiting messages, and their hours; the highest is served first.
    """

    name: str
    columns: Callable[[Picture], Numbers]
    index: Callable[[Numbers, Numbers], Numbers]


Policy = Stored | Moving


def of_tenant(policy: TenantPolicy) -> Stored:
    """Return a tenant's policy as production ranks by it (weighing.py), for all messages at once."""
    weights = policy.weights

    def base(seen: Picture) -> Numbers:
        value = np.clip(seen.value, weighing.VALUE_FLOOR, weighing.VALUE_CEILING) / weighing.VALUE_FLOOR
        churn = (weighing.CHURN_OFFSET + seen.churn) / weighing.CHURN_OFFSET
        minutes = np.clip(seen.hours * 60, weighing.QUICKEST_MINUTES, weighing.SLOWEST_MINUTES)
        target = np.minimum(seen.target, weighing.LONGEST_TARGET)
        factors = np.array([weighing.PRIORITY_WEIGHT[name] for name in PRIORITIES]) / weighing.PRIORITY_WEIGHT["low"]
        units = (
            weights.customer_value * np.log(value)
            + weights.churn_risk * np.log(churn)
            + weights.priority * np.log(factors)[seen.priority]
            + policy.gamma * policy.sla_share * (weighing.LONGEST_TARGET - target)
            + weights.handling_time * np.log(weighing.SLOWEST_MINUTES / minutes)
            + weights.sentiment * np.log(weighing.UPSET_FACTOR) * seen.upset
            + weights.topics * TOPIC_WEIGHT * seen.topic
        )
        return np.asarray(np.minimum(units, BASE_RANGE), dtype=np.float64)

    return Stored(policy.name, base, policy.gamma)


def rapport() -> Stored:
    """Return the default of Rapport."""
    return of_tenant(DEFAULT)


def presets() -> tuple[Stored, ...]:
    """Return the other policies that a tenant may choose and that are not in the table anyway."""
    return tuple(of_tenant(PRESETS[name]) for name in ("sla-first", "value-first"))


def urgency_of_work(seen: Picture) -> Numbers:
    """Return ln(weight / expected work), the c-mu index."""
    return np.asarray(np.log(seen.weight() / seen.hours), dtype=np.float64)


def fifo() -> Stored:
    """First come, first served."""
    return Stored("FIFO", lambda seen: np.zeros(len(seen.hours)), 1.0)


def strict_priority() -> Stored:
    """By priority, and by arrival within it."""
    return Stored("strict priority", lambda seen: np.asarray(1e6 * seen.priority, dtype=np.float64), 1.0)


def edf() -> Stored:
    """Earliest due date first."""
    return Stored("EDF", lambda seen: -seen.target, 1.0)


def sjf() -> Stored:
    """Shortest expected work first, and by arrival among equals."""
    return Stored("SJF", lambda seen: -1e3 * seen.hours, 1e-6)


def c_mu() -> Stored:
    """Highest weight per work first, whatever the waiting."""
    return Stored("c-mu", urgency_of_work, 0.0)


def due(gamma: float, share: float) -> Stored:
    """Return the rank that counts all it sees in full: ln(weight / work) - gamma * share * target + gamma * waited."""

    def base(seen: Picture) -> Numbers:
        return np.asarray(urgency_of_work(seen) - gamma * share * seen.target, dtype=np.float64)

    return Stored(f"static {gamma:g}/{share:g}", base, gamma)


def atc(horizon: float = 4.0) -> Moving:
    """Apparent tardiness cost: ln(w/p) less the slack over a horizon in hours."""
    return Moving(
        "ATC",
        lambda seen: np.stack((urgency_of_work(seen), seen.target)),
        lambda columns, age: columns[0] - np.maximum(columns[1] - age, 0.0) / horizon,
    )


def generalised_c_mu(beta: float) -> Moving:
    """Generalised c-mu with a delay cost that grows like a power of the waiting."""
    return Moving(
        f"Gc-mu β={beta:g}",
        lambda seen: np.stack((urgency_of_work(seen), 1 / seen.target)),
        lambda columns, age: columns[0] + beta * np.log(age * columns[1] + 0.05),
    )


def class_rate(rate: float) -> Moving:
    """ln(w/p) + b · age / target: an ageing rate for each class of targets."""
    return Moving(
        f"class-rate b={rate:g}",
        lambda seen: np.stack((urgency_of_work(seen), rate / seen.target)),
        lambda columns, age: columns[0] + columns[1] * age,
    )


def predecessor() -> Moving:
    """Return the score that Rapport replaces: it sinks in the first minutes of waiting, and money is not bounded."""
    return Moving(
        "predecessor",
        lambda seen: _old_points(seen, seen.value)[np.newaxis],
        lambda columns, age: columns[0] + 1 / np.maximum(age, 0.1),
    )


def repaired_predecessor() -> Stored:
    """Return the same with a bounded value and a waiting that counts for the ticket."""
    return Stored("predecessor, repaired", lambda seen: _old_points(seen, np.minimum(seen.value, 5000.0)), 1.0)


def _old_points(seen: Picture, value: Numbers) -> Numbers:
    """Return the parts of the predecessor's score that do not depend on time."""
    urgency = 1.5 * np.array([0.5, 1.0, 3.0, 4.0])[seen.priority]
    ease = np.select([seen.hours < 0.1, seen.hours < 0.2], [1.0, 0.0], -1.5)  # noqa: PLR2004 - easy, normal, hard
    return np.asarray(3 * seen.churn + value / 500 + urgency + ease + 2.0 * seen.upset + 5.0 * seen.topic)
