"""Judging many customers at once: churn, value, segments, archetypes and profiles in one pass."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from services.recommendations import activity, archetype, churn, profile, segments, standing
from services.recommendations.archetype import Archetype
from services.recommendations.churn import Churn
from services.recommendations.history import History
from services.recommendations.model import Model
from services.recommendations.segments import Segmentation
from services.recommendations.standing import Expected, Rfm


@dataclass(frozen=True, slots=True)
class Judged:
    """A customer with what the models and rules say; `archetype_id` and `expected` are None before the first purchase.

    `rfm` is None as well where the shop has no model of its own, whose quintiles it is counted in.
    """

    history: History
    churn: Churn
    segmentation: Segmentation
    archetype_id: str | None
    expected: Expected | None = None
    rfm: Rfm | None = None


def judge(histories: Sequence[History], model: Model, today: date) -> list[Judged]:
    """Return the customers judged, in the same order; the models run once over all of them."""
    buyers = [history for history in histories if history.last_at is not None]
    figures = iter(_figures(buyers, model, today) if buyers else ())
    judged = []
    for history in histories:
        chance, expected, rfm = next(figures) if history.last_at is not None else (None, None, None)
        segmentation = segments.segment(history, today)
        group = archetype.archetype_id(segmentation.dominant) if history.last_at is not None else None
        assessed = churn.assess(history, model, chance, today)
        judged.append(Judged(history, assessed, segmentation, group, expected, rfm))
    return judged


def _figures(buyers: Sequence[History], model: Model, today: date) -> list[tuple[float, Expected, Rfm | None]]:
    """Return the probability of a purchase, the expected value and the RFM scores of customers with purchases."""
    customers = activity.of_histories(buyers, today)
    chance = model.purchase_probability(customers).tolist()
    return list(zip(chance, standing.expected(model, customers), standing.rfm(model, customers), strict=True))


def archetypes(judged: Sequence[Judged]) -> dict[str, Archetype]:
    """Return the archetypes of a whole shop by their ids."""
    counts = Counter(one.archetype_id for one in judged if one.archetype_id is not None)
    population = counts.total()
    found: dict[str, Archetype] = {}
    for one in judged:
        if one.archetype_id is not None and one.archetype_id not in found:
            main = archetype.main_segments(one.segmentation.dominant)
            found[one.archetype_id] = Archetype(one.archetype_id, main, counts[one.archetype_id], population)
    return found


def describe(judged: Judged, group: Archetype | None, today: date) -> dict[str, Any]:
    """Return a judged customer's profile; `group` is its archetype, None before the first purchase."""
    return profile.build(
        judged.history, judged.churn, judged.segmentation, group, today, expected=judged.expected, rfm=judged.rfm
    )
