"""What a shop promises: hours of work until a first answer, until each next one, and until a matter is settled."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import MappingProxyType

from services.tickets.calendars import Calendar
from services.tickets.errors import SlaTargetsInvalidError

PRIORITIES = ("urgent", "high", "normal", "low")
SHORTEST, LONGEST = 1 / 60, 2_000.0
"""Hours of work that a target may have: from a minute to a year of them."""
MAX_TAG_RULES = 100


@dataclass(frozen=True, slots=True)
class Targets:
    """Hours of work; None promises nothing, or for a tag what the priority promises. For a tag 0 promises nothing."""

    first_response: float | None = None
    next_response: float | None = None
    resolution: float | None = None


@dataclass(frozen=True, slots=True)
class TagTargets:
    """What is promised for tickets with a tag instead of what their priority promises."""

    tag: str
    targets: Targets


DEFAULTS: Mapping[str, Targets] = MappingProxyType(
    {
        "urgent": Targets(1.0, 1.0, 8.0),
        "high": Targets(4.0, 4.0, 24.0),
        "normal": Targets(8.0, 8.0, 72.0),
        "low": Targets(24.0, 24.0, 120.0),
    }
)


@dataclass(frozen=True, slots=True)
class SlaSettings:
    """What a tenant promises, and in which hours it works.

    Attributes:
        calendar: the tenant's one calendar; tickets age by it, too.
        priorities: the targets of each priority.
        tags: targets that come before; the first whose tag the ticket has counts.
        revision: rises with every change; 1 is what holds until a tenant says anything.
        update_time: when it last changed.
        principal: who changed it.
    """

    calendar: Calendar = Calendar()  # noqa: RUF009 - it is frozen
    priorities: Mapping[str, Targets] = field(default_factory=lambda: DEFAULTS)
    tags: tuple[TagTargets, ...] = ()
    revision: int = 1
    update_time: datetime | None = None
    principal: str = ""

    def targets(self, priority: str, tags: Collection[str]) -> Targets:
        """Return what is promised for a ticket."""
        promised = self.priorities.get(priority, Targets())
        special = next((rule.targets for rule in self.tags if rule.tag in tags), Targets())
        chosen = {}
        for one in fields(Targets):
            hours = getattr(special, one.name)
            chosen[one.name] = (getattr(promised, one.name) if hours is None else hours) or None
        return Targets(**chosen)

    def answer(self, priority: str, tags: Collection[str]) -> tuple[float | None, str]:
        """Return the hours of work until a first answer, and who says so: infinite where none is promised.

        (None, "") until a tenant says anything.
        """
        if self.revision == 1:
            return None, ""
        rule = next((rule for rule in self.tags if rule.tag in tags), None)
        named = rule is not None and rule.targets.first_response is not None
        origin = f"target of the tag {rule.tag}" if rule is not None and named else f"target of priority {priority}"
        return self.targets(priority, tags).first_response or math.inf, origin


def check_targets(priorities: Mapping[str, Targets], tags: Sequence[TagTargets]) -> None:
    """Refuse targets that nobody can mean.

    Raises:
        SlaTargetsInvalidError: a priority is unknown, a tag is named twice, there are too many, or hours are
            impossible.
    """
    if unknown := priorities.keys() - set(PRIORITIES):
        raise SlaTargetsInvalidError("priorities", f"name {min(unknown)[:32]!r}, which is none")
    if len(tags) > MAX_TAG_RULES:
        raise SlaTargetsInvalidError("tags", f"are at most {MAX_TAG_RULES}")
    if not all(rule.tag.strip() for rule in tags):
        raise SlaTargetsInvalidError("tags", "name an empty tag")
    if len({rule.tag for rule in tags}) < len(tags):
        raise SlaTargetsInvalidError("tags", "name a tag twice")
    for targets in priorities.values():
        _check_hours("priorities", targets)
    for rule in tags:
        _check_hours("tags", rule.targets)


def _check_hours(where: str, targets: Targets) -> None:
    for one in fields(Targets):
        hours = getattr(targets, one.name)
        if hours is not None and hours != 0 and not SHORTEST <= hours <= LONGEST:
            raise SlaTargetsInvalidError(where, f"have from a minute to {LONGEST:.0f} hours")
