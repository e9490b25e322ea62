"""The contract `calendar`: working days by the State Council's notices, on the regulatory chain.

Deadlines that the law counts in working days are counted by it (G2-14-3). Genesis seeds it with the
years that the network was made with; the CSRC, market and technology side signing together,
publishes each further one, or changes one where a second notice does. Days that have begun stay as
they were, so nothing that was counted is counted otherwise later. From version 2 on a market's
chain has one too, which two persons of its operator extend by the same notices.

    year/<YYYY>  version, notices, days off, worked weekends
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Protocol

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.working_days import CHINA, WorkingDays, Year
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.packets_host import require_members
from services.consensus.domain.contracts.signers import require_answerable, require_csrc

NAME: Final = "calendar"
YEARS_PARAMETER: Final = "years"
"""The member of the contract's parameters in the genesis file that holds the first years."""
YEAR_FIRST, YEAR_LAST = 2000, 2199
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Reader(Protocol):
    """What of the host this needs."""

    def read(self, contract: str, key: str) -> Json | None:
        """Return what `contract` keeps under `key`."""
        ...


class Timed(Protocol):
    """What of the host the day follows from."""

    def block_time_ms(self) -> int:
        """Return the block time."""
        ...


@dataclass(frozen=True, slots=True)
class CalendarContract:
    """`calendar` v1 and v2."""

    version: int
    name: str = NAME

    def methods(self) -> Mapping[str, Method]:
        """For the CSRC; on a market's chain, from version 2 on, for its operator."""
        return {"publish": publish_by_the_csrc if self.version == 1 else publish}


def publish_by_the_csrc(host: Host, body: Mapping[str, Json]) -> None:
    """Put a year in force, or change the days of one that have not begun."""
    require_csrc(host)
    _publish(host, body)


def publish(host: Host, body: Mapping[str, Json]) -> None:
    """The same by those who answer for this chain."""
    require_answerable(host)
    _publish(host, body)


def _publish(host: Host, body: Mapping[str, Json]) -> None:
    require_members(body, "", "year notices off worked")
    number = body["year"]
    if type(number) is not int or not YEAR_FIRST <= number <= YEAR_LAST:
        fault = f"not a year from {YEAR_FIRST} to {YEAR_LAST}"
        raise Refusal("BODY_MALFORMED", field="year", fault=fault)
    try:
        year = Year.from_json(number, {name: body[name] for name in body if name != "year"})
    except ValueError as error:
        raise Refusal("BODY_MALFORMED", field="year", fault=str(error)[:200]) from error
    record = host.get(_key(number))
    version = 1
    if record is not None:
        assert isinstance(record, dict), "the contract wrote it"
        version = _require_later(host, number, record, year)
    facts: dict[str, Json] = {"version": version, **year.to_json()}
    host.put(_key(number), facts)
    host.emit("calendar.published", {"year": number, **facts})


def first_years(parameters: Mapping[str, Json]) -> dict[str, Json]:
    """What genesis writes, from the contract's parameters; raises `ValueError`."""
    given = parameters.get(YEARS_PARAMETER, {})
    if not isinstance(given, dict):
        raise ValueError("years is not an object")
    years: dict[str, Json] = {}
    for name, value in given.items():
        if not (len(name) == 4 and name.isascii() and name.isdigit()):
            raise ValueError(f"{name[:40]} is no year")
        years[_key(int(name))] = {"version": 1, **Year.from_json(int(name), value).to_json()}
    return years


def working_days(host: Reader) -> WorkingDays:
    """The calendar in force, for one call of another contract of this chain."""
    return WorkingDays(_YearsOnChain(host))


@dataclass(frozen=True, slots=True)
class _YearsOnChain(Mapping[int, Year]):
    """Each year is read once: a count asks for every day."""

    host: Reader
    known: dict[int, Year] = field(default_factory=dict)

    def __getitem__(self, year: int) -> Year:
        if year not in self.known:
            record = self.host.read(NAME, _key(year))
            if record is None:
                raise KeyError(year)
            assert isinstance(record, dict), "the contract wrote it"
            self.known[year] = _year(year, record)
        return self.known[year]

    def __iter__(self) -> Iterator[int]:
        return (year for year in range(YEAR_FIRST, YEAR_LAST + 1) if year in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _require_later(host: Host, number: int, record: dict[str, Any], year: Year) -> int:
    """The version that a change makes; refuses one of days that have begun."""
    known = _year(number, record)
    changed = (known.off ^ year.off) | (known.worked ^ year.worked)
    begun = [each for each in changed if each <= block_day(host)]
    if begun:
        raise Refusal("CALENDAR_DAY_PAST", day=min(begun).isoformat())
    version = record["version"]
    assert isinstance(version, int)
    return version + 1


def block_day(host: Timed) -> date:
    """The day in China of the block being executed."""
    moment = _EPOCH + timedelta(milliseconds=host.block_time_ms())
    return moment.astimezone(CHINA).date()


def _year(number: int, record: Mapping[str, Json]) -> Year:
    return Year.from_json(number, {name: record[name] for name in record if name != "version"})


def _key(year: int) -> str:
    return f"year/{year:04d}"
