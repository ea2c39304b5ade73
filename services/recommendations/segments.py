"""Segments: what kind of buyer a customer is, on seven axes, in the words that the frontend understands.

Each axis yields strengths (0 to 1) and at most one dominant segment. Where the evidence is thin, or no word of the
vocabulary fits, an axis has no dominant segment and is left out. The rules stand at each axis in `AXES`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date

from services.recommendations.history import History

Strengths = dict[str, float]

Steps = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Ladder:
    """Segments of an axis that grow with one value: best first, each with its lower bound, and what is below them."""

    steps: Steps
    lowest: str | None = None
    names: tuple[str | None, ...] = field(init=False)
    """The segments best first, the lowest last."""

    def __post_init__(self) -> None:
        """Name the segments once."""
        object.__setattr__(self, "names", (*(name for name, _ in self.steps), self.lowest))


LADDERS: Mapping[str, Ladder] = {
    "purchase_value": Ladder((("whale", 2000.0), ("premium", 500.0), ("mid_tier", 100.0))),
    "price_sensitivity": Ladder((("full_price", 40.0), ("strategic", 25.0)), "deal_hunter"),
    "purchase_frequency": Ladder((("power_buyer", 50.0), ("regular", 10.0), ("occasional", 3.0))),
    "shopping_maturity": Ladder((("long_term", 731.0), ("established", 181.0)), "developing"),
}
"""The axes whose segments are steps of one value."""

# "Above" a bound: the next representable amount, since money has minor units.
ABOVE_VALUE = 0.005
ABOVE_PRICE = 1e-9

_MIN_ORDERS = 3
_YEAR = 365
_HALF = 0.5
_SEASON_SHARE = 0.75
_SEASON_ORDERS = 4
_MANY_RETURNS = 3
_SOME_RETURNS = 2
_RETURN_RATE = 0.25


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of the vocabulary: its name, its name for people, and its rule in words."""

    name: str
    display_name: str
    rule: str


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its name, its name for people, what it says, its segments best first, and how strengths are found."""

    name: str
    display_name: str
    description: str
    segments: tuple[Segment, ...]
    judge: Callable[[History, date], tuple[str | None, Strengths]]


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A customer's segments: the dominant one of each axis that has one, and the strengths of all."""

    dominant: Mapping[str, str]
    memberships: Mapping[str, Strengths]


def segment(history: History, today: date) -> Segmentation:
    """Return a customer's segments; without a purchase there are none."""
    dominant: dict[str, str] = {}
    memberships: dict[str, Strengths] = {}
    if history.last_at is None:
        return Segmentation(dominant, memberships)
    for axis in AXES:
        name, strengths = axis.judge(history, today)
        if name is not None:
            dominant[axis.name] = name
        if strengths:
            memberships[axis.name] = {key: round(value, 3) for key, value in strengths.items()}
    return Segmentation(dominant, memberships)


def graded(value: float, ladder: Ladder) -> tuple[str | None, Strengths]:
    """Place a value on a ladder of segments.

    The segment's strength is 1 from a factor of two away from the nearest bound and falls to 0.5 at the bound; the
    segment beyond that bound has the rest.
    """
    names, bounds = ladder.names, ladder.steps
    place = next((index for index, (_, bound) in enumerate(bounds) if value >= bound), len(bounds))
    neighbours = []
    if place > 0:
        neighbours.append((bounds[place - 1][1], names[place - 1]))
    if place < len(bounds):
        neighbours.append((bounds[place][1], names[place + 1]))
    if value <= 0:
        return names[place], {name: 1.0 for name in (names[place],) if name}
    bound, neighbour = min(neighbours, key=lambda pair: abs(math.log(value / pair[0])))
    strength = _HALF + _HALF * min(1.0, abs(math.log(value / bound)) / math.log(2.0))
    shares = ((names[place], strength), (neighbour, 1.0 - strength))
    return names[place], {name: share for name, share in shares if name is not None and share > 0}


def _purchase_value(history: History, _: date) -> tuple[str | None, Strengths]:
    return graded(history.lifetime_value - ABOVE_VALUE, LADDERS["purchase_value"])


def _price_sensitivity(history: History, _: date) -> tuple[str | None, Strengths]:
    if not history.priced_orders:
        return None, {}
    return graded(history.average_order_value - ABOVE_PRICE, LADDERS["price_sensitivity"])


def _purchase_frequency(history: History, _: date) -> tuple[str | None, Strengths]:
    return graded(float(history.order_count), LADDERS["purchase_frequency"])


def _shopping_maturity(history: History, today: date) -> tuple[str | None, Strengths]:
    return graded(float(history.tenure_days(today)), LADDERS["shopping_maturity"])


def _shopping_cadence(history: History, _: date) -> tuple[str | None, Strengths]:
    if history.order_count < _MIN_ORDERS:
        return None, {}
    weekend = history.weekend_orders / history.order_count
    strengths = {"weekend_crafter": weekend, "weekday": 1.0 - weekend}
    name = "weekend_crafter" if weekend >= _HALF else "weekday"
    if history.order_count >= _SEASON_ORDERS and history.span_days >= _YEAR:
        season = _best_quarter(history.month_orders) / history.order_count
        strengths["seasonal"] = season
        if season >= _SEASON_SHARE:
            name = "seasonal"
    return name, strengths


def _best_quarter(months: tuple[int, ...]) -> int:
    """Return the most purchases that fall into three months in a row; December is followed by January."""
    return max(sum(months[(start + step) % 12] for step in range(3)) for start in range(12))


def _return_behavior(history: History, _: date) -> tuple[str | None, Strengths]:
    returns, orders = history.return_count, history.order_count
    rate = min(returns / orders, 1.0) if orders else 1.0
    if returns >= _MANY_RETURNS or (returns >= _SOME_RETURNS and rate >= _RETURN_RATE):
        strength = min(1.0, _HALF + rate)
        return "frequent_returner", {"frequent_returner": strength, "careful_buyer": 1.0 - strength}
    if returns == 0 and orders >= _MIN_ORDERS:
        return "careful_buyer", {"careful_buyer": 1.0}
    return None, {"frequent_returner": min(rate, _HALF)} if returns else {}


def _category_affinity(history: History, _: date) -> tuple[str | None, Strengths]:
    if history.product_pairs < _MIN_ORDERS or history.order_count < _SOME_RETURNS:
        return None, {}
    again = 1.0 - history.distinct_products / history.product_pairs
    name = "category_loyal" if again >= _HALF else "multi_category"
    return name, {"multi_category": 1.0 - again, "category_loyal": again}


AXES: tuple[Axis, ...] = (
    Axis(
        "purchase_value",
        "Purchase value",
        "What the customer has spent so far, returns taken off.",
        (
            Segment("whale", "Whale", "Spent more than 2,000."),
            Segment("premium", "Premium", "Spent more than 500."),
            Segment("mid_tier", "Mid tier", "Spent more than 100."),
        ),
        _purchase_value,
    ),
    Axis(
        "price_sensitivity",
        "Price sensitivity",
        "The mean total of a purchase.",
        (
            Segment("full_price", "Full price", "Spends more than 40 a purchase."),
            Segment("strategic", "Strategic", "Spends more than 25 a purchase."),
            Segment("deal_hunter", "Deal hunter", "Spends 25 or less a purchase."),
        ),
        _price_sensitivity,
    ),
    Axis(
        "purchase_frequency",
        "Purchase frequency",
        "How many purchases the customer has made.",
        (
            Segment("power_buyer", "Power buyer", "50 purchases or more."),
            Segment("regular", "Regular", "10 purchases or more."),
            Segment("occasional", "Occasional", "3 purchases or more."),
        ),
        _purchase_frequency,
    ),
    Axis(
        "shopping_cadence",
        "Shopping cadence",
        "When the customer buys; known from 3 purchases on.",
        (
            Segment("weekday", "Weekday", "Most purchases fall on Monday to Friday (UTC)."),
            Segment("weekend_crafter", "Weekend crafter", "Half of the purchases or more fall on weekends (UTC)."),
            Segment(
                "seasonal",
                "Seasonal",
                "4 purchases or more, a year or longer apart, three quarters of them in the same three months.",
            ),
        ),
        _shopping_cadence,
    ),
    Axis(
        "return_behavior",
        "Return behaviour",
        "How often goods come back.",
        (
            Segment("careful_buyer", "Careful buyer", "3 purchases or more and nothing ever came back."),
            Segment(
                "frequent_returner",
                "Frequent returner",
                "Goods came back 3 times, or twice and for a quarter of the purchases.",
            ),
        ),
        _return_behavior,
    ),
    Axis(
        "category_affinity",
        "Category affinity",
        "Whether the customer keeps buying the same products; known from 2 purchases with 3 products on.",
        (
            Segment("multi_category", "Multi category", "Mostly products that were not bought before."),
            Segment("category_loyal", "Category loyal", "Half of the products or more were bought before."),
        ),
        _category_affinity,
    ),
    Axis(
        "shopping_maturity",
        "Shopping maturity",
        "How long ago the first purchase was.",
        (
            Segment("long_term", "Long term", "More than 730 days."),
            Segment("established", "Established", "More than 180 days."),
            Segment("developing", "Developing", "180 days or less."),
        ),
        _shopping_maturity,
    ),
)
