"""An operator's calls about what a shop promises, and when it works."""

from collections.abc import Callable, Sequence
from typing import Any

from rapport.tickets.v1 import sla_service_pb2, sla_service_pb2_grpc

from cli.errors import CommandError
from cli.operator import as_dict, operator_of
from cli.pairs import named_values
from cli.suite.folder import SuiteFolder

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TARGETS = ("first_response_hours", "next_response_hours", "resolution_hours")
_PRIORITIES = ("urgent", "high", "normal", "low")
_SECONDS = 30

Targets = dict[str, dict[str, float]]


def targets_of(option: str, texts: Sequence[str]) -> Targets:
    """Read `NAME=FIRST/NEXT/RESOLUTION`, each hours of work or "-" for nothing said.

    Raises:
        CommandError: a text is none of that.
    """
    found: Targets = {}
    for name, value in named_values(option, texts):
        parts = value.split("/")
        try:
            if len(parts) != len(TARGETS):
                raise ValueError  # noqa: TRY301 - the same answer as for what is no number
            found[name] = {
                field: float(part) for field, part in zip(TARGETS, parts, strict=True) if part.strip() != "-"
            }
        except ValueError as error:
            raise CommandError(
                f"{option} {name}: write {name}=FIRST/NEXT/RESOLUTION in hours, or - for none.", reason="USAGE"
            ) from error
    return found


def hours_of(texts: Sequence[str]) -> list[sla_service_pb2.OpeningHours]:
    """Read `DAYS=HH:MM-HH:MM`, where DAYS is a day (mon) or a range of them (mon-fri).

    Raises:
        CommandError: a text is none of that.
    """
    found = []
    for days, value in named_values("--hours", texts):
        first, _, last = days.lower().partition("-")
        opens, dash, closes = value.partition("-")
        if first not in DAYS or (last and last not in DAYS) or not dash:
            raise CommandError("--hours: write DAYS=HH:MM-HH:MM, such as mon-fri=09:00-17:00.", reason="USAGE")
        for day in range(DAYS.index(first), DAYS.index(last or first) + 1):
            number = sla_service_pb2.OpeningHours.Day.ValueType(day + 1)
            found.append(sla_service_pb2.OpeningHours(day=number, opens=opens, closes=closes))
    return found


async def settings(folder: SuiteFolder, tenant: str) -> dict[str, Any]:
    """Return the targets and the calendar of a shop."""
    return await _ask(folder, tenant)


async def set_targets(
    folder: SuiteFolder, tenant: str, priorities: Targets, tags: Targets, forgotten: Sequence[str]
) -> dict[str, Any]:
    """Set the targets that are named, keep the others, and return all."""

    def request(known: sla_service_pb2.SlaSettings) -> tuple[str, Any]:
        by_priority = {one.priority: one for one in known.targets.priorities}
        by_priority |= {
            name: sla_service_pb2.PriorityTargets(priority=name, **hours) for name, hours in priorities.items()
        }
        by_tag = {one.tag: one for one in known.targets.tags if one.tag not in forgotten}
        by_tag |= {name: sla_service_pb2.TagTargets(tag=name, **hours) for name, hours in tags.items()}
        named = sorted(by_priority, key=lambda name: _PRIORITIES.index(name) if name in _PRIORITIES else -1)
        targets = sla_service_pb2.SlaTargets(
            priorities=[by_priority[name] for name in named], tags=list(by_tag.values())
        )
        return "SetSlaTargets", sla_service_pb2.SetSlaTargetsRequest(targets=targets, etag=known.etag)

    return await _ask(folder, tenant, request)


async def set_calendar(folder: SuiteFolder, tenant: str, calendar: sla_service_pb2.Calendar) -> dict[str, Any]:
    """Replace the calendar and return all settings."""
    return await _ask(folder, tenant, lambda _: ("SetCalendar", sla_service_pb2.SetCalendarRequest(calendar=calendar)))


async def _ask(
    folder: SuiteFolder, tenant: str, request: Callable[[sla_service_pb2.SlaSettings], tuple[str, Any]] | None = None
) -> dict[str, Any]:
    """Read the settings, and ask what follows from them if anything does."""
    async with operator_of(folder) as operator:
        stub: Any = operator.stub(sla_service_pb2_grpc.SlaServiceStub, "tickets")
        metadata = await operator.metadata(tenant)
        known = await stub.GetSlaSettings(sla_service_pb2.GetSlaSettingsRequest(), metadata=metadata, timeout=_SECONDS)
        if request is None:
            return as_dict(known)
        method, message = request(known)
        return as_dict(await getattr(stub, method)(message, metadata=metadata, timeout=_SECONDS))
