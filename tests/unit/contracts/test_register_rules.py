"""The rules of the four operations at their edges, each beside the case that just passes."""

from __future__ import annotations

from typing import Any

import pytest

from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts.host import Refusal, call
from services.consensus.domain.contracts.register.contract import (
    REGISTER_V3,
    RegisterContract,
)
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


def market_of(*shares: int, holder_cap: int = 200) -> tuple[Market, list[str]]:
    """Return a market whose account i + 1 holds shares[i]; 0 opens an account without shares."""
    market = Market(holder_cap=holder_cap)
    accounts = [market.account(number) for number in range(1, len(shares) + 1)]
    held = [entry(code, count) for code, count in zip(accounts, shares, strict=True) if count]
    market.register(*held)
    return market, accounts


def test_an_operation_with_a_member_that_nobody_knows_is_refused_and_does_nothing() -> None:
    market = Market()
    seller, _ = market.investor(1), market.investor(2)
    buyer = "Q000000002"
    for method, body in (
        ("open_account", opening(1)),
        ("open_account", opening(2)),
        ("register_company", company_registration(1)),
        ("initial_registration", registration(entry(seller, 1_000))),
        ("transfer", sale(seller, buyer, 10)),
    ):
        assert market.code(method, body | {"remark": "?"}) == "BODY_MALFORMED"
        market.do(method, body)


# Accounts and identity


@pytest.mark.req("N0-14")
def test_one_identity_has_one_investor_code_for_ever() -> None:
    market = Market()
    market.account(1, identity_digest="cd" * 32)
    market.investor(2, identity_digest="cd" * 32)
    assert market.code("open_account", opening(1)) == "ACCOUNT_DUPLICATE_IDENTITY"
    assert market.code("open_account", opening(2)) == "ACCOUNT_DUPLICATE_IDENTITY"


@pytest.mark.req("N0-14")
def test_a_closed_account_is_reopened_by_its_own_code_only_and_keeps_its_last_sides() -> None:
    market, (seller, buyer) = market_of(1_000, 0)
    market.do("transfer", sale(seller, buyer, 1_000))
    market.poke(f"account/{seller}", status="CLOSED")
    row: Any = market.host.get("investor_row/I1")
    market.investor(9, identity_digest=row["identity_digest"])
    assert market.code("open_account", opening(9)) == "ACCOUNT_DUPLICATE_IDENTITY"
    assert market.code("open_account", opening(1)) is None
    assert market.code("transfer", sale(buyer, seller, 1)) == "ROUND_TRIP_TOO_SOON"


@pytest.mark.parametrize(
    ("valid_from", "code"),
    [("2025-09-01", None), ("2025-09-02", "ID_NUMBER_INVALID"), (None, "ID_NUMBER_INVALID")],
)
@pytest.mark.req("N0-14")
def test_an_identity_counts_from_its_first_valid_day_on(
    valid_from: str | None, code: str | None
) -> None:
    market = Market()
    market.investor(1, identity_valid_from=valid_from)
    assert market.code("open_account", opening(1)) == code


def test_a_product_record_needs_no_valid_identity() -> None:
    market = Market()
    market.investor(1, kind="S", id_type="product_record", identity_valid_from=None)
    assert market.code("open_account", opening(1)) is None


# Companies


@pytest.mark.parametrize(
    ("region", "code"),
    [
        ("370102", None),
        ("370300", None),
        ("370203", "ISSUER_OUT_OF_PROVINCE"),
        ("310110", "ISSUER_OUT_OF_PROVINCE"),
    ],
)
def test_a_company_is_of_the_province_and_of_no_area_with_its_own_market(
    region: str, code: str | None
) -> None:
    market = Market()
    market.do("put_companies", {"companies": [company_row(3, region=region)]})
    assert market.code("register_company", company_registration(3)) == code


# Initial registration


@pytest.mark.req("N0-15")
def test_the_roster_sums_to_the_total_and_the_total_is_that_of_the_company_documents() -> None:
    market = Market()
    market.do("register_company", company_registration(1))
    first, second = market.account(1), market.account(2)
    short = registration(entry(first, 600), entry(second, 399))
    other = registration(entry(first, 600), entry(second, 399), total_shares=999)
    assert market.code("initial_registration", short) == "REGISTER_TOTAL_MISMATCH"
    assert market.code("initial_registration", other) == "REGISTER_TOTAL_MISMATCH"
    assert market.code("initial_registration", registration(entry(first, 1_000))) is None


def test_a_roster_whose_sum_needs_more_than_64_bits_is_a_mismatch_and_not_an_overflow() -> None:
    """1,000 x (2^53 - 1) is about 2^63: in 64 signed bits the sum could wrap round."""
    market = Market()
    market.do("register_company", company_registration(1))
    account = market.account(1)
    most = (1 << 53) - 1
    natures: dict[str, Json] = {
        f"n{index}": {"label": "", "forms": ["joint_stock"]} for index in range(1_000)
    }
    market.host.put("share_natures", natures)
    roster = [entry(account, most, nature=nature) for nature in natures]
    outcome = market.run("initial_registration", registration(*roster, total_shares=most))
    assert outcome.code == "REGISTER_TOTAL_MISMATCH"
    assert outcome.fields["roster_total"] == str(1_000 * most)


@pytest.mark.parametrize(("nature", "code"), [("51", None), ("61", "SHARE_NATURE_INVALID")])
def test_the_company_form_decides_which_natures_a_roster_may_carry(
    nature: str, code: str | None
) -> None:
    market = Market()
    market.do("register_company", company_registration(1))
    body = registration(entry(market.account(1), 1_000, nature=nature))
    assert market.code("initial_registration", body) == code


@pytest.mark.parametrize(("holders", "code"), [(3, None), (4, "HOLDER_CAP_EXCEEDED")])
def test_a_roster_may_reach_the_cap_and_not_exceed_it(holders: int, code: str | None) -> None:
    """A holder that looks through to two persons counts as two."""
    market = Market(holder_cap=3)
    market.do("register_company", company_registration(1))
    body = registration(
        entry(market.account(1, counted_holders=holders - 1), 500), entry(market.account(2), 500)
    )
    assert market.code("initial_registration", body) == code


def test_two_natures_of_one_account_are_one_holder() -> None:
    market = Market(holder_cap=1)
    market.do("register_company", company_registration(1))
    account = market.account(1)
    body = registration(entry(account, 400), entry(account, 600, nature="41"))
    assert market.code("initial_registration", body) is None


# What a transfer does


@pytest.mark.req("N0-17")
def test_a_transfer_moves_shares_and_keeps_their_sum() -> None:
    market, (seller, buyer) = market_of(700, 300)
    market.do("transfer", sale(seller, buyer, 100))
    assert (market.total(seller), market.total(buyer)) == (600, 400)


def test_a_position_that_falls_to_zero_ceases_with_its_flags() -> None:
    market, (seller, buyer) = market_of(1_000, 0)
    market.poke_position(seller, restricted_until="2025-08-31")
    market.do("transfer", sale(seller, buyer, 1_000))
    assert market.position(seller) is None
    market.do("transfer", sale(buyer, seller, 10, reason="gift"))
    assert market.position(seller) == market.position(buyer) | {"total": 10}  # type: ignore[operator]


@pytest.mark.parametrize(
    ("stored", "incoming", "result"),
    [
        (None, "2025-12-01", "2025-12-01"),
        ("2025-10-01", "2025-12-01", "2025-12-01"),
        ("2026-01-01", "2025-12-01", "2026-01-01"),
        ("2025-01-01", None, "2025-01-01"),  # Its own stored date stays, even if past.
        (None, "2025-08-31", None),  # The source's restriction is over: it does not travel.
        (None, "2025-09-01", "2025-09-01"),  # Its last day is still a restricted day.
    ],
)
def test_a_restriction_in_force_travels_with_the_shares(
    stored: str | None, incoming: str | None, result: str | None
) -> None:
    market, (seller, buyer) = market_of(600, 400)
    market.poke_position(seller, restricted_until=incoming)
    market.poke_position(buyer, restricted_until=stored)
    market.do("transfer", sale(seller, buyer, 100, reason="judicial"))
    position: Any = market.position(buyer)
    assert position["restricted_until"] == result


def test_shares_received_are_confirmed_but_wait_in_an_unconfirmed_position() -> None:
    market, (seller, buyer, other) = market_of(500, 500, 0)
    market.poke_position(buyer, confirmed=False)
    market.poke_position(seller, confirmed=False)
    market.do("transfer", sale(seller, buyer, 100, reason="judicial"))
    market.do("transfer", sale(seller, other, 100, reason="judicial"))
    into_unconfirmed: Any = market.position(buyer)
    into_new: Any = market.position(other)
    assert (into_unconfirmed["confirmed"], into_new["confirmed"]) == (False, True)


@pytest.mark.req("N0-16")
@pytest.mark.parametrize("reason", ["agreement", "gift", "inheritance"])
def test_unconfirmed_shares_do_not_move(reason: str) -> None:
    market, (seller, buyer) = market_of(1_000, 0)
    market.poke_position(seller, confirmed=False)
    body = sale(seller, buyer, 1, reason=reason)
    assert market.code("transfer", body) == "HOLDING_UNCONFIRMED"
    market.poke_position(seller, confirmed=True)
    assert market.code("transfer", body) is None


@pytest.mark.parametrize(
    ("until", "code"), [("2025-09-01", "SHARES_RESTRICTED"), ("2025-08-31", None)]
)
def test_the_restriction_date_is_the_last_restricted_day(until: str, code: str | None) -> None:
    market, (seller, buyer) = market_of(1_000, 0)
    market.poke_position(seller, restricted_until=until)
    assert market.code("transfer", sale(seller, buyer, 1)) == code


# Who may buy


@pytest.mark.parametrize(
    ("suitability", "valid_to", "code"),
    [
        ("QUALIFIED", None, None),
        ("QUALIFIED", "2025-09-01", None),
        ("QUALIFIED", "2025-08-31", "BUYER_NOT_QUALIFIED"),
        ("EXEMPT", None, "BUYER_NOT_QUALIFIED"),
        ("NOT_QUALIFIED", None, "BUYER_NOT_QUALIFIED"),
    ],
)
def test_a_new_buyer_is_qualified_up_to_and_on_its_last_day(
    suitability: str, valid_to: str | None, code: str | None
) -> None:
    market, (seller,) = market_of(1_000)
    buyer = market.account(2, suitability=suitability, suitability_valid_to=valid_to)
    assert market.code("transfer", sale(seller, buyer, 1)) == code


def test_an_exempt_buyer_may_add_to_what_it_holds_in_any_nature_whatever_its_date() -> None:
    market = Market()
    seller = market.account(1)
    buyer = market.account(2, suitability="EXEMPT", suitability_valid_to="2020-01-01")
    market.register(entry(seller, 900), entry(buyer, 100, nature="41"))
    assert market.code("transfer", sale(seller, buyer, 1)) is None


# The holder cap


def test_at_the_cap_a_deal_that_raises_the_count_fails_and_others_pass() -> None:
    market, (first, second, third) = market_of(500, 500, 0, holder_cap=2)
    assert market.code("transfer", sale(first, third, 499)) == "HOLDER_CAP_EXCEEDED"
    assert market.code("transfer", sale(first, second, 100)) is None
    assert market.code("transfer", sale(first, third, 400)) is None  # One leaves, one joins.


def test_above_the_cap_a_deal_that_does_not_raise_the_count_still_passes() -> None:
    market, (first, second, third) = market_of(500, 500, 0, holder_cap=2)
    market.do("transfer", sale(first, third, 100, reason="inheritance"))  # Not asked: three now.
    newcomer = market.account(4)
    assert market.code("transfer", sale(first, newcomer, 1)) == "HOLDER_CAP_EXCEEDED"
    assert market.code("transfer", sale(first, second, 1)) is None
    market.day = "2025-09-08"
    assert market.code("transfer", sale(third, newcomer, 100)) is None
    assert market.code("transfer", sale(newcomer, first, 1, reason="gift")) is None


def test_look_through_holders_weigh_in_leaving_and_joining() -> None:
    """Seller counts 3, buyer 2: when all shares move the count falls from 4 to 3, cap 2."""
    market = Market(holder_cap=4)
    seller, other = market.account(1, counted_holders=3), market.account(2)
    buyer = market.account(3, counted_holders=2)
    market.register(entry(seller, 600), entry(other, 400))
    assert market.code("transfer", sale(seller, buyer, 599)) == "HOLDER_CAP_EXCEEDED"
    assert market.code("transfer", sale(seller, buyer, 600)) is None
    product: Any = market.host.get(f"product/{product_code(1)}")
    assert product["holder_count"] == 3


def test_a_seller_with_another_nature_left_is_still_a_holder() -> None:
    market = Market(holder_cap=1)
    seller, buyer = market.account(1), market.account(2)
    market.register(entry(seller, 600), entry(seller, 400, nature="41"))
    assert market.code("transfer", sale(seller, buyer, 600)) == "HOLDER_CAP_EXCEEDED"


def test_a_holder_count_may_leave_the_range_of_values_and_stays_exact() -> None:
    market = Market()
    seller = market.account(1)
    market.register(entry(seller, 1_000))
    most = (1 << 53) - 1
    crowd, other = (market.account(number, counted_holders=most) for number in (2, 3))
    assert market.code("transfer", sale(seller, crowd, 1, reason="gift")) == "HOLDER_CAP_EXCEEDED"
    for receiver in (crowd, other):
        market.do("transfer", sale(seller, receiver, 1, reason="judicial"))
    product: Any = market.host.get(f"product/{product_code(1)}")
    assert product["holder_count"] == str(2 * most + 1)
    market.do("transfer", sale(seller, other, 998, reason="judicial"))
    market.do("transfer", sale(crowd, other, 1, reason="judicial"))
    product = market.host.get(f"product/{product_code(1)}")
    assert product["holder_count"] == most


def test_a_count_above_64_bits_is_told_as_text_and_breaks_no_receipt() -> None:
    market = Market()
    seller, crowd = market.account(1), market.account(2)
    market.register(entry(seller, 1_000))
    market.poke(f"product/{product_code(1)}", holder_count=str(1 << 65))
    outcome = market.host.run(REGISTER_V3, "transfer", sale(seller, crowd, 1, reason="gift"))
    assert outcome.fields == {"holders": str((1 << 65) + 1), "holder_cap": 200}
    assert canonical_json(dict(outcome.fields))


# The interval between opposite deals, with the example of section 8


@pytest.mark.parametrize(
    ("day", "code"),
    [
        ("2025-09-26", "ROUND_TRIP_TOO_SOON"),  # The day of the purchase itself.
        ("2025-10-10", "ROUND_TRIP_TOO_SOON"),  # Four trading days.
        ("2025-10-11", "ROUND_TRIP_TOO_SOON"),  # A working Saturday is no trading day.
        ("2025-10-13", None),  # The fifth.
        ("2025-12-31", None),
    ],
)
def test_national_day_does_not_shorten_the_interval(day: str, code: str | None) -> None:
    market, (first, second, third) = market_of(1_000, 0, 0)
    market.day = "2025-09-26"
    market.do("transfer", sale(first, second, 500))
    market.day = day
    assert market.code("transfer", sale(second, third, 10)) == code


def test_the_buyer_is_bound_by_its_last_sale_and_same_side_deals_are_free() -> None:
    market, (first, second, third) = market_of(600, 400, 0)
    market.do("transfer", sale(first, third, 10))
    market.do("transfer", sale(first, third, 10))
    assert market.code("transfer", sale(second, first, 10)) == "ROUND_TRIP_TOO_SOON"
    assert market.code("transfer", sale(second, third, 10)) is None


def test_natures_of_one_product_are_one_product_for_the_interval() -> None:
    market = Market()
    first, second = market.account(1), market.account(2)
    market.register(entry(first, 600), entry(second, 400, nature="41"))
    market.do("transfer", sale(first, second, 10))
    back = sale(second, first, 10, nature="41")
    assert market.code("transfer", back) == "ROUND_TRIP_TOO_SOON"


@pytest.mark.parametrize("reason", ["gift", "inheritance", "judicial"])
def test_only_agreements_count_as_purchases_and_sales(reason: str) -> None:
    market, (first, second) = market_of(1_000, 0)
    market.do("transfer", sale(first, second, 500, reason=reason))
    assert market.code("transfer", sale(second, first, 100)) is None


def test_a_year_without_calendar_is_an_error_and_never_a_guess() -> None:
    market, (first, second) = market_of(600, 400)
    market.do("transfer", sale(first, second, 10))
    market.day = "2026-01-05"
    market.do("transfer", sale(first, second, 10))  # Same side: no calendar needed.
    market.day = "2026-01-06"
    assert market.code("transfer", sale(second, first, 1)) == "CALENDAR_YEAR_UNKNOWN"


def test_a_calendar_is_not_asked_for_days_that_cannot_matter() -> None:
    """Five trading days of 2025 are enough, whatever the calendar of 2026 will say."""
    market, (first, second) = market_of(600, 400)
    market.do("transfer", sale(first, second, 10))
    market.day = "2026-01-06"
    assert market.code("transfer", sale(second, first, 1)) is None


# Prices


@pytest.mark.parametrize(
    ("reason", "price", "code"),
    [
        ("agreement", 0, "AMOUNT_NOT_POSITIVE"),
        ("agreement", 1, None),
        ("gift", 0, None),
        ("gift", -1, "AMOUNT_NOT_POSITIVE"),
    ],
)
def test_only_an_agreement_needs_a_price(reason: str, price: int, code: str | None) -> None:
    market, (seller, buyer) = market_of(1_000, 0)
    body = sale(seller, buyer, 1, reason=reason, price_fen=price)
    assert market.code("transfer", body) == code


# The contract


@pytest.mark.parametrize("method", ["pledge", "dividend", "qualified", "_open", "none", ""])
def test_methods_that_a_version_does_not_have_do_not_exist(method: str) -> None:
    with pytest.raises(Refusal) as caught:
        call(RegisterContract(version=98, operations=("transfer",)), method, Market().host, {})
    assert caught.value.code == "METHOD_UNKNOWN"


def test_a_transfer_costs_a_bounded_number_of_reads_and_writes() -> None:
    """However many holders a product has: no scan, no other holding."""
    market, accounts = market_of(*([10] * 100))
    outcome = market.host.run(
        REGISTER_V3, "transfer", sale(accounts[0], accounts[1], 1), time="2025-09-02T09:00:00+08:00"
    )
    assert outcome.code is None
    assert (market.host.reads, market.host.writes) == (9, 3)
