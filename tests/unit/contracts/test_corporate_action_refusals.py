"""Each refusal of the corporate actions, and the order in which the checks are tried.

Method: one valid call, and for every code one way to spoil it. Alone, a spoiled call gives its
code; spoiled in two ways at once, it gives the code that docs/register-actions.md lists first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from itertools import combinations
from typing import Any, Final

import pytest

from guqiao_sdk.rules import rule
from services.consensus.domain.contracts.register.contract import CORPORATE_ACTIONS, REGISTER_V5
from tests.unit.contracts.action_market import (
    CHECKER,
    HOLDER,
    OTHER,
    THIRD,
    Body,
    Call,
    acting,
    buying_back,
    checked_market,
    issuing_to_all,
    offer,
    reducing,
    splitting,
)
from tests.unit.contracts.register_market import DIGEST, Market, entry, evidence, product_code
from tests.unit.contracts.test_register_encumbrances import freezing, pledging

Spoil = Callable[[Market, Body], None]


def put(name: str, value: Any) -> Spoil:
    return lambda _market, body: body.update({name: value})


def first(**members: Any) -> Spoil:
    return lambda _market, body: body["offers"][0].update(members)


def already(number: str) -> Spoil:
    return lambda market, _body: market.host.put(f"corporate_action/{number}", {})


def bind(shares: int) -> Spoil:
    def spoil(market: Market, _body: Body) -> None:
        market.do(*pledging(shares, "P7"))

    return spoil


COMMON: Final[dict[str, Spoil]] = {
    "EVIDENCE_MISSING": put("evidence", [{"kind": "notice", "digest": DIGEST}]),
    "PRODUCT_UNKNOWN": put("product_code", "none"),
    "CORPORATE_ACTION_DUPLICATE": already("A1"),
    "RECORD_DATE_NOT_TODAY": put("record_date", "2025-08-29"),
}
TOTALS: Final[dict[str, Spoil]] = {"REGISTER_TOTAL_MISMATCH": put("total_before", 999)}
NAMED: Final[dict[str, Spoil]] = {
    "PLEDGE_UNKNOWN": put("pledges", ["none"]),
    "FREEZE_UNKNOWN": put("freezes", ["none"]),
    "ENCUMBRANCES_DIFFER": bind(1),
}
TOO_FEW_FREE: Final[dict[str, Spoil]] = {
    "SHARES_INSUFFICIENT": bind(541),
}
OFFERED: Final[dict[str, Spoil]] = {
    "ROSTER_ENTRY_DUPLICATE": lambda _market, body: body["offers"].append({**body["offers"][0]}),
    "ACCOUNT_UNKNOWN": first(account="Q000000099"),
    "ACCOUNT_NOT_OPEN": first(account=THIRD),
}
ONE_OFFER: Final[dict[str, Spoil]] = {
    "HOLDING_UNCONFIRMED": lambda market, _body: market.poke_position(HOLDER, confirmed=False),
    "SHARES_RESTRICTED": lambda market, _body: market.poke_position(
        HOLDER, restricted_until="2025-09-01"
    ),
}
TABLES: Final[dict[str, tuple[Call, dict[str, Spoil]]]] = {
    **{
        method: (
            issuing_to_all(1, method=method),
            {"AMOUNT_NOT_POSITIVE": put("per_ten", 0), **COMMON, **TOTALS, **NAMED},
        )
        for method in ("bonus_issue", "reserve_conversion")
    },
    "share_split": (
        splitting(2),
        {"AMOUNT_NOT_POSITIVE": put("parts", -1), **COMMON, **TOTALS, **NAMED},
    ),
    "capital_reduction": (
        reducing(1),
        {"AMOUNT_NOT_POSITIVE": put("total_after", 0), **COMMON, **TOTALS, **TOO_FEW_FREE},
    ),
    "buy_back": (
        buying_back(offer(HOLDER, 60)),
        {
            "AMOUNT_NOT_POSITIVE": put("price_fen", 0),
            **COMMON,
            **OFFERED,
            **TOTALS,
            **ONE_OFFER,
            **TOO_FEW_FREE,
        },
    ),
}
PAIRED = [
    (method, *pair) for method, (_, spoils) in TABLES.items() for pair in combinations(spoils, 2)
]


def spoiled(method: str, *codes: str) -> str | None:
    market = checked_market(entry(HOLDER, 600), entry(OTHER, 400))
    market.do("close_account", {"account": THIRD, "evidence": evidence("close_account")})
    (_, valid), spoils = TABLES[method]
    body = deepcopy(valid)
    for code in reversed(codes):
        spoils[code](market, body)
    return market.code(method, body)


def test_every_action_has_its_table_of_refusals() -> None:
    assert set(TABLES) == set(CORPORATE_ACTIONS)
    for method in CORPORATE_ACTIONS:
        assert spoiled(method) is None


@pytest.mark.req("N0-17", "N0-20")
@pytest.mark.parametrize(
    ("method", "code"), [(method, code) for method in TABLES for code in TABLES[method][1]]
)
def test_a_spoiled_action_is_refused_with(method: str, code: str) -> None:
    assert spoiled(method, code) == code


@pytest.mark.parametrize(("method", "earlier", "later"), PAIRED)
def test_of_two_faults_of_an_action_the_earlier_gives_the_code(
    method: str, earlier: str, later: str
) -> None:
    assert spoiled(method, earlier, later) == earlier


@pytest.mark.parametrize(
    "totals",
    [
        {"total_after": 1_101},
        {"total_after": 1_099},
        {"total_before": 999, "total_after": 1_098},
        {"total_before": 1_010, "total_after": 1_111},
    ],
)
def test_totals_that_are_not_the_registers_are_refused(totals: Body) -> None:
    market = checked_market()
    method, body = issuing_to_all(1)
    assert market.code(method, {**body, **totals}) == "REGISTER_TOTAL_MISMATCH"


def test_an_issue_of_less_than_a_share_in_all_is_none() -> None:
    market = Market(contract=REGISTER_V5)
    market.host.second_party = CHECKER
    market.account(1)
    market.poke(f"product_row/{product_code(1)}", registered_shares=9)
    market.do("register_company", {"company_ref": "C1", "evidence": evidence("register_company")})
    market.do(
        "initial_registration",
        {
            "product_code": product_code(1),
            "total_shares": 9,
            "roster": [entry(HOLDER, 9)],
            "evidence": evidence("initial_registration"),
        },
    )
    assert market.code(*acting("bonus_issue", "A1", 9, 9, per_ten=1, pledges=[], freezes=[])) == (
        "REGISTER_TOTAL_MISMATCH"
    )
    assert market.code(*issuing_to_all(2, before=9)) is None
    assert market.total(HOLDER) == 10


def test_a_total_beyond_the_range_of_counts_is_refused() -> None:
    market = checked_market()
    method, body = issuing_to_all(1)
    for name in ("per_ten", "total_before", "total_after"):
        assert market.code(method, {**body, name: 1 << 53}) == "VALUE_OUT_OF_RANGE"
    assert market.code(method, {**body, "per_ten": (1 << 53) - 1}) == "REGISTER_TOTAL_MISMATCH"


@pytest.mark.parametrize("shares", [0, -1])
def test_an_offer_of_no_shares_and_a_reduction_of_none_are_refused(shares: int) -> None:
    market = checked_market()
    method, body = buying_back(offer(HOLDER, 10))
    spoilt = {**body, "offers": [offer(HOLDER, 10), offer(OTHER, shares)]}
    assert market.code(method, spoilt) == "AMOUNT_NOT_POSITIVE"
    assert market.code(*reducing(shares)) == "AMOUNT_NOT_POSITIVE"


@pytest.mark.parametrize("per_ten", [10, 11])
def test_a_reduction_leaves_shares(per_ten: int) -> None:
    market = checked_market()
    assert market.code(*reducing(per_ten)) == "AMOUNT_NOT_POSITIVE"
    method, body = reducing(per_ten)
    assert market.code(method, {**body, "total_after": 1}) == "REGISTER_TOTAL_MISMATCH"
    assert market.code(*buying_back(offer(HOLDER, 1_000))) == "AMOUNT_NOT_POSITIVE"


def test_a_split_into_one_is_none() -> None:
    assert checked_market().code(*splitting(1)) == "REGISTER_TOTAL_MISMATCH"


def test_shares_that_are_not_held_are_not_bought_back() -> None:
    market = checked_market()
    for nobody in (offer(OTHER, 1), offer(HOLDER, 1, nature="41")):
        assert market.code(*buying_back(nobody)) == "SHARES_INSUFFICIENT"


def test_a_split_that_leaves_the_range_of_counts_is_refused_even_where_only_a_claim_does() -> None:
    """A freeze may wait for more shares than there are by now."""
    market = checked_market()
    market.do(*freezing(1_000, "F1"))
    market.do(*freezing(1_000, "F2"))
    market.poke("freeze/F2", waiting=(1 << 53) // 2)
    call = splitting(2, freezes=("F1", "F2"))
    outcome = market.run(*call)
    assert (outcome.code, outcome.fields["field"]) == ("VALUE_OUT_OF_RANGE", "waiting")
    market.poke("freeze/F2", waiting=(1 << 53) // 2 - 1)
    assert market.code(*call) is None


def test_of_several_offers_each_is_asked_of_a_rule_before_the_next_rule_is() -> None:
    market = checked_market(entry(HOLDER, 600, restricted_until="2026-01-01"), entry(OTHER, 400))
    market.poke_position(OTHER, confirmed=False)
    both = buying_back(offer(HOLDER, 1), offer(OTHER, 1))
    assert market.code(*both) == "HOLDING_UNCONFIRMED"
    market.poke_position(OTHER, confirmed=True)
    assert market.code(*both) == "SHARES_RESTRICTED"


@pytest.mark.parametrize(
    ("code", "facts"),
    [
        ("AMOUNT_NOT_POSITIVE", {"amount": 0, "total_after": 1_100}),
        ("EVIDENCE_MISSING", {"event": "bonus_issue", "missing": ["shareholder_resolution"]}),
        ("CORPORATE_ACTION_DUPLICATE", {"action_no": "A1"}),
        ("RECORD_DATE_NOT_TODAY", {"record_date": "2025-08-29", "day": "2025-09-01"}),
        ("REGISTER_TOTAL_MISMATCH", {"registered_total": 1_000, "moved": "99"}),
        ("PLEDGE_UNKNOWN", {"pledge_no": "none"}),
        ("FREEZE_UNKNOWN", {"freeze_no": "none"}),
        ("ENCUMBRANCES_DIFFER", {"account": HOLDER, "nature": "51"}),
    ],
)
def test_a_refusal_tells_the_facts_that_its_text_needs(code: str, facts: Body) -> None:
    market = checked_market(entry(HOLDER, 600), entry(OTHER, 400))
    (method, valid), spoils = TABLES["bonus_issue"]
    body = deepcopy(valid)
    spoils[code](market, body)
    refused = market.run(method, body)
    assert (refused.code, refused.fields) == (code, facts)
    told = rule(code)
    for text in (told.text_zh, told.text_en):
        assert set(re.findall(r"\{(\w+)\}", text)) <= set(facts)
