"""Judging many customers at once: churn, segments, archetypes and profiles in one pass."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from services.recommendations import archetype, churn, profile, segments
from services.recommendations.archetype import Archetype
from services.recommendations.churn import Churn
from services.recommendations.history import History, timing
from services.recommendations.model import Model
from services.recommendations.segments import Segmentation


@dataclass(frozen=True, slots=True)
class Judged:
    """A customer with what the models and rules say about it; `archetype_id` is None before the first purchase."""

    history: History
    churn: Churn
    segmentation: Segmentation
    archetype_id: str | None


def judge(histories: Sequence[History], model: Model, today: date) -> list[Judged]:
    """Return the customers judged, in the same order; the models run once over all of them."""
    buyers = [history for history in histories if history.last_at is not None]
    chances = iter(model.purchase_probability(timing(buyers, today)).tolist() if buyers else ())
    judged = []
    for history in histories:
        chance = next(chances) if history.last_at is not None else None
        segmentation = segments.segment(history, today)
        group = archetype.archetype_id(segmentation.dominant) if history.last_at is not None else None
        judged.append(Judged(history, churn.assess(history, model, chance, today), segmentation, group))
    return judged


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
    return profile.build(judged.history, judged.churn, judged.segmentation, group, today)
