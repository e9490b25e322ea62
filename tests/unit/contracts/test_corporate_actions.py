"""Bonus issues and conversions: worked examples, what binds shares, who signs.

The rules are those of docs/register-actions.md.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from services.consensus.domain.contracts.register.contract import (
    CORPORATE_ACTIONS,
    REGISTER_V4,
    REGISTER_V5,
    RegisterContract,
)
from tests.unit.contracts.action_market import (
    CHECKER,
    HOLDER,
    OTHER,
    RESOLUTION,
    THIRD,
    Body,
    Call,
    checked_market,
    detail_of,
    issuing_to_all,
    standing,
)
from tests.unit.contracts.memory_host import INSTITUTION
from tests.unit.contracts.register_events import announced, recorded
from tests.unit.contracts.register_market import DAY, DIGEST, Market, entry, product_code, sale
from tests.unit.contracts.test_register_encumbrances import (
    freeze_parts,
    freezing,
    pledging,
    releasing,
    shown,
    unfreezing,
)

ISSUES: Final = ("bonus_issue", "reserve_conversion")


def thirds() -> Market:
    return checked_market(entry(HOLDER, 333), entry(OTHER, 333), entry(THIRD, 334))


def outstanding(market: Market, number: str) -> int:
    pledge: Any = market.host.get(f"pledge/{number}")
    return int(pledge["outstanding"])


# Worked examples


@pytest.mark.req("N0-17", "N0-20")
@pytest.mark.parametrize("method", ISSUES)
def test_shares_left_over_go_to_the_largest_fractions_and_then_by_account(method: str) -> None:
    """333, 333 and 334 shares, 3 for 10: 99.9, 99.9 and 100.2; of the 300 two are left over."""
    market = thirds()
    detail = detail_of(market, issuing_to_all(3, method=method))
    assert [market.total(account) for account in (HOLDER, OTHER, THIRD)] == [433, 433, 434]
    assert detail == {
        "kind": method,
        "action_no": "A1",
        "product_code": product_code(1),
        "record_date": DAY,
        "record_height": market.host.block_height,
        "per_ten": 3,
        "total_before": 1_000,
        "total_after": 1_300,
        "by_fraction": 2,
        "time": f"{DAY}T10:00:00+08:00",
    }
    product: Any = market.host.get(f"product/{product_code(1)}")
    assert (product["registered_total"], product["positions_total"]) == (1_300, 1_300)
    assert product["holder_count"] == 3


def test_of_equal_fractions_the_first_account_and_nature_get_the_shares_left_over() -> None:
    """Fractions .5 four times, two shares left over."""
    first = [entry(OTHER, 5, nature="51"), entry(OTHER, 5, nature="41")]
    market = checked_market(*first, entry(HOLDER, 5), entry(THIRD, 985))
    assert detail_of(market, issuing_to_all(1))["by_fraction"] == 2
    assert market.total(HOLDER) == 6
    assert (market.total(OTHER, "41"), market.total(OTHER, "51")) == (6, 5)
    assert market.total(THIRD) == 985 + 98


def test_a_part_of_a_share_that_the_total_leaves_is_not_issued() -> None:
    """1,003 shares, 5 for 10: 501.5, so 501 are issued."""
    market = checked_market(entry(HOLDER, 1_000))
    market.do(*increase(entry(OTHER, 3)))
    market.do(*issuing_to_all(5, before=1_003))
    assert (market.total(HOLDER), market.total(OTHER)) == (1_500, 4)


def increase(line: Body) -> Call:
    line = {name: line[name] for name in line if name != "confirmed"}
    totals = {"total_before": 1_000, "total_after": 1_000 + line["shares"]}
    body = {"product_code": product_code(1), "entries": [line], "evidence": list(RESOLUTION)}
    return "capital_increase", body | totals


@pytest.mark.req("N0-17", "N0-18")
def test_new_shares_have_the_flags_of_the_position_that_they_come_of() -> None:
    market = checked_market(
        entry(HOLDER, 500, confirmed=False), entry(OTHER, 500, restricted_until="2026-01-01")
    )
    market.do(*issuing_to_all(10))
    unconfirmed: Any = market.position(HOLDER)
    restricted: Any = market.position(OTHER)
    assert (unconfirmed["total"], unconfirmed["confirmed"]) == (1_000, False)
    assert (restricted["total"], restricted["restricted_until"]) == (1_000, "2026-01-01")
    assert market.code("transfer", sale(HOLDER, OTHER, 1)) == "HOLDING_UNCONFIRMED"
    assert market.code("transfer", sale(OTHER, HOLDER, 1)) == "SHARES_RESTRICTED"


@pytest.mark.req("N0-17", "N0-20")
def test_pledges_grow_with_their_shares_and_freezes_where_they_hold_the_fruits() -> None:
    market = checked_market()
    market.do(*pledging(303))
    market.do(*freezing(205, "F1", fruits=True))
    market.do(*freezing(207, "F2", fruits=False))
    outcome = market.do(*issuing_to_all(5, pledges=("P1",), freezes=("F1", "F2")))
    assert outstanding(market, "P1") == 303 + 151
    assert freeze_parts(market, "F1") == (205 + 102, 0)
    assert freeze_parts(market, "F2") == (207, 0)
    assert shown(market) == (1_500, 454, 514, 0)
    names = [name for name, _ in announced(outcome.events)]
    assert names == [("pledge", "P1"), ("freeze", "F1")], "F2 is as it was"
    asked: Any = market.host.get("pledge/P1")
    assert asked["registered"] == 303, "what was first asked for stays"
    market.do(*releasing(454))
    market.do(*unfreezing(307, "F1"))
    assert shown(market) == (1_500, 0, 207, 0)


@pytest.mark.req("N0-17", "N0-20")
def test_fruits_of_frozen_shares_are_available_ones_first_and_then_pledged_ones() -> None:
    market = checked_market()
    market.do(*pledging(600))
    market.do(*freezing(600, fruits=True))
    assert shown(market) == (1_000, 600, 600, 200)
    market.do(*issuing_to_all(10, pledges=("P1",), freezes=("F1",)))
    assert shown(market) == (2_000, 1_200, 1_200, 400)


@pytest.mark.req("N0-17", "N0-20")
def test_new_shares_that_nothing_holds_go_to_the_freezes_that_wait() -> None:
    market = checked_market(entry(HOLDER, 600), entry(OTHER, 400))
    for number, fruits in (("F1", True), ("F2", False), ("F3", False)):
        market.do(*freezing(400, number, fruits=fruits))
    assert [freeze_parts(market, f"F{at}") for at in (1, 2, 3)] == [(400, 0), (200, 200), (0, 400)]
    market.do(*issuing_to_all(10, freezes=("F1", "F2", "F3")))
    parts = [freeze_parts(market, f"F{at}") for at in (1, 2, 3)]
    assert parts == [(800, 0), (400, 0), (0, 400)]
    assert shown(market) == (1_200, 0, 1_200, 0)
    assert shown(market, OTHER) == (800, 0, 0, 0)


@pytest.mark.req("N0-07", "N0-20")
def test_the_regulator_gets_every_holder_with_what_was_before_and_after() -> None:
    market = thirds()
    outcome = market.do(*issuing_to_all(3))
    ((port, packet),) = outcome.packets
    sent: Any = packet
    assert (port, sent["header"]["metadata"]["event"]) == ("data_object", "bonus_issue")
    body = sent["body"]
    information = body["registration_information"]
    assert information["register_basic_information"]["register_event_type"] == "bonus_issue"
    rows = information["registration_rights"]["basic_information_rights"]
    changes = [
        (
            row["basic_information_description"]["register_subject_account"],
            row["total_registration"]["register_asset_total_balance_before"],
            row["total_registration"]["register_asset_total_balance_change"],
        )
        for row in rows
    ]
    assert changes == [(HOLDER, 333, 100), (OTHER, 333, 100), (THIRD, 334, 100)]
    detail = dict(outcome.events)["register.bonus_issue_recorded"]
    assert isinstance(detail, dict)
    assert body["operation_detail"] == {name: detail[name] for name in detail if name != "time"}
    assert [each["hash"] for each in body["documents"]] == [DIGEST]


def test_what_is_announced_of_encumbrances_is_what_the_state_holds() -> None:
    market = checked_market(entry(HOLDER, 700), entry(OTHER, 300))
    for call in (pledging(100), freezing(500, "F1", fruits=True), freezing(250, "F2")):
        market.do(*call)
    outcome = market.do(*issuing_to_all(4, pledges=("P1",), freezes=("F1", "F2")))
    told, held = dict(announced(outcome.events)), recorded(market.host)
    assert told == {name: held[name] for name in told}
    assert set(told) == set(held)


@pytest.mark.req("N0-20")
def test_the_action_is_kept_under_its_number() -> None:
    market = checked_market()
    detail = detail_of(market, issuing_to_all(1, number="股东会2025/1"))
    ((_, kept),) = market.host.scan("corporate_action/", 2)
    assert kept == {name: detail[name] for name in detail if name != "time"}
    again = issuing_to_all(1, before=1_100, number="股东会2025/1")
    assert market.code(*again) == "CORPORATE_ACTION_DUPLICATE"
    assert market.code(*issuing_to_all(1, before=1_100, number="A2")) is None


@pytest.mark.req("N0-20")
def test_a_market_may_ask_for_more_evidence_than_the_resolution() -> None:
    market = checked_market()
    market.host.put("evidence/bonus_issue", ["capital_verification"])
    method, body = issuing_to_all(1)
    assert market.code(method, body) == "EVIDENCE_MISSING"
    more = {"kind": "capital_verification", "digest": DIGEST}
    assert market.code(method, {**body, "evidence": [more]}) == "EVIDENCE_MISSING"
    assert market.code(method, {**body, "evidence": [more, *RESOLUTION]}) is None


# Who signs


@pytest.mark.req("N0-18", "N0-20")
def test_an_action_needs_a_checker_whatever_the_parameters_say() -> None:
    market = checked_market()
    market.host.second_party = None
    assert market.code(*issuing_to_all(1)) == "CHECKER_MISSING"
    market.host.second_party = INSTITUTION
    assert market.code(*issuing_to_all(1)) == "CHECKER_IS_MAKER"
    market.host.second_party = CHECKER
    assert market.code(*issuing_to_all(1)) is None


def test_earlier_versions_of_the_register_do_not_have_the_actions() -> None:
    assert not {*CORPORATE_ACTIONS} & {*REGISTER_V4.methods()}
    assert {*REGISTER_V5.methods()} - {*REGISTER_V4.methods()} == {*CORPORATE_ACTIONS}
    assert RegisterContract(4, REGISTER_V4.operations) == REGISTER_V4


# What is named


def bound_market() -> Market:
    """A pledge, an effective and a waiting freeze at HOLDER; another pledge at OTHER."""
    market = checked_market(entry(HOLDER, 600), entry(OTHER, 400))
    market.do(*pledging(100, "P1"))
    market.do(*freezing(600, "F1"))
    market.do(*freezing(10, "F2"))
    market.do(*pledging(50, "P2", account=OTHER))
    return market


@pytest.mark.req("N0-17", "N0-20")
@pytest.mark.parametrize(
    ("pledges", "freezes"),
    [
        (("P1",), ("F1", "F2")),
        (("P2",), ("F1", "F2")),
        (("P1", "P2"), ("F1",)),
        (("P1", "P2"), ("F2",)),
        (("P1", "P2", "P2"), ("F1", "F2")),
        (("P1", "P2"), ("F1", "F2", "F2")),
        (("P1", "P2"), ("F1", "F1", "F2")),
    ],
)
def test_a_call_that_does_not_name_each_encumbrance_once_is_refused(
    pledges: tuple[str, ...], freezes: tuple[str, ...]
) -> None:
    market = bound_market()
    call = issuing_to_all(1, pledges=pledges, freezes=freezes)
    assert market.code(*call) == "ENCUMBRANCES_DIFFER"
    right = issuing_to_all(1, pledges=("P2", "P1"), freezes=("F2", "F1"))
    assert market.code(*right) is None


@pytest.mark.req("N0-20")
def test_what_has_ended_or_never_was_is_not_named() -> None:
    market = bound_market()
    market.do(*releasing(50, "P2"))
    market.do(*unfreezing(10, "F2"))
    for number in ("P2", "P9"):
        call = issuing_to_all(1, pledges=("P1", number), freezes=("F1",))
        assert market.code(*call) == "PLEDGE_UNKNOWN"
    for number in ("F2", "F9"):
        call = issuing_to_all(1, pledges=("P1",), freezes=("F1", number))
        assert market.code(*call) == "FREEZE_UNKNOWN"
    assert market.code(*issuing_to_all(1, pledges=("P1",), freezes=("F1",))) is None


@pytest.mark.req("N0-20")
def test_what_binds_another_product_or_waits_where_there_are_no_shares_is_not_named() -> None:
    market = checked_market(entry(HOLDER, 600), entry(OTHER, 400))
    market.do(*freezing(600, "F1"))
    market.do(*freezing(100, "F2"))
    market.do(*deducted("F1", 600))
    market.do(*pledging(1, "P1", account=OTHER))
    assert market.code(*issuing_to_all(1, pledges=("P1",), freezes=("F2",))) == (
        "ENCUMBRANCES_DIFFER"
    )
    market.poke("pledge/P1", product_code=product_code(2))
    assert market.host.run(REGISTER_V5, *issuing_to_all(1, pledges=("P1",))).code == (
        "ENCUMBRANCES_DIFFER"
    )
    market.poke("pledge/P1", product_code=product_code(1))
    assert market.code(*issuing_to_all(1, pledges=("P1",))) is None
    assert freeze_parts(market, "F2") == (0, 100)


def deducted(number: str, shares: int) -> Call:
    evidence = [{"kind": kind, "digest": DIGEST} for kind in ("court_ruling", "assistance_notice")]
    members = {"freeze_no": number, "shares": shares, "beneficiary": OTHER, "court_doc_no": "1"}
    return "deduct", {**members, "evidence": evidence}


def test_the_outstanding_encumbrances_of_a_product_are_what_a_call_names() -> None:
    market = bound_market()
    named = standing(market.host, product_code(1))
    assert named == {"pledges": ["P1", "P2"], "freezes": ["F1", "F2"]}
    method, body = issuing_to_all(1)
    assert market.code(method, {**body, **named}) is None
