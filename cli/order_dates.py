"""Times in order files, in three orders of day, month and year; what can be read in two ways is not guessed."""

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Literal

Order = Literal["", "dmy", "mdy", "ymd"]
"""How days are written: day, month, year in some order; "" accepts what can be read in one way only."""

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ].*)?", re.ASCII)
_WRITTEN = re.compile(
    r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})"
    r"(?:[T ,]+(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\s*([AaPp])\.?[Mm]\.?)?)?"
    r"(?:\s*(Z|[+-]\d{2}:?\d{2}))?",
    re.ASCII,
)
_YEAR_DIGITS = 4
_YEAR_2200 = 7_258_118_400
"""When that year begins, in seconds since 1970: later times are refused, as are those before 1970."""
_MONTHS = 12
_NOON = 12


@lru_cache(maxsize=65_536)
def moment(text: str, order: Order) -> tuple[int, int]:
    """Return a time as seconds since 1970 and nanoseconds; one without an offset counts as UTC.

    Raises:
        ValueError: it is no time, or may be two; the text says which.
    """
    found = _iso(text) or _written(text, order)
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    seconds = int(found.replace(microsecond=0).timestamp())
    if not 0 <= seconds < _YEAR_2200:
        raise ValueError("is not between the years 1970 and 2199")
    return seconds, found.microsecond * 1000


def _iso(text: str) -> datetime | None:
    if not _ISO.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("is not a time like 2026-01-31T12:00:00Z") from error


def _written(text: str, order: Order) -> datetime:
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise ValueError("is not a time like 2026-01-31T12:00:00Z or 31/01/2026 12:00")
    first, _, second, third, hour, minute, second_of, half, offset = match.groups()
    year, month, day = _day(first, second, third, order)
    try:
        return datetime(
            year,
            month,
            day,
            _hour(hour, half),
            int(minute or 0),
            int(second_of or 0),
            tzinfo=_zone(offset),
        )
    except ValueError as error:
        raise ValueError("is no time of the calendar") from error


def _day(first: str, second: str, third: str, order: Order) -> tuple[int, int, int]:
    """Return year, month and day."""
    if len(first) == _YEAR_DIGITS and len(third) < _YEAR_DIGITS - 1:
        return int(first), int(second), int(third)
    if len(third) != _YEAR_DIGITS or len(first) >= _YEAR_DIGITS - 1:
        raise ValueError("has no year of four digits")
    one, other, year = int(first), int(second), int(third)
    if order == "ymd":
        raise ValueError("does not begin with the year, as --dates ymd says")
    if order == "dmy":
        return year, other, one
    if order == "mdy":
        return year, one, other
    if one == other or other > _MONTHS:
        return year, one, other
    if one > _MONTHS:
        return year, other, one
    raise ValueError("may be two days: say how days are written, --dates dmy or --dates mdy")


def _hour(text: str | None, half: str | None) -> int:
    hour = int(text or 0)
    if half is None:
        return hour
    if not 1 <= hour <= _NOON:
        raise ValueError("no hour of half a day")
    return hour % _NOON + (_NOON if half in "Pp" else 0)


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text == "Z":
        return UTC
    span = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-span if text[0] == "-" else span)
