"""Scores: what a customer's purchases say about what comes next.

    score = (neighbours of what was bought + SEEN · ln(1 + days bought) · e^(-days since / FADES)) · e^(TREND · trend)

The first term finds what goes with the customer's purchases; the second knows that people buy again what they bought
often and lately; the factor follows the season. Without any evidence the last month's popularity decides.
All four were chosen on Online Retail, April to June 2011, by the purchases before; the figures in docs/models.md are of
the months after.
"""

import numpy as np
from scipy import sparse

from services.recommendations.products.neighbours import as_floats
from services.recommendations.products.purchases import RECENT_DAYS, Floats, Integers, Purchases

SEEN = 0.25
FADES = 240.0
"""Days in which a purchase's say on buying again falls to a third."""
TREND = 0.3
_TREND_LIMIT = 2.0
FLOOR = 1e-6
"""What being popular lately is worth at most: it decides where nothing else does."""


def trend(bought: Purchases) -> Floats:
    """Return for each item ln of (buyers lately + 1) / (buyers expected of its whole time + 1), between -2 and 2."""
    expected = bought.buyers() * min(RECENT_DAYS / bought.span, 1.0)
    logs = np.log((bought.recent_buyers + 1.0) / (expected + 1.0))
    return np.clip(logs, -_TREND_LIMIT, _TREND_LIMIT)


def seen_weights(bought: Purchases) -> Floats:
    """Return for each pair of customer and item how much it speaks for buying the same again."""
    return SEEN * np.log1p(bought.days) * np.exp(-(bought.until - bought.last) / FADES)


def scores(bought: Purchases, weights: "sparse.csr_matrix", rows: Integers, *, again: bool = True) -> Floats:
    """Return the scores of all items for some customers (row numbers), customers by items.

    Without `again` they are about new items, and those bought already get minus infinity.
    """
    owned = bought.matrix()[rows]
    related = as_floats(owned @ weights)
    if again:
        related += as_floats(bought.matrix(seen_weights(bought))[rows])
    # A weight against an item is no evidence for it: the trend must not make it better.
    grown = np.where(related > 0, related * np.exp(TREND * trend(bought))[None, :], related)
    grown += FLOOR * bought.recent_buyers / max(bought.recent_buyers.max(), 1.0)
    if not again:
        grown[owned.nonzero()] = -np.inf
    return grown
