"""Between plain values of promises and clocks, and the columns that keep them."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import Any, Protocol

import orjson

from services.tickets.calendars import Calendar
from services.tickets.sla import Breach, Clocks, Phase, Step
from services.tickets.targets import SlaSettings, TagTargets, Targets


class Row(Protocol):
    """A row of either driver: its values by the names of the columns."""

    def __getitem__(self, column: str, /) -> Any:
        """Return the value of a column."""


def clock_columns(clocks: Clocks) -> dict[str, Any]:
    """Return what a ticket's columns hold of its clocks."""
    return {
        "first_response_due": clocks.first_response_due,
        "next_response_due": clocks.next_response_due,
        "resolution_due": clocks.resolution_due,
        "due_time": clocks.due_time,
        "breached": list(clocks.breached),
        "breached_count": len(clocks.breached),
        "clock_revision": clocks.revision,
        "clocks": {
            "steps": [[step.moment.isoformat(), step.phase.value] for step in clocks.steps],
            "answered": _text(clocks.answered),
            "judged": _text(clocks.judged),
            "warned": [[clock, since.isoformat()] for clock, since in clocks.warned],
            "breaches": [[one.clock, one.since.isoformat(), one.due.isoformat()] for one in clocks.breaches],
            "alarm": _text(clocks.alarm),
        },
    }


def clocks_of(row: Row) -> Clocks:
    """Return the clocks of a ticket's row."""
    kept: dict[str, Any] = _json(row["clocks"])
    if not kept:
        return Clocks()
    return Clocks(
        steps=tuple(Step(datetime.fromisoformat(moment), Phase(phase)) for moment, phase in kept["steps"]),
        answered=_moment(kept["answered"]),
        judged=_moment(kept["judged"]),
        first_response_due=row["first_response_due"],
        next_response_due=row["next_response_due"],
        resolution_due=row["resolution_due"],
        warned=tuple((clock, datetime.fromisoformat(since)) for clock, since in kept["warned"]),
        breaches=tuple(
            Breach(clock, datetime.fromisoformat(since), datetime.fromisoformat(due))
            for clock, since, due in kept["breaches"]
        ),
        alarm=_moment(kept["alarm"]),
        revision=row["clock_revision"],
    )


def settings_columns(settings: SlaSettings) -> dict[str, Any]:
    """Return what a row of settings holds of them."""
    calendar = settings.calendar
    return {
        "revision": settings.revision,
        "calendar": {
            "time_zone": calendar.time_zone,
            "week": calendar.week,
            "country": calendar.country,
            "subdivision": calendar.subdivision,
            "closed_days": [day.isoformat() for day in calendar.closed_days],
        },
        "priorities": {priority: asdict(targets) for priority, targets in settings.priorities.items()},
        "tags": [{"tag": rule.tag, **asdict(rule.targets)} for rule in settings.tags],
        "update_time": settings.update_time,
        "principal": settings.principal,
    }


def settings_of(row: Row) -> SlaSettings:
    """Return the settings of a row."""
    calendar, tags = _json(row["calendar"]), _json(row["tags"])
    return SlaSettings(
        calendar=calendar_of(calendar),
        priorities={priority: Targets(**hours) for priority, hours in _json(row["priorities"]).items()},
        tags=tuple(TagTargets(rule.pop("tag"), Targets(**rule)) for rule in tags),
        revision=row["revision"],
        update_time=row["update_time"],
        principal=row["principal"],
    )


def calendar_of(kept: Mapping[str, Any]) -> Calendar:
    """Return a calendar that was checked before it was kept."""
    return Calendar(
        kept["time_zone"],
        tuple(tuple((opens, closes) for opens, closes in day) for day in kept["week"]),
        kept["country"],
        kept["subdivision"],
        tuple(date.fromisoformat(day) for day in kept["closed_days"]),
    )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text_of: str | None) -> datetime | None:
    return None if text_of is None else datetime.fromisoformat(text_of)


def _json(value: Any) -> Any:
    """Return a JSON column's value; the raw driver gives it as text."""
    return orjson.loads(value) if isinstance(value, str) else value
