"""A shop's purchases as the product models see them: who bought what, on how many days, and when last."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Texts = npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Purchases:
    """Purchases up to `until`, a day number; all times are days.

    Attributes:
        customers, items: the ids; row and column numbers below are places in them.
        rows, columns: one entry for each pair of a customer and an item that was bought.
        days: on how many different days the pair came.
        last: the newest of these days.
        until: the day after which nothing is known.
        recent_buyers: for each item, how many customers bought it within the last `RECENT_DAYS`.
        span: how many days the log covers, at least 1.
    """

    customers: npt.NDArray[Any]
    items: Texts
    rows: Integers
    columns: Integers
    days: Floats
    last: Floats
    until: float
    recent_buyers: Floats
    span: float

    @property
    def shape(self) -> tuple[int, int]:
        """How many customers and items there are."""
        return self.customers.size, self.items.size

    def matrix(self, values: Floats | None = None) -> "sparse.csr_matrix":
        """Return customers by items with these values for the pairs; 1 for each without values."""
        filled = np.ones(self.rows.size) if values is None else values
        return sparse.csr_matrix((filled.astype(np.float32), (self.rows, self.columns)), shape=self.shape)

    def buyers(self) -> Floats:
        """Return for each item how many customers ever bought it."""
        return np.bincount(self.columns, minlength=self.items.size).astype(np.float64)


RECENT_DAYS = 30
"""What counts as lately when popularity is looked at."""


def purchases(customers: Sequence[str], items: Sequence[str], days: Floats, until: float) -> Purchases:
    """Return what a log of purchase lines comes to; `days` holds a day number for each line, fractions are cut off.

    Raises:
        ValueError: the log is empty or its columns differ in length.
    """
    if not len(customers) == len(items) == days.size or not days.size:
        raise ValueError("a log of purchases has at least one line, and as many customers as items and days")
    names, rows = np.unique(np.asarray(customers, dtype=np.str_), return_inverse=True)
    goods, columns = np.unique(np.asarray(items, dtype=np.str_), return_inverse=True)
    return numbered(names, goods, rows.astype(np.int64), columns.astype(np.int64), days, until)


def numbered(
    names: "npt.NDArray[Any]", goods: Texts, rows: Integers, columns: Integers, days: Floats, until: float
) -> Purchases:
    """Return what lines come to that name customers and items by their places in `names` and `goods`."""
    pair = rows * goods.size + columns
    whole = np.floor(days)
    # Several lines of one pair on one day are one purchase: first the different days, then the pairs.
    order = np.lexsort((whole, pair))
    pair, whole = pair[order], whole[order]
    fresh = np.r_[True, (np.diff(pair) != 0) | (np.diff(whole) != 0)]
    pair, whole = pair[fresh], whole[fresh]
    ends = np.r_[np.diff(pair) != 0, True]
    counts = np.diff(np.r_[-1, np.flatnonzero(ends)])
    last = whole[ends]
    columns = pair[ends] % goods.size
    recent = np.bincount(columns[last >= until - RECENT_DAYS], minlength=goods.size)
    return Purchases(
        customers=names,
        items=goods,
        rows=pair[ends] // goods.size,
        columns=columns,
        days=counts.astype(np.float64),
        last=last,
        until=until,
        recent_buyers=recent.astype(np.float64),
        span=max(until - float(whole.min()), 1.0),
    )
