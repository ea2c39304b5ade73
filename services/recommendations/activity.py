"""Customers with purchases as arrays, a customer each: what the models of time and value look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from servicekit import money
from services.recommendations.bgnbd import Numbers
from services.recommendations.history import History, days_between

_WEEK = 7.0


@dataclass(frozen=True, slots=True)
class Activity:
    """What each customer did before a day; money in main units of one currency.

    Attributes:
        x, tx, age: as `bgnbd` has them, in weeks.
        mean_value: the mean value of the repeat purchases; 0 without them.
        spent: what was spent in all, returns not taken off.
        purchase_days: on how many days something was bought.
        quiet: days since the newest purchase.
        tenure: days since the first.
    """

    x: Numbers
    tx: Numbers
    age: Numbers
    mean_value: Numbers
    spent: Numbers
    purchase_days: Numbers
    quiet: Numbers
    tenure: Numbers

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
        ]
        return np.stack(columns, axis=1)

    def repeated(self) -> npt.NDArray[np.bool_]:
        """Return who bought on more than one day, for money."""
        return np.asarray((self.x > 0) & (self.mean_value > 0))

    def chosen(self, rows: npt.NDArray[np.int64]) -> "Activity":
        """Return the activity of some of the customers, by their places."""
        return Activity(*(getattr(self, name)[rows] for name in Activity.__slots__))


def of_sums(
    first: Numbers, last: Numbers, purchase_days: Numbers, spent: Numbers, repeat_value: Numbers, until: Numbers | float
) -> Activity:
    """Return the activity by sums: day numbers, how many purchase days, and what was spent in all and on repeats."""
    repeats = np.maximum(purchase_days - 1.0, 0.0)
    # A purchase may lie in the future of whoever asks, by clocks that differ.
    tenure, quiet = np.maximum(np.maximum(until, last) - first, 0.0), np.maximum(until - last, 0.0)
    return Activity(
        x=repeats,
        tx=np.where(repeats > 0, (last - first) / _WEEK, 0.0),
        age=tenure / _WEEK,
        mean_value=np.where(repeats > 0, repeat_value / np.maximum(repeats, 1.0), 0.0),
        spent=spent,
        purchase_days=np.maximum(purchase_days, 1.0),
        quiet=quiet,
        tenure=tenure,
    )


def of_histories(histories: Sequence[History], today: date) -> Activity:
    """Return the activity of customers that all have a purchase; ages are counted at `today`.

    Raises:
        ValueError: a customer has no purchase.
    """
    rows = []
    for history in histories:
        if history.first_at is None or history.last_at is None:
            raise ValueError("a customer without purchases has no activity")
        tenure, quiet = days_between(history.first_at, today), days_between(history.last_at, today)
        spent = money.main_units(history.spent_minor, history.currency)
        repeat_value = money.main_units(history.repeat_minor, history.currency)
        rows.append((-tenure, -quiet, history.purchase_days, spent, repeat_value))
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), 5).T
    return of_sums(columns[0], columns[1], columns[2], columns[3], columns[4], 0.0)


@dataclass(frozen=True, slots=True)
class Log:
    """A log of purchases as columns of one length: who, on which day (a number, with a fraction), for how much."""

    customers: npt.NDArray[np.generic]
    days: Numbers
    amounts: Numbers


@dataclass(frozen=True, slots=True)
class Cut:
    """A log up to a day (excluded): its customers, sorted, and what each of them did before that day."""

    customers: npt.NDArray[np.generic]
    until: float
    activity: Activity


def cut(log: Log, until: float) -> Cut:
    """Return the customers of a log as they stood on the day `until`.

    Raises:
        ValueError: nothing was bought before `until`.
    """
    before = log.days < until
    if not before.any():
        raise ValueError("nothing was bought before that day")
    names, who = np.unique(log.customers[before], return_inverse=True)
    day = np.floor(log.days[before])
    order = np.lexsort((day, who))
    who, day, amount = who[order], day[order], log.amounts[before][order]
    fresh = np.flatnonzero(np.r_[True, (np.diff(who) != 0) | (np.diff(day) != 0)])
    value = np.add.reduceat(amount, fresh)
    who, day = who[fresh], day[fresh]
    starts = np.flatnonzero(np.r_[True, np.diff(who) != 0])
    ends = np.r_[starts[1:], who.size] - 1
    count = np.diff(np.r_[starts, who.size]).astype(np.float64)
    spent = np.add.reduceat(value, starts)
    return Cut(names, until, of_sums(day[starts], day[ends], count, spent, spent - value[starts], until))


def spent_within(before: Cut, log: Log, end: float) -> Numbers:
    """Return what each customer of a cut spent from its day until the day `end` (excluded); 0 for nothing."""
    within = (log.days >= before.until) & (log.days < end)
    named = log.customers[within]
    place = np.searchsorted(before.customers, named)
    known = place < before.customers.size
    known[known] = before.customers[place[known]] == named[known]
    spent = np.bincount(place[known], weights=log.amounts[within][known], minlength=before.customers.size)
    return spent.astype(np.float64)
