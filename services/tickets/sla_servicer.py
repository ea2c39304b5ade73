"""`rapport.tickets.v1.SlaService`: messages in, one call, messages out; decides nothing."""

from datetime import date

from rapport.tickets.v1 import sla_service_pb2, sla_service_pb2_grpc

from servicekit.timestamps import timestamp
from services.tickets import calendars
from services.tickets.calendars import Calendar, Span
from services.tickets.errors import CalendarInvalidError, SlaTargetsInvalidError
from services.tickets.service import Context, present_caller
from services.tickets.sla_desk import SlaDesk, etag_of
from services.tickets.targets import PRIORITIES, SlaSettings, TagTargets, Targets

_HOURS = ("first_response", "next_response", "resolution")


class SlaServicer(sla_service_pb2_grpc.SlaServiceServicer):
    """`rapport.tickets.v1.SlaService`."""

    def __init__(self, desk: SlaDesk) -> None:
        self._desk = desk

    async def GetSlaSettings(
        self, _request: sla_service_pb2.GetSlaSettingsRequest, _context: Context
    ) -> sla_service_pb2.SlaSettings:
        """Return the targets and the calendar."""
        return _message(await self._desk.get(present_caller()))

    async def SetSlaTargets(
        self, request: sla_service_pb2.SetSlaTargetsRequest, _context: Context
    ) -> sla_service_pb2.SlaSettings:
        """Replace all targets."""
        given = request.targets
        priorities = {one.priority: _targets(one) for one in given.priorities}
        if len(priorities) < len(given.priorities):
            raise SlaTargetsInvalidError("priorities", "name a priority twice")
        tags = [TagTargets(one.tag, _targets(one)) for one in given.tags]
        return _message(await self._desk.set_targets(present_caller(), priorities, tags, request.etag))

    async def SetCalendar(
        self, request: sla_service_pb2.SetCalendarRequest, _context: Context
    ) -> sla_service_pb2.SlaSettings:
        """Replace the calendar."""
        calendar = _calendar(request.calendar)
        return _message(await self._desk.set_calendar(present_caller(), calendar, request.etag))


def _targets(given: sla_service_pb2.PriorityTargets | sla_service_pb2.TagTargets) -> Targets:
    hours = {name: getattr(given, f"{name}_hours") for name in _HOURS if given.HasField(f"{name}_hours")}  # type: ignore[arg-type]
    return Targets(**hours)


def _calendar(given: sla_service_pb2.Calendar) -> Calendar:
    week: list[list[Span]] = [[] for _ in range(7)]
    for hours in given.hours:
        week[hours.day - 1].append((_minutes(hours.opens), _minutes(hours.closes)))
    try:
        closed = [date.fromisoformat(day) for day in given.closed_days]
    except ValueError as error:
        raise CalendarInvalidError("closed_days", "name a day that does not exist") from error
    return calendars.calendar(
        given.time_zone, week, country=given.country, subdivision=given.subdivision, closed_days=closed
    )


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return int(hours) * 60 + int(minutes)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _hours(targets: Targets) -> dict[str, float]:
    given = {f"{name}_hours": getattr(targets, name) for name in _HOURS}
    return {name: hours for name, hours in given.items() if hours is not None}


def _message(settings: SlaSettings) -> sla_service_pb2.SlaSettings:
    calendar = settings.calendar
    named = [priority for priority in PRIORITIES if priority in settings.priorities]
    return sla_service_pb2.SlaSettings(
        targets=sla_service_pb2.SlaTargets(
            priorities=[
                sla_service_pb2.PriorityTargets(priority=priority, **_hours(settings.priorities[priority]))
                for priority in named
            ],
            tags=[sla_service_pb2.TagTargets(tag=rule.tag, **_hours(rule.targets)) for rule in settings.tags],
        ),
        calendar=sla_service_pb2.Calendar(
            time_zone=calendar.time_zone,
            hours=[
                sla_service_pb2.OpeningHours(
                    day=sla_service_pb2.OpeningHours.Day.ValueType(day), opens=_clock(opens), closes=_clock(closes)
                )
                for day, spans in enumerate(calendar.week, 1)
                for opens, closes in spans
            ],
            country=calendar.country,
            subdivision=calendar.subdivision,
            closed_days=[day.isoformat() for day in calendar.closed_days],
        ),
        revision=settings.revision,
        update_time=timestamp(settings.update_time) if settings.update_time else None,
        principal=settings.principal,
        etag=etag_of(settings),
    )
