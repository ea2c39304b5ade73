"""Fits a shop's product model to its purchases, and judges it on days that it has not seen.

The last days are held back. A model of the days before ranks what customers bought on them, and so does a plain rule:
what was bought before, and what sells lately. Only neighbours that are better than that rule are kept; then everything
is learnt again with the held-back days.

What has seen the held-back days cannot be judged on them, and a model in service always has seen most of them. So each
version keeps its trial: the model of the days before its own held-back days, by which it was judged. The next version
is judged beside the trial of the one in service: both were learnt in the same way, and neither has seen these days.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from services.recommendations.products.model import ProductModel, of_weights
from services.recommendations.products.neighbours import as_floats, neighbours
from services.recommendations.products.purchases import Floats, Integers, Purchases, Texts, numbered
from services.recommendations.products.quality import ndcg
from services.recommendations.products.ranking import scores

HELD_BACK_DAYS = 30
LEAST_JUDGED = 30
"""With fewer customers on the held-back days nothing is said of a model."""
MOST_JUDGED = 2_000
"""How many customers a model is judged by at most; which ones is drawn with a fixed seed."""
CHANCE = 2.0
"""By how many standard errors of the difference a new version must be worse for it to be no chance."""
_SHARE_HELD_BACK = 5
_AT_ONCE = 128
_SEED = 12
_MODEL, _PLAIN, _IN_SERVICE = "model", "popularity_and_buy_again", "in_service"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What rankings were worth on the held-back days, as NDCG@10 by their names; without evidence there is none."""

    held_back_days: int = 0
    customers: int = 0
    ndcg10: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A new model, whether it knows neighbours or popularity only, how it was judged and whether it should serve.

    `trial` is the model of the days before the held-back ones; None where nothing could be said.
    """

    model: ProductModel
    trial: ProductModel | None
    neighbours: bool
    better: bool
    judgement: Judgement
    customer_count: int
    purchase_count: int


@dataclass(frozen=True, slots=True)
class _Trial:
    """What the held-back days say: whether neighbours are useful, whether the recipe may serve, and its model."""

    judgement: Judgement
    useful: bool = False
    better: bool = True
    model: ProductModel | None = None


def learn(lines: "Lines", in_service: ProductModel | None) -> Fitted:
    """Return the model of all lines, judged beside the trial of the version in service.

    That trial must not have seen the held-back days either; where it has, because orders of the newest days were taken
    back, it is left out of the comparison.

    Raises:
        ValueError: there is no line.
    """
    everything = lines.purchases(lines.until)
    trial = _tried(lines, in_service)
    weights = neighbours(everything) if trial.useful else _no_weights(everything)
    return Fitted(
        of_weights(everything, weights),
        trial.model,
        trial.useful,
        trial.better,
        trial.judgement,
        everything.customers.size,
        everything.rows.size,
    )


@dataclass(frozen=True, slots=True)
class Lines:
    """Purchase lines as columns of one length.

    Attributes:
        customers: a number for each customer; which one does not matter.
        items: the place of each line's product in `names`.
        days: the day of each line, since 1970.
        names: the products' ids.
        until: the day after the last one.
    """

    customers: Integers
    items: Integers
    days: Floats
    names: Texts
    until: int

    def purchases(self, until: float) -> Purchases:
        """Return the purchases before a day.

        Raises:
            ValueError: there is none.
        """
        before = self.days < until
        if not before.any():
            raise ValueError("there is no purchase before that day")
        who, rows = np.unique(self.customers[before], return_inverse=True)
        what, columns = np.unique(self.items[before], return_inverse=True)
        return numbered(
            who, self.names[what], rows.astype(np.int64), columns.astype(np.int64), self.days[before], until
        )


def _no_weights(bought: Purchases) -> "sparse.csr_matrix":
    count = bought.items.size
    return sparse.csr_matrix((count, count), dtype=np.float32)


def _tried(lines: Lines, in_service: ProductModel | None) -> _Trial:
    span = int(lines.until - lines.days.min())
    held_back = min(HELD_BACK_DAYS, span // _SHARE_HELD_BACK)
    cut = lines.until - held_back
    if held_back < 1 or not (lines.days < cut).any():
        return _Trial(Judgement())
    known = lines.purchases(cut)
    wanted = _wanted(lines, known, cut)
    asked = np.flatnonzero(np.diff(wanted.indptr))
    if asked.size < LEAST_JUDGED:
        return _Trial(Judgement(held_back, int(asked.size)))
    if asked.size > MOST_JUDGED:
        asked = np.sort(np.random.default_rng(_SEED).choice(asked, MOST_JUDGED, replace=False))
    rankings = {_MODEL: neighbours(known), _PLAIN: _no_weights(known)}
    if in_service is not None and in_service.until <= cut:
        rankings[_IN_SERVICE] = _as_known(in_service, known)
    worth = {name: _worth(known, weights, wanted, asked) for name, weights in rankings.items()}
    means = {name: float(each.mean()) for name, each in worth.items()}
    useful = means[_MODEL] > means[_PLAIN]
    recipe = _MODEL if useful else _PLAIN
    better = _IN_SERVICE not in worth or not _worse(worth[recipe], worth[_IN_SERVICE])
    return _Trial(Judgement(held_back, int(asked.size), means), useful, better, of_weights(known, rankings[recipe]))


def _worse(ours: Floats, theirs: Floats) -> bool:
    """Tell whether the same customers are served worse by more than chance; else what knows newer days is preferred."""
    difference = ours - theirs
    return bool(difference.mean() < -CHANCE * difference.std(ddof=1) / np.sqrt(difference.size))


def _wanted(lines: Lines, known: Purchases, cut: int) -> "sparse.csr_matrix":
    """Return customers by items, as `known` numbers them, with 1 for what was bought from the cut on."""
    place = {item: number for number, item in enumerate(known.items.tolist())}
    columns = np.array([place.get(name, -1) for name in lines.names.tolist()])[lines.items]
    rows = np.searchsorted(known.customers, lines.customers)
    rows = np.minimum(rows, known.customers.size - 1)
    chosen = (lines.days >= cut) & (columns >= 0) & (known.customers[rows] == lines.customers)
    values = np.ones(int(chosen.sum()), dtype=np.float32)
    wanted = sparse.csr_matrix((values, (rows[chosen], columns[chosen])), shape=known.shape)
    wanted.sum_duplicates()
    return wanted


def _as_known(model: ProductModel, known: Purchases) -> "sparse.csr_matrix":
    """Return a model's weights with the items in the order of some purchases; what it does not know has none."""
    place = {item: number for number, item in enumerate(model.items)}
    at = np.array([place.get(item, -1) for item in known.items.tolist()])
    present = np.flatnonzero(at >= 0)
    pick = sparse.csr_matrix(
        (np.ones(present.size, dtype=np.float32), (present, at[present])), shape=(at.size, len(model.items))
    )
    return sparse.csr_matrix(pick @ model.matrix() @ pick.T)


def _worth(known: Purchases, weights: "sparse.csr_matrix", wanted: "sparse.csr_matrix", asked: Integers) -> Floats:
    """Return what a ranking was worth to each of the customers that are asked about."""
    found = []
    for start in range(0, asked.size, _AT_ONCE):
        rows = asked[start : start + _AT_ONCE]
        found.append(ndcg(scores(known, weights, rows), as_floats(wanted[rows]) > 0))
    return np.concatenate(found)
