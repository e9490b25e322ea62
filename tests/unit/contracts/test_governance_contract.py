"""Who votes is decided by more than two thirds of the entities, and in force after the window."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from guqiao_sdk.proof.receipt import Outcome
from services.consensus.domain.contracts.governance import PROPOSAL_LIFE_MS
from tests.unit.contracts.governed_chain import (
    WINDOW,
    approve,
    ask,
    decide,
    governed_chain,
    governor,
    governor_json,
    latest,
    members_json,
    propose,
    replica_set,
)
from tests.unit.ledger.chain_builder import ADMIN, MARKET, key_json, payload_of, public_key

NEW = members_json("A", "B", "C", "E", keys={3: "new"})


@pytest.mark.req("G2-10-3", "G2-16-3")
def test_a_change_is_scheduled_by_more_than_two_thirds_of_the_entities() -> None:
    """pbft.md G1 to G3."""
    chain = governed_chain()
    proposal = propose(chain, "A", NEW)
    assert approve(chain, "B", proposal).outcome is Outcome.APPLIED
    assert latest(chain).replica_set.epoch == 0, "two of four are not more than two thirds"
    receipt = approve(chain, "C", proposal)
    height = chain.header.height
    assert latest(chain).from_height == height + WINDOW
    assert replica_set(chain, height + WINDOW - 1).epoch == 0
    assert replica_set(chain, height + WINDOW).members[3].entity_id == "E"
    assert "governance.set_scheduled" in [event.topic for event in receipt.events]


@pytest.mark.req("G2-10-3", "G2-16-3")
@pytest.mark.parametrize(
    ("seats", "suffice"),
    [("AABC", 3), ("ABCDE", 4), ("ABCDEF", 5), ("ABCDEFAB", 5), ("ABCDEFGHI", 7)],
)
def test_two_thirds_of_the_entities_exactly_are_not_enough(seats: str, suffice: int) -> None:
    """pbft.md G2: two of three, four of six and six of nine are too few, whatever their seats."""
    chain = governed_chain(*seats)
    entities = sorted(set(seats))
    proposal = propose(chain, entities[0], members_json(*seats, keys={0: "new"}))
    for number, entity in enumerate(entities[1:suffice], 2):
        assert latest(chain).replica_set.epoch == 0, f"{number - 1} of {len(entities)} decided"
        assert approve(chain, entity, proposal).outcome is Outcome.APPLIED
    assert latest(chain).replica_set.epoch == 1


@pytest.mark.req("G2-10-3")
def test_headers_name_the_epoch_of_their_height_and_the_set_of_the_next() -> None:
    """pbft.md G4."""
    chain = governed_chain()
    decide(chain, NEW)
    start = latest(chain).from_height
    epochs, named = {}, {}
    for _ in range(2 * WINDOW):
        result = chain.execute()
        epochs[result.height] = chain.header.epoch
        named[result.height] = chain.header.next_set_hash
    old, new = replica_set(chain, 1), replica_set(chain, start)
    assert [epochs[each] for each in (start - 2, start - 1, start)] == [0, 0, 1]
    assert [named[each] for each in (start - 2, start - 1, start)] == [
        old.hash(),
        new.hash(),
        new.hash(),
    ]


def test_an_approval_counts_once_for_an_entity_however_often_it_is_given() -> None:
    chain = governed_chain()
    proposal = propose(chain, "A", NEW)
    approve(chain, "B", proposal)
    again = approve(chain, "B", proposal)
    assert (again.outcome, again.events) == (Outcome.APPLIED, ())
    assert latest(chain).replica_set.epoch == 0


def test_a_change_may_wait_for_a_height() -> None:
    chain = governed_chain()
    decide(chain, NEW, not_before=500)
    assert latest(chain).from_height == 500


@pytest.mark.req("G2-07-2", "G2-16-3")
@pytest.mark.parametrize(
    ("members", "code"),
    [
        (members_json("A", "B", "C"), "REPLICAS_TOO_FEW"),
        (members_json("A", "A", "A", "A"), "SINGLE_ENTITY_VALIDATORS"),
        (members_json("A", "A", "A", "B"), "ENTITY_HOLDS_QUORUM"),
        (members_json("A", "B", "C", "D", keys={3: "replica-0"}), "REPLICA_SET_INVALID"),
        (
            members_json("A", "B", "C", "D", keys={2: "replica-3", 3: "replica-2"}),
            "VOTE_KEY_MOVED",
        ),
        (members_json("A", "B", "C", "D"), "SET_UNCHANGED"),
    ],
)
def test_a_set_that_the_rules_refuse_cannot_be_proposed(members: list[Any], code: str) -> None:
    chain = governed_chain()
    assert propose(chain, "A", members).code == code


@pytest.mark.req("G2-16-3")
def test_an_entity_with_more_than_f_keys_is_allowed_and_warned_of() -> None:
    chain = governed_chain()
    receipt = decide(chain, members_json("A", "A", "C", "D", keys={1: "second of A"}))
    warnings = [e for e in receipt.events if e.topic == "governance.entity_above_faulty_max"]
    assert json.loads(warnings[0].body)["entities"] == ["A"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"members": NEW, "governors": [], "not_before": -1}, "not_before"),
        ({"members": NEW, "governors": {}, "not_before": 0}, "governors"),
        ({"members": [{}], "governors": [], "not_before": 0}, "members[0].entity_id"),
        ({"members": NEW, "governors": []}, "not_before"),
    ],
)
def test_a_malformed_proposal_names_the_field(body: dict[str, Any], field: str) -> None:
    receipt = ask(governed_chain(), "A", "propose", body)
    assert (receipt.code, json.loads(receipt.detail)["field"]) == ("BODY_MALFORMED", field)


@pytest.mark.req("G2-16-3")
def test_nobody_but_governors_of_entities_in_the_set_decides() -> None:
    chain = governed_chain()
    body = {"members": NEW, "governors": [], "not_before": 0}
    stranger = payload_of(
        "propose", body, maker=(ADMIN, "k1"), organisation=MARKET, contract="governance"
    )
    assert chain.receipt(stranger).code == "ROLE_MISSING"
    decide(chain, NEW, governors=[governor_json("E")])
    assert propose(chain, "E", members_json("A", "B", "C", "D")).code == (
        "GOVERNANCE_ENTITY_UNKNOWN"
    ), "E is not in force yet"
    chain.skip_to(latest(chain).from_height)
    back = members_json("A", "B", "C", "D")
    assert propose(chain, "D", back).code == "GOVERNANCE_ENTITY_UNKNOWN"
    assert propose(chain, "E", back).outcome is Outcome.APPLIED


def test_a_second_change_waits_until_the_first_is_in_force() -> None:
    chain = governed_chain()
    rival = propose(chain, "D", members_json("A", "B", "C", "F", keys={3: "other"}))
    decide(chain, NEW)
    assert approve(chain, "B", rival).code == "PROPOSAL_UNKNOWN", "a decision closes all others"
    again = members_json("A", "B", "C", "F", keys={3: "other"})
    assert propose(chain, "A", again).code == "SET_CHANGE_PENDING"
    chain.skip_to(latest(chain).from_height)
    assert propose(chain, "A", again).outcome is Outcome.APPLIED


def test_an_entity_has_one_proposal_and_may_take_it_back() -> None:
    chain = governed_chain()
    first = propose(chain, "A", NEW)
    second = propose(chain, "A", members_json("A", "B", "F", "D", keys={2: "other"}))
    assert approve(chain, "B", first).code == "PROPOSAL_UNKNOWN"
    body = {"proposal": second.transaction_id.hex()}
    assert ask(chain, "B", "withdraw", body).code == "PROPOSAL_UNKNOWN", "not its own"
    assert ask(chain, "A", "withdraw", body).outcome is Outcome.APPLIED
    assert approve(chain, "B", second).code == "PROPOSAL_UNKNOWN"


def test_a_proposal_ends_after_its_life() -> None:
    chain = governed_chain()
    proposal = propose(chain, "A", NEW)
    chain.header = replace(
        chain.header, block_time_ms=chain.header.block_time_ms + PROPOSAL_LIFE_MS + 1
    )
    assert approve(chain, "B", proposal).code == "PROPOSAL_EXPIRED"


@pytest.mark.req("G2-16-3")
def test_a_vote_key_does_not_govern() -> None:
    chain = governed_chain()
    held = governor_json("E")
    vote_key = {**key_json("x"), "public_key": public_key("new").hex()}
    for keys in ([vote_key], [*held["keys"], {**vote_key, "id": "k2"}]):
        held["keys"] = keys
        assert propose(chain, "A", NEW, governors=[held]).code == "KEY_OF_OTHER_USE"


@pytest.mark.req("G2-16-3")
@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("grant_role", {"did": ADMIN, "role": "governor"}),
        ("register_identity", {"identity": governor_json("F")}),
        ("add_key", {"did": governor("A"), "key": key_json(governor("A"), "k2")}),
        ("revoke_key", {"did": governor("A"), "key_id": "k1"}),
        ("withdraw_role", {"did": governor("A"), "role": "governor"}),
        ("deactivate", {"did": governor("A")}),
    ],
)
def test_no_administrator_makes_or_unmakes_a_governor(method: str, body: dict[str, Any]) -> None:
    chain = governed_chain()
    payload = payload_of(
        method, body, maker=(ADMIN, "k1"), organisation=MARKET, contract="identity"
    )
    assert chain.receipt(payload).code == "ROLE_RESERVED"


def test_a_governance_key_is_replaced_by_the_entities_together() -> None:
    chain = governed_chain()
    held = {**governor_json("A"), "keys": [key_json(governor("A"), "k2")]}
    members = members_json("A", "B", "C", "D")
    decide(chain, members, governors=[held])
    chain.skip_to(latest(chain).from_height)
    assert propose(chain, "A", NEW).code == "KEY_UNKNOWN"
    body = {"members": NEW, "governors": [], "not_before": 0}
    assert ask(chain, "A", "propose", body, key_id="k2").outcome is Outcome.APPLIED
