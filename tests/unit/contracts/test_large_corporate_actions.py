"""Corporate actions of thousands of positions: bounded, within what an operation may take, and sent
to the regulator in parts.
"""

from __future__ import annotations

from typing import Any

import pytest

from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.object_parts import join_parts
from guqiao_sdk.proof.packet import PACKET_PAYLOAD_BYTES_MAX
from services.consensus.domain.contracts.register.contract import REGISTER_V5
from tests.unit.contracts.action_market import (
    CHECKER,
    HOLDER,
    OTHER,
    THIRD,
    Call,
    acting,
    buying_back,
    checked_market,
    issuing_to_all,
    offer,
    reducing,
    splitting,
)
from tests.unit.contracts.changed_rules import change_rules
from tests.unit.contracts.memory_host import MemoryHost
from tests.unit.contracts.register_events import announced
from tests.unit.contracts.register_market import (
    Market,
    company_registration,
    entry,
    evidence,
    product_code,
    registration,
)
from tests.unit.contracts.test_register_large_rosters import (
    ENTRIES_MAX,
    TIME,
    objects_of,
    sealed,
)


def crowded(count: int) -> MemoryHost:
    """Product 1 with so many holders of one share each; accounts are written as if opened."""
    market = Market(contract=REGISTER_V5, holder_cap=count)
    account: Any = market.host.get(f"account/{market.account(0)}")
    holders = [f"Q{number:09}" for number in range(count)]
    for code in holders:
        market.host.put(f"account/{code}", {**account, "code": code})
    market.poke(f"product_row/{product_code(1)}", registered_shares=count)
    market.do("register_company", company_registration(1))
    roster = [entry(code, 1) for code in holders]
    market.do("initial_registration", registration(*roster, total_shares=count))
    market.host.second_party = CHECKER
    return market.host


@pytest.mark.parametrize(
    "call",
    [
        issuing_to_all(1),
        splitting(2),
        reducing(1),
        buying_back(offer(HOLDER, 1), offer(OTHER, 1), offer(THIRD, 1)),
    ],
    ids=lambda call: call[0],
)
def test_an_action_of_more_positions_than_an_operation_holds_is_refused(
    monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    market = checked_market(entry(HOLDER, 600), entry(OTHER, 300), entry(THIRD, 100))
    change_rules(monkeypatch, ENTRIES_MAX=2)
    refused = market.run(*call)
    assert refused.code == "LIMIT_EXCEEDED"
    assert refused.fields == {"limit": "register_entries", "maximum": 2}
    change_rules(monkeypatch, ENTRIES_MAX=3)
    assert market.code(*call) is None


@pytest.mark.req("N0-07", "N0-17", "N0-20")
def test_a_bonus_issue_and_a_split_of_the_largest_register_reach_the_regulator_in_parts() -> None:
    """One share each and 5 for 10: half of the accounts get one, those that come first."""
    host = crowded(ENTRIES_MAX)
    common: dict[str, Any] = {"pledges": [], "freezes": []}
    after = ENTRIES_MAX * 3 // 2
    method, body = acting("bonus_issue", "A1", ENTRIES_MAX, after, per_ten=5, **common)
    issued = host.run(REGISTER_V5, method, body, time=TIME)
    assert issued.code is None, (issued.code, issued.fields)
    objects = objects_of(issued)
    assert len(objects) > 4
    for value in objects:
        assert len(canonical_json(sealed(value))) <= PACKET_PAYLOAD_BYTES_MAX
    whole: Any = join_parts(objects)
    rows = whole["registration_information"]["registration_rights"]["basic_information_rights"]
    changes = [row["total_registration"]["register_asset_total_balance_change"] for row in rows]
    assert changes == [1] * (ENTRIES_MAX // 2) + [0] * (ENTRIES_MAX - ENTRIES_MAX // 2)
    assert whole["operation_detail"]["by_fraction"] == ENTRIES_MAX // 2
    method, body = acting("share_split", "A2", after, after * 2, parts=2, **common)
    assert host.run(REGISTER_V5, method, body, time=TIME).code is None


@pytest.mark.req("N0-17", "N0-20")
def test_thousands_of_pledges_and_freezes_grow_in_one_operation() -> None:
    count = 1_000
    host = crowded(count)
    for number in range(count):
        place = {"account": f"Q{number:09}", "product_code": product_code(1), "nature": "51"}
        pledge = {"pledge_no": f"P{number}", "shares": 1, "pledgee_uscc": "91370199MA990001X4"}
        freeze = {"freeze_no": f"F{number}", "shares": 1, "category": "aml", "court_doc_no": ""}
        calls: list[Call] = [
            ("pledge", {**place, **pledge}),
            ("freeze", {**place, **freeze, "fruits": True, "term_end": "2028-01-01"}),
        ]
        for method, body in calls:
            whole = {**body, "evidence": evidence(method)}
            assert host.run(REGISTER_V5, method, whole, time=TIME).code is None
    named = {name: [f"{letter}{number}" for number in range(count)] for name, letter in NAMES}
    method, body = acting("bonus_issue", "A1", count, count * 2, per_ten=10, **named)
    grown = host.run(REGISTER_V5, method, body, time=TIME)
    assert grown.code is None, (grown.code, grown.fields)
    last: Any = host.get(f"freeze/F{count - 1}")
    assert last["effective"] == 2
    assert len(announced(grown.events)) == 2 * count


NAMES = (("pledges", "P"), ("freezes", "F"))
