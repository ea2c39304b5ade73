"""A whole shop's purchases up to a day as arrays, a customer each: what the models of time and value look at."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.recommendations.bgnbd import Numbers

WINDOWS = (30, 60, 90, 180)
"""Over how many of the last days purchases are counted apart."""

_WEEK = 7.0


@dataclass(frozen=True, slots=True)
class Activity:
    """What each customer did before `until`, a day number; times in days but for those of the models.

    Attributes:
        customers: the ids, sorted.
        until: the first day that is not looked at.
        x, tx, age: as `bgnbd` has them, in weeks.
        mean_value: the mean value of the repeat purchases, in main units; 0 without them.
        spent: what was spent in all.
        purchase_days: on how many days something was bought.
        quiet: days since the newest purchase.
        tenure: days since the first.
        recent: for each of `WINDOWS` on how many days within it something was bought, one row each.
    """

    customers: npt.NDArray[np.str_]
    until: float
    x: Numbers
    tx: Numbers
    age: Numbers
    mean_value: Numbers
    spent: Numbers
    purchase_days: Numbers
    quiet: Numbers
    tenure: Numbers
    recent: Numbers

    def features(self) -> Numbers:
        """Return a row of features a customer: logarithms of counts, days and money, on which a straight line fits."""
        gap = np.where(self.x > 0, self.tx * _WEEK / np.maximum(self.x, 1.0), self.tenure)
        columns = [
            np.log1p(self.quiet),
            np.log(self.purchase_days),
            np.log1p(self.spent),
            np.log1p(self.spent / self.purchase_days),
            np.log1p(self.tenure),
            np.log((self.quiet + _WEEK) / (gap + _WEEK)),
            *np.log1p(self.recent),
        ]
        return np.stack(columns, axis=1)

    def repeated(self) -> npt.NDArray[np.bool_]:
        """Return who bought on more than one day, for money."""
        return np.asarray((self.x > 0) & (self.mean_value > 0))


def activity(customers: npt.NDArray[np.str_], days: Numbers, amounts: Numbers, until: float) -> Activity:
    """Return the activity of a log of purchases before `until`; `days` holds a day number for each line.

    Raises:
        ValueError: nothing was bought before `until`.
    """
    before = days < until
    if not before.any():
        raise ValueError("nothing was bought before that day")
    names, who = np.unique(customers[before], return_inverse=True)
    day = np.floor(days[before])
    order = np.lexsort((day, who))
    who, day, amount = who[order], day[order], amounts[before][order]
    fresh = np.flatnonzero(np.r_[True, (np.diff(who) != 0) | (np.diff(day) != 0)])
    value = np.add.reduceat(amount, fresh)
    who, day = who[fresh], day[fresh]
    starts = np.flatnonzero(np.r_[True, np.diff(who) != 0])
    ends = np.r_[starts[1:], who.size] - 1
    count = np.diff(np.r_[starts, who.size]).astype(np.float64)
    first, last, spent = day[starts], day[ends], np.add.reduceat(value, starts)
    repeats = count - 1.0
    recent = [np.bincount(who[day >= until - window], minlength=names.size) for window in WINDOWS]
    return Activity(
        customers=names,
        until=until,
        x=repeats,
        tx=np.where(repeats > 0, (last - first) / _WEEK, 0.0),
        age=(until - first) / _WEEK,
        mean_value=np.where(repeats > 0, (spent - value[starts]) / np.maximum(repeats, 1.0), 0.0),
        spent=spent,
        purchase_days=count,
        quiet=until - last,
        tenure=until - first,
        recent=np.stack(recent).astype(np.float64),
    )


def spent_within(
    before: Activity, customers: npt.NDArray[np.str_], days: Numbers, amounts: Numbers, end: float
) -> Numbers:
    """Return what each customer of an activity spent from its end until the day `end` (excluded); 0 for nothing."""
    within = (days >= before.until) & (days < end)
    place = np.searchsorted(before.customers, customers[within])
    known = place < before.customers.size
    known[known] = before.customers[place[known]] == customers[within][known]
    spent = np.bincount(place[known], weights=amounts[within][known], minlength=before.customers.size)
    return spent.astype(np.float64)
