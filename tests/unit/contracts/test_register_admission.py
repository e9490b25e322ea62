"""What every call of the register meets first: signers, form, time; and the reference data."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.register_keys import PART_LENGTH_MAX, key, unkey
from services.consensus.domain.contracts.register.contract import REGISTER_V3
from tests.unit.contracts.memory_host import INSTITUTION, MemoryHost
from tests.unit.contracts.register_market import (
    Market,
    company_registration,
    company_row,
    entry,
    investor_row,
    market_body,
    opening,
    product_row,
    registration,
    sale,
)

CHECKER = replace(
    INSTITUTION, did="did:rem:shandong:checker", roles=frozenset({"operator_checker"})
)
STRANGER = replace(INSTITUTION, did="did:rem:shandong:other", roles=frozenset({"auditor"}))
DAY_MS = 86_400_000


# Signers


def test_a_sender_without_a_role_changes_nothing() -> None:
    market = Market()
    market.host.party = STRANGER
    for method, body in [
        ("register_company", company_registration(1)),
        ("put_companies", {"companies": [company_row(3)]}),
        ("configure_market", market_body()),
        ("close_historic_import", {}),
    ]:
        assert market.code(method, body) == "ROLE_MISSING", method


def test_only_the_registration_institution_states_that_an_identity_is_valid() -> None:
    market = Market()
    market.host.party = replace(INSTITUTION, roles=frozenset({"operator_maker"}))
    assert market.code("put_investors", {"investors": [investor_row(1)]}) == "ROLE_MISSING"
    assert market.code("register_company", company_registration(1)) is None


def test_a_maker_never_checks_its_own_operation() -> None:
    market = Market()
    market.host.second_party = replace(CHECKER, did=INSTITUTION.did)
    assert market.code("register_company", company_registration(1)) == "CHECKER_IS_MAKER"
    market.host.second_party = replace(CHECKER, roles=frozenset({"auditor"}))
    assert market.code("register_company", company_registration(1)) == "ROLE_MISSING"
    market.host.second_party = CHECKER
    assert market.code("register_company", company_registration(1)) is None


def test_where_genesis_demands_a_checker_one_signature_is_not_enough() -> None:
    market = Market()
    market.host.put("parameters", {"historic_import": True, "checker_required": ["open_account"]})
    market.investor(1)
    assert market.code("open_account", opening(1)) == "CHECKER_MISSING"
    assert market.code("register_company", company_registration(1)) is None
    market.host.second_party = CHECKER
    assert market.code("open_account", opening(1)) is None


def test_a_market_without_parameters_accepts_no_operation() -> None:
    host = MemoryHost(time="2025-09-01T10:00:00+08:00")
    outcome = host.run(REGISTER_V3, "register_company", company_registration(1))
    assert outcome.code == "MARKET_NOT_CONFIGURED"


# Form


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {member: value for member, value in body.items() if member != name}


VALID = sale("Q000000001", "Q000000002", 1)
ROSTER = registration(entry("Q000000001", 1))


@pytest.mark.parametrize(
    ("method", "body", "field"),
    [
        ("transfer", without(VALID, "shares"), "shares"),
        ("transfer", without(VALID, "evidence"), "evidence"),
        ("transfer", {**VALID, "extra": 1}, "extra"),
        ("transfer", {**VALID, "shares": "1"}, "shares"),
        ("transfer", {**VALID, "shares": True}, "shares"),
        ("transfer", {**VALID, "shares": None}, "shares"),
        ("transfer", {**VALID, "seller": 1}, "seller"),
        ("transfer", {**VALID, "reason": "theft"}, "reason"),
        ("transfer", {**VALID, "reason": ["gift"]}, "reason"),
        ("transfer", {**VALID, "evidence": {}}, "evidence"),
        ("transfer", {**VALID, "evidence": ["x"]}, "evidence[0]"),
        ("transfer", {**VALID, "evidence": [{"kind": "x"}]}, "evidence[0].digest"),
        (
            "transfer",
            {**VALID, "evidence": [{"kind": "x", "digest": "AB" * 32}]},
            "evidence[0].digest",
        ),
        ("initial_registration", {**ROSTER, "roster": []}, "roster"),
        (
            "initial_registration",
            {**ROSTER, "roster": [entry("Q", 1, confirmed="true")]},
            "roster[0].confirmed",
        ),
        (
            "initial_registration",
            {**ROSTER, "roster": [entry("Q", 1, restricted_until="2025-02-30")]},
            "roster[0].restricted_until",
        ),
        (
            "initial_registration",
            {**ROSTER, "roster": [entry("Q", 1, note="")]},
            "roster[0].note",
        ),
        ("put_companies", {"companies": []}, "companies"),
        ("put_companies", {"companies": [company_row(3)] * 201}, "companies"),
        ("put_companies", {"companies": [company_row(3, form="other")]}, "companies[0].form"),
        (
            "put_investors",
            {"investors": [investor_row(3, name="某人")]},
            "investors[0].name",
        ),
        (
            "put_investors",
            {"investors": [investor_row(3, counted_holders=0)]},
            "investors[0].counted_holders",
        ),
        (
            "put_investors",
            {"investors": [investor_row(3, kind="R")]},
            "investors[0].id_type",
        ),
        (
            "put_investors",
            {"investors": [investor_row(3, investor_code="Q" * 33)]},
            "investors[0].investor_code",
        ),
        ("put_trading_days", {"year": 2026, "days": ["2025-01-02"]}, "days"),
        ("put_trading_days", {"year": 2026, "days": ["2026-01-05", "2026-01-02"]}, "days"),
        ("put_trading_days", {"year": 0, "days": []}, "year"),
        ("configure_market", {**market_body(), "chain_name": "Shan dong"}, "chain_name"),
        ("close_historic_import", {"now": True}, "now"),
    ],
)
def test_a_malformed_body_is_refused_with_the_field(
    method: str, body: dict[str, Json], field: str
) -> None:
    market = Market()
    outcome = market.run(method, body)
    assert (outcome.code, outcome.fields["field"]) == ("BODY_MALFORMED", field)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ((1 << 53) - 1, "PRODUCT_UNKNOWN"),
        (1 << 53, "VALUE_OUT_OF_RANGE"),
        (-(1 << 53), "VALUE_OUT_OF_RANGE"),
    ],
)
def test_values_keep_within_53_bits(value: int, code: str) -> None:
    market = Market()
    assert market.code("transfer", {**VALID, "shares": value}) == code


def test_wrong_references_lead_nowhere_and_are_not_malformed() -> None:
    market = Market()
    for wrong in ("", "Q1/holding", "%2F", "无", "\x01", ".."):
        assert market.code("register_company", company_registration(1, company_ref=wrong)) == (
            "COMPANY_UNKNOWN"
        )


def test_no_text_can_pass_for_another_key() -> None:
    parts = [("a", "b/c"), ("a/b", "c"), ("a%2Fb", "c"), ("a", "b%2Fc"), ("a%", "2Fb/c"), ("", "")]
    assert len({key(*pair) for pair in parts}) == len(parts)
    assert [unkey(key(*pair)) for pair in parts] == parts


def test_a_part_too_long_for_a_key_has_its_digest_there_and_stays_another_part() -> None:
    fits, long = "x" * PART_LENGTH_MAX, "x" * (PART_LENGTH_MAX + 1)
    assert unkey(key("a", fits)) == ("a", fits)
    parts = [fits, long, long + "x", "股" * 43, "/" * 43, unkey(key(long))[0], "股" * 300_000]
    keys = {key("holding", part, "Q1") for part in parts}
    assert len(keys) == len(parts)
    assert all(len(key.encode()) <= 8 + PART_LENGTH_MAX + 3 for key in keys)


def test_names_of_any_length_lead_nowhere_like_short_ones() -> None:
    market = Market()
    for name in ("x" * 129, "股" * 5_000, "/" * 65_536):
        body = {**VALID, "product_code": name, "seller": name, "nature": name}
        assert market.code("transfer", body) == "PRODUCT_UNKNOWN"
        assert market.code("register_company", company_registration(1, company_ref=name)) == (
            "COMPANY_UNKNOWN"
        )


def test_a_text_longer_than_the_engine_takes_is_refused_as_such() -> None:
    body = {**VALID, "product_code": "x" * 65_537}
    assert Market().code("transfer", body) == "LIMIT_EXCEEDED"


# Time


@pytest.mark.parametrize(
    "time",
    [
        None,
        "",
        "2025-09-01T10:00:00Z",
        "2025-09-01T10:00:00+09:00",
        "2025-09-01T10:00:00.000+08:00",
        "2025-09-01 10:00:00+08:00",
        "2025-02-29T10:00:00+08:00",
        "2025-09-01T24:00:00+08:00",
        "2025-09-01T10:00:60+08:00",
        "２025-09-01T10:00:00+08:00",
        "2025-09-01T10:00:00+08:00\n",
    ],
)
def test_a_business_time_of_another_form_is_refused(time: str | None) -> None:
    market = Market()
    market.host.time = time
    outcome = market.host.run(REGISTER_V3, "register_company", company_registration(1))
    assert outcome.code == "BUSINESS_TIME_MALFORMED"


def test_unix_time_counts_from_1970_in_china_standard_time() -> None:
    assert timestamp("1970-01-01T08:00:00+08:00") == 0
    assert timestamp("2025-09-01T10:21:46+08:00") == 1_756_693_306
    for day in ("1900-02-28", "2000-02-29", "2024-02-29", "2024-03-01", "2025-12-31"):
        time = f"{day}T23:59:59+08:00"
        assert timestamp(time) == unix_seconds(time)


def timestamp(time: str) -> int:
    """Return the Unix time in the data object of an operation at this time."""
    market = Market()
    market.host.time = time
    outcome = market.host.run(REGISTER_V3, "register_company", company_registration(1), time=time)
    [(_, sent)] = outcome.packets
    header: Any = sent
    return int(header["header"]["content"]["timestamp"])


def unix_seconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp())


def test_business_time_never_decreases_and_may_stand_still() -> None:
    market = Market()
    market.investor(1)
    market.day = "2025-09-02"
    market.do("register_company", company_registration(1))
    market.day = "2025-09-01"
    assert market.code("open_account", opening(1)) == "BUSINESS_TIME_REGRESSED"
    market.day = "2025-09-02"
    assert market.code("open_account", opening(1)) is None


def test_a_refused_operation_does_not_move_the_market_clock() -> None:
    market = Market()
    market.day = "2025-09-05"
    assert market.code("register_company", company_registration(9)) == "COMPANY_UNKNOWN"
    market.day = "2025-09-01"
    assert market.code("register_company", company_registration(1)) is None


@pytest.mark.parametrize(
    ("distance_ms", "code"),
    [
        (0, None),
        (DAY_MS, None),
        (-DAY_MS, None),
        (DAY_MS + 1, "BUSINESS_TIME_OUT_OF_RANGE"),
        (-DAY_MS - 1, "BUSINESS_TIME_OUT_OF_RANGE"),
    ],
)
def test_after_the_import_business_time_lies_within_a_day_of_block_time(
    distance_ms: int, code: str | None
) -> None:
    market = Market()
    seconds = unix_seconds(f"{market.day}T10:00:00+08:00")
    market.host.block_ms = seconds * 1000 + distance_ms
    market.do("close_historic_import", {})
    assert market.code("register_company", company_registration(1)) == code


@pytest.mark.parametrize(
    ("distance_days", "code"),
    [(-3_660, None), (-3_661, "BUSINESS_TIME_OUT_OF_RANGE"), (18_000, None)],
)
def test_while_history_is_imported_a_time_far_ahead_does_not_stop_the_market_for_ever(
    distance_days: int, code: str | None
) -> None:
    """The clock never runs backwards: a mistyped year would refuse all that comes after it."""
    market = Market()
    seconds = unix_seconds(f"{market.day}T10:00:00+08:00")
    market.host.block_ms = seconds * 1000 + distance_days * DAY_MS
    assert market.code("register_company", company_registration(1)) == code


def test_the_historic_import_closes_once_and_for_all() -> None:
    market = Market()
    assert market.do("close_historic_import", {}).events
    assert market.do("close_historic_import", {}).events == []
    assert market.host.get("parameters") == {"historic_import": False}
    assert market.code("register_company", company_registration(1)) == "BUSINESS_TIME_OUT_OF_RANGE"


# Reference data


@pytest.mark.parametrize(
    ("method", "body", "other"),
    [
        ("configure_market", market_body(), market_body(holder_cap=199)),
        (
            "put_companies",
            {"companies": [company_row(1)]},
            {"companies": [company_row(1, name="x")]},
        ),
        (
            "put_products",
            {"products": [product_row(1)]},
            {"products": [product_row(1, registered_shares=1)]},
        ),
        (
            "put_investors",
            {"investors": [investor_row(1)]},
            {"investors": [investor_row(1, suitability="EXEMPT")]},
        ),
        (
            "put_trading_days",
            {"year": 2026, "days": ["2026-01-05"]},
            {"year": 2026, "days": ["2026-01-06"]},
        ),
    ],
)
def test_the_same_reference_data_again_is_nothing_new_and_other_data_a_conflict(
    method: str, body: dict[str, Json], other: dict[str, Json]
) -> None:
    market = Market()
    market.do(method, body)
    before = dict(market.host.store)
    again = market.do(method, body)
    assert (market.host.store, again.events, again.packets) == (before, [], [])
    assert market.code(method, other) == "REFERENCE_CONFLICT"


def test_fewer_event_keys_are_another_configuration() -> None:
    market, body = Market(), market_body()
    required = without(body["evidence_required"], "transfer.gift")
    conflict = market.code("configure_market", {**body, "evidence_required": required})
    assert conflict == "REFERENCE_CONFLICT"


@pytest.mark.parametrize("period", [{"period_start": "2026-01-01"}, {"period_end": "2026-12-31"}])
def test_another_period_is_the_same_market(period: dict[str, str]) -> None:
    """docs/market-dataset.md, section 1: it identifies a dataset only."""
    market = Market()
    before = dict(market.host.store)
    market.do("configure_market", {**market_body(), **period})
    assert market.host.store == before
    for name in period:
        assert market.code("configure_market", {**market_body(), name: "x"}) != ""


@pytest.mark.parametrize("dates", [("2025-03-01", "2025-01-01"), ("2025-01-01", "2025-03-01")])
def test_of_two_statements_on_one_number_the_one_that_reaches_further_back_holds(
    dates: tuple[str, str],
) -> None:
    """Each dataset asks as of its own first event, and the rest of the row is the same."""
    market = Market()
    for date in dates:
        row = investor_row(1, identity_valid_from=date)
        market.do("put_investors", {"investors": [row]})
    kept = market.host.get("investor_row/I1")
    assert isinstance(kept, dict)
    assert kept["identity_valid_from"] == "2025-01-01"
    other = investor_row(1, identity_valid_from="2024-01-01", suitability="EXEMPT")
    assert market.code("put_investors", {"investors": [other]}) == "REFERENCE_CONFLICT"


@pytest.mark.parametrize("dates", [("2025-03-01", None), (None, "2025-03-01")])
def test_a_number_that_holds_and_one_that_never_does_are_two(
    dates: tuple[str | None, str | None],
) -> None:
    market = Market()
    first, second = (investor_row(1, identity_valid_from=date) for date in dates)
    market.do("put_investors", {"investors": [first]})
    assert market.code("put_investors", {"investors": [second]}) == "REFERENCE_CONFLICT"
    market.do("put_investors", {"investors": [first]})


def test_one_conflicting_row_refuses_the_whole_chunk() -> None:
    market = Market()
    rows = [company_row(3), company_row(1, name="x")]
    assert market.code("put_companies", {"companies": rows}) == "REFERENCE_CONFLICT"
    assert market.host.get("company_row/C3") is None


def test_two_investors_cannot_share_a_code() -> None:
    market = Market()
    market.investor(1)
    row = investor_row(2, investor_code="Q000000001")
    assert market.code("put_investors", {"investors": [row]}) == "REFERENCE_CONFLICT"


@pytest.mark.req("N0-06")
def test_a_product_belongs_to_a_company_row() -> None:
    market = Market()
    assert market.code("put_products", {"products": [product_row(9)]}) == "REFERENCE_UNKNOWN"
