"""The register against a second reading of the document, over random datasets.

Two processors that share no code must give the same results, roster, encumbrances (those by the
events of the receipts) and payable lists. Datasets are written to files and read by the importer's
reader, so that the reader is compared as well.
"""

from __future__ import annotations

import csv
import json
import shutil
import uuid
from collections import Counter
from pathlib import Path

import pytest

from guqiao_sdk.market_dataset import MarketDataset
from guqiao_sdk.market_reader import read_dataset
from services.consensus.domain.contracts.register.contract import (
    OPERATIONS,
    REGISTER_V3,
    RegisterContract,
)
from services.consensus.domain.contracts.register.recount import recount
from tests.unit.contracts.market_generator import BASIC, LATER, Generator, write_dataset
from tests.unit.contracts.market_large_generator import LargeGenerator
from tests.unit.contracts.market_reference import Reference
from tests.unit.contracts.register_events import (
    DIVIDEND_HEADER,
    ENCUMBRANCE_HEADER,
    dividends_csv,
    encumbrances_csv,
    replayed,
)
from tests.unit.contracts.register_market import (
    DATA,
    RequestIdentity,
    as_csv,
    loaded_host,
    roster_csv,
)

ALL = RegisterContract(version=99, operations=tuple(OPERATIONS))
ROSTER_HEADER = (
    "account,product_code,nature,total,available,pledged,frozen,pledged_and_frozen,"
    "confirmed,restricted_until"
)
DATASETS = 40
EVENTS = 90
LARGE_DATASETS = 2
CROWD = 1_100


def reference_of(folder: Path) -> Reference:
    """Read a folder for the reference, without the project's reader."""

    def table(name: str) -> list[dict[str, object]]:
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows: list[dict[str, object]] = [dict(row) for row in csv.DictReader(file)]
        for row in rows:
            for column in ("counted_holders", "registered_shares"):
                if column in row:
                    row[column] = int(str(row[column]))
        return rows

    market = json.loads((folder / "market.json").read_text(encoding="utf-8"))
    days = (folder / "trading_days.txt").read_text().split()
    return Reference(market, table("companies"), table("investors"), table("products"), days)


def compare(folder: Path, contract: RegisterContract) -> Counter[tuple[str, str]]:
    """Process a folder both ways; return how often each (type, code) came."""
    market = read_dataset(folder)
    assert isinstance(market, MarketDataset), market
    host, identity, reference = loaded_host(market), RequestIdentity(), reference_of(folder)
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    met: Counter[tuple[str, str]] = Counter()
    for event, line in zip(market.events, map(json.loads, lines), strict=True):
        code = identity.process(host, contract, event)
        assert code == reference.process(line), (folder, line)
        met[event.type, code] += 1
    assert recount(host) == []
    assert roster_csv(host) == as_csv(ROSTER_HEADER, reference.roster())
    encumbrances = as_csv(ENCUMBRANCE_HEADER, reference.encumbrances())
    assert encumbrances_csv(replayed(identity.outcomes)) == encumbrances
    assert dividends_csv(identity.outcomes) == as_csv(DIVIDEND_HEADER, reference.dividends())
    return met


@pytest.mark.req("N0-14", "N0-15", "N0-16", "N0-17", "N0-18")
def test_random_datasets_of_the_basic_types_agree_with_the_reference(tmp_path: Path) -> None:
    met: Counter[tuple[str, str]] = Counter()
    for seed in range(DATASETS):
        folder = tmp_path / str(seed)
        write_dataset(Generator(seed, EVENTS, BASIC).dataset(), folder)
        met += compare(folder, REGISTER_V3)
    codes = {code for _, code in met}
    assert codes >= BASIC_CODES, BASIC_CODES - codes


@pytest.mark.req("N0-14", "N0-15", "N0-16", "N0-17", "N0-18")
def test_random_datasets_of_all_types_agree_with_the_reference(tmp_path: Path) -> None:
    met: Counter[tuple[str, str]] = Counter()
    for seed in range(DATASETS):
        folder = tmp_path / str(seed)
        write_dataset(Generator(1_000 + seed, 2 * EVENTS, BASIC + LATER).dataset(), folder)
        met += compare(folder, ALL)
    assert {kind for kind, code in met if code == ""} == {*BASIC, *LATER}


@pytest.mark.req("N0-15", "N0-16", "N0-17")
def test_random_datasets_of_large_rosters_and_long_texts_agree_with_the_reference(
    tmp_path: Path,
) -> None:
    met: Counter[tuple[str, str]] = Counter()
    for seed in range(LARGE_DATASETS):
        folder = tmp_path / str(seed)
        write_dataset(LargeGenerator(seed, EVENTS, BASIC + LATER, CROWD).dataset(), folder)
        met += compare(folder, ALL)
    rosters = {code for kind, code in met if kind == "initial_registration"}
    assert rosters >= LARGE_CODES, LARGE_CODES - rosters
    assert not {"LIMIT_EXCEEDED", "BODY_MALFORMED", "VALUE_OUT_OF_RANGE"} & {
        code for _, code in met
    }


@pytest.mark.parametrize(
    ("name", "contract"), [("market-basic", REGISTER_V3), ("market-tiny", ALL)]
)
def test_the_reference_gives_the_published_results(name: str, contract: RegisterContract) -> None:
    folder = DATA / name
    reference = reference_of(folder)
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    codes = [(event["seq"], reference.process(event)) for event in events]
    rows = [(seq, "rejected" if code else "accepted", code) for seq, code in codes]
    assert as_csv("seq,status,code", rows) == (folder / "expected/results.csv").read_bytes()
    roster = as_csv(ROSTER_HEADER, reference.roster())
    assert roster == (folder / "expected/roster.csv").read_bytes()
    encumbrances = as_csv(ENCUMBRANCE_HEADER, reference.encumbrances())
    assert encumbrances == (folder / "expected/encumbrances.csv").read_bytes()
    dividends = as_csv(DIVIDEND_HEADER, reference.dividends())
    assert dividends == (folder / "expected/dividends.csv").read_bytes()
    assert compare(folder, contract).total() == len(events)


@pytest.mark.req("N0-14", "N0-16")
def test_a_whole_year_of_the_calendar_without_a_trading_day_is_known_to_be_empty(
    tmp_path: Path,
) -> None:
    """The last buyers sell back in the next year that has trading days."""
    folder = tmp_path / "market"
    shutil.copytree(DATA / "market-basic", folder)
    days = (folder / "trading_days.txt").read_text(encoding="utf-8").split()
    kept = [day for day in days if day <= "2025-10-28"]
    later = [f"2027-01-{number:02}" for number in range(4, 9)]
    (folder / "trading_days.txt").write_text("".join(f"{day}\n" for day in [*kept, *later]))
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    results = csv.DictReader((folder / "expected/results.csv").open(encoding="utf-8", newline=""))
    accepted = {int(row["seq"]) for row in results if row["status"] == "accepted"}
    bought = [
        event
        for event in map(json.loads, lines)
        if event["seq"] in accepted and event.get("reason") == "agreement"
    ]
    for event in bought[-6:]:
        back = {"seq": len(lines) + 1, "time": "2027-01-04T10:00:00+08:00", "shares": 1}
        sides = {"seller": event["buyer"], "buyer": event["seller"]}
        identity = {"request_id": str(uuid.UUID(int=len(lines)))}
        lines.append(json.dumps({**event, **back, **sides, **identity}, ensure_ascii=False))
    (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    met = compare(folder, REGISTER_V3)
    assert ("transfer", "CALENDAR_YEAR_UNKNOWN") not in met
    assert met["transfer", "ROUND_TRIP_TOO_SOON"] > 0


LARGE_CODES = {
    "",
    "ACCOUNT_UNKNOWN",
    "AMOUNT_NOT_POSITIVE",
    "HOLDER_CAP_EXCEEDED",
    "PRODUCT_ALREADY_REGISTERED",
    "REGISTER_TOTAL_MISMATCH",
    "SHARE_NATURE_INVALID",
}

BASIC_CODES = {
    "",
    "ACCOUNT_DUPLICATE_IDENTITY",
    "ACCOUNT_UNKNOWN",
    "AMOUNT_NOT_POSITIVE",
    "BUYER_NOT_QUALIFIED",
    "COMPANY_DUPLICATE",
    "COMPANY_UNKNOWN",
    "EVIDENCE_MISSING",
    "HOLDER_CAP_EXCEEDED",
    "HOLDING_UNCONFIRMED",
    "ID_NUMBER_INVALID",
    "INVESTOR_UNKNOWN",
    "ISSUER_OUT_OF_PROVINCE",
    "PRODUCT_ALREADY_REGISTERED",
    "PRODUCT_UNKNOWN",
    "REGISTER_TOTAL_MISMATCH",
    "REQUEST_ID_REUSED",
    "ROSTER_ENTRY_DUPLICATE",
    "ROUND_TRIP_TOO_SOON",
    "SELF_TRANSFER",
    "SHARES_INSUFFICIENT",
    "SHARES_RESTRICTED",
    "SHARE_NATURE_INVALID",
    "USCC_INVALID",
}
