"""Any body gives an outcome of the rules: an error in them would refuse what should be accepted."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.register.contract import (
    CORPORATE_ACTIONS,
    OPERATIONS,
    REFERENCE_METHODS,
    RegisterContract,
)
from tests.unit.contracts.action_market import (
    CHECKER,
    buying_back,
    issuing_to_all,
    offer,
    reducing,
    splitting,
)
from tests.unit.contracts.register_market import (
    Market,
    company_registration,
    company_row,
    entry,
    evidence,
    investor_row,
    market_body,
    opening,
    product_code,
    product_row,
    registration,
    sale,
)

ALL = RegisterContract(version=99, operations=(*OPERATIONS, *CORPORATE_ACTIONS))
HOLDER, OTHER = "Q000000001", "Q000000002"
PLACE: dict[str, Any] = {"account": HOLDER, "product_code": product_code(1), "nature": "51"}

VALID: dict[str, dict[str, Any]] = {
    "configure_market": market_body(),
    "put_trading_days": {"year": 2026, "days": ["2026-01-05"]},
    "put_companies": {"companies": [company_row(3)]},
    "put_products": {"products": [product_row(1)]},
    "put_investors": {"investors": [investor_row(5)]},
    "close_historic_import": {},
    "register_company": company_registration(2),
    "open_account": opening(3),
    "initial_registration": registration(entry(HOLDER, 1_000, nature="61"), product=2),
    "transfer": sale(HOLDER, OTHER, 10),
    "confirm_holding": {**PLACE, "evidence": evidence("confirm_holding")},
    "pledge": {
        **PLACE,
        "pledge_no": "P1",
        "shares": 10,
        "pledgee_uscc": "91370199MA990001X4",
        "evidence": evidence("pledge"),
    },
    "release_pledge": {"pledge_no": "P0", "shares": 5, "evidence": evidence("release_pledge")},
    "freeze": {
        **PLACE,
        "freeze_no": "F1",
        "category": "aml",
        "court_doc_no": "",
        "shares": 10,
        "fruits": True,
        "term_end": "2028-01-01",
        "evidence": evidence("freeze"),
    },
    "unfreeze": {
        "freeze_no": "F0",
        "shares": 5,
        "authority": "court",
        "court_doc_no": "x",
        "evidence": evidence("unfreeze"),
    },
    "deduct": {
        "freeze_no": "F0",
        "shares": 5,
        "beneficiary": OTHER,
        "court_doc_no": "x",
        "evidence": evidence("deduct"),
    },
    "capital_increase": {
        "product_code": product_code(1),
        "total_before": 1_000,
        "total_after": 1_001,
        "entries": [{"account": OTHER, "nature": "51", "shares": 1, "restricted_until": None}],
        "evidence": evidence("capital_increase"),
    },
    "dividend": {
        "dividend_no": "D1",
        "product_code": product_code(1),
        "per_share_li": 10,
        "pay_date": "2025-12-01",
        "evidence": evidence("dividend"),
    },
    "close_account": {"account": OTHER, "evidence": evidence("close_account")},
    "bonus_issue": issuing_to_all(1, pledges=("P0",), freezes=("F0",))[1],
    "share_split": splitting(2, pledges=("P0",), freezes=("F0",))[1],
    "capital_reduction": reducing(1)[1],
    "buy_back": buying_back(offer(HOLDER, 10))[1],
    "reserve_conversion": issuing_to_all(2, pledges=("P0",), freezes=("F0",))[1],
}
SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(1 << 63) + 1, max_value=(1 << 63) - 1)
    | st.sampled_from([0, 1, (1 << 53) - 1, 1 << 53, "", "/", "%", "9999-12-31", HOLDER, OTHER])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=140)
)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def market() -> Market:
    """A market in which every valid call has something to work on."""
    made = Market(contract=ALL)
    made.host.second_party = CHECKER
    for number in (1, 2):
        made.account(number)
    made.investor(3)
    made.register(entry(HOLDER, 1_000))
    made.do("register_company", company_registration(2))
    pledge, freeze = VALID["pledge"], VALID["freeze"]
    made.do("pledge", {**pledge, "pledge_no": "P0"})
    made.do(
        "freeze",
        {**freeze, "freeze_no": "F0", "category": "judicial_enforcement", "court_doc_no": "x"},
    )
    made.do("put_products", {"products": [product_row(2)]})
    return made


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of every part of a value below the top."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    found: list[tuple[Any, ...]] = []
    for place, part in parts:
        found.append((*path, place))
        if isinstance(part, dict | list):
            found.extend(places(part, (*path, place)))
    return found


def test_every_method_is_fuzzed() -> None:
    assert VALID.keys() == {*OPERATIONS, *CORPORATE_ACTIONS, *REFERENCE_METHODS}
    for method in CORPORATE_ACTIONS:
        assert market().code(method, VALID[method]) is None, "what is spoiled was right"


@given(st.sampled_from(sorted(VALID)), st.data())
@settings(max_examples=400)
def test_a_valid_call_with_any_part_replaced_is_accepted_or_refused(
    method: str, data: st.DataObject
) -> None:
    body = copy.deepcopy(VALID[method])
    for _ in range(data.draw(st.integers(min_value=1, max_value=2))):
        if found := places(body):
            *path, last = data.draw(st.sampled_from(found))
            holder: Any = body
            for place in path:
                holder = holder[place]
            holder[last] = data.draw(JSON)
    market().code(method, body)


@given(st.sampled_from(sorted(VALID)), st.dictionaries(st.text(max_size=8), JSON, max_size=4))
@settings(max_examples=100)
def test_any_object_is_accepted_or_refused(method: str, body: dict[str, Json]) -> None:
    market().code(method, body)
