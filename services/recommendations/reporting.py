"""A report of what became of recommendations, by action and version of the policy, with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

_Z = 1.959963984540054
"""Two-sided 95 % of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of `count` with its 95 % interval."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Line:
    """What became of an action under a version of the policy."""

    action: str
    policy_version: int
    made: int
    shown: int
    accepted: int
    edited: int
    rejected: int
    resolved: int
    unresolved: int
    returned: int
    lost: int

    @classmethod
    def of(cls, row: Mapping[str, str | int]) -> "Line":
        """Return the line of a row of counts."""
        counts = {name: int(row[name]) for name in cls.__dataclass_fields__ if name != "action"}
        return cls(action=str(row["action"]), **counts)

    @property
    def acceptance(self) -> Share | None:
        """The share of decisions that were for the action."""
        done = self.accepted + self.edited
        return share(done, done + self.rejected)

    @property
    def settled(self) -> Share | None:
        """Of those where it was done and the end of the matter is known, the share that was settled."""
        return share(self.resolved, self.resolved + self.unresolved)

    @property
    def bought_again(self) -> Share | None:
        """Of those where it was done and it is known what the customer did, the share that bought again."""
        return share(self.returned, self.returned + self.lost)


def share(hits: int, count: int) -> Share | None:
    """Return a share with its Wilson interval; None of nothing."""
    if not count:
        return None
    value, square = hits / count, _Z * _Z
    middle = (value + square / (2 * count)) / (1 + square / count)
    reach = _Z / (1 + square / count) * sqrt(value * (1 - value) / count + square / (4 * count * count))
    # At the ends of the scale the interval ends at the share itself, but for what rounding makes of that.
    return Share(value, min(max(middle - reach, 0.0), value), max(min(middle + reach, 1.0), value), count)
