"""Suggestions for one customer, or beside one product, each with the one thing that counted most.

The score is that of `ranking.scores`, for one customer and from packed arrays. Beside it, for cold products only:
CONTENT · cosine of the title's vector and the mean of those of the customer's products. What nothing speaks for is not
suggested. `tests/recommendations/test_suggesting.py` holds both ways of reckoning together.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

import numpy as np
import numpy.typing as npt

from services.recommendations.products.assortment import COLD, Assortment, Flags
from services.recommendations.products.model import ProductModel, Singles
from services.recommendations.products.purchases import Floats, Integers
from services.recommendations.products.ranking import FADES, FLOOR, SEEN

CONTENT = 0.01
"""What a cold product's title is worth at most: below what few purchases in common are worth."""
LEAST_ALIKE = 0.25
"""Titles whose vectors have a smaller cosine than this are not alike."""
_DIVERSE_AMONG = 100
_SAME_CATEGORY = 0.5
_LEAST_DRAWN = 0.05

Kind = Literal["bought_with", "bought_before", "similar", "popular", "new"]
Owned = Literal["included", "excluded", "only"]
_Term = tuple[float, Kind, int]
"""One thing that speaks for a product: how much, what it is, and the place of the product that it rests on."""


@dataclass(frozen=True, slots=True)
class Bought:
    """A product that a customer bought: on how many days, and on which day (since 1970) last."""

    product_id: str
    days: int
    last: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for.

    Attributes:
        limit: how many suggestions at most.
        categories: only products of these; empty for all.
        with_out_of_stock: whether also what cannot be had.
        owned: which products with regard to what was bought before.
        excluded: the ids of products that are left out.
        diversity: how far alike products are kept apart, 0 to 1.
        exploration: which part of the places is kept for cold products, 0 to 1.
        seed: what decides which cold products take these places: the same seed, the same products.
    """

    limit: int = 10
    categories: Collection[str] = ()
    with_out_of_stock: bool = False
    owned: Owned = "included"
    excluded: Collection[str] = ()
    diversity: float = 0.0
    exploration: float = 0.0
    seed: str = ""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A product with its score, the kind of its main reason, the product that this rests on, and its share."""

    product_id: str
    score: float
    kind: Kind
    because: str = ""
    share: float = 1.0
    explored: bool = False


@dataclass(frozen=True)
class _Evidence:
    """What a customer's purchases say: who speaks for whom, and how much."""

    owned: Integers
    seen: Floats
    targets: "npt.NDArray[np.int32]" = field(repr=False)
    weights: Singles = field(repr=False)
    speakers: Integers = field(repr=False)
    cosines: Singles | None = field(repr=False)


def suggest(
    model: ProductModel, assortment: Assortment, bought: Sequence[Bought], wish: Wish, today: int
) -> list[Suggestion]:
    """Return what a customer may buy next, the best first; `today` is a day since 1970."""
    evidence = _evidence(model, assortment, bought, today)
    score = _scores(model, assortment, evidence)
    allowed = _allowed(assortment, evidence.owned, wish)
    score[~allowed] = -np.inf
    explored = _explored(assortment, evidence, allowed, wish)
    score[explored] = -np.inf
    chosen = _best(assortment, score, wish.limit - len(explored), wish.diversity)
    found = _explained(assortment, evidence, score, chosen)
    return _with_explored(assortment, evidence, found, explored, wish.limit)


def beside(model: ProductModel, assortment: Assortment, product_id: str, wish: Wish) -> list[Suggestion]:
    """Return what goes with a product, the closest first; of a cold one also what has a name like its.

    With one that the shop does not have (any more) nothing goes.
    """
    place = assortment.places.get(product_id)
    if place is None:
        return []
    score = np.zeros(len(assortment.ids))
    if place < assortment.known:
        found = slice(model.starts[place], model.starts[place + 1])
        score[model.targets[found]] = model.weights[found].astype(np.float64) * model.factors[model.targets[found]]
    related = score > 0
    if assortment.buyers[place] < COLD:
        like = np.flatnonzero(assortment.offered & ~related)
        cosines = assortment.lengthened(like) @ assortment.lengthened(np.array([place]))[0]
        score[like] = CONTENT * _alike(cosines)
    allowed = _allowed(assortment, np.array([place]), wish)
    allowed[place] = False
    score[~allowed] = -np.inf
    return [
        Suggestion(
            assortment.ids[one], float(score[one]), "bought_with" if related[one] else "similar", product_id, 1.0
        )
        for one in _best(assortment, score, wish.limit, wish.diversity)
    ]


def _evidence(model: ProductModel, assortment: Assortment, bought: Sequence[Bought], today: int) -> _Evidence:
    known = [(assortment.places[one.product_id], one) for one in bought if one.product_id in assortment.places]
    owned = np.array([place for place, _ in known], dtype=np.int64)
    days = np.array([one.days for _, one in known], dtype=np.float64)
    since = np.maximum(today - np.array([one.last for _, one in known], dtype=np.float64), 0.0)
    speaking = owned[owned < assortment.known]
    counts = model.starts[speaking + 1] - model.starts[speaking]
    # The places of all neighbours of all that speak, one run after the other.
    ends = np.cumsum(counts)
    steps = np.arange(int(ends[-1]) if ends.size else 0) + np.repeat(model.starts[speaking] - (ends - counts), counts)
    cosines = None
    if owned.size and assortment.cold.size:
        mean = assortment.lengthened(owned).mean(axis=0)
        cosines = _alike(assortment.cold_vectors @ (mean / max(float(np.sqrt(mean @ mean)), 1e-9)))
    return _Evidence(
        owned,
        SEEN * np.log1p(days) * np.exp(-since / FADES),
        model.targets[steps],
        model.weights[steps].astype(np.float32),
        np.repeat(speaking, counts),
        cosines,
    )


def _scores(model: ProductModel, assortment: Assortment, evidence: _Evidence) -> Floats:
    score = np.zeros(len(assortment.ids))
    known = assortment.known
    if evidence.targets.size:
        score[:known] = np.bincount(evidence.targets, weights=evidence.weights, minlength=known)
    score[evidence.owned] += evidence.seen
    if evidence.cosines is not None:
        score[assortment.cold] += CONTENT * evidence.cosines
    # A weight against an item is no evidence for it: the trend must not make it better.
    score[:known] *= np.where(score[:known] > 0, model.factors, np.float32(1.0))
    if known:
        score[:known] += model.recent * (FLOOR / max(int(model.recent.max()), 1))
    return score


def _allowed(assortment: Assortment, owned: Integers, wish: Wish) -> Flags:
    allowed = assortment.offered.copy()
    if not wish.with_out_of_stock:
        allowed &= assortment.stocked
    if wish.categories:
        numbers = [assortment.categories[one] for one in wish.categories if one in assortment.categories]
        allowed &= np.isin(assortment.category, numbers)
    if wish.owned == "excluded":
        allowed[owned] = False
    elif wish.owned == "only":
        allowed &= _marked(allowed.size, owned)
    allowed[[assortment.places[one] for one in wish.excluded if one in assortment.places]] = False
    return allowed


def _marked(count: int, places: Integers | Sequence[int]) -> Flags:
    """Return for each of so many places whether it is among these."""
    marked = np.zeros(count, np.bool_)
    marked[places] = True
    return marked


def _best(assortment: Assortment, score: Floats, limit: int, diversity: float) -> list[int]:
    """Return the places with the highest scores above 0; equal ones in the order of their places."""
    found = np.flatnonzero(score > 0)
    wanted = max(limit, _DIVERSE_AMONG) if diversity else limit
    if found.size > wanted > 0:
        found = found[score[found] >= np.partition(score[found], -wanted)[-wanted]]
    found = found[np.argsort(-score[found], kind="stable")]
    if diversity and limit:
        return _apart(assortment, score, found[:wanted], limit, diversity)
    return [int(place) for place in found[:limit]]


def _apart(assortment: Assortment, score: Floats, found: Integers, limit: int, diversity: float) -> list[int]:
    """Return places chosen one by one: likely, and unlike what was chosen before (maximal marginal relevance)."""
    if not found.size:
        return []
    vectors = assortment.lengthened(found)
    alike = vectors @ vectors.T
    category = assortment.category[found]
    same = (category[:, None] == category[None, :]) & (category != assortment.categories.get("", -1))[:, None]
    alike = np.maximum(alike, np.where(same, _SAME_CATEGORY, 0.0))
    worth = (1.0 - diversity) * score[found] / score[found[0]]
    chosen: list[int] = []
    nearest = np.zeros(found.size)
    for _ in range(min(limit, found.size)):
        one = int(np.argmax(worth - diversity * nearest)) if chosen else 0
        chosen.append(one)
        worth[one] = -np.inf
        nearest = np.maximum(nearest, alike[one])
    return [int(found[one]) for one in chosen]


def _explored(assortment: Assortment, evidence: _Evidence, allowed: Flags, wish: Wish) -> list[int]:
    """Return the cold products that take the places kept for them, drawn by the seed, alike ones more often."""
    if not wish.exploration:
        return []
    candidates = np.flatnonzero(allowed[assortment.cold] & ~_marked(allowed.size, evidence.owned)[assortment.cold])
    draw = np.random.default_rng(int.from_bytes(blake2b(wish.seed.encode(), digest_size=8).digest(), "big"))
    count = min(int(wish.exploration * wish.limit + draw.random()), candidates.size, wish.limit)
    if not count:
        return []
    cosines = evidence.cosines[candidates] if evidence.cosines is not None else np.zeros(candidates.size)
    chance = cosines.astype(np.float64) + _LEAST_DRAWN
    drawn = draw.choice(candidates, count, replace=False, p=chance / chance.sum())
    return [int(place) for place in assortment.cold[drawn]]


def _explained(assortment: Assortment, evidence: _Evidence, score: Floats, chosen: Sequence[int]) -> list[Suggestion]:
    """Return the chosen with what counted most for each: of all terms of its score the largest."""
    among = _marked(score.size, chosen)[evidence.targets]
    targets, weights, speakers = evidence.targets[among], evidence.weights[among], evidence.speakers[among]
    found = []
    for place in chosen:
        mine = targets == place
        terms: list[_Term] = [
            (float(weight), "bought_with", int(speaker))
            for weight, speaker in zip(weights[mine], speakers[mine], strict=True)
        ]
        terms += [(float(seen), "bought_before", place) for seen in evidence.seen[evidence.owned == place]]
        terms.append(_by_title(assortment, evidence, place))
        found.append(_suggestion(assortment, place, float(score[place]), terms))
    return found


def _by_title(assortment: Assortment, evidence: _Evidence, place: int) -> _Term:
    """Return what a cold product's title counts, and the bought product with a like one, if any single one has it."""
    at = int(np.searchsorted(assortment.cold, place))
    if evidence.cosines is None or at >= assortment.cold.size or assortment.cold[at] != place:
        return 0.0, "new", place
    worth = CONTENT * float(evidence.cosines[at])
    own = _alike(assortment.lengthened(evidence.owned) @ assortment.lengthened(np.array([place]))[0])
    closest = int(np.argmax(own))
    return (worth, "similar", int(evidence.owned[closest])) if own[closest] else (worth, "new", place)


def _alike(cosines: Singles) -> Singles:
    """Return the cosines with 0 in the place of those of titles that are not alike."""
    found: Singles = np.where(cosines >= LEAST_ALIKE, cosines, np.float32(0.0))
    return found


def _suggestion(
    assortment: Assortment,
    place: int,
    score: float,
    terms: Sequence[tuple[float, Kind, int]],
    *,
    explored: bool = False,
) -> Suggestion:
    speaking = [term for term in terms if term[0] > 0]
    if not speaking or sum(term[0] for term in terms) <= 0:
        return Suggestion(assortment.ids[place], score, "new" if explored else "popular", explored=explored)
    # Of equal terms the first product by its place: the answer is the same each time.
    best = max(speaking, key=lambda term: (term[0], -term[2]))
    share = best[0] / sum(term[0] for term in speaking)
    because = "" if best[1] == "new" else assortment.ids[best[2]]
    return Suggestion(assortment.ids[place], score, best[1], because, share, explored)


def _with_explored(
    assortment: Assortment, evidence: _Evidence, found: list[Suggestion], explored: Sequence[int], limit: int
) -> list[Suggestion]:
    """Return the suggestions with the explored products spread among them, never in the first place of several."""
    for number, place in enumerate(explored, start=1):
        term = _by_title(assortment, evidence, place)
        one = _suggestion(assortment, place, term[0], [term], explored=True)
        found.insert(min(len(found), limit * number // len(explored) - 1), one)
    return found
