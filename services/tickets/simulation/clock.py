"""The axis of time of a run, and when agents begin a ticket."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from services.tickets.simulation.scenarios import HOURS_A_DAY, Scenario


@dataclass(frozen=True, slots=True)
class Clock:
    """Where a moment lies on the axis: the calendar's hours, or only those in which the desk is open.

    On an axis of working hours nothing is ever closed, and what arrives at night stands at the next opening.
    """

    opens: float
    closes: float
    working_time: bool

    @classmethod
    def of(cls, scenario: Scenario) -> Self:
        """Return the scenario's clock."""
        return cls(scenario.opens or 0.0, scenario.closes, scenario.working_time)

    @property
    def open_share(self) -> float:
        """How much of the calendar the desk is open."""
        return (self.closes - self.opens) / HOURS_A_DAY

    def on_axis(self, calendar: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return calendar hours since a midnight as hours on the axis; never decreasing."""
        if not self.working_time:
            return calendar
        days, hour = np.divmod(calendar, HOURS_A_DAY)
        length = self.closes - self.opens
        return np.asarray(days * length + np.clip(hour - self.opens, 0.0, length), dtype=np.float64)

    def next_opening(self, moment: float) -> float:
        """Return the moment, or the next opening after it if the desk is closed then."""
        if self.working_time or self.open_share == 1.0:
            return moment
        day, hour = divmod(moment, HOURS_A_DAY)
        if hour < self.opens:
            return day * HOURS_A_DAY + self.opens
        return moment if hour < self.closes else (day + 1) * HOURS_A_DAY + self.opens
