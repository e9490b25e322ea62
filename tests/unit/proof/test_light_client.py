"""The pure light client: what moves it, what it refuses, and what it calls misbehaviour."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import ZERO_HASH, BlockHeader, FinalityCertificate
from guqiao_sdk.proof.light_client import (
    SET_CHANGES_MAX,
    MisbehaviourError,
    SetChange,
    TrustedChain,
    advance,
    follow_set_changes,
    judge_misbehaviour,
)
from tests.unit.proof.proof_keys import FakeKeys, Replicas

KEYS = FakeKeys()
FIRST = Replicas(KEYS)
SECOND = FIRST.next_epoch()
THIRD = SECOND.next_epoch()
GENESIS_HASH = b"g" * 32
START = TrustedChain.from_genesis(GENESIS_HASH, FIRST.set)


def step(
    trusted: TrustedChain,
    header: BlockHeader,
    certificate: FinalityCertificate | None = None,
    *changes: SetChange,
    by: Replicas = FIRST,
    block_time_ms_max: int | None = None,
) -> TrustedChain:
    return advance(
        trusted,
        header,
        certificate or by.certify(header),
        KEYS.verify,
        changes,
        block_time_ms_max=block_time_ms_max,
    )


def refusal(
    trusted: TrustedChain, header: BlockHeader, *changes: SetChange, by: Replicas = FIRST
) -> str:
    with pytest.raises(ProofError) as caught:
        step(trusted, header, None, *changes, by=by)
    assert not isinstance(caught.value, MisbehaviourError)
    assert caught.value.code in ("HEADER_UNVERIFIED", "PROOF_INVALID")
    return caught.value.detail


def change(
    old: Replicas, height: int, new: Replicas, *, signed_by: Replicas | None = None
) -> SetChange:
    header = old.header(height, next_set=new.set)
    return SetChange(header, (signed_by or old).certify(header), new.set)


def test_heights_may_be_skipped_within_an_epoch() -> None:
    trusted = step(step(START, FIRST.header(3)), FIRST.header(400))
    assert (trusted.height, trusted.header_hash) == (400, FIRST.header(400).hash())
    assert step(trusted, FIRST.header(400)) == trusted


def test_an_epoch_is_entered_by_the_old_quorums_set_change() -> None:
    changes = (change(FIRST, 5, SECOND), change(SECOND, 9, THIRD))
    trusted = step(START, THIRD.header(12), None, *changes, by=THIRD)
    assert trusted.replica_set == THIRD.set
    one_by_one = step(START, SECOND.header(7), None, changes[0], by=SECOND)
    assert step(one_by_one, THIRD.header(12), None, changes[1], by=THIRD) == trusted


def test_the_last_header_of_an_epoch_may_be_taken_before_its_set_change() -> None:
    last = change(FIRST, 5, SECOND)
    trusted = step(START, last.header)
    assert step(trusted, SECOND.header(7), None, last, by=SECOND).height == 7


def test_nothing_of_an_epoch_is_believed_above_its_last_header() -> None:
    trusted = step(START, change(FIRST, 5, SECOND).header)
    assert "set change is missing" in refusal(trusted, FIRST.header(6))


def test_g3_a_header_of_a_former_or_future_epoch_is_refused() -> None:
    trusted = step(START, SECOND.header(7), None, change(FIRST, 5, SECOND), by=SECOND)
    assert "epoch 0 follows no trusted" in refusal(trusted, FIRST.header(9))
    assert "epoch 2 follows no trusted" in refusal(trusted, THIRD.header(9), by=THIRD)


def test_g4_a_set_change_signed_by_the_new_set_is_refused() -> None:
    forged = change(FIRST, 5, SECOND, signed_by=replace(SECOND, epoch=1))
    assert "replica 0 does not hold" in refusal(START, SECOND.header(7), forged, by=SECOND)


def test_g5_a_set_change_that_skips_an_epoch_is_refused() -> None:
    skipping = change(FIRST, 5, THIRD)
    assert "followed by the next one" in refusal(START, THIRD.header(7), skipping, by=THIRD)
    lone = change(SECOND, 9, THIRD)
    assert "follows no trusted" in refusal(START, THIRD.header(12), lone, by=THIRD)


def test_g6_an_older_set_change_replayed_is_refused() -> None:
    first, second = change(FIRST, 5, SECOND), change(SECOND, 9, THIRD)
    trusted = step(START, THIRD.header(12), None, first, second, by=THIRD)
    assert "height 12 is trusted" in refusal(trusted, SECOND.header(20), first, by=SECOND)
    early = step(START, SECOND.header(5 + 2), None, first, by=SECOND)
    late_replay = change(FIRST, 8, SECOND)
    assert "epoch 0 follows" in refusal(early, SECOND.header(20), late_replay, by=SECOND)


def test_a_set_change_names_the_set_that_the_old_quorum_certified() -> None:
    honest = change(FIRST, 5, SECOND)
    foreign = Replicas(KEYS, epoch=1, size=7)
    swapped = replace(honest, replica_set=foreign.set)
    assert "names another set" in refusal(START, foreign.header(7), swapped, by=foreign)
    other_chain = replace(honest, replica_set=replace(SECOND.set, chain_id="beijing"))
    assert "followed by the next one" in refusal(START, SECOND.header(7), other_chain, by=SECOND)


@pytest.mark.req("G2-07-2", "G2-16-3")
@pytest.mark.parametrize("size", [0, 3])
def test_g11_a_certified_set_that_breaks_the_rules_is_refused_all_the_same(size: int) -> None:
    small = Replicas(KEYS, epoch=1, size=size)
    assert "REPLICAS_TOO_FEW" in refusal(START, SECOND.header(7), change(FIRST, 5, small))
    one = replace(
        SECOND.set, members=tuple(replace(m, entity_id="one") for m in SECOND.set.members)
    )
    header = FIRST.header(5, next_set=one)
    held = SetChange(header, FIRST.certify(header), one)
    assert "SINGLE_ENTITY" in refusal(START, SECOND.header(7), held, by=SECOND)


def test_g7_a_second_certified_header_at_the_trusted_height_is_misbehaviour() -> None:
    trusted = step(START, FIRST.header(7))
    with pytest.raises(MisbehaviourError) as caught:
        step(trusted, FIRST.header(7, tag="other"))
    assert caught.value.height == 7
    assert caught.value.known == FIRST.header(7).hash()
    assert caught.value.other == FIRST.header(7, tag="other").hash()


def test_g7_a_next_header_with_another_parent_is_misbehaviour_and_with_the_right_one_is_not() -> (
    None
):
    trusted = step(START, FIRST.header(7))
    with pytest.raises(MisbehaviourError):
        step(trusted, FIRST.header(8))
    child = replace(FIRST.header(8), parent=FIRST.header(7).hash())
    assert step(trusted, child).height == 8


def test_a_second_header_that_no_quorum_signed_is_no_misbehaviour() -> None:
    trusted = step(START, FIRST.header(7))
    forged = FIRST.header(7, tag="other")
    with pytest.raises(ProofError) as caught:
        step(trusted, forged, FIRST.certify(forged, (0, 1)))
    assert not isinstance(caught.value, MisbehaviourError)


def test_g8_a_height_below_the_trusted_one_is_refused() -> None:
    trusted = step(START, FIRST.header(7))
    assert "height 7 is trusted" in refusal(trusted, FIRST.header(6))
    assert "below height 1" in refusal(START, FIRST.header(0))


def test_g9_block_time_never_decreases_and_is_not_in_the_future() -> None:
    trusted = step(START, FIRST.header(7))
    early = FIRST.header(3)
    backwards = replace(early, height=9)
    assert "before that of a lower height" in refusal(trusted, backwards)
    header = FIRST.header(9)
    assert step(trusted, header, block_time_ms_max=header.block_time_ms).height == 9
    with pytest.raises(ProofError, match="future"):
        step(trusted, header, block_time_ms_max=header.block_time_ms - 1)


def test_g10_another_chains_header_is_refused() -> None:
    other = Replicas(KEYS, "beijing")
    assert "not of chain shandong" in refusal(START, other.header(7), by=other)


@pytest.mark.parametrize(
    "name", ["parent", "transactions_root", "receipts_root", "state_root", "next_set_hash"]
)
def test_g14_a_certified_header_with_an_empty_hash_is_refused(name: str) -> None:
    empty: dict[str, Any] = {name: ZERO_HASH}
    refusal(START, replace(FIRST.header(7), **empty))


def test_a_header_whose_batch_digest_is_not_of_its_time_and_transactions_is_refused() -> None:
    header = FIRST.header(7)
    for spoiled in (
        replace(header, batch_digest=b"d" * 32),
        replace(header, block_time_ms=header.block_time_ms + 1),
        replace(header, transactions_root=b"t" * 32),
    ):
        assert "batch digest" in refusal(START, spoiled)


@pytest.mark.parametrize("empty", [b"", ZERO_HASH, b"x" * 31])
def test_g14_trust_starts_from_no_empty_hash(empty: bytes) -> None:
    with pytest.raises(ProofError):
        TrustedChain.from_genesis(empty, FIRST.set)
    with pytest.raises(ProofError):
        TrustedChain.from_checkpoint(GENESIS_HASH, FIRST.set, 7, empty)


@pytest.mark.req("G2-07-2")
def test_g11_trust_starts_from_no_set_that_breaks_the_rules() -> None:
    with pytest.raises(ProofError, match="REPLICAS_TOO_FEW"):
        TrustedChain.from_genesis(GENESIS_HASH, Replicas(KEYS, size=3).set)


def test_more_set_changes_than_the_bound_are_refused_before_any_is_looked_at() -> None:
    changes = [change(FIRST, 5, SECOND)] * (SET_CHANGES_MAX + 1)
    with pytest.raises(ProofError, match="at most"):
        follow_set_changes(START, changes, KEYS.verify)


def test_misbehaviour_evidence_names_who_signed_both() -> None:
    one, other = FIRST.header(7), FIRST.header(7, tag="other")
    shown = judge_misbehaviour(
        FIRST.set,
        (one, FIRST.certify(one, (0, 1, 3))),
        (other, FIRST.certify(other, (1, 2, 3))),
        KEYS.verify,
    )
    assert [replica for replica, _, _ in shown.replicas] == [1, 3]
    assert len(shown.replicas) > FIRST.set.faulty_max
    assert shown.replicas[0][1:] == ("entity-1", "机构1")


@pytest.mark.parametrize("fault", ["same header", "two heights", "unsigned", "another epoch"])
def test_evidence_that_shows_no_misbehaviour_is_refused(fault: str) -> None:
    one, other = FIRST.header(7), FIRST.header(7, tag="other")
    second = FIRST.certify(other)
    match fault:
        case "same header":
            other, second = one, FIRST.certify(one)
        case "two heights":
            other = FIRST.header(8)
            second = FIRST.certify(other)
        case "unsigned":
            second = FIRST.certify(other, (0, 1))
        case "another epoch":
            other = SECOND.header(7)
            second = SECOND.certify(other)
    with pytest.raises(ProofError):
        judge_misbehaviour(FIRST.set, (one, FIRST.certify(one)), (other, second), KEYS.verify)
