"""Each refusal of the four operations, and the order in which the checks are tried.

Method: one valid call, and for every code one way to spoil it. Alone, a spoiled call gives its
code; spoiled in two ways at once, it gives the code that the format lists first. The tables here
are written from docs/market-dataset.md section 6, not from the contract.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from tests.unit.contracts.register_market import (
    Market,
    company_registration,
    company_row,
    entry,
    opening,
    product_code,
    registration,
    sale,
)

Body = dict[str, Any]
Spoil = Callable[[Market, Body], None]
SELLER, BUYER, UNKNOWN = "Q000000001", "Q000000002", "Q000000099"


def put(name: str, value: Any) -> Spoil:
    return lambda _market, body: body.update({name: value})


def poke(key: str, **members: Any) -> Spoil:
    return lambda market, _body: market.poke(key, **members)


def drop(key: str) -> Spoil:
    return lambda market, _body: market.host.delete(key)


def lower_cap(market: Market, _body: Body) -> None:
    stored: Any = market.host.get("market")
    market.poke("market", rules={**stored["rules"], "holder_cap": 1})


def pairs(spoils: dict[str, Spoil]) -> list[tuple[str, str]]:
    return list(combinations(spoils, 2))


def check(market: Market, method: str, body: Body, spoils: list[Spoil], expected: str) -> None:
    """The later fault first: the earlier one may then build upon it."""
    for spoil in reversed(spoils):
        spoil(market, body)
    assert market.code(method, body) == expected


# register_company


def spoil_province(market: Market, _body: Body) -> None:
    market.poke("company_row/C1", region="370203")


def spoil_uniqueness(market: Market, _body: Body) -> None:
    row: Any = market.host.get("company_row/C1")
    market.host.put(f"company_uscc/{row['uscc']}", "C9")


def spoil_uscc(market: Market, _body: Body) -> None:
    market.poke("company_row/C1", uscc="91370199MA9900001D")
    if market.host.get("company_uscc/91370199MA9900001C") is not None:
        market.host.put("company_uscc/91370199MA9900001D", "C9")


COMPANY: dict[str, Spoil] = {
    "EVIDENCE_MISSING": put("evidence", []),
    "COMPANY_UNKNOWN": put("company_ref", "C99"),
    "USCC_INVALID": spoil_uscc,
    "ISSUER_OUT_OF_PROVINCE": spoil_province,
    "COMPANY_DUPLICATE": spoil_uniqueness,
}


@pytest.mark.req("N0-18")
@pytest.mark.parametrize("code", COMPANY)
def test_register_company_refuses_with(code: str) -> None:
    check(Market(), "register_company", company_registration(1), [COMPANY[code]], code)


@pytest.mark.parametrize(("first", "second"), pairs(COMPANY))
def test_register_company_gives_the_first_of_two_faults(first: str, second: str) -> None:
    spoils = [COMPANY[first], COMPANY[second]]
    check(Market(), "register_company", company_registration(1), spoils, first)


# open_account


def spoil_identity(market: Market, _body: Body) -> None:
    row: Any = market.host.get("investor_row/I1")
    market.account(7, identity_digest=row["identity_digest"])


INVESTOR: dict[str, Spoil] = {
    "EVIDENCE_MISSING": put("evidence", []),
    "INVESTOR_UNKNOWN": put("investor_ref", "I99"),
    "ID_NUMBER_INVALID": poke("investor_row/I1", identity_valid_from=None),
    "ACCOUNT_DUPLICATE_IDENTITY": spoil_identity,
}
INSTITUTION: dict[str, Spoil] = {
    "EVIDENCE_MISSING": put("evidence", []),
    "INVESTOR_UNKNOWN": put("investor_ref", "I99"),
    "USCC_INVALID": poke("investor_row/I1", identity_valid_from=None),
    "ACCOUNT_DUPLICATE_IDENTITY": lambda market, _body: market.host.put(
        f"identity/uscc/{'cd' * 32}", market.account(7)
    ),
}


def market_with_investor() -> Market:
    market = Market()
    market.investor(1)
    return market


def market_with_institution() -> Market:
    market = Market()
    market.investor(1, kind="R", id_type="uscc", identity_digest="cd" * 32)
    return market


@pytest.mark.req("N0-14", "N0-18")
@pytest.mark.parametrize("code", INVESTOR)
def test_open_account_refuses_a_person_with(code: str) -> None:
    check(market_with_investor(), "open_account", opening(1), [INVESTOR[code]], code)


@pytest.mark.req("N0-14")
@pytest.mark.parametrize("code", INSTITUTION)
def test_open_account_refuses_an_institution_with(code: str) -> None:
    check(market_with_institution(), "open_account", opening(1), [INSTITUTION[code]], code)


@pytest.mark.parametrize(("first", "second"), pairs(INVESTOR))
def test_open_account_gives_the_first_of_two_faults(first: str, second: str) -> None:
    spoils = [INVESTOR[first], INVESTOR[second]]
    check(market_with_investor(), "open_account", opening(1), spoils, first)


@pytest.mark.parametrize(("first", "second"), pairs(INSTITUTION))
def test_open_account_of_an_institution_gives_the_first_of_two_faults(
    first: str, second: str
) -> None:
    spoils = [INSTITUTION[first], INSTITUTION[second]]
    check(market_with_institution(), "open_account", opening(1), spoils, first)


# initial_registration


def change_entry(**members: Any) -> Spoil:
    return lambda _market, body: body["roster"][0].update(members)


def register_already(market: Market, _body: Body) -> None:
    code = product_code(1)
    empty = {"registered_total": 0, "positions_total": 0, "holder_count": 0}
    market.host.put(
        f"product/{code}", {"code": code, "company_ref": "C1", "object_id": "earlier", **empty}
    )


REGISTRATION: dict[str, Spoil] = {
    "AMOUNT_NOT_POSITIVE": change_entry(shares=0),
    "EVIDENCE_MISSING": lambda _market, body: body["evidence"].pop(),
    "PRODUCT_UNKNOWN": put("product_code", "none"),
    "COMPANY_UNKNOWN": drop("company/C1"),
    "PRODUCT_ALREADY_REGISTERED": register_already,
    "ROSTER_ENTRY_DUPLICATE": lambda _market, body: body["roster"].append(body["roster"][0]),
    "ACCOUNT_UNKNOWN": change_entry(account=UNKNOWN),
    "ACCOUNT_NOT_OPEN": poke(f"account/{BUYER}", status="CLOSED"),
    "SHARE_NATURE_INVALID": change_entry(nature="61"),
    "REGISTER_TOTAL_MISMATCH": put("total_shares", 1_001),
    "HOLDER_CAP_EXCEEDED": lower_cap,
}


def market_before_registration() -> tuple[Market, Body]:
    market = Market()
    market.do("register_company", company_registration(1))
    return market, registration(entry(market.account(1), 600), entry(market.account(2), 400))


def test_the_unspoiled_registration_is_accepted() -> None:
    market, body = market_before_registration()
    assert market.code("initial_registration", body) is None


@pytest.mark.req("N0-15", "N0-18")
@pytest.mark.parametrize("code", REGISTRATION)
def test_initial_registration_refuses_with(code: str) -> None:
    market, body = market_before_registration()
    check(market, "initial_registration", body, [REGISTRATION[code]], code)


@pytest.mark.parametrize(("first", "second"), pairs(REGISTRATION))
def test_initial_registration_gives_the_first_of_two_faults(first: str, second: str) -> None:
    market, body = market_before_registration()
    spoils = [REGISTRATION[first], REGISTRATION[second]]
    check(market, "initial_registration", body, spoils, first)


# transfer


def unknown_account(_market: Market, body: Body) -> None:
    is_self_transfer = body["buyer"] == body["seller"]
    body["buyer"] = UNKNOWN
    body["seller"] = UNKNOWN if is_self_transfer else body["seller"]


def bought_yesterday(market: Market, _body: Body) -> None:
    market.poke(f"holding/{product_code(1)}/{SELLER}", last_purchase="2025-08-29")


TRANSFER: dict[str, Spoil] = {
    "AMOUNT_NOT_POSITIVE": put("price_fen", -1),
    "EVIDENCE_MISSING": put("evidence", []),
    "PRODUCT_UNKNOWN": put("product_code", "none"),
    "ACCOUNT_UNKNOWN": unknown_account,
    "ACCOUNT_NOT_OPEN": poke(f"account/{SELLER}", status="CLOSED"),
    "SELF_TRANSFER": put("buyer", SELLER),
    "HOLDING_UNCONFIRMED": lambda market, _body: market.poke_position(SELLER, confirmed=False),
    "SHARES_RESTRICTED": lambda market, _body: market.poke_position(
        SELLER, restricted_until="2025-09-01"
    ),
    "SHARES_INSUFFICIENT": put("shares", 1_001),
    "BUYER_NOT_QUALIFIED": poke(f"account/{BUYER}", suitability="NOT_QUALIFIED"),
    "HOLDER_CAP_EXCEEDED": lower_cap,
    "ROUND_TRIP_TOO_SOON": bought_yesterday,
}
NOT_ASKED = {
    "agreement": set[str](),
    "gift": {"BUYER_NOT_QUALIFIED", "ROUND_TRIP_TOO_SOON"},
    "inheritance": {
        *("SHARES_RESTRICTED", "BUYER_NOT_QUALIFIED", "HOLDER_CAP_EXCEEDED"),
        "ROUND_TRIP_TOO_SOON",
    },
    "judicial": {
        *("HOLDING_UNCONFIRMED", "SHARES_RESTRICTED", "BUYER_NOT_QUALIFIED"),
        *("HOLDER_CAP_EXCEEDED", "ROUND_TRIP_TOO_SOON"),
    },
}
ASKED = [
    (reason, code) for reason, free in NOT_ASKED.items() for code in TRANSFER if code not in free
]
FREE = [(reason, code) for reason, free in NOT_ASKED.items() for code in sorted(free)]
ASKED_PAIRS = [
    (reason, *pair)
    for reason, free in NOT_ASKED.items()
    for pair in pairs(TRANSFER)
    if not free & {*pair}
]


def market_before_transfer(reason: str) -> tuple[Market, Body]:
    market = Market()
    seller, buyer = market.account(1), market.account(2)
    market.register(entry(seller, 1_000))
    return market, sale(seller, buyer, 400, reason=reason)


@pytest.mark.req("N0-16", "N0-17", "N0-18")
@pytest.mark.parametrize(("reason", "code"), ASKED)
def test_a_transfer_refuses_with(reason: str, code: str) -> None:
    market, body = market_before_transfer(reason)
    check(market, "transfer", body, [TRANSFER[code]], code)
    assert market.total(SELLER) == 1_000


@pytest.mark.req("N0-17")
@pytest.mark.parametrize(("reason", "code"), FREE)
def test_a_transfer_is_not_asked_for(reason: str, code: str) -> None:
    market, body = market_before_transfer(reason)
    TRANSFER[code](market, body)
    assert market.code("transfer", body) is None
    assert (market.total(SELLER), market.total(BUYER)) == (600, 400)


@pytest.mark.parametrize(("reason", "first", "second"), ASKED_PAIRS)
def test_a_transfer_gives_the_first_of_two_faults(reason: str, first: str, second: str) -> None:
    market, body = market_before_transfer(reason)
    check(market, "transfer", body, [TRANSFER[first], TRANSFER[second]], first)


def test_all_accounts_are_looked_up_before_any_is_asked_whether_it_is_open() -> None:
    """A check over several things is tried for all of them first: closed seller, unknown buyer."""
    market, body = market_before_transfer("gift")
    market.poke(f"account/{SELLER}", status="CLOSED")
    assert market.code("transfer", {**body, "buyer": UNKNOWN}) == "ACCOUNT_UNKNOWN"


def test_two_rows_of_one_uscc_register_once_whichever_comes_first() -> None:
    market = Market()
    market.do("put_companies", {"companies": [company_row(3, uscc=company_row(1)["uscc"])]})
    assert market.code("register_company", company_registration(3)) is None
    assert market.code("register_company", company_registration(1)) == "COMPANY_DUPLICATE"
    assert market.code("register_company", company_registration(3)) == "COMPANY_DUPLICATE"
