"""Working hours: when a shop answers, in its own time zone, with the holidays of its country.

A calendar counts hours of work. `hours_at` says how many there were since the beginning of 2025, `moment_after` when a
number of them will have passed. Both count true time: the night when clocks go forward is an hour shorter for who works
then. Opening and closing are the first moment at which the wall clock shows that time or later.

Years are computed when they are first asked for (about 2 ms) and kept; after that an answer takes a microsecond or two.
From 1970 to the end of 2099 everything is counted; no work is known before or after.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import holidays

from services.tickets.errors import CalendarInvalidError, TimeZoneUnknownError

DAY = 24 * 60
"""Minutes of a day; the closing time of who works until midnight."""
EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
FIRST_YEAR, LAST_YEAR = 1970, 2099
MAX_SPANS = 4
"""How many times a day the shop may open."""
MAX_CLOSED_DAYS = 366
LEAST_MINUTES = 60
"""The least that a shop works in a week."""

Span = tuple[int, int]
"""Opening and closing, in minutes since midnight."""
Week = tuple[tuple[Span, ...], ...]
"""The spans of each day, Monday first."""

ALWAYS: Week = (((0, DAY),),) * 7
OFFICE: Week = (((9 * 60, 17 * 60),),) * 5 + ((),) * 2


class _Year(NamedTuple):
    """The opening times of a year: its first second, the spans' seconds, and how much work lies before each of them."""

    begins: float
    opens: "array[float]"
    closes: "array[float]"
    before: "array[float]"
    total: float


@dataclass(frozen=True, slots=True)
class Calendar:
    """A shop's working hours.

    Attributes:
        time_zone: an IANA name, such as Europe/Berlin.
        week: when it works on each day of the week.
        country: whose public holidays are no work, as ISO 3166 (DE); empty for none.
        subdivision: the part of the country, as the second half of ISO 3166-2 (BY); empty for what all parts have.
        closed_days: further days on which nobody works.
    """

    time_zone: str = "UTC"
    week: Week = ALWAYS
    country: str = ""
    subdivision: str = ""
    closed_days: tuple[date, ...] = ()
    _years: dict[int, tuple[_Year, float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def always_open(self) -> bool:
        """Tell whether every hour is one of work."""
        return self.week == ALWAYS and not self.country and not self.closed_days

    def hours_at(self, moment: datetime) -> float:
        """Return how many hours of work there were since the beginning of 2025; negative before. It never falls."""
        if self.always_open:
            return (moment - EPOCH).total_seconds() / 3600
        return self._seconds_at(moment.timestamp()) / 3600

    def moment_after(self, start: datetime, hours: float) -> datetime:
        """Return the first moment by which this many hours of work have passed since `start`.

        What is due with the last minute of a day is due in the evening, not the next morning. Who asks for more than
        there is gets the end of 2099.

        Raises:
            ValueError: the number of hours is negative.
        """
        if not hours >= 0:
            raise ValueError("hours must not be negative")
        if self.always_open or hours == 0:
            return start + timedelta(hours=hours)
        wanted = self._seconds_at(start.timestamp()) + hours * 3600
        for number in range(min(max(start.year - 1, FIRST_YEAR), LAST_YEAR), LAST_YEAR + 1):
            year, base = self._year(number)
            if wanted <= base + year.total:
                place = max(0, bisect_left(year.before, wanted - base) - 1)
                seconds = year.opens[place] + (wanted - base - year.before[place])
                return max(start, datetime.fromtimestamp(seconds, UTC).astimezone(start.tzinfo))
        return max(start, datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC))

    def is_open(self, moment: datetime) -> bool:
        """Tell whether somebody works at this moment."""
        if self.always_open:
            return True
        seconds = moment.timestamp()
        year, _ = self._year_of(seconds)
        place = bisect_right(year.opens, seconds) - 1
        return place >= 0 and seconds < year.closes[place]

    def _seconds_at(self, seconds: float) -> float:
        year, base = self._year_of(seconds)
        place = bisect_right(year.opens, seconds) - 1
        if place < 0:
            return base
        return base + year.before[place] + min(seconds, year.closes[place]) - year.opens[place]

    def _year_of(self, seconds: float) -> tuple[_Year, float]:
        """Return the year that a moment belongs to by this shop's clocks, and the work before that year."""
        number = min(max(1970 + int(seconds // 31_556_952), FIRST_YEAR), LAST_YEAR)
        while number > FIRST_YEAR and seconds < self._year(number)[0].begins:
            number -= 1
        while number < LAST_YEAR and seconds >= self._year(number + 1)[0].begins:
            number += 1
        return self._year(number)

    def _year(self, number: int) -> tuple[_Year, float]:
        if number not in self._years:
            self._years[number] = (_year(self, number), _base(self, number))
        return self._years[number]


def calendar(
    time_zone: str,
    week: Sequence[Sequence[Span]],
    *,
    country: str = "",
    subdivision: str = "",
    closed_days: Sequence[date] = (),
) -> Calendar:
    """Return a calendar of what somebody asks for.

    Raises:
        TimeZoneUnknownError: there is no such time zone.
        CalendarInvalidError: the hours, the country or the closed days are impossible.
    """
    if time_zone not in _time_zones():
        raise TimeZoneUnknownError(time_zone)
    if len(week) != 7:  # noqa: PLR2004 - the days of a week
        raise CalendarInvalidError("week", "names the hours of seven days, Monday first")
    days = tuple(_day(spans) for spans in week)
    if sum(closes - opens for spans in days for opens, closes in spans) < LEAST_MINUTES:
        raise CalendarInvalidError("week", f"has at least {LEAST_MINUTES} minutes of work")
    if len(closed_days) > MAX_CLOSED_DAYS:
        raise CalendarInvalidError("closed_days", f"are at most {MAX_CLOSED_DAYS}")
    _check_country(country, subdivision)
    return Calendar(time_zone, days, country, subdivision, tuple(sorted(set(closed_days))))


def _day(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return the spans of a day in their order, those that touch as one."""
    if len(spans) > MAX_SPANS:
        raise CalendarInvalidError("week", f"opens at most {MAX_SPANS} times a day")
    joined: list[Span] = []
    for opens, closes in sorted(spans):
        if not 0 <= opens < closes <= DAY:
            raise CalendarInvalidError("week", "opens before it closes, between 00:00 and 24:00")
        if joined and opens < joined[-1][1]:
            raise CalendarInvalidError("week", "has hours that overlap")
        if joined and opens == joined[-1][1]:
            joined[-1] = (joined[-1][0], closes)
        else:
            joined.append((opens, closes))
    return tuple(joined)


def _check_country(country: str, subdivision: str) -> None:
    if not country:
        if subdivision:
            raise CalendarInvalidError("subdivision", "needs a country")
        return
    known = holidays.list_supported_countries(include_aliases=False)
    if country not in known:
        raise CalendarInvalidError("country", "is none whose holidays are known")
    if subdivision and subdivision not in known[country]:
        raise CalendarInvalidError("subdivision", "is no part of the country whose holidays are known")


@cache
def _time_zones() -> frozenset[str]:
    # What these mean, each machine says for itself.
    return frozenset(available_timezones()) - {"Factory", "localtime"}


@lru_cache(maxsize=512)
def _year(of: Calendar, number: int) -> _Year:
    zone = ZoneInfo(of.time_zone)
    closed = set(of.closed_days)
    if of.country:
        closed |= holidays.country_holidays(of.country, subdiv=of.subdivision or None, years=number).keys()
    opens, closes, before, total = array("d"), array("d"), array("d"), 0.0
    day = date(number, 1, 1)
    while day.year == number:
        for since, until in () if day in closed else of.week[day.weekday()]:
            first, last = _first_moment(zone, day, since), _first_moment(zone, day, until)
            if first < last:
                opens.append(first)
                closes.append(last)
                before.append(total)
                total += last - first
        day += timedelta(days=1)
    return _Year(_first_moment(zone, date(number, 1, 1), 0), opens, closes, before, total)


def _base(of: Calendar, number: int) -> float:
    """Return the seconds of work between the beginnings of 2025 and of another year."""
    if number >= EPOCH.year:
        return sum(_year(of, earlier).total for earlier in range(EPOCH.year, number))
    return -sum(_year(of, later).total for later in range(number, EPOCH.year))


def _first_moment(zone: ZoneInfo, day: date, minute: int) -> float:
    """Return the first moment, in seconds since 1970, at which the wall clock shows this time of this day or later."""
    wall = datetime.combine(day, datetime.min.time()) + timedelta(minutes=minute)
    earlier = wall.replace(tzinfo=zone, fold=0).timestamp()
    if datetime.fromtimestamp(earlier, zone).replace(tzinfo=None) == wall:
        return earlier
    # The clock jumps over this time: the moment of the jump is what counts, and it lies between the two readings.
    low, high = wall.replace(tzinfo=zone, fold=1).timestamp() - 1, earlier
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).replace(tzinfo=None) >= wall:
            high = middle
        else:
            low = middle
    return high
