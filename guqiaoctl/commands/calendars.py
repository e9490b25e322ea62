"""`guqiao calendar`: counts by the years that this release knows, without a network."""

from __future__ import annotations

from datetime import date, datetime

from guqiao_sdk.rules import messages
from guqiao_sdk.working_days import (
    WORKING_DAYS_MAX,
    CalendarYearUnknownError,
    day_of,
    published,
)
from guqiaoctl.failures import EXIT_CONFLICT, EXIT_USAGE, CliError
from guqiaoctl.output import print_json, print_table, shown


def earliest_cutover(notice: str, working_days: int, *, as_json: bool) -> None:
    """Print the last day that is counted and the first day after it."""
    noticed = _moment(notice)
    if not 1 <= working_days <= WORKING_DAYS_MAX:
        raise _wrong(
            f"--working-days {working_days} is not from 1 to {WORKING_DAYS_MAX}",
            f"--working-days {working_days} 不在 1 至 {WORKING_DAYS_MAX} 之间",
        )
    try:
        deadline = published().after(day_of(noticed), working_days)
    except CalendarYearUnknownError as error:
        raise _unknown(error.year) from None
    last, earliest = deadline.last.isoformat(), deadline.earliest.isoformat()
    if as_json:
        print_json({"nth_working_day": last, "earliest_cutover": earliest})
        return
    print_table(
        ("NOTICE", "NOTICE DAY", "WORKING DAYS", "LAST WORKING DAY", "EARLIEST CUTOVER"),
        [[noticed.isoformat(), deadline.noticed.isoformat(), deadline.count, last, earliest]],
    )


def show(year: int, *, as_json: bool) -> None:
    """Print the notices of a year, its weekdays off and its worked weekends."""
    calendar = published()
    found = calendar.years.get(year)
    if found is None:
        raise _unknown(year)
    count = sum(1 for _ in calendar.in_year(year))
    if as_json:
        print_json({"year": year, **found.to_json(), "working_days": count})
        return
    print_table(
        ("DAY", "IS"),
        [
            *((day.isoformat(), "off 休") for day in sorted(found.off)),
            *((day.isoformat(), "worked 班") for day in sorted(found.worked)),
        ],
    )
    print(f"{year}: {count}  {'、'.join(found.notices)}")


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    is_whole = found is not None and found.tzinfo is not None and "T" in text
    if found is None or not is_whole or not date(1992, 1, 1) <= found.date() <= date(9000, 1, 1):
        raise _wrong(
            f"--notice {shown(text[:64])} is no moment like 2025-09-15T10:00:00+08:00",
            f"--notice {shown(text[:64])} 不是 2025-09-15T10:00:00+08:00 这样的时间",
        )
    return found


def _unknown(year: int) -> CliError:
    texts = messages("CALENDAR_YEAR_UNKNOWN", year=year)
    return CliError(
        "CALENDAR_YEAR_UNKNOWN",
        f"{year}: {texts.en}",
        f"{year}：{texts.zh}",
        texts.remedy_en,
        texts.remedy_zh,
        exit_code=EXIT_CONFLICT,
    )


def _wrong(english: str, chinese: str) -> CliError:
    return CliError(
        "REQUEST_MALFORMED",
        english,
        chinese,
        "see `guqiao calendar earliest-cutover --help`",
        "请查看 `guqiao calendar earliest-cutover --help`",
        exit_code=EXIT_USAGE,
    )
