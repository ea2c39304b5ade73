"""What a run cost, and how two policies compare on the same tickets."""

from dataclasses import dataclass

import numpy as np

from services.tickets.simulation.desk import Day
from services.tickets.simulation.scenarios import LEAVING_HOURS
from services.tickets.simulation.world import Numbers, World

WARM_UP, COOL_DOWN = 0.08, 0.03
"""Shares of the tickets at the beginning and at the end of a run that are not counted."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run in figures. Costs are in units of their own: compare them, they are not money.

    Attributes:
        wtard: weighted tardiness: mean of cost per hour · hours past the target.
        cod: cost of delay: mean of cost per hour · hours waited.
        missed: share of the messages answered after their target, or never.
        p99: hours that one message in a hundred waited longer than.
        longest: the longest wait in hours.
        overtaken: the most hours by which a message that began to wait later was answered before another.
        left: share of the customers who left.
    """

    wtard: float
    cod: float
    missed: float
    p99: float
    longest: float
    overtaken: float
    left: float


def outcome(world: World, day: Day, tickets: int) -> Outcome:
    """Return what the counted messages of a run come to."""
    begin, end = np.quantile(day.start[:tickets], [WARM_UP, 1 - COOL_DOWN])
    counted = day.came & (day.start >= begin) & (day.start <= end)
    left = np.isnan(day.begun)
    wait = np.where(left, world.patience + LEAVING_HOURS, day.begun - day.start)[counted]
    cost, target, gone = world.cost[counted], world.target[counted], left[counted]
    late = np.maximum(wait - target, 0.0)
    return Outcome(
        wtard=float(np.mean(cost * late)),
        cod=float(np.mean(cost * wait)),
        missed=float(np.mean((late > 0) | gone)),
        p99=float(np.quantile(wait[~gone], 0.99)),
        longest=float(np.max(wait[~gone])),
        overtaken=overtaken(day),
        left=float(np.mean(gone)),
    )


def overtaken(day: Day) -> float:
    """Return the most hours by which one that began to wait later was answered before another; 0 if none ever was."""
    starts = day.start[day.order]
    return float(np.max(np.maximum.accumulate(starts) - starts)) if len(starts) else 0.0


def interval(differences: Numbers) -> tuple[float, float]:
    """Return the mean of paired differences and half the width of its 95 % interval (Student's t)."""
    from scipy.stats import t

    runs = len(differences)
    half = float(t.ppf(0.975, runs - 1) * np.std(differences, ddof=1) / np.sqrt(runs))
    return float(np.mean(differences)), half
