"""Pledges, freezes, issues, dividends: refusals in order, worked examples, random markets.

Version 1 of the contract has none of these operations; the tests run them through one that has all.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.consensus.domain.contracts.register.contract import OPERATIONS, RegisterContract
from tests.unit.contracts.changed_rules import change_rules
from tests.unit.contracts.register_market import (
    Market,
    entry,
    evidence,
    opening,
    product_code,
    sale,
)

ALL = RegisterContract(version=99, operations=tuple(OPERATIONS))
HOLDER, OTHER, CLOSED, UNKNOWN = "Q000000001", "Q000000002", "Q000000003", "Q000000099"
PLEDGEE = "91370199MA990001X4"

Body = dict[str, Any]
Spoil = Callable[[Market, Body], None]


def call(method: str, **members: Any) -> tuple[str, Body]:
    return method, {**members, "evidence": evidence(method)}


def place(account: str = HOLDER, nature: str = "51") -> Body:
    return {"account": account, "product_code": product_code(1), "nature": nature}


def pledging(shares: int, number: str = "P1", **changes: Any) -> tuple[str, Body]:
    members = {"pledge_no": number, "shares": shares, "pledgee_uscc": PLEDGEE, **place()}
    return call("pledge", **{**members, **changes})


def releasing(shares: int, number: str = "P1") -> tuple[str, Body]:
    return call("release_pledge", pledge_no=number, shares=shares)


def freezing(shares: int, number: str = "F1", **changes: Any) -> tuple[str, Body]:
    members = {
        "freeze_no": number,
        "category": "judicial_enforcement",
        "court_doc_no": "（2025）鲁演执1号",
        "shares": shares,
        "fruits": False,
        "term_end": "2028-01-01",
        **place(),
    }
    return call("freeze", **{**members, **changes})


def unfreezing(shares: int, number: str = "F1", authority: str = "court") -> tuple[str, Body]:
    return call(
        "unfreeze", freeze_no=number, shares=shares, authority=authority, court_doc_no="doc"
    )


def deducting(shares: int, number: str = "F1", beneficiary: str = OTHER) -> tuple[str, Body]:
    return call(
        "deduct", freeze_no=number, shares=shares, beneficiary=beneficiary, court_doc_no="doc"
    )


def issuing(*entries: Body, before: int = 1_000) -> tuple[str, Body]:
    after = before + sum(line["shares"] for line in entries)
    lines = [{name: line[name] for name in line if name != "confirmed"} for line in entries]
    return call(
        "capital_increase",
        product_code=product_code(1),
        total_before=before,
        total_after=after,
        entries=lines,
    )


def paying(per_share_li: int, number: str = "D1") -> tuple[str, Body]:
    return call(
        "dividend",
        dividend_no=number,
        product_code=product_code(1),
        per_share_li=per_share_li,
        pay_date="2025-12-01",
    )


def market_of(*roster: Body, holder_cap: int = 200) -> Market:
    market = Market(contract=ALL, holder_cap=holder_cap)
    for number in (1, 2, 3):
        market.account(number)
    market.do(*call("close_account", account=CLOSED))
    market.register(*(roster or [entry(HOLDER, 1_000)]))
    return market


def shown(market: Market, account: str = HOLDER) -> tuple[int, int, int, int]:
    """Return total, pledged, frozen and overlap of a position."""
    held: Any = market.position(account)
    return held["total"], held["pledged"], held["frozen"], held["overlap"]


def freeze_parts(market: Market, number: str) -> tuple[int, int]:
    stored: Any = market.host.get(f"freeze/{number}")
    return stored["effective"], stored["waiting"]


# Worked examples


@pytest.mark.req("N0-17")
def test_the_worked_example_of_rights_and_waiting_freezes() -> None:
    """docs/market-dataset.md section 7, step by step."""
    market = market_of()
    market.do(*pledging(400))
    market.do(*freezing(700, "X"))
    assert (freeze_parts(market, "X"), shown(market)) == ((700, 0), (1000, 400, 700, 100))
    market.do(*freezing(500, "Y"))
    assert (freeze_parts(market, "Y"), shown(market)) == ((300, 200), (1000, 400, 1000, 400))
    market.do(*freezing(200, "Z"))
    assert freeze_parts(market, "Z") == (0, 200)
    market.do(*releasing(350))
    assert shown(market) == (1000, 50, 1000, 50)
    assert freeze_parts(market, "Y") == (300, 200)
    market.do(*unfreezing(250, "X"))
    assert shown(market) == (1000, 50, 1000, 50)
    assert [freeze_parts(market, number) for number in "XYZ"] == [(450, 0), (500, 0), (50, 150)]
    market.do(*deducting(450, "X"))
    assert shown(market) == (550, 50, 550, 50)
    assert market.code(*deducting(500, "Y")) is None
    assert shown(market) == (50, 50, 50, 50)
    assert market.code(*deducting(50, "Z")) == "SHARES_PLEDGED"


def test_the_worked_example_of_rounding() -> None:
    """docs/market-dataset.md section 9: three positions of 333 shares at 1 li."""
    market = Market(contract=ALL)
    holders = [market.account(number) for number in (1, 2, 3)]
    market.poke(f"product_row/{product_code(1)}", registered_shares=999)
    market.do("register_company", call("register_company", company_ref="C1")[1])
    roster = [entry(account, 333) for account in holders]
    market.do(
        *call("initial_registration", product_code=product_code(1), total_shares=999, roster=roster)
    )
    detail = dict(market.do(*paying(1)).events)["register.dividend_recorded"]
    assert isinstance(detail, dict)
    assert [line["amount_fen"] for line in detail["lines"]] == [33, 33, 33]  # type: ignore[index,union-attr,call-overload]
    assert (detail["declared_fen"], detail["rounding_fen"]) == (100, 1)


@pytest.mark.req("N0-16")
def test_unconfirmed_shares_are_neither_moved_nor_pledged_until_they_are_confirmed() -> None:
    market = market_of(entry(HOLDER, 1_000, confirmed=False))
    assert market.code(*pledging(1)) == "HOLDING_UNCONFIRMED"
    assert market.code("transfer", sale(HOLDER, OTHER, 1)) == "HOLDING_UNCONFIRMED"
    market.do(*call("confirm_holding", **place()))
    assert market.code(*pledging(1)) is None
    assert market.code("transfer", sale(HOLDER, OTHER, 1)) is None


def test_pledged_and_frozen_shares_do_not_move() -> None:
    market = market_of()
    market.do(*pledging(600))
    assert market.code("transfer", sale(HOLDER, OTHER, 401)) == "SHARES_INSUFFICIENT"
    market.do(*freezing(300))
    assert market.code("transfer", sale(HOLDER, OTHER, 101)) == "SHARES_INSUFFICIENT"
    assert market.code("transfer", sale(HOLDER, OTHER, 100)) is None


def test_a_full_queue_of_waiting_freezes_takes_no_more_until_one_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change_rules(monkeypatch, WAITING_MAX=2)
    market = market_of()
    for number in ("F1", "F2", "F3"):
        market.do(*freezing(1_000, number))
    assert market.code(*freezing(1, "F4")) == "WAITING_QUEUE_FULL"
    market.do(*unfreezing(1_000, "F2"))
    assert market.code(*freezing(1, "F4")) is None
    assert freeze_parts(market, "F4") == (0, 1)


def test_a_waiting_freeze_outlives_the_position_and_takes_shares_that_come_in_later() -> None:
    market = market_of(entry(HOLDER, 600), entry(OTHER, 400))
    market.do(*freezing(600, "A"))
    market.do(*freezing(100, "B"))
    market.do(*deducting(600, "A"))
    assert market.position(HOLDER) is None
    assert market.code(*call("close_account", account=HOLDER)) == "ACCOUNT_NOT_EMPTY"
    market.do("transfer", sale(OTHER, HOLDER, 70, reason="gift"))
    assert (freeze_parts(market, "B"), shown(market)) == ((70, 30), (70, 0, 70, 0))
    market.do("transfer", sale(OTHER, HOLDER, 70, reason="gift"))
    assert (freeze_parts(market, "B"), shown(market)) == ((100, 0), (140, 0, 100, 0))


def test_shares_deducted_into_a_position_with_waiting_freezes_are_frozen_there_too() -> None:
    market = market_of(entry(HOLDER, 600), entry(OTHER, 400))
    market.do(*freezing(400, "A", account=OTHER))
    market.do(*freezing(300, "B", account=OTHER))
    market.do(*freezing(600, "C"))
    market.do(*deducting(100, "C"))
    assert (freeze_parts(market, "B"), shown(market, OTHER)) == ((100, 200), (500, 0, 500, 0))
    market.do(*unfreezing(150, "B"))
    assert (freeze_parts(market, "B"), shown(market, OTHER)) == ((100, 50), (500, 0, 500, 0))


def test_the_fruits_of_frozen_shares_are_held_while_the_freeze_is_effective() -> None:
    market = market_of()
    market.do(*freezing(10, fruits=True))
    assert statuses(market, "D1") == ["HELD_FROZEN"]
    market.do(*unfreezing(10))
    assert statuses(market, "D2") == ["PAYABLE"]


def statuses(market: Market, number: str) -> list[str]:
    detail: Any = dict(market.do(*paying(10, number)).events)["register.dividend_recorded"]
    return [line["status"] for line in detail["lines"]]


def test_an_account_closes_when_empty_and_its_code_opens_it_again() -> None:
    market = market_of(entry(HOLDER, 1_000))
    assert market.code(*call("close_account", account=HOLDER)) == "ACCOUNT_NOT_EMPTY"
    market.do("transfer", sale(HOLDER, OTHER, 1_000))
    assert market.code(*call("close_account", account=HOLDER)) is None
    assert market.code("transfer", sale(OTHER, HOLDER, 1)) == "ACCOUNT_NOT_OPEN"
    assert market.code("open_account", opening(1)) is None


def test_an_issue_raises_the_registered_total_by_what_it_declares() -> None:
    market = market_of()
    assert market.code(*issuing(entry(OTHER, 500))) is None
    product: Any = market.host.get(f"product/{product_code(1)}")
    assert (product["registered_total"], product["holder_count"]) == (1_500, 2)
    assert market.code(*issuing(entry(OTHER, 500))) == "REGISTER_TOTAL_MISMATCH"


# Refusals, alone and in pairs


def put(name: str, value: Any) -> Spoil:
    return lambda _market, body: body.update({name: value})


def first(name: str, **members: Any) -> Spoil:
    return lambda _market, body: body[name][0].update(members)


def poke_freeze(**members: Any) -> Spoil:
    return lambda market, _body: market.poke("freeze/F1", **members)


def unconfirm(market: Market, _body: Body) -> None:
    market.poke_position(HOLDER, confirmed=False)


NO_EVIDENCE = put("evidence", [])
NO_AMOUNT = put("shares", 0)
NO_PRODUCT = put("product_code", "none")
TOO_MANY = put("shares", 1_001)

TABLES: dict[str, tuple[list[tuple[str, Body]], tuple[str, Body], dict[str, Spoil]]] = {
    "confirm_holding": (
        [],
        call("confirm_holding", **place()),
        {
            "EVIDENCE_MISSING": NO_EVIDENCE,
            "PRODUCT_UNKNOWN": NO_PRODUCT,
            "ACCOUNT_UNKNOWN": put("account", UNKNOWN),
            "ACCOUNT_NOT_OPEN": put("account", CLOSED),
            "HOLDING_UNKNOWN": put("nature", "41"),
            "HOLDING_ALREADY_CONFIRMED": lambda _market, _body: None,
        },
    ),
    "pledge": (
        [pledging(1, "P0")],
        pledging(100),
        {
            "AMOUNT_NOT_POSITIVE": NO_AMOUNT,
            "EVIDENCE_MISSING": NO_EVIDENCE,
            "USCC_INVALID": put("pledgee_uscc", "91370199MA990001X5"),
            "PRODUCT_UNKNOWN": NO_PRODUCT,
            "ACCOUNT_UNKNOWN": put("account", UNKNOWN),
            "ACCOUNT_NOT_OPEN": put("account", CLOSED),
            "PLEDGE_DUPLICATE": put("pledge_no", "P0"),
            "HOLDING_UNCONFIRMED": unconfirm,
            "SHARES_INSUFFICIENT": TOO_MANY,
        },
    ),
    "release_pledge": (
        [pledging(100)],
        releasing(100),
        {
            "AMOUNT_NOT_POSITIVE": put("shares", -1),
            "EVIDENCE_MISSING": NO_EVIDENCE,
            "PLEDGE_UNKNOWN": put("pledge_no", "none"),
            "PLEDGE_SHARES_EXCEEDED": put("shares", 101),
        },
    ),
    "freeze": (
        [freezing(1, "F0")],
        freezing(100),
        {
            "AMOUNT_NOT_POSITIVE": NO_AMOUNT,
            "EVIDENCE_MISSING": NO_EVIDENCE,
            "COURT_DOCUMENT_MISSING": put("court_doc_no", ""),
            "PRODUCT_UNKNOWN": NO_PRODUCT,
            "ACCOUNT_UNKNOWN": put("account", UNKNOWN),
            "ACCOUNT_NOT_OPEN": put("account", CLOSED),
            "FREEZE_DUPLICATE": put("freeze_no", "F0"),
            "SHARES_INSUFFICIENT": TOO_MANY,
        },
    ),
    "unfreeze": (
        [freezing(100)],
        unfreezing(100),
        {
            "AMOUNT_NOT_POSITIVE": NO_AMOUNT,
            "EVIDENCE_MISSING": NO_EVIDENCE,
            "COURT_DOCUMENT_MISSING": put("court_doc_no", ""),
            "FREEZE_UNKNOWN": put("freeze_no", "none"),
            "FREEZE_AUTHORITY_MISMATCH": poke_freeze(category="aml"),
            "FREEZE_SHARES_EXCEEDED": put("shares", 101),
        },
    ),
    "deduct": (
        [pledging(1_000), freezing(900, "F0"), freezing(200, "F1")],
        deducting(100),
        {
            "AMOUNT_NOT_POSITIVE": NO_AMOUNT,
            "EVIDENCE_MISSING": NO_EVIDENCE,
            "COURT_DOCUMENT_MISSING": put("court_doc_no", ""),
            "FREEZE_UNKNOWN": put("freeze_no", "none"),
            "FREEZE_AUTHORITY_MISMATCH": poke_freeze(category="judicial_preservation"),
            "FREEZE_SHARES_EXCEEDED": put("shares", 201),
            "FREEZE_NOT_EFFECTIVE": put("shares", 101),
            "ACCOUNT_UNKNOWN": put("beneficiary", UNKNOWN),
            "ACCOUNT_NOT_OPEN": put("beneficiary", CLOSED),
            "SELF_TRANSFER": put("beneficiary", HOLDER),
            "SHARES_PLEDGED": lambda _market, _body: None,
        },
    ),
    "capital_increase": (
        [],
        issuing(entry(OTHER, 100)),
        {
            "AMOUNT_NOT_POSITIVE": first("entries", shares=0),
            "EVIDENCE_MISSING": NO_EVIDENCE,
            "PRODUCT_UNKNOWN": NO_PRODUCT,
            "ROSTER_ENTRY_DUPLICATE": lambda _market, body: body["entries"].append(
                dict(body["entries"][0])
            ),
            "ACCOUNT_UNKNOWN": first("entries", account=UNKNOWN),
            "ACCOUNT_NOT_OPEN": first("entries", account=CLOSED),
            "SHARE_NATURE_INVALID": first("entries", nature="61"),
            "REGISTER_TOTAL_MISMATCH": put("total_before", 999),
            "BUYER_NOT_QUALIFIED": lambda market, _body: market.poke(
                f"account/{OTHER}", suitability="EXEMPT"
            ),
            "HOLDER_CAP_EXCEEDED": lambda market, _body: market.poke(
                f"account/{OTHER}", counted_holders=200
            ),
        },
    ),
    "dividend": (
        [paying(1, "D0")],
        paying(10),
        {
            "AMOUNT_NOT_POSITIVE": put("per_share_li", 0),
            "EVIDENCE_MISSING": NO_EVIDENCE,
            "PRODUCT_UNKNOWN": NO_PRODUCT,
            "DIVIDEND_DUPLICATE": put("dividend_no", "D0"),
        },
    ),
    "close_account": (
        [],
        call("close_account", account=HOLDER),
        {
            "EVIDENCE_MISSING": NO_EVIDENCE,
            "ACCOUNT_UNKNOWN": put("account", UNKNOWN),
            "ACCOUNT_NOT_OPEN": put("account", CLOSED),
            "ACCOUNT_NOT_EMPTY": lambda _market, _body: None,
        },
    ),
}
ALONE = [(method, code) for method, (_, _, spoils) in TABLES.items() for code in spoils]
PAIRED = [
    (method, *pair) for method, (_, _, spoils) in TABLES.items() for pair in combinations(spoils, 2)
]


def check_spoiled(method: str, *codes: str) -> None:
    """Spoil a call in the ways of these codes, later ones first; expect the earliest code."""
    market = market_of()
    before, (_, valid), spoils = TABLES[method]
    for earlier in before:
        market.do(*earlier)
    body: Body = {
        name: [dict(row) for row in value] if isinstance(value, list) else value
        for name, value in valid.items()
    }
    for code in reversed(codes):
        spoils[code](market, body)
    assert market.code(method, body) == codes[0]


@pytest.mark.req("N0-17", "N0-18")
@pytest.mark.parametrize(("method", "code"), ALONE)
def test_a_spoiled_call_is_refused_with(method: str, code: str) -> None:
    check_spoiled(method, code)


@pytest.mark.parametrize(("method", "earlier", "later"), PAIRED)
def test_of_two_faults_the_earlier_gives_the_code(method: str, earlier: str, later: str) -> None:
    check_spoiled(method, earlier, later)


@pytest.mark.parametrize(
    ("method", "number"), [("release_pledge", "P1"), ("unfreeze", "F1"), ("deduct", "F1")]
)
def test_what_has_ended_is_unknown(method: str, number: str) -> None:
    market = market_of()
    for earlier in (pledging(100), releasing(100), freezing(100), unfreezing(100)):
        market.do(*earlier)
    calls = {
        "release_pledge": releasing(1, number),
        "unfreeze": unfreezing(1, number),
        "deduct": deducting(1, number),
    }
    assert str(market.code(*calls[method])).endswith("_UNKNOWN")


@pytest.mark.parametrize(
    ("category", "authority"),
    [
        ("judicial_preservation", "court"),
        ("judicial_enforcement", "court"),
        ("aml", "aml_authority"),
        ("self_discipline", "operator"),
    ],
)
def test_only_the_right_authority_releases_a_freeze(category: str, authority: str) -> None:
    market = market_of()
    market.do(*freezing(10, category=category))
    for wrong in {"court", "aml_authority", "operator"} - {authority}:
        assert market.code(*unfreezing(1, authority=wrong)) == "FREEZE_AUTHORITY_MISMATCH"
    assert market.code(*unfreezing(1, authority=authority)) is None


# Random markets


STEPS = st.tuples(
    st.sampled_from(["pledge", "release", "freeze", "unfreeze", "deduct", "gift", "back", "issue"]),
    st.integers(min_value=0, max_value=5),
    st.integers(min_value=1, max_value=500),
)


@given(st.lists(STEPS, max_size=25))
@settings(max_examples=80)
def test_any_row_of_operations_keeps_every_invariant(steps: list[tuple[str, int, int]]) -> None:
    """`Market.run` recounts everything from nothing after each call, accepted or refused."""
    market = market_of(entry(HOLDER, 700), entry(OTHER, 300))
    total = 1_000
    for index, (kind, number, shares) in enumerate(steps):
        calls: dict[str, tuple[str, Body]] = {
            "pledge": pledging(shares, f"P{index}"),
            "release": releasing(shares, f"P{number}"),
            "freeze": freezing(shares, f"F{index}", fruits=bool(number % 2)),
            "unfreeze": unfreezing(shares, f"F{number}"),
            "deduct": deducting(shares, f"F{number}"),
            "gift": ("transfer", sale(HOLDER, OTHER, shares, reason="gift")),
            "back": ("transfer", sale(OTHER, HOLDER, shares, reason="gift")),
            "issue": issuing(entry(HOLDER, shares), before=total),
        }
        if market.code(*calls[kind]) is None and kind == "issue":
            total += shares
        assert market.total(HOLDER) + market.total(OTHER) == total
