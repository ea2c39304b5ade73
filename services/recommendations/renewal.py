"""Whose profile has to be judged anew, for a whole shop at once.

Days pass for everybody, and day counts go on by themselves. A profile is judged anew when something in it has moved by
more than it claims: the churn by a hundredth or to another level, what is expected by a twentieth, a segment or a score
to the next, the silence past the usual gap; when another model serves, which a profile names; and after a month in any
case, for what moves more slowly.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from servicekit import money
from services.recommendations import activity, archetype
from services.recommendations.activity import Activity
from services.recommendations.archetype import Archetype
from services.recommendations.bgnbd import Numbers
from services.recommendations.churn import LEVEL_BOUNDS
from services.recommendations.model import Model
from services.recommendations.segments import ABOVE_PRICE, ABOVE_VALUE, LADDERS, Ladder

CHURN_STEP = 0.01
EXPECTED_SHARE = 0.05
EXPECTED_LEAST = 1.0
LONGEST_DAYS = 30

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Figures:
    """Many customers as columns; days are numbers since 1970-01-01, money is in minor units; NaN where there is none.

    `judged` is the day of the stored profile, `churn` and `expected` are what it shows, and `present` is 1 where it
    was judged by the model that serves.
    """

    customer_ids: Sequence[str]
    first: Numbers
    last: Numbers
    order_count: Numbers
    priced_orders: Numbers
    purchase_days: Numbers
    spent: Numbers
    returned: Numbers
    repeat: Numbers
    judged: Numbers
    churn: Numbers
    expected: Numbers
    present: Numbers

    def bought(self) -> Flags:
        """Return who has a purchase."""
        return ~np.isnan(self.last)

    def activity(self, rows: Flags, unit: float, until: Numbers | float) -> Activity:
        """Return the activity of some customers up to a day; `unit` is how many minor units are a main one."""
        first, last, days = self.first[rows], self.last[rows], self.purchase_days[rows]
        return activity.of_sums(first, last, days, self.spent[rows] / unit, self.repeat[rows] / unit, until)


def due(figures: Figures, model: Model, currency: str, today: int) -> Flags:
    """Return which customers have to be judged anew on a day (a number)."""
    never = np.isnan(figures.judged)
    rows = figures.bought() & ~never
    found: Flags = never | (figures.present != 1.0)
    if rows.any():
        found[rows] |= _moved(figures, rows, model, 10.0 ** money.decimals(currency), float(today))
    return found


def _moved(figures: Figures, rows: Flags, model: Model, unit: float, today: float) -> Flags:
    then, now = (figures.activity(rows, unit, day) for day in (figures.judged[rows], today))
    shown = figures.churn[rows]
    churn = np.round(1.0 - model.purchase_probability(now), 4)
    if not model.fitted:
        churn = np.where(now.x > 0, churn, np.nan)
    moved: Flags = ~((np.abs(churn - shown) < CHURN_STEP) | (np.isnan(churn) & np.isnan(shown)))
    moved |= np.digitize(churn, LEVEL_BOUNDS) != np.digitize(shown, LEVEL_BOUNDS)
    expected = figures.expected[rows]
    step = np.maximum(EXPECTED_SHARE * expected, EXPECTED_LEAST)
    moved |= ~(np.abs(model.expected_spending(now) - expected) < step)
    moved |= _classes(now, model) != _classes(then, model)
    return moved | (today - figures.judged[rows] >= LONGEST_DAYS)


def _classes(customers: Activity, model: Model) -> npt.NDArray[np.int64]:
    """Return a number for what days alone move from one class to the next."""
    gap = np.where(customers.x > 0, customers.tx * 7.0 / np.maximum(customers.x, 1.0), np.inf)
    silence = (customers.quiet > gap).astype(np.int64) + (customers.quiet > 2 * gap)
    maturity = np.digitize(customers.tenure, sorted(bound for _, bound in LADDERS["shopping_maturity"].steps))
    recency = np.searchsorted(model.rfm.recency, customers.quiet, side="left") if model.rfm else 0
    return np.asarray((silence * 10 + maturity) * 10 + recency, dtype=np.int64)


Heads = Counter[tuple[str | None, ...]]
"""How many customers have these segments on the axes of `LADDERS`."""


def heads(figures: Figures, currency: str, today: int) -> Heads:
    """Count customers with purchases by what they are today on the axes that make an archetype."""
    rows, unit = figures.bought(), 10.0 ** money.decimals(currency)
    if not rows.any():
        return Counter()
    priced = figures.priced_orders[rows]
    values = {
        "purchase_value": np.maximum(figures.spent[rows] - figures.returned[rows], 0.0) / unit - ABOVE_VALUE,
        "price_sensitivity": figures.spent[rows] / unit / np.where(priced > 0, priced, np.nan) - ABOVE_PRICE,
        "purchase_frequency": figures.order_count[rows],
        "shopping_maturity": np.maximum(today - figures.first[rows], 0.0),
    }
    places = np.stack([_places(LADDERS[axis], values[axis]) for axis in LADDERS], axis=1)
    found, members = np.unique(places, axis=0, return_counts=True)
    names = [(*ladder.names, None) for ladder in LADDERS.values()]
    rungs = [tuple(own[at] for own, at in zip(names, row, strict=True)) for row in found.tolist()]
    return Counter(dict(zip(rungs, members.tolist(), strict=True)))


def _places(ladder: Ladder, values: Numbers) -> npt.NDArray[np.int64]:
    """Return the places of values on a ladder, from 0 for the best; behind the lowest where there is no value."""
    steps = [values >= bound for _, bound in ladder.steps]
    return np.where(np.isnan(values), len(steps) + 1, len(steps) - np.sum(steps, axis=0))


def archetypes(counted: Heads) -> dict[str, Archetype]:
    """Return the archetypes of a whole shop, as they would come of judging everybody."""
    population, found = counted.total(), {}
    for rungs, members in counted.items():
        dominant = {axis: name for axis, name in zip(LADDERS, rungs, strict=True) if name is not None}
        name = archetype.archetype_id(dominant)
        found[name] = Archetype(name, archetype.main_segments(dominant), members, population)
    return found
