"""How a sender names a deadline: a block of the destination, a moment, a span, or working days.

Working days are those of the chain's own calendar (contract `calendar`); a year that it does not
know is CALENDAR_YEAR_UNKNOWN, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Deadline
from guqiao_sdk.working_days import CHINA, WORKING_DAYS_MAX, CalendarYearUnknownError
from services.consensus.domain.contracts.calendar import block_day, working_days
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.light_client import known_height
from services.consensus.domain.contracts.packets_host import NUMBER_BOUND, SystemHost, natural

FIELD: Final = "deadline"
TIMES: Final = ("within_ms", "time_ms", "working_days")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def read_deadline(host: SystemHost, value: Json, destination: str) -> Deadline:
    """The deadline that an object of `height` and one of `TIMES`, or of either, stands for.

    `height` is one that this chain does not know `destination` to have; `time_ms` a block time of
    it; `within_ms` counts from this
    block's time; `working_days` ends with the last moment of that working day in China, of which
    today is none.
    """
    if not isinstance(value, dict) or not value:
        raise Refusal("BODY_MALFORMED", field=FIELD, fault="not an object that names a deadline")
    times = [name for name in TIMES if name in value]
    if len(times) > 1 or value.keys() - {"height", *times}:
        fault = f"not height and one of {', '.join(TIMES)}"
        raise Refusal("BODY_MALFORMED", field=FIELD, fault=fault)
    height = natural(value["height"], f"{FIELD}.height") if "height" in value else 0
    if height and height <= known_height(host, destination):
        raise Refusal("BODY_MALFORMED", field=f"{FIELD}.height", fault="not in the future")
    return Deadline(height, _time_ms(host, value, times[0]) if times else 0)


def _time_ms(host: SystemHost, value: Mapping[str, Json], name: str) -> int:
    number = natural(value[name], f"{FIELD}.{name}")
    match name:
        case "working_days":
            time_ms = _end_of_working_days(host, number)
        case "within_ms":
            time_ms = host.block_time_ms() + number
        case _:
            time_ms = number
    if not host.block_time_ms() < time_ms < NUMBER_BOUND:
        raise Refusal("BODY_MALFORMED", field=f"{FIELD}.{name}", fault="not in the future")
    return time_ms


def _end_of_working_days(host: SystemHost, number: int) -> int:
    if number > WORKING_DAYS_MAX:
        fault = f"not 1 to {WORKING_DAYS_MAX} working days"
        raise Refusal("BODY_MALFORMED", field=f"{FIELD}.working_days", fault=fault)
    try:
        last = working_days(host).after(block_day(host), number).last
    except CalendarYearUnknownError as error:
        raise Refusal(error.code, year=error.year) from error
    return last_moment_ms(last)


def last_moment_ms(day: date) -> int:
    """The last millisecond of a day in China, since 1970-01-01T00:00:00Z."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=CHINA) + timedelta(days=1)
    return (midnight - _EPOCH) // timedelta(milliseconds=1) - 1
