"""Archetypes: groups of customers with the same main segments, under ids that are the same on every run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PREFIX = "arch_"
_MAIN_AXES = ("purchase_value", "price_sensitivity", "purchase_frequency", "shopping_maturity")


@dataclass(frozen=True, slots=True)
class Archetype:
    """A group: its id, its segments, how many customers belong to it, and of how many."""

    archetype_id: str
    segments: Mapping[str, str]
    member_count: int
    population: int

    def to_json(self) -> dict[str, Any]:
        """Return the archetype as it is shown."""
        share = 100.0 * self.member_count / self.population if self.population else 0.0
        return {
            "id": self.archetype_id,
            "archetype_id": self.archetype_id,
            "level": "l1",
            "member_count": self.member_count,
            "population_percentage": round(share, 2),
            "dominant_segments": dict(self.segments),
        }


def main_segments(dominant: Mapping[str, str]) -> dict[str, str]:
    """Return the segments that make an archetype."""
    return {axis: dominant[axis] for axis in _MAIN_AXES if axis in dominant}


def archetype_id(dominant: Mapping[str, str]) -> str:
    """Return the id of the archetype of a customer with these dominant segments, for example "arch_whale_regular".

    It is made of the segments' own names, so it never changes; no two combinations share one, since no name occurs on
    two axes.
    """
    return _PREFIX + "_".join(main_segments(dominant).values())


def full_id(given: str) -> str:
    """Return an id with its prefix, which readers may leave out."""
    return given if given.startswith(_PREFIX) else _PREFIX + given
