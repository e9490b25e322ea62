"""What the register leaves behind: events that rebuild it, data objects, and a trusted recount."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.consensus.domain.contracts.register.recount import recount
from tests.unit.contracts.memory_host import MemoryHost
from tests.unit.contracts.register_market import (
    DATA,
    Market,
    as_csv,
    company_registration,
    dataset,
    entry,
    identity_digest,
    loaded_host,
    opening,
    outcomes_of,
    product_code,
    registration,
    sale,
)

ROSTER_HEADER = (
    "account,product_code,nature,total,available,pledged,frozen,pledged_and_frozen,"
    "confirmed,restricted_until"
)


@pytest.mark.req("N0-17")
def test_the_roster_follows_from_the_events_of_the_receipts_alone() -> None:
    market = dataset("market-basic")
    positions: dict[tuple[str, ...], dict[str, Any]] = {}
    for outcome in outcomes_of(market, loaded_host(market)):
        for topic, body in outcome.events:
            if topic == "register.position_changed":
                assert isinstance(body, dict)
                place = tuple(str(body[name]) for name in ("account", "product_code", "nature"))
                positions.pop(place, None)
                if body["total"]:
                    positions[place] = body
    names = ROSTER_HEADER.split(",")[3:]
    rows = [
        [*place, *(shown(position[name]) for name in names)]
        for place, position in sorted(positions.items())
    ]
    expected = (DATA / "market-basic" / "expected" / "roster.csv").read_bytes()
    assert as_csv(ROSTER_HEADER, rows) == expected


def shown(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def test_the_same_calls_give_the_same_state_events_and_packets() -> None:
    market = dataset("market-basic")
    runs = []
    for _ in range(2):
        host = loaded_host(market)
        outcomes = outcomes_of(market, host)
        runs.append((host.store, outcomes))
    assert runs[0] == runs[1]


def test_each_accepted_operation_sends_exactly_one_data_object() -> None:
    market = dataset("market-basic")
    identifiers: set[str] = set()
    for outcome in outcomes_of(market, loaded_host(market)):
        assert len(outcome.packets) == (outcome.code is None)
        for port, data_object in outcome.packets:
            content = check_header(port, data_object)
            assert content["object_id"] not in identifiers
            identifiers.add(content["object_id"])
    results = (DATA / "market-basic" / "expected" / "results.csv").read_text().split("\n")
    accepted = {
        event.request_id for event in market.events if results[event.seq].endswith(",accepted,")
    }
    assert len(identifiers) == len(accepted) > 100


def check_header(port: str, data_object: Any) -> dict[str, Any]:
    header = data_object["header"]
    assert port == "data_object"
    assert data_object.keys() == {"header", "body"}
    assert header.keys() == {"model", "content", "remark", "seal", "metadata"}
    assert header["model"]["protocol"] == "区域性股权市场跨链业务数据模型"
    assert header["seal"] == []
    content: dict[str, Any] = header["content"]
    assert content.keys() == {"type", "object_id", "version", "operation", "timestamp"}
    assert (content["version"], content["operation"]) == (0, "create")
    assert content["object_id"].startswith(f"shandong:{content['type']}:")
    assert len(content["object_id"]) <= 128
    return content


def test_no_name_or_number_of_an_investor_reaches_state_events_or_packets() -> None:
    market = dataset("market-basic")
    host = loaded_host(market)
    written = [str(host.store)]
    for outcome in outcomes_of(market, host):
        written.append(str((outcome.events, outcome.packets, outcome.fields)))
    everything = "".join(written)
    assert identity_digest("resident_id", market.investors[0]["id_number"]) in everything
    companies = {row["uscc"] for row in market.companies}
    for row in market.investors:
        assert row["name"] not in everything
        assert row["id_number"] in companies or row["id_number"] not in everything


def object_of(market: Market, method: str, body: dict[str, Any]) -> Any:
    ((_, data_object),) = market.do(method, body).packets
    return data_object


def test_companies_accounts_and_products_are_reported_and_refer_to_one_another() -> None:
    market = Market()
    company = object_of(market, "register_company", company_registration(1))
    market.investor(1)
    account = object_of(market, "open_account", opening(1))
    roster = [entry("Q000000001", 400), entry("Q000000001", 600, nature="41", confirmed=False)]
    product = object_of(market, "initial_registration", registration(*roster))

    general = company["body"]["subject_information"]["basic_information_subject"]
    assert general["general_information_subject"]["subject_type"] == 1
    basic = account["body"]["account_information"]["basic_account_information"]
    assert basic["account_subject_ref"] == "did:rem:shandong:Q000000001"
    essential = product["body"]["product_information"]["essential_information"]
    issuer = essential["basic_product_information"]["product_issuer_subject_ref"]
    assert issuer == company["header"]["content"]["object_id"] + "/0"
    information = product["body"]["registration_information"]
    assert information["register_basic_information"]["register_object_type"] == 2
    assert "registration_rights" not in information
    holders = information["roll_records"]["register_shareholders"]
    assert [holder["register_shareholding_number"] for holder in holders] == [400, 600]
    assert {holder["register_shareholder_account_ref"] for holder in holders} == {
        account["header"]["content"]["object_id"] + "/0"
    }


@pytest.mark.req("N0-17", "N0-18")
def test_a_transfer_reports_the_deal_its_evidence_and_both_sides_of_the_change() -> None:
    market = Market()
    seller, buyer = market.account(1), market.account(2)
    market.register(entry(seller, 1_000))
    sent = object_of(market, "transfer", sale(seller, buyer, 400))
    report = sent["body"]["transfer_report_information"]["transaction_information"]
    content = report["transaction_content_information"]
    assert content["transaction_settlement_quantity"] == 400
    assert content["transaction_settlement_price"] == 100
    assert report["transaction_verification_doc"][0]["hash"] == "ab" * 32
    information = sent["body"]["registration_information"]
    assert information["register_basic_information"]["register_object_type"] == 1
    assert "roll_records" not in information
    rows = information["registration_rights"]["basic_information_rights"]
    balances = [row["available_registration"] for row in rows]
    for row, account in zip(rows, (seller, buyer), strict=True):
        assert row["basic_information_description"]["register_subject_account"] == account
        check_balances(row)
    assert sum(balance["register_asset_balance_change"] for balance in balances) == 0
    references = {row["basic_information_description"]["register_transaction_ref"] for row in rows}
    assert references == {sent["header"]["content"]["object_id"] + "/0"}


def check_balances(row: dict[str, Any]) -> None:
    for group, kind in (
        ("total_registration", "asset_total"),
        ("available_registration", "asset"),
        ("pledge_registration", "pledge"),
        ("freezing_registration", "frozen"),
    ):
        before, change, after = (
            row[group][f"register_{kind}_balance_{part}"] for part in ("before", "change", "after")
        )
        assert after == before + change


# Random markets

ACCOUNTS = [f"Q00000000{number}" for number in range(1, 6)]
TRANSFERS = st.tuples(
    st.sampled_from(ACCOUNTS),
    st.sampled_from(ACCOUNTS),
    st.sampled_from(["51", "41"]),
    st.integers(min_value=-1, max_value=700),
    st.sampled_from(["agreement", "gift", "inheritance", "judicial"]),
    st.integers(min_value=0, max_value=3),
)


@given(
    shares=st.lists(st.integers(min_value=1, max_value=300), min_size=2, max_size=5),
    weights=st.lists(st.integers(min_value=1, max_value=3), min_size=5, max_size=5),
    cap=st.integers(min_value=6, max_value=12),
    moves=st.lists(TRANSFERS, max_size=15),
)
@settings(max_examples=60)
@pytest.mark.req("N0-17")
def test_any_row_of_transfers_keeps_the_sums_and_the_cap(
    shares: list[int],
    weights: list[int],
    cap: int,
    moves: list[tuple[str, str, str, int, str, int]],
) -> None:
    """A plain dictionary of balances is kept beside the register; both must agree throughout."""
    market = Market(holder_cap=cap)
    for number, weight in enumerate(weights, start=1):
        market.account(number, counted_holders=weight)
    lines = [
        entry(ACCOUNTS[index], count, nature="51" if index % 2 else "41")
        for index, count in enumerate(shares)
    ]
    market.poke(f"product_row/{product_code(1)}", registered_shares=sum(shares))
    market.do("register_company", company_registration(1))
    if market.code("initial_registration", registration(*lines, total_shares=sum(shares))):
        assert sum(weights[: len(shares)]) > cap
        return
    balances = {(line["account"], line["nature"]): line["shares"] for line in lines}
    for seller, buyer, nature, count, reason, days in moves:
        market.day = f"2025-09-{min(int(market.day[8:]) + days, 30):02}"
        before = holders(balances, weights)
        body = sale(seller, buyer, count, reason=reason, nature=nature)
        if market.code("transfer", body) is None:
            balances[(seller, nature)] -= count
            balances[(buyer, nature)] = balances.get((buyer, nature), 0) + count
            after = holders(balances, weights)
            assert count > 0
            assert seller != buyer
            assert after <= max(cap, before) or reason in ("inheritance", "judicial")
        assert balances_of(market) == {place: held for place, held in balances.items() if held}
        assert sum(balances.values()) == sum(shares)
        assert min(balances.values()) >= 0
        product: Any = market.host.get(f"product/{product_code(1)}")
        assert product["holder_count"] == holders(balances, weights)


def holders(balances: dict[tuple[str, str], int], weights: list[int]) -> int:
    accounts = {account for (account, _), held in balances.items() if held}
    return sum(weights[ACCOUNTS.index(account)] for account in accounts)


def balances_of(market: Market) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for account in ACCOUNTS:
        for nature in ("51", "41"):
            if total := market.total(account, nature):
                found[(account, nature)] = total
    return found


# A recount that cannot fail would prove nothing.


def registered_market() -> Market:
    market = Market()
    first, second = market.account(1), market.account(2)
    market.register(entry(first, 600), entry(second, 400))
    return market


@pytest.mark.req("N0-15")
@pytest.mark.parametrize(
    ("members", "invariants"),
    [
        ({"total": 599}, {"TOTAL_IS_REGISTERED", "RUNNING_TOTAL"}),
        ({"total": 0}, {"TOTAL_IS_REGISTERED", "RUNNING_TOTAL", "TOTAL_POSITIVE"}),
        ({"pledged": 10}, {"PLEDGED"}),
        ({"frozen": 10}, {"FROZEN"}),
        ({"fruit_freezes": 1}, {"FRUITS"}),
        ({"overlap": 1}, {"OVERLAP_WITHIN_BOTH"}),
        ({"pledged": 601}, {"PLEDGED", "ENCUMBERED_WITHIN_TOTAL"}),
    ],
)
def test_the_recount_finds_a_tampered_position(
    members: dict[str, int], invariants: set[str]
) -> None:
    market = registered_market()
    assert recount(market.host) == []
    market.poke_position("Q000000001", **members)
    found = recount(market.host)
    assert {violation.invariant for violation in found} == invariants


@pytest.mark.parametrize(
    ("record", "members", "invariant"),
    [
        (f"product/{product_code(1)}", {"registered_total": 999}, "TOTAL_IS_REGISTERED"),
        (f"product/{product_code(1)}", {"positions_total": 999}, "RUNNING_TOTAL"),
        (f"product/{product_code(1)}", {"holder_count": 3}, "HOLDER_COUNT"),
        ("account/Q000000001", {"counted_holders": 2}, "HOLDER_COUNT"),
    ],
)
def test_the_recount_finds_a_tampered_count(
    record: str, members: dict[str, int], invariant: str
) -> None:
    market = registered_market()
    market.poke(record, **members)
    assert [violation.invariant for violation in recount(market.host)] == [invariant]


def test_the_recount_finds_positions_of_no_product_lost_lists_and_stray_queues() -> None:
    host: MemoryHost = registered_market().host
    host.delete(f"held/Q000000001/{product_code(1)}")
    host.put(f"waiting/Q000000001/{product_code(1)}/51", ["F1"])
    assert {violation.invariant for violation in recount(host)} == {"HELD", "WAITING_QUEUE"}
    host.delete(f"product/{product_code(1)}")
    assert "PRODUCT_REGISTERED" in {violation.invariant for violation in recount(host)}
