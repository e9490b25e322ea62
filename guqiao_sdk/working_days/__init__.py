"""Working days of the People's Republic of China, as the State Council's notices name them.

A year is known by its notice: which weekdays are off, and which days of a weekend are worked. It
is published in the autumn before. A count that needs a year without one is refused
(`CALENDAR_YEAR_UNKNOWN`), never guessed (G2-14-3, requirements section 7). `years.json` holds the
years that this release knows; a chain has its own, in the same form.

Days of trading are another calendar: worked weekends have no session.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import cache
from importlib import resources
from typing import Final

from guqiao_sdk.proof.json_values import Json

CHINA: Final = timezone(timedelta(hours=8))
"""Asia/Shanghai has had no other offset since 1991; notices count by its days."""
WORKING_DAYS_MAX: Final = 1_000
SATURDAY: Final = 5
_DAY: Final = timedelta(days=1)


class CalendarYearUnknownError(LookupError):
    """A count came to a year whose notice is not known. `year` is that year."""

    code: Final = "CALENDAR_YEAR_UNKNOWN"

    def __init__(self, year: int) -> None:
        super().__init__(f"no notice of the State Council on {year} is known")
        self.year = year


@dataclass(frozen=True, slots=True)
class Year:
    """One year by its `notices` (their numbers): weekdays that are `off`, weekends `worked`."""

    notices: tuple[str, ...]
    off: frozenset[date]
    worked: frozenset[date]

    def to_json(self) -> dict[str, Json]:
        """As the table and the chain keep it; days as YYYY-MM-DD, ascending."""
        return {
            "notices": [*self.notices],
            "off": [each.isoformat() for each in sorted(self.off)],
            "worked": [each.isoformat() for each in sorted(self.worked)],
        }

    @staticmethod
    def from_json(year: int, value: Json) -> Year:
        """Read what `to_json` gave; raises `ValueError` with what is wrong: days of another year,
        weekdays among the worked ones, weekends among those off, days out of order or twice.
        """
        if not isinstance(value, dict) or set(value) != {"notices", "off", "worked"}:
            raise ValueError("not an object of notices, off, worked")
        notices = value["notices"]
        if not isinstance(notices, list) or not notices:
            raise ValueError("no notice")
        numbers = [each for each in notices if isinstance(each, str) and 1 <= len(each) <= 64]
        if numbers != notices:
            raise ValueError("a notice is not a number of 1 to 64 characters")
        off = _days(year, value["off"], weekend=False)
        return Year(tuple(numbers), off, _days(year, value["worked"], weekend=True))

    def is_working_day(self, day: date) -> bool:
        """Whether a day of this year is worked."""
        if day.weekday() >= SATURDAY:
            return day in self.worked
        return day not in self.off


@dataclass(frozen=True, slots=True)
class Deadline:
    """What `count` working days after a notice come to. `last` is the day of the last of them."""

    noticed: date
    count: int
    last: date

    @property
    def earliest(self) -> date:
        """The first day on which all of them have passed."""
        return self.last + _DAY


@dataclass(frozen=True, slots=True)
class WorkingDays:
    """A calendar of the years that it holds."""

    years: Mapping[int, Year]

    def is_working_day(self, day: date) -> bool:
        """Whether a day is worked; raises `CalendarYearUnknownError`."""
        return self._year(day).is_working_day(day)

    def after(self, noticed: date, count: int) -> Deadline:
        """Count working days from the day after `noticed`, which itself is never counted.

        Raises `CalendarYearUnknownError` where a day of an unknown year had to be looked at, and
        `ValueError` unless 1 <= count <= `WORKING_DAYS_MAX`.
        """
        if not 1 <= count <= WORKING_DAYS_MAX:
            raise ValueError(f"{count} working days are not 1 to {WORKING_DAYS_MAX}")
        day, left = noticed, count
        while left:
            day += _DAY
            left -= self.is_working_day(day)
        return Deadline(noticed, count, day)

    def in_year(self, year: int) -> Iterator[date]:
        """The working days of a year, ascending; raises `CalendarYearUnknownError`."""
        day = date(year, 1, 1)
        known = self._year(day)
        while day.year == year:
            if known.is_working_day(day):
                yield day
            day += _DAY

    def _year(self, day: date) -> Year:
        found = self.years.get(day.year)
        if found is None:
            raise CalendarYearUnknownError(day.year)
        return found


def day_of(moment: datetime) -> date:
    """The day of a moment in China; raises `ValueError` where it has no offset."""
    if moment.tzinfo is None:
        raise ValueError("a moment without an offset from UTC")
    return moment.astimezone(CHINA).date()


@cache
def published() -> WorkingDays:
    """The years that this release knows."""
    text = resources.files(__name__).joinpath("years.json").read_text(encoding="utf-8")
    found = json.loads(text)["years"]
    return WorkingDays({int(year): Year.from_json(int(year), each) for year, each in found.items()})


def _days(year: int, value: Json, *, weekend: bool) -> frozenset[date]:
    if not isinstance(value, list) or len(value) > 366:
        raise ValueError("not a list of days")
    days: list[date] = []
    for each in value:
        day = date.fromisoformat(each) if isinstance(each, str) else None
        is_further = day is not None and day.year == year and not (days and day <= days[-1])
        if day is None or not is_further or day.isoformat() != each:
            raise ValueError(f"{each!r:.40} is no further day of {year}")
        if (day.weekday() >= SATURDAY) is not weekend:
            wanted = "a weekend" if weekend else "a weekday"
            raise ValueError(f"{each} is not {wanted}")
        days.append(day)
    return frozenset(days)
