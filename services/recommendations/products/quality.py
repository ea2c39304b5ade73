"""How good a ranking of products is."""

import numpy as np
import numpy.typing as npt

from services.recommendations.products.purchases import Floats

BEST = 10
"""How many of the first places count."""


def ndcg(guess: Floats, relevant: "npt.NDArray[np.bool_]") -> Floats:
    """Return NDCG@10 of each row that has anything relevant; equal scores stand in the order of their columns."""
    asked = relevant.any(axis=1)
    guess, relevant = guess[asked], relevant[asked]
    best = np.argsort(-guess, axis=1, kind="stable")[:, :BEST]
    discount = 1.0 / np.log2(np.arange(2, best.shape[1] + 2))
    gained = (np.take_along_axis(relevant, best, axis=1) * discount).sum(axis=1)
    possible = np.cumsum(discount)[np.minimum(relevant.sum(axis=1), discount.size) - 1]
    return np.asarray(gained / possible)
