"""The calendar on chain: seeded by genesis, published by the CSRC, and days gone stay."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from guqiao_sdk.working_days import CalendarYearUnknownError, published
from services.consensus.domain.contracts.calendar import (
    CalendarContract,
    first_years,
    working_days,
)
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.ledger.genesis import GenesisError
from tests.unit.contracts.memory_host import MemoryHost, Outcome
from tests.unit.ledger.chain_builder import genesis_json, genesis_of

MARKET = Party("did:rem:csrc:market", "k1", "csrc", frozenset({"csrc_market"}))
TECH = Party("did:rem:csrc:tech", "k1", "csrc", frozenset({"csrc_tech"}))
NOW_MS = int(datetime(2026, 11, 2, 2, 0, tzinfo=UTC).timestamp() * 1000)


def year_json(year: int = 2026) -> dict[str, Any]:
    value: dict[str, Any] = published().years[year].to_json()
    return value


def host_with(*years: int) -> MemoryHost:
    host = MemoryHost(party=MARKET, second_party=TECH, block_ms=NOW_MS)
    seeds: dict[str, Any] = {str(each): year_json(each) for each in years}
    for key, value in first_years({"years": seeds}).items():
        host.put(key, value)
    return host


def publish(host: MemoryHost, year: Any = 2026, **changes: Any) -> Outcome:
    return host.run(CalendarContract(1), "publish", {"year": year, **year_json(), **changes})


class Reading(MemoryHost):
    """What another contract of the chain sees."""

    def read(self, contract: str, key: str) -> Any:
        assert contract == "calendar"
        return self.get(key)


@pytest.mark.req("G2-14-3")
def test_a_year_is_published_once_it_is_announced() -> None:
    host = host_with(2025)
    body = {"notices": ["国办发明电〔2026〕1号"], "off": ["2027-01-01"], "worked": ["2027-01-02"]}
    [(topic, facts)] = publish(host, 2027, **body).events
    assert (topic, facts) == ("calendar.published", {"year": 2027, "version": 1, **body})
    assert host.get("year/2027") == {"version": 1, **body}


def test_a_second_notice_changes_days_to_come_and_none_that_began() -> None:
    host = host_with(2026)
    worked = [*year_json()["worked"], "2026-11-08"]
    changed = publish(host, worked=worked, notices=["a", "b"])
    assert changed.code is None
    record: Any = host.get("year/2026")
    assert (record["version"], record["worked"][-1]) == (2, "2026-11-08")
    off = sorted([*year_json()["off"], "2026-11-02"])
    changes: list[dict[str, Any]] = [
        {"off": off},
        {"worked": []},
        {"off": year_json()["off"][1:]},
    ]
    for change in changes:
        refused = publish(host, **{"worked": worked, **change})
        assert refused.code == "CALENDAR_DAY_PAST", change
    tomorrow = sorted([*year_json()["off"], "2026-11-03"])
    assert publish(host, worked=worked, off=tomorrow).code is None
    # It is already the third in China.
    host.block_ms = int(datetime(2026, 11, 2, 16, 0, tzinfo=UTC).timestamp() * 1000)
    refused = publish(host, worked=worked)
    assert (refused.code, refused.fields) == ("CALENDAR_DAY_PAST", {"day": "2026-11-03"})


@pytest.mark.req("G2-03-2")
def test_nobody_but_both_sides_of_the_csrc_publishes() -> None:
    other = Party("did:rem:x:tech", "k1", "x", frozenset({"csrc_tech"}))
    for maker, checker, code in (
        (TECH, MARKET, "ROLE_MISSING"),
        (MARKET, None, "CHECKER_MISSING"),
        (MARKET, MARKET, "CHECKER_IS_MAKER"),
        (MARKET, other, "ROLE_MISSING"),
    ):
        host = host_with()
        host.party, host.second_party = maker, checker
        assert publish(host).code == code
        assert host.store == {}


@pytest.mark.parametrize(
    "change",
    [
        {"year": "2026"},
        {"year": True},
        {"year": 1999},
        {"year": 2025},
        {"off": ["2026-02-14"]},
        {"worked": [1]},
        {"notices": []},
        {"more": 1},
    ],
)
def test_a_year_of_another_form_is_refused(change: dict[str, Any]) -> None:
    assert publish(host_with(), **change).code == "BODY_MALFORMED"


def test_other_contracts_count_by_the_years_on_chain() -> None:
    host = Reading(store=host_with(2025, 2026).store)
    calendar = working_days(host)
    assert calendar.after(date(2025, 9, 15), 20).last == date(2025, 10, 17)
    with pytest.raises(CalendarYearUnknownError):
        calendar.after(date(2026, 12, 4), 20)
    assert sorted(calendar.years) == [2025, 2026]
    assert len(calendar.years) == 2


@pytest.mark.parametrize(
    "parameters",
    [
        {"years": []},
        {"years": {"26": {}}},
        {"years": {"２０２６": {}}},
        {"years": {"2026": {}}},
        {"other": {}},
    ],
)
def test_a_genesis_with_another_calendar_is_refused(parameters: Any) -> None:
    value = genesis_json()
    entry = {"name": "calendar", "version": 1, "from_height": 0}
    value["contracts"].append({**entry, "parameters": {"years": {"2026": year_json()}}})
    assert genesis_of(value).contracts[-1].name == "calendar"
    value["contracts"][-1]["parameters"] = parameters
    with pytest.raises(GenesisError):
        genesis_of(value)
