"""Working hours: laws that hold for every calendar, nights when clocks change, holidays, and impossible calendars."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.tickets.calendars import ALWAYS, DAY, OFFICE, Calendar, Span, calendar
from services.tickets.errors import CalendarInvalidError, TimeZoneUnknownError

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE_IN_BERLIN = calendar("Europe/Berlin", OFFICE, country="DE", subdivision="BY")

zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])
edges = st.lists(st.integers(0, DAY), min_size=2, max_size=6, unique=True).map(sorted)
days = st.one_of(
    st.just(()),
    st.just(((0, DAY),)),
    edges.map(lambda minutes: tuple(zip(minutes[::2], minutes[1::2], strict=False))),
)
closures = st.lists(st.dates(date(2024, 1, 1), date(2027, 12, 31)), max_size=5)


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    """Draw a calendar of any zone, hours and holidays that works on Wednesdays at least."""
    week: list[tuple[Span, ...]] = [draw(days) for _ in range(7)]
    week[2] = ((8 * 60, 12 * 60), (13 * 60, 18 * 60))
    country = draw(st.sampled_from(["", "DE", "US"]))
    return calendar(draw(zones), week, country=country, closed_days=draw(closures))


moments = st.datetimes(datetime(2023, 12, 1), datetime(2028, 1, 31), timezones=st.just(UTC))  # noqa: DTZ001 - given one


@given(calendars(), moments, moments)
@settings(deadline=None)
def test_hours_never_fall_and_never_outrun_time(of: Calendar, one: datetime, other: datetime) -> None:
    """A later moment has as many hours of work behind it or more, and at most as many more as time passed."""
    earlier, later = sorted((one, other))
    worked = of.hours_at(later) - of.hours_at(earlier)
    assert -1e-9 <= worked <= (later - earlier).total_seconds() / 3600 + 1e-6


@given(calendars(), moments, st.floats(0, 500))
@settings(deadline=None)
def test_the_moment_after_some_hours_is_when_they_have_passed(of: Calendar, start: datetime, hours: float) -> None:
    """From the start to the moment that is answered lies exactly the work that was asked for."""
    due = of.moment_after(start, hours)
    assert due >= start
    assert of.hours_at(due) - of.hours_at(start) == pytest.approx(hours, abs=1e-6)


@given(calendars(), moments, st.floats(0.01, 500))
@settings(deadline=None)
def test_the_moment_after_some_hours_is_the_first_one(of: Calendar, start: datetime, hours: float) -> None:
    """A second earlier the work has not been done yet."""
    due = of.moment_after(start, hours)
    assert of.hours_at(due - timedelta(seconds=1)) < of.hours_at(start) + hours - 1e-6


@given(calendars(), moments)
@settings(deadline=None)
def test_work_is_counted_exactly_while_the_shop_is_open(of: Calendar, moment: datetime) -> None:
    """A minute counts in full when the shop is open through it, and not at all when it is closed."""
    minute = moment.replace(second=0, microsecond=0)
    worked = of.hours_at(minute + timedelta(minutes=1)) - of.hours_at(minute)
    assert worked * 60 == pytest.approx(1.0 if of.is_open(minute) else 0.0, abs=1e-4)


def test_an_always_open_shop_counts_plain_hours() -> None:
    """Without a calendar of its own a shop's hours are those of the clock."""
    start = datetime(2026, 11, 1, 3, 30, tzinfo=UTC)
    assert Calendar().moment_after(start, 36) - start == timedelta(hours=36)
    assert Calendar().hours_at(start + timedelta(hours=36)) - Calendar().hours_at(start) == 36
    assert calendar("Europe/Berlin", ALWAYS).always_open


def test_what_is_due_after_closing_waits_for_the_next_day_of_work() -> None:
    """Four hours from Friday at 15:00 end on Monday at 11:00, and two end on Friday in the evening."""
    friday = datetime(2026, 11, 20, 15, tzinfo=BERLIN)
    assert OFFICE_IN_BERLIN.moment_after(friday, 4) == datetime(2026, 11, 23, 11, tzinfo=BERLIN)
    assert OFFICE_IN_BERLIN.moment_after(friday, 2) == datetime(2026, 11, 20, 17, tzinfo=BERLIN)


def test_a_holiday_of_the_country_is_no_work() -> None:
    """Christmas and Epiphany are skipped in Bavaria; Epiphany is work in Berlin."""
    before = datetime(2026, 12, 24, 16, tzinfo=BERLIN)
    assert OFFICE_IN_BERLIN.moment_after(before, 2) == datetime(2026, 12, 28, 10, tzinfo=BERLIN)
    epiphany = datetime(2026, 1, 6, 12, tzinfo=BERLIN)
    assert not OFFICE_IN_BERLIN.is_open(epiphany)
    assert calendar("Europe/Berlin", OFFICE, country="DE", subdivision="BE").is_open(epiphany)


def test_a_day_that_the_shop_closes_is_no_work() -> None:
    """A closed day of the shop's own counts like a holiday."""
    inventory = calendar("Europe/Berlin", OFFICE, closed_days=[date(2026, 11, 23)])
    friday = datetime(2026, 11, 20, 16, tzinfo=BERLIN)
    assert inventory.moment_after(friday, 2) == datetime(2026, 11, 24, 10, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("night", "hours"),
    [(date(2026, 3, 29), 5.0), (date(2026, 10, 25), 7.0), (date(2026, 11, 15), 6.0)],
    ids=["clocks go forward", "clocks go back", "an ordinary night"],
)
def test_a_night_shift_has_the_hours_that_really_pass(night: date, hours: float) -> None:
    """Who works from midnight to six works five hours when clocks go forward, and seven when they go back."""
    shift = calendar("Europe/Berlin", (((0, 6 * 60),),) * 7)
    evening = datetime.combine(night, datetime.min.time(), BERLIN) - timedelta(hours=2)
    morning = datetime.combine(night, datetime.min.time(), BERLIN).replace(hour=12)
    assert shift.hours_at(morning) - shift.hours_at(evening) == pytest.approx(hours)


def test_an_opening_that_the_clock_jumps_over_is_the_jump() -> None:
    """Who opens at 2:30 opens when the clock jumps from two to three, and never closes before opening."""
    early = calendar("Europe/Berlin", (((150, 170), (180, 240)),) * 7)
    midnight = datetime(2026, 3, 29, tzinfo=BERLIN)
    assert early.moment_after(midnight, 0.5) == datetime(2026, 3, 29, 3, 30, tzinfo=BERLIN)


def test_a_day_that_a_country_leaves_out_has_no_work() -> None:
    """Samoa had no 30 December 2011."""
    samoa = calendar("Pacific/Apia", OFFICE)
    zone = ZoneInfo("Pacific/Apia")
    before, after = datetime(2011, 12, 29, 17, tzinfo=zone), datetime(2012, 1, 2, 9, tzinfo=zone)
    assert samoa.hours_at(after) == samoa.hours_at(before)


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_ancient_and_far_moments_have_an_answer(moment: datetime) -> None:
    """The counting stops at the ends of what is known instead of failing."""
    assert abs(OFFICE_IN_BERLIN.hours_at(moment)) < 75 * 366 * 8
    assert OFFICE_IN_BERLIN.moment_after(datetime(2026, 1, 1, tzinfo=UTC), 1e9).year >= 2099


@pytest.mark.parametrize("zone", ["", "Europe/Atlantis", "../etc", "Europe", "\x00", "utc+3", "localtime", "Factory"])
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    """Only names of the IANA database are time zones."""
    with pytest.raises(TimeZoneUnknownError):
        calendar(zone, OFFICE)


@pytest.mark.parametrize(
    "spans",
    [((540, 540),), ((600, 540),), ((-1, 60),), ((0, 1441),), ((540, 700), (600, 800)), ((0, 1), (2, 3)) * 3],
    ids=["nothing", "backwards", "too early", "too late", "overlapping", "too many"],
)
def test_impossible_hours_are_refused(spans: tuple[Span, ...]) -> None:
    """Each impossible day names what is wrong with it."""
    with pytest.raises(CalendarInvalidError):
        calendar("UTC", (spans, *OFFICE[1:]))


def test_a_calendar_without_work_is_refused() -> None:
    """Nothing would ever be due in a shop that never opens."""
    for week in (((),) * 7, (((0, 59),), *((),) * 6), OFFICE[:6]):
        with pytest.raises(CalendarInvalidError):
            calendar("UTC", week)


@pytest.mark.parametrize(("country", "subdivision"), [("XX", ""), ("DE", "XX"), ("", "BY"), ("Germany", "")])
def test_unknown_holidays_are_refused(country: str, subdivision: str) -> None:
    """A country or a part of one is named only when its holidays are known."""
    with pytest.raises(CalendarInvalidError):
        calendar("UTC", OFFICE, country=country, subdivision=subdivision)


def test_hours_that_touch_are_one_span() -> None:
    """Two calendars that mean the same are the same."""
    split = (((540, 600), (600, 1020)),) * 5 + ((),) * 2
    assert calendar("UTC", split) == calendar("UTC", OFFICE)
