"""What the contracts of the common set count: nothing is lost, nothing is made up."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.templates.common_walks import WALKS
from tests.unit.templates.template_market import Market
from tests.unit.templates.walk_steps import Walk


def walked(name: str, walk: Walk) -> list[Market]:
    """The market after each step."""
    market, found = Market(name), []
    for each in walk:
        assert market.take(each.method, **each.arguments).code is None
        found.append(Market(name, dict(market.state)))
    return found


@pytest.mark.req("N0-05")
def test_a_transfer_keeps_the_number_of_shares() -> None:
    [walk] = WALKS["transfer"]
    standing = []
    for market in walked("transfer", walk):
        held = [market.look("position", product="P1", seller=holder) for holder in ("A1", "A2")]
        applied = sum(
            record["shares"]
            for key, record in market.state.items()
            if key.startswith("terms/") and market.stands(key.removeprefix("terms/")) == "APPLIED"
        )
        standing.append((*held, applied))
    assert standing == [(10, 0, 0), (6, 0, 4), (6, 4, 0), (0, 4, 6), (6, 4, 0), (0, 4, 6)]


def test_a_pledge_locks_and_gives_back_what_it_took() -> None:
    [walk] = WALKS["pledge"]
    free = [
        tuple(market.look("available", product="P1", pledgor=holder) for holder in ("A1", "B1"))
        for market in walked("pledge", walk)
    ]
    assert free == [(10, 0), (4, 0), (6, 0), (10, 0), (0, 0), (0, 10)]


def test_a_freeze_that_waits_locks_nothing_until_it_takes_effect() -> None:
    [walk] = WALKS["freeze"]
    free = [
        tuple(market.look("available", product="P1", holder=holder) for holder in ("A1", "A2"))
        for market in walked("freeze", walk)
    ]
    assert free == [
        (10, 0), (2, 0), (2, 0), (10, 0), (5, 0), (5, 5), (5, 5), (5, 5), (0, 5),
    ]  # fmt: skip


def test_shares_stay_locked_while_the_funds_are_uncertain() -> None:
    walk = WALKS["settlement"][1]
    locked = [m.look("are_shares_locked", settlement_id="D1") for m in walked("settlement", walk)]
    assert locked == [False, True, True, False, False]


def test_bonds_convert_at_the_price_and_interest_is_on_what_is_left() -> None:
    [walk] = WALKS["convertible_bond"]
    market = walked("convertible_bond", walk)[-1]
    bond = market.look("bond", bond_id="B1")
    assert (bond["bonds"], bond["outstanding"], bond["state"]) == (10, 6, "REDEEMED")
    assert market.look("held", bond_id="B1", holder="A1") == 6
    assert market.look("converted", bond_id="B1", holder="A1") == 4 * 10_000 // 300
    paid = [market.state[f"interest/B1/{month}"]["interest"] for month in ("2026-06", "2026-12")]
    assert paid == [10 * 10_000 * 500 // 10_000, 6 * 10_000 * 500 // 10_000]


def test_a_dividend_is_due_by_share_and_paid_once_to_each_holder() -> None:
    market = walked("dividend", WALKS["dividend"][0])[-1]
    told: dict[str, Any] = market.look("dividend", dividend_id="V1")
    assert (told["entitled"], told["paid"], told["total"]) == (2, 2, 45)
    due = [
        market.look("entitlement", dividend_id="V1", holder=holder)["due"]
        for holder in ("A1", "A2")
    ]
    assert due == [30, 15]


def test_a_roster_that_is_given_back_is_entered_anew() -> None:
    [walk] = WALKS["registration"]
    rosters = [m.look("roster", registration_id="R1") for m in walked("registration", walk)]
    assert [sum(entry["shares"] for entry in roster) for roster in rosters] == [
        0, 60, 100, 100, 0, 100, 100, 100,
    ]  # fmt: skip


def test_every_version_of_an_announcement_stays() -> None:
    market = walked("disclosure", WALKS["disclosure"][0])[-1]
    versions = market.look("versions", disclosure_id="N1")
    assert [each["announced_version"] for each in versions] == [1, 2, 3]
    assert [each["headline"] for each in versions] == ["公告", "更正公告", "更正公告"]
