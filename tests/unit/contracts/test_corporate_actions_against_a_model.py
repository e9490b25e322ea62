"""Any row of operations with corporate actions among them: the register is what the model says.

`Market.run` recounts every invariant from nothing after each call, accepted or refused.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.contracts.action_market import (
    HOLDER,
    OTHER,
    THIRD,
    Call,
    acting,
    buying_back,
    checked_market,
    offer,
    reducing,
    standing,
)
from tests.unit.contracts.action_model import Register
from tests.unit.contracts.register_market import Market, entry, product_code, sale
from tests.unit.contracts.test_register_encumbrances import (
    deducting,
    freezing,
    pledging,
    releasing,
    unfreezing,
)

CODE = product_code(1)
HOLDERS = (HOLDER, OTHER, THIRD)
TOTAL_MAX = 6_000
"""Above it nothing is issued or split: the model goes share by share."""
ACTIONS = ("bonus_issue", "reserve_conversion", "share_split", "capital_reduction", "buy_back")
OTHERS = ("pledge", "release", "freeze", "unfreeze", "deduct", "gift")
STEPS = st.tuples(
    st.sampled_from([*ACTIONS, *OTHERS]),
    st.integers(min_value=0, max_value=9),
    st.integers(min_value=1, max_value=700),
)


def registered(market: Market) -> int:
    product: Any = market.host.get(f"product/{CODE}")
    return int(product["registered_total"])


def other_call(kind: str, index: int, number: int, shares: int) -> Call:
    account = HOLDERS[number % 3]
    calls: dict[str, Call] = {
        "pledge": pledging(shares, f"P{index}", account=account),
        "release": releasing(shares, f"P{number}"),
        "freeze": freezing(shares, f"F{index}", account=account, fruits=shares % 2 == 0),
        "unfreeze": unfreezing(shares, f"F{number}"),
        "deduct": deducting(shares, f"F{number}", HOLDERS[shares % 3]),
        "gift": ("transfer", sale(account, HOLDERS[shares % 3], shares, reason="gift")),
    }
    return calls[kind]


def action_call(market: Market, kind: str, index: int, number: int, shares: int) -> Call:
    """A call whose totals and names are right."""
    before, action = registered(market), f"A{index}"
    if kind == "capital_reduction":
        return reducing(1 + number % 3, before=before, number=action)
    if kind == "buy_back":
        line = offer(HOLDERS[number % 3], shares)
        return buying_back(line, before=before, number=action)
    named = standing(market.host, CODE)
    if kind == "share_split":
        parts = 2 + number % 2
        return acting(kind, action, before, before * parts, parts=parts, **named)
    per_ten = 1 + number
    return acting(kind, action, before, before + before * per_ten // 10, per_ten=per_ten, **named)


def played(model: Register, call: Call) -> bool:
    """Play an action on the model; whether there are the shares that it takes."""
    method, body = call
    if method == "share_split":
        model.split(body["parts"])
        return True
    if method in ("bonus_issue", "reserve_conversion"):
        model.issue(body["per_ten"])
        return True
    if method == "capital_reduction":
        return model.cancel(model.by_tens(body["per_ten"]).items())
    (line,) = body["offers"]
    place = line["account"], line["nature"]
    return place in model.total and model.cancel([(place, line["shares"])])


def check_action(market: Market, call: Call) -> None:
    model = Register.read(market.host, CODE)
    code = market.code(*call)
    if played(model, call):
        assert code is None, call
        assert Register.read(market.host, CODE) == model
        assert registered(market) == call[1]["total_after"] == sum(model.total.values())
    else:
        assert code == "SHARES_INSUFFICIENT", call


@pytest.mark.req("N0-15", "N0-17", "N0-20")
@given(st.lists(STEPS, min_size=4, max_size=25))
@settings(max_examples=80, deadline=None)
def test_any_row_of_operations_leaves_what_the_model_says(
    steps: list[tuple[str, int, int]],
) -> None:
    market = checked_market(entry(HOLDER, 333), entry(OTHER, 466), entry(OTHER, 201, nature="41"))
    for index, (kind, number, shares) in enumerate(steps):
        if kind not in ACTIONS:
            market.code(*other_call(kind, index, number, shares))
            continue
        grows = kind not in ("capital_reduction", "buy_back")
        total = registered(market)
        if (total <= TOTAL_MAX) if grows else (total > shares and total > 10):
            check_action(market, action_call(market, kind, index, number, shares))
