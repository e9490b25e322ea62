"""Splits, reductions of capital and buy-backs: worked examples, and what they leave alone.

The rules are those of docs/register-actions.md.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.contracts.action_market import (
    HOLDER,
    OTHER,
    THIRD,
    buying_back,
    checked_market,
    detail_of,
    offer,
    reducing,
    splitting,
)
from tests.unit.contracts.register_events import announced, recorded
from tests.unit.contracts.register_market import Market, entry, product_code, sale
from tests.unit.contracts.test_register_encumbrances import (
    deducting,
    freeze_parts,
    freezing,
    pledging,
    releasing,
    shown,
    unfreezing,
)


def product_of(market: Market) -> tuple[int, int, int]:
    """Registered total, total of positions, holders."""
    product: Any = market.host.get(f"product/{product_code(1)}")
    return product["registered_total"], product["positions_total"], product["holder_count"]


# Splits


@pytest.mark.req("N0-17", "N0-20")
def test_a_split_multiplies_shares_and_all_that_binds_them() -> None:
    market = checked_market(entry(HOLDER, 700), entry(OTHER, 300, restricted_until="2026-01-01"))
    market.do(*pledging(100))
    market.do(*freezing(650, "F1", fruits=True))
    market.do(*freezing(200, "F2"))
    assert shown(market) == (700, 100, 700, 100)
    outcome = market.do(*splitting(3, pledges=("P1",), freezes=("F1", "F2")))
    assert shown(market) == (2_100, 300, 2_100, 300)
    assert freeze_parts(market, "F1") == (1_950, 0)
    assert freeze_parts(market, "F2") == (150, 450)
    assert product_of(market) == (3_000, 3_000, 2)
    told, held = dict(announced(outcome.events)), recorded(market.host)
    assert told == held
    assert held["pledge", "P1"]["registered"] == 100, "what was first asked for stays"
    other: Any = market.position(OTHER)
    assert (other["total"], other["restricted_until"]) == (900, "2026-01-01")
    market.do(*releasing(300))
    market.do(*unfreezing(1_950, "F1"))
    assert freeze_parts(market, "F2") == (600, 0)
    assert shown(market) == (2_100, 0, 600, 0)


def test_a_split_is_told_with_its_figure() -> None:
    detail = detail_of(checked_market(), splitting(4))
    assert (detail["kind"], detail["parts"]) == ("share_split", 4)
    assert (detail["total_before"], detail["total_after"]) == (1_000, 4_000)
    assert not {"per_ten", "by_fraction", "price_fen"} & {*detail}


def test_a_split_names_what_binds_shares_like_an_issue() -> None:
    market = checked_market()
    market.do(*pledging(1))
    assert market.code(*splitting(2)) == "ENCUMBRANCES_DIFFER"
    assert market.code(*splitting(2, pledges=("P1",))) is None


def test_a_freeze_that_waits_where_there_are_no_shares_keeps_its_count() -> None:
    market = checked_market(entry(HOLDER, 600), entry(OTHER, 400))
    market.do(*freezing(600, "F1"))
    market.do(*freezing(100, "F2"))
    market.do(*deducting(600, "F1"))
    assert market.code(*splitting(2, freezes=("F2",))) == "ENCUMBRANCES_DIFFER"
    assert market.code(*splitting(2)) is None
    assert freeze_parts(market, "F2") == (0, 100)
    market.do("transfer", sale(OTHER, HOLDER, 70, reason="gift"))
    assert freeze_parts(market, "F2") == (70, 30)


# Reductions of capital


@pytest.mark.req("N0-17", "N0-20")
def test_a_reduction_takes_the_same_share_of_every_position() -> None:
    """333, 333 and 334 shares, 3 of 10: 99.9, 99.9 and 100.2; of the 300 two are left over."""
    market = checked_market(entry(HOLDER, 333), entry(OTHER, 333), entry(THIRD, 334))
    detail = detail_of(market, reducing(3))
    assert [market.total(account) for account in (HOLDER, OTHER, THIRD)] == [233, 233, 234]
    assert (detail["per_ten"], detail["by_fraction"]) == (3, 2)
    assert product_of(market) == (700, 700, 3)


@pytest.mark.req("N0-18", "N0-20")
def test_unconfirmed_and_restricted_shares_are_reduced_like_others() -> None:
    market = checked_market(
        entry(HOLDER, 500, confirmed=False), entry(OTHER, 500, restricted_until="2026-01-01")
    )
    market.do(*reducing(2))
    unconfirmed: Any = market.position(HOLDER)
    restricted: Any = market.position(OTHER)
    assert (unconfirmed["total"], unconfirmed["confirmed"]) == (400, False)
    assert (restricted["total"], restricted["restricted_until"]) == (400, "2026-01-01")


@pytest.mark.req("N0-17", "N0-20")
@pytest.mark.parametrize("binding", [pledging(801), freezing(801)])
def test_a_reduction_never_touches_what_is_pledged_or_frozen(binding: Any) -> None:
    market = checked_market()
    market.do(*binding)
    refused = market.run(*reducing(2))
    assert refused.code == "SHARES_INSUFFICIENT"
    assert refused.fields == {
        "account": HOLDER,
        "nature": "51",
        "available": 199,
        "shares": 200,
    }
    assert market.code(*reducing(1)) is None


def test_a_position_of_which_nothing_is_left_ceases_to_exist() -> None:
    """9 of 10 of one, one and 998 shares: .9, .9 and 898.2; of the 900 two are left over."""
    market = checked_market(entry(HOLDER, 1), entry(OTHER, 1), entry(THIRD, 998))
    assert detail_of(market, reducing(9))["by_fraction"] == 2
    assert (market.position(HOLDER), market.position(OTHER)) == (None, None)
    assert product_of(market) == (100, 100, 1)


# Buy-backs


@pytest.mark.req("N0-17", "N0-20")
def test_a_buy_back_cancels_the_shares_of_those_who_took_the_offer() -> None:
    market = checked_market(entry(HOLDER, 600), entry(OTHER, 400))
    detail = detail_of(market, buying_back(offer(HOLDER, 100), offer(OTHER, 400)))
    assert (market.total(HOLDER), market.position(OTHER)) == (500, None)
    assert product_of(market) == (500, 500, 1)
    assert (detail["kind"], detail["price_fen"]) == ("buy_back", 250)
    assert (detail["total_before"], detail["total_after"]) == (1_000, 500)


@pytest.mark.req("N0-17", "N0-20")
def test_a_buy_back_takes_available_shares_alone() -> None:
    market = checked_market()
    market.do(*pledging(300))
    market.do(*freezing(400))
    assert market.code(*buying_back(offer(HOLDER, 301))) == "SHARES_INSUFFICIENT"
    assert market.code(*buying_back(offer(HOLDER, 300))) is None
    assert shown(market) == (700, 300, 400, 0)


def test_a_restriction_that_is_over_keeps_nobody_from_the_offer() -> None:
    market = checked_market(entry(HOLDER, 1_000, restricted_until="2025-08-31"))
    assert market.code(*buying_back(offer(HOLDER, 1))) is None
