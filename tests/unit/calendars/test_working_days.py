"""Working days: the vendored years against two packages, the counting rule, and what is refused."""

from __future__ import annotations

import copy
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import chinese_calendar
import holidays
import pytest
from hypothesis import given
from hypothesis import strategies as st

import guqiao_sdk.working_days as module
from guqiao_sdk.working_days import (
    WORKING_DAYS_MAX,
    CalendarYearUnknownError,
    WorkingDays,
    Year,
    day_of,
    published,
)
from tests.calendars.table import NOTICES, text

CALENDAR = published()
FIRST, LAST = date(2018, 1, 1), date(2026, 12, 31)
DAYS = st.dates(FIRST, LAST)
TWENTY = [
    ("2025-01-13", "2025-02-14", "2025-02-15"),
    ("2025-09-15", "2025-10-17", "2025-10-18"),
    ("2026-01-26", "2026-02-28", "2026-03-01"),
    ("2026-09-15", "2026-10-19", "2026-10-20"),
    ("2026-11-22", "2026-12-18", "2026-12-19"),
    ("2026-12-03", "2026-12-31", "2027-01-01"),
]


def test_the_vendored_years_are_what_the_package_gives() -> None:
    kept = Path(module.__file__).with_name("years.json")
    assert kept.read_text(encoding="utf-8") == text()
    assert sorted(CALENDAR.years) == sorted(NOTICES)


def test_every_day_is_what_two_packages_say() -> None:
    other = holidays.country_holidays("CN", years=range(FIRST.year, LAST.year + 1))
    day = FIRST
    while day <= LAST:
        said = CALENDAR.is_working_day(day)
        assert said == chinese_calendar.is_workday(day) == other.is_working_day(day), day
        day += timedelta(days=1)


@pytest.mark.req("G2-14-3")
@pytest.mark.parametrize(("notice", "last", "earliest"), TWENTY)
def test_twenty_working_days_have_passed_whole(notice: str, last: str, earliest: str) -> None:
    deadline = CALENDAR.after(date.fromisoformat(notice), 20)
    assert (deadline.last.isoformat(), deadline.earliest.isoformat()) == (last, earliest)


@pytest.mark.req("G2-14-3")
def test_a_count_that_needs_an_unknown_year_is_refused_and_never_guessed() -> None:
    for noticed, year in ((date(2026, 12, 4), 2027), (date(2017, 12, 30), 2017)):
        with pytest.raises(CalendarYearUnknownError) as caught:
            CALENDAR.after(noticed, 20)
        assert (caught.value.year, caught.value.code) == (year, "CALENDAR_YEAR_UNKNOWN")
    # The day of the notice itself is not looked at.
    assert CALENDAR.after(date(2017, 12, 31), 1).last == date(2018, 1, 2)
    with pytest.raises(CalendarYearUnknownError):
        CALENDAR.is_working_day(date(2027, 1, 4))
    with pytest.raises(CalendarYearUnknownError):
        list(CALENDAR.in_year(2027))


@given(DAYS, st.integers(1, 250))
def test_a_deadline_holds_exactly_so_many_working_days(noticed: date, count: int) -> None:
    try:
        deadline = CALENDAR.after(noticed, count)
    except CalendarYearUnknownError:
        assert noticed + timedelta(days=count) >= date(2026, 1, 1)
        return
    worked = []
    day = noticed + timedelta(days=1)
    while day <= deadline.last:
        if chinese_calendar.is_workday(day):
            worked.append(day)
        day += timedelta(days=1)
    assert len(worked) == count
    assert worked[-1] == deadline.last == deadline.earliest - timedelta(days=1)


@pytest.mark.parametrize("count", [0, -1, WORKING_DAYS_MAX + 1])
def test_a_count_is_bounded(count: int) -> None:
    with pytest.raises(ValueError, match="working days"):
        CALENDAR.after(FIRST, count)


def test_a_moment_belongs_to_the_day_in_china() -> None:
    late = datetime(2025, 9, 14, 16, 0, tzinfo=UTC)
    assert day_of(late) == date(2025, 9, 15)
    assert day_of(late - timedelta(seconds=1)) == date(2025, 9, 14)
    with pytest.raises(ValueError, match="offset"):
        day_of(datetime.fromisoformat("2025-09-15T00:00:00"))


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("notices", []),
        ("notices", [""]),
        ("notices", [1]),
        ("notices", "国办"),
        ("notices", ["x" * 65]),
        ("off", None),
        ("off", ["2026-02-14"]),
        ("off", ["2025-01-01"]),
        ("off", ["2026-01-02", "2026-01-01"]),
        ("off", ["2026-01-01", "2026-01-01"]),
        ("off", ["20260101"]),
        ("off", ["2026-13-01"]),
        ("off", [20260101]),
        ("off", ["2026-W01-4"]),
        ("worked", ["2026-02-13"]),
        ("worked", {}),
        ("more", []),
    ],
)
def test_a_year_of_another_form_is_refused(member: str, value: Any) -> None:
    year: dict[str, Any] = copy.deepcopy(CALENDAR.years[2026].to_json())
    assert Year.from_json(2026, year) == CALENDAR.years[2026]
    with pytest.raises(ValueError, match=r"."):
        Year.from_json(2026, year | {member: value})


def test_other_years_make_another_calendar() -> None:
    year = Year(("a",), frozenset({date(2030, 1, 1)}), frozenset({date(2030, 1, 5)}))
    calendar = WorkingDays({2030: year})
    days = list(calendar.in_year(2030))
    assert date(2030, 1, 1) not in days
    assert date(2030, 1, 5) in days
    assert days == sorted(days)
    assert calendar.after(date(2030, 1, 1), 4).last == date(2030, 1, 5)
