"""The published datasets through the register contract: the same results to the byte."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from services.consensus.domain.contracts.register.contract import (
    OPERATIONS,
    REGISTER_V3,
    RegisterContract,
)
from services.consensus.domain.contracts.register.recount import recount
from tests.unit.contracts.memory_host import MemoryHost
from tests.unit.contracts.register_market import (
    DATA,
    RequestIdentity,
    as_csv,
    dataset,
    loaded_host,
    roster_csv,
)


@pytest.mark.req("N0-14", "N0-15", "N0-16", "N0-17", "N0-18")
def test_the_basic_dataset_gives_the_published_results_and_register() -> None:
    market = dataset("market-basic")
    host, identity = loaded_host(market), RequestIdentity()
    rows: list[tuple[int, str, str]] = []
    for event in market.events:
        code = identity.process(host, REGISTER_V3, event)
        rows.append((event.seq, "rejected" if code else "accepted", code))
        assert recount(host) == [], event.seq
    expected = DATA / "market-basic" / "expected"
    assert as_csv("seq,status,code", rows) == (expected / "results.csv").read_bytes()
    assert roster_csv(host) == (expected / "roster.csv").read_bytes()
    assert len(rows) == len(market.events) == 206


@pytest.mark.parametrize("start", ["1990-01-01", "2025-10-15", "2099-12-31"])
def test_the_period_identifies_a_dataset_and_decides_nothing(start: str) -> None:
    """docs/market-dataset.md, section 1."""
    basic = dataset("market-basic")
    market = replace(basic, market={**basic.market, "period_start": start})
    host, identity = loaded_host(market), RequestIdentity()
    rows: list[tuple[int, str, str]] = []
    for event in market.events:
        code = identity.process(host, REGISTER_V3, event)
        rows.append((event.seq, "rejected" if code else "accepted", code))
    expected = DATA / "market-basic" / "expected" / "results.csv"
    assert as_csv("seq,status,code", rows) == expected.read_bytes()


BASIC = ("register_company", "open_account", "initial_registration", "transfer")
ALL_OPERATIONS = RegisterContract(version=99, operations=tuple(OPERATIONS))


def test_a_version_with_the_basic_types_alone_has_no_other_methods() -> None:
    market = dataset("market-tiny")
    host, basic = loaded_host(market), RegisterContract(version=98, operations=BASIC)
    counts: Counter[tuple[bool, bool]] = Counter()
    for event in market.events:
        outcome = host.run(basic, event.type, event.body, time=event.time)
        counts[(event.type in BASIC, outcome.code == "METHOD_UNKNOWN")] += 1
        assert recount(host) == [], event.seq
    assert counts == {(True, False): 206, (False, True): 124}


@pytest.mark.req("N0-14", "N0-15", "N0-16", "N0-17", "N0-18")
def test_all_operations_give_the_published_results_of_the_tiny_dataset() -> None:
    market = dataset("market-tiny")
    host, identity = loaded_host(market, ALL_OPERATIONS), RequestIdentity()
    rows: list[tuple[int, str, str]] = []
    for event in market.events:
        code = identity.process(host, ALL_OPERATIONS, event)
        rows.append((event.seq, "rejected" if code else "accepted", code))
        assert recount(host) == [], event.seq
    expected = DATA / "market-tiny" / "expected"
    assert as_csv("seq,status,code", rows) == (expected / "results.csv").read_bytes()
    assert roster_csv(host) == (expected / "roster.csv").read_bytes()
    assert dividends_csv(identity) == (expected / "dividends.csv").read_bytes()
    assert encumbrances_csv(host) == (expected / "encumbrances.csv").read_bytes()


def dividends_csv(identity: RequestIdentity) -> bytes:
    """Return expected/dividends.csv as the receipts' events say."""
    rows: list[list[object]] = []
    for outcome in identity.outcomes:
        for topic, body in outcome.events:
            if topic == "register.dividend_recorded":
                rows.extend(dividend_rows(body))
    header = "dividend_no,product_code,account,nature,shares,amount_fen,status"
    return as_csv(header, rows)


def dividend_rows(body: Any) -> list[list[object]]:
    common = [body["dividend_no"], body["product_code"]]
    names = ("account", "nature", "shares", "amount_fen", "status")
    lines = [[*common, *(line[name] for name in names)] for line in body["lines"]]
    assert (
        sum(line["amount_fen"] for line in body["lines"]) + body["rounding_fen"]
        == (body["declared_fen"])
    )
    return [*lines, [*common, "", "", "", body["rounding_fen"], "ROUNDING"]]


def encumbrances_csv(host: MemoryHost) -> bytes:
    """Return expected/encumbrances.csv as the state says."""
    rows: list[list[object]] = []
    for kind, effective_name in (("freeze", "effective"), ("pledge", "outstanding")):
        for _, value in host.scan(kind + "/", 1_000_000):
            record: Any = value
            effective, waiting = record[effective_name], record.get("waiting", 0)
            status = "EFFECTIVE" if effective else "WAITING" if waiting else "ENDED"
            place = [record["account"], record["product_code"], record["nature"]]
            counts = [record["registered"], effective, waiting]
            rows.append([record["number"], kind, *place, *counts, status])
    rows.sort(key=lambda row: (str(row[1]), str(row[0])))
    header = "number,kind,account,product_code,nature,registered,effective,waiting,status"
    return as_csv(header, rows)
