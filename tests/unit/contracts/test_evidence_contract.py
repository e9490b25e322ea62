"""Evidence as a transaction: who signed two things is named, and its votes stop counting."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from guqiao_sdk.proof.receipt import Outcome, Receipt
from guqiao_sdk.proof.votes import VoteType
from tests.unit.contracts.governed_chain import (
    WINDOW,
    accuse,
    approve,
    convict,
    decide,
    governed_chain,
    latest,
    members_json,
    propose,
    replica_set,
    statement,
)
from tests.unit.ledger.chain_builder import MemoryChain


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize("vote_type", [each for each in VoteType if each is not VoteType.PEER])
def test_two_statements_that_exclude_each_other_jail_their_key_after_the_window(
    vote_type: VoteType,
) -> None:
    """pbft.md E2, E4."""
    chain = governed_chain()
    receipt = convict(chain, 2, vote_type=vote_type, sequence=0 if vote_type == 6 else 7)
    assert receipt.outcome is Outcome.APPLIED
    height = chain.header.height
    assert replica_set(chain, height + WINDOW - 1).jailed == ()
    assert replica_set(chain, height + WINDOW).jailed == (2,)
    assert replica_set(chain, height + WINDOW).epoch == 1
    assert replica_set(chain, height + WINDOW).quorum == replica_set(chain, height).quorum
    recorded = json.loads(receipt.events[0].body)
    assert (recorded["entity_id"], recorded["type"]) == ("C", vote_type.name)
    topics = [event.topic for event in receipt.events]
    assert topics == ["evidence.recorded", "governance.set_scheduled", "governance.degraded"]


def test_view_changes_to_one_view_exclude_each_other_whatever_height_they_name() -> None:
    chain = governed_chain()
    members = replica_set(chain, 1)
    first = statement(members, 1, "one", vote_type=VoteType.VIEW_CHANGE, sequence=4)
    second = statement(members, 1, "one", vote_type=VoteType.VIEW_CHANGE, sequence=5)
    assert accuse(chain, first, second).code == ""


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("first", {"view": 4}),
        ("first", {"sequence": 8}),
        ("first", {"vote_type": VoteType.COMMIT}),
        ("second", {"signature": bytes(64)}),
        ("second", {"digest": b"one".ljust(32, b".")}),
    ],
)
def test_statements_that_prove_nothing_are_refused(field: str, change: dict[str, object]) -> None:
    """pbft.md E2: each spoils one thing of valid evidence."""
    chain = governed_chain()
    members = replica_set(chain, 1)
    held = {"first": statement(members, 1, "one"), "second": statement(members, 1, "two")}
    held[field] = replace(held[field], **change)  # type: ignore[arg-type]
    assert accuse(chain, held["first"], held["second"]).code == "EVIDENCE_INVALID"
    assert latest(chain).replica_set.epoch == 0


def test_statements_of_two_replicas_or_of_another_epoch_prove_nothing() -> None:
    chain = governed_chain()
    members = replica_set(chain, 1)
    first, other = statement(members, 1, "one"), statement(members, 2, "two")
    assert accuse(chain, first, replace(other, replica=first.replica)).code == "EVIDENCE_INVALID"
    later = replace(members, epoch=1)
    pair = (statement(later, 1, "one"), statement(later, 1, "two"))
    assert accuse(chain, *pair, epoch=1).code == "EVIDENCE_INVALID"
    assert accuse(chain, *pair, epoch=0).code == "EVIDENCE_INVALID"


@pytest.mark.req("G2-16-4")
def test_e3_the_same_key_is_jailed_once_and_further_evidence_changes_nothing() -> None:
    chain = governed_chain()
    convict(chain, 2)
    known = latest(chain)
    again = convict(chain, 2, view=9)
    assert (again.outcome, again.events) == (Outcome.APPLIED, ())
    assert latest(chain) == known


@pytest.mark.req("G2-16-4")
def test_no_more_than_f_are_jailed_but_every_liar_is_named() -> None:
    chain = governed_chain()
    convict(chain, 2)
    second = convict(chain, 3)
    recorded = json.loads(second.events[0].body)
    assert (recorded["entity_id"], recorded["jailed_epoch"]) == ("D", None)
    assert latest(chain).replica_set.jailed == (2,)


@pytest.mark.req("G2-16-4")
def test_e3_who_is_named_and_not_jailed_is_named_anew_by_other_evidence_alone() -> None:
    chain = governed_chain()
    convict(chain, 2)
    convict(chain, 3)
    again, other = convict(chain, 3), convict(chain, 3, view=9)
    assert (again.outcome, again.events) == (Outcome.APPLIED, ())
    assert [event.topic for event in other.events] == ["evidence.recorded"]
    recorded = json.loads(other.events[0].body)
    assert (recorded["entity_id"], recorded["view"], recorded["jailed_epoch"]) == ("D", "9", None)


@pytest.mark.req("G2-16-4")
def test_a_jailing_goes_in_front_of_a_change_that_is_scheduled_for_later() -> None:
    chain = governed_chain()
    decide(chain, members_json("A", "B", "C", "E", keys={3: "new"}), not_before=100)
    assert latest(chain).from_height == 100
    convict(chain, 2)
    height = chain.header.height
    assert [replica_set(chain, each).jailed for each in (height, height + WINDOW)] == [(), (2,)]
    assert [replica_set(chain, each).epoch for each in (height, height + WINDOW, 100)] == [0, 1, 2]
    assert replica_set(chain, 100).jailed == (2,)
    assert replica_set(chain, 100).members[3].entity_id == "E"


@pytest.mark.req("G2-16-4", "G2-10-3")
def test_a_replaced_key_ends_the_degradation_and_does_not_come_back() -> None:
    chain = governed_chain()
    convict(chain, 2)
    decide(chain, members_json("A", "B", "C", "D", keys={2: "fresh"}))
    assert latest(chain).replica_set.jailed == ()
    chain.skip_to(latest(chain).from_height)
    back = propose(chain, "A", members_json("A", "B", "C", "D"))
    assert back.code == "VOTE_KEY_JAILED"


def test_a_change_keeps_who_is_jailed_jailed() -> None:
    chain = governed_chain("A", "B", "C", "D", "E", "F", "G")
    convict(chain, 6)
    proposal = propose(chain, "A", members_json("A", "B", "C", "D", "E", "F", "G", "H"))
    for entity in ("B", "C", "D", "E"):
        assert approve(chain, entity, proposal).outcome is Outcome.APPLIED
    assert latest(chain).replica_set.size == 8
    assert latest(chain).replica_set.jailed == (6,)


MEMBERS = ("A", "B", "C", "D")


def without_key_3() -> MemoryChain:
    """Replica 3 of epoch 0 has had its key replaced, and the change is in force."""
    chain = governed_chain()
    decide(chain, members_json(*MEMBERS, keys={3: "fresh"}))
    chain.skip_to(latest(chain).from_height)
    return chain


def accuse_key_3(chain: MemoryChain) -> Receipt:
    """Evidence of what the first key of replica 3 signed in epoch 0."""
    first = replica_set(chain, 0)
    return accuse(chain, statement(first, 3, "one"), statement(first, 3, "two"))


@pytest.mark.req("G2-16-4")
def test_a_key_that_is_to_come_back_is_jailed_in_the_set_that_brings_it() -> None:
    """pbft.md E6: evidence between the decision of its return and the return."""
    chain = without_key_3()
    decide(chain, members_json(*MEMBERS), not_before=chain.header.height + 60)
    back = latest(chain)
    assert back.replica_set.jailed == ()
    receipt = accuse_key_3(chain)
    assert latest(chain) == replace(back, replica_set=replace(back.replica_set, jailed=(3,)))
    assert replica_set(chain, back.from_height - 1).jailed == ()
    recorded = json.loads(receipt.events[0].body)
    assert recorded["jailed_epoch"] == back.replica_set.epoch
    assert recorded["jailed_from"] == back.from_height
    scheduled = json.loads(receipt.events[1].body)
    assert scheduled["members"][3]["jailed"] is True


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize("is_proposed", [False, True])
def test_a_key_known_as_guilty_is_not_brought_back(is_proposed: bool) -> None:
    """pbft.md G1: evidence between removal and return, before or after the return is proposed."""
    chain = without_key_3()
    receipt = propose(chain, "A", members_json(*MEMBERS)) if is_proposed else None
    recorded = json.loads(accuse_key_3(chain).events[0].body)
    assert recorded["jailed_epoch"] is None
    if receipt is None:
        assert propose(chain, "A", members_json(*MEMBERS)).code == "VOTE_KEY_JAILED"
    else:
        assert approve(chain, "B", receipt).code == "VOTE_KEY_JAILED"


@pytest.mark.req("G2-16-4")
def test_a_key_is_jailed_in_every_later_set_that_keeps_it_and_each_is_announced() -> None:
    chain = governed_chain()
    decide(chain, members_json(*MEMBERS, keys={1: "fresh"}), not_before=100)
    receipt = convict(chain, 2)
    announced = [json.loads(e.body) for e in receipt.events if e.topic.endswith("set_scheduled")]
    assert [(each["epoch"], each["cause"]) for each in announced] == [
        (1, "JAILING"),
        (2, "GOVERNANCE"),
    ]
    assert announced[1]["set_hash"] == latest(chain).replica_set.hash().hex()


@pytest.mark.req("G2-16-4")
def test_a_guilty_key_that_was_not_jailed_for_want_of_room_is_jailed_by_the_next_set() -> None:
    chain = governed_chain()
    convict(chain, 2)
    convict(chain, 3)
    assert latest(chain).replica_set.jailed == (2,)
    chain.skip_to(latest(chain).from_height)
    decide(chain, members_json(*MEMBERS, keys={2: "fresh"}))
    assert latest(chain).replica_set.jailed == (3,)


@pytest.mark.req("G2-16-4")
def test_a_set_with_more_than_f_guilty_keys_is_not_scheduled() -> None:
    chain = governed_chain()
    convict(chain, 2)
    convict(chain, 3)
    chain.skip_to(latest(chain).from_height)
    refused = decide(chain, members_json(*MEMBERS, keys={1: "fresh"}))
    assert refused.code == "JAILED_TOO_MANY"
