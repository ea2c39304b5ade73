"""Errands: work at a provider that a worker claims, keeps while it is at it, and settles once.

A claim has a fence, a number of its own: whoever lost an errand to another worker has an old number and can settle
nothing any more.
"""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Errand:
    """A claimed errand. `subject` is the id of what it is about, `kind` the kind of it; `attempts` counts this one."""

    tenant_id: UUID
    subject: UUID
    kind: str
    fence: int
    attempts: int


class ErrandLostError(Exception):
    """Somebody else has the errand, or it is no more: nothing may be settled, and what was begun is rolled back."""
