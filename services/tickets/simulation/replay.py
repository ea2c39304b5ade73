"""A shop's own past under other policies: the same questions, answered at the same moments, in another order.

Each time an agent really answered somebody, the policy chooses whose turn it is among those who wait at that moment.
So the desk is as fast as it was, and only the order differs. A question is a customer's first message after an answer.
What it leaves out: that answers take longer for some than for others, and that customers write again when they wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import heappop, heappush

import numpy as np

from services.tickets import predecessor, scoring, weighing
from services.tickets.facts import Facts
from services.tickets.policies import PRESETS, Policy, Weights
from services.tickets.simulation.policies import PRIORITIES
from services.tickets.simulation.world import Numbers

PAST, CURRENT = "history", "current"
"""The order in which the shop really answered, and the policy that its inbox has now."""
_LEAST_HOURS = 0.1


@dataclass(frozen=True, slots=True)
class Question:
    """One message that was answered.

    Attributes:
        facts: what is known of its ticket today; `facts.start` is when it began to wait.
        target: working hours in which an answer was promised; None where nothing was.
        answered: when an agent really answered.
    """

    facts: Facts
    target: float | None
    answered: datetime


@dataclass(frozen=True, slots=True)
class Waits:
    """How long the questions of one priority waited, in working hours, and how many of them longer than promised."""

    priority: str
    questions: int
    median: float
    p95: float
    missed: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """The past under one policy.

    Attributes:
        name: history, current, or the policy's name.
        missed: how many questions were answered after their target.
        cost: the mean of weight times working hours waited, the weight in multiples of the least pressing question.
        waits: by priority, the most pressing first; only those that there were.
    """

    name: str
    missed: int
    cost: float
    waits: tuple[Waits, ...]


def replay(questions: Sequence[Question], current: Policy) -> list[Replayed]:
    """Return what really happened, then what the tenant's policy and each preset would have made of it."""
    if not questions:
        return []
    questions = sorted(questions, key=lambda question: question.facts.start)
    worked = np.array([current.calendar.hours_at(question.facts.start) for question in questions])
    ends = {question.answered: current.calendar.hours_at(question.answered) for question in questions}
    real = [question.answered for question in questions]
    orders = {PAST: real, CURRENT: _answered(questions, _choice(current, questions))}
    for name, preset in PRESETS.items():
        policy = replace(preset, calendar=current.calendar, handling=current.handling)
        orders[name] = _answered(questions, _choice(policy, questions))
    costs = np.array([_weight(question.facts) for question in questions])
    return [
        _counted(name, questions, costs, np.array([ends[moment] for moment in answered]) - worked)
        for name, answered in orders.items()
    ]


class _ByKey:
    """The waiting questions of a policy whose order time never changes."""

    def __init__(self, keys: Sequence[float]) -> None:
        self._keys = keys
        self._heap: list[tuple[float, int]] = []

    def add(self, row: int) -> None:
        """Have a question wait; rows come in the order of their starts."""
        heappush(self._heap, (-self._keys[row], row))

    def take(self, _now: float) -> int:
        """Return the question whose turn it is."""
        return heappop(self._heap)[1]


class _ByPoints:
    """The waiting questions of the predecessor's score, a part of which falls while somebody waits."""

    def __init__(self, points: Numbers, starts: Numbers) -> None:
        self._points, self._starts = points, starts
        self._waiting: list[int] = []

    def add(self, row: int) -> None:
        """Have a question wait."""
        self._waiting.append(row)

    def take(self, now: float) -> int:
        """Return the question whose turn it is at a moment, in hours."""
        rows = np.array(self._waiting)
        hours = np.maximum(now - self._starts[rows], _LEAST_HOURS)
        return self._waiting.pop(int(np.argmax(self._points[rows] + 1 / hours)))


def _choice(policy: Policy, questions: Sequence[Question]) -> _ByKey | _ByPoints:
    if policy.name != "predecessor":
        return _ByKey([scoring.key(policy, question.facts) for question in questions])
    facts = [question.facts for question in questions]
    points = [sum(predecessor.points(one, weighing.counted_minutes(policy, one))) for one in facts]
    return _ByPoints(np.array(points), np.array([one.start.timestamp() / 3600 for one in facts]))


def _answered(questions: Sequence[Question], waiting: _ByKey | _ByPoints) -> list[datetime]:
    """Return when each question is answered if the waiting ones are chosen from in this way."""
    found = [question.answered for question in questions]
    coming = 0
    for moment in sorted(found):
        while coming < len(questions) and questions[coming].facts.start <= moment:
            waiting.add(coming)
            coming += 1
        found[waiting.take(moment.timestamp() / 3600)] = moment
    return found


def _counted(name: str, questions: Sequence[Question], costs: Numbers, hours: Numbers) -> Replayed:
    late = np.array([one.target is not None and hours[row] > one.target for row, one in enumerate(questions)])
    waits = []
    for priority in reversed(PRIORITIES):
        own = np.array([question.facts.priority == priority for question in questions])
        if own.any():
            median, p95 = np.quantile(hours[own], [0.5, 0.95])
            waits.append(Waits(priority, int(own.sum()), float(median), float(p95), int(late[own].sum())))
    return Replayed(name, int(late.sum()), float(np.mean(costs * hours)), tuple(waits))


_IN_FULL = Policy(weights=Weights(**dict.fromkeys(Weights().by_name(), 1.0)))
_NO_WEIGHT = {"answer_target", "difficulty"}


def _weight(facts: Facts) -> float:
    """Return what an hour of waiting costs by all that is known, every factor counted in full."""
    units = dict(zip(weighing.NAMES, weighing.units(_IN_FULL, facts), strict=True))
    return float(np.exp(sum(value for name, value in units.items() if name not in _NO_WEIGHT)))
