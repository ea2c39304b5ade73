"""The report of a tenant's erasure: counts, never content."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

REQUESTER_AFTER_GRACE = "service:tenant"
"""Who asks for an erasure when the time in which the deletion could be undone is over."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was removed so far, by service and table, and whether anything may be left."""

    tenant_id: UUID
    slug: str
    requester: str
    start_time: datetime
    complete_time: datetime | None
    removed: Mapping[tuple[str, str], int]
