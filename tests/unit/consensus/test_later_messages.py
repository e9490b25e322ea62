"""What is kept of views that are not entered yet is bounded in number and bytes: pbft.md V10."""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.batch import Batch
from services.consensus.domain.effects import Effect, Equivocation, Evidence, Execute
from services.consensus.domain.later import LATER_BATCHES_BYTES_MAX
from services.consensus.domain.messages import (
    NULL_DIGEST,
    Prepare,
    PrePrepare,
    SequenceNumber,
    View,
)
from tests.unit.consensus.protocol import (
    OTHER,
    PARAMETERS,
    PAY,
    START_MS,
    Bench,
    a_batch,
    certified,
    committed,
    sent,
    signer,
    ticking,
    view_change,
)

pytestmark = pytest.mark.req("G2-07-1")


def awaiting_view_1() -> Bench:
    """Replica 2 has left view 0 with two others and waits for the new-view of replica 1."""
    bench = ticking(2)
    for peer in (0, 3):
        bench.step(view_change(peer, 1), peer)
    assert (bench.core.view, bench.core.active) == (1, False)
    return bench


def held(bench: Bench) -> list[PrePrepare]:
    return [message for _, message in bench.core._later.proposals.values()]


def test_of_a_primarys_many_proposals_for_one_sequence_number_the_first_is_kept() -> None:
    """V10, N3."""
    bench = awaiting_view_1()
    effects: list[Effect] = []
    for number in range(200):
        effects += bench.receive_pre_prepare(1, a_batch(f"batch {number}"), view=1)
    assert held(bench) == [bench.pre_prepare(1, a_batch("batch 0"), view=1)]
    found = [each for each in effects if isinstance(each, Evidence)]
    assert {each.replica for each in found} == {1}
    offence = found[0].offence
    assert isinstance(offence, Equivocation)
    assert offence.first.digest == a_batch("batch 0").digest()
    assert offence.second.digest == a_batch("batch 1").digest()


def test_the_same_proposal_again_is_no_evidence() -> None:
    """V10, N3."""
    bench = awaiting_view_1()
    assert bench.receive_pre_prepare(1, PAY, view=1) == []
    assert bench.receive_pre_prepare(1, PAY, view=1) == []
    assert len(held(bench)) == 1


def test_batches_are_kept_within_a_bound_of_bytes() -> None:
    """V10."""
    bench = awaiting_view_1()
    large = bytes(LATER_BATCHES_BYTES_MAX // 2)
    for sequence in range(1, PARAMETERS.window + 1):
        bench.receive_pre_prepare(sequence, Batch(START_MS, (large,)), view=1)
    assert [each.sequence for each in held(bench)] == [1, 2]
    bench.receive_pre_prepare(3, Batch(START_MS, (b"x",)), view=1)
    assert len(held(bench)) == 2


def test_proposals_of_a_view_that_is_awaited_no_more_make_room() -> None:
    """V10."""
    bench = awaiting_view_1()
    bench.receive_pre_prepare(1, PAY, view=1)
    bench.receive_pre_prepare(1, OTHER, view=3)
    assert [each.view for each in held(bench)] == [1], "only the awaited view's"
    for peer in (0, 1, 3):
        bench.step(view_change(peer, 3), peer)
    assert bench.core.view == 3
    bench.receive_pre_prepare(2, OTHER, view=3)
    assert [each.view for each in held(bench)] == [3]


def test_what_is_certified_meanwhile_makes_room() -> None:
    """V10, C2."""
    bench = ticking(2)
    committed(bench, 1, PAY)
    for peer in (0, 3):
        bench.step(view_change(peer, 1), peer)
    bench.receive_pre_prepare(1, OTHER, view=1)
    certified(bench, 1)
    bench.receive_pre_prepare(2, OTHER, view=1)
    assert [each.sequence for each in held(bench)] == [2]


def test_what_was_kept_counts_once_the_view_is_entered() -> None:
    """V10."""
    bench = awaiting_view_1()
    bench.receive_pre_prepare(1, PAY, view=1)
    bench.receive_prepare(3, 1, PAY.digest(), view=1)
    changes = tuple(view_change(replica, 1) for replica in (0, 1, 3))
    effects = bench.step(signer(1).new_view(bench.core.view, changes, ()), 1)
    assert Prepare in {type(each) for each in sent(effects)}
    assert bench.core._ordering.accepted_through == SequenceNumber(1)
    assert held(bench) == []


def test_votes_of_the_view_after_the_one_that_is_entered_wait_on() -> None:
    """V10: they overtook two new-views; those of the view that is entered or over wait no more."""
    bench = ticking(3)
    bench.receive_commit(0, 1, PAY.digest(), view=1)
    for peer in (0, 1, 2):
        bench.receive_commit(peer, 2, PAY.digest(), view=2)
    enter(bench, 1)
    assert bench.core._ordering.entries.keys() == {1}, "those of view 1 were taken"
    waiting = [each for held in bench.core._later.votes.values() for each in held]
    assert {each.view for each in waiting} == {2}
    enter(bench, 2)
    assert not any(bench.core._later.votes.values())
    bench.receive_pre_prepare(1, OTHER, view=2)
    bench.receive_pre_prepare(2, PAY, view=2)
    effects: list[Effect] = []
    for peer in (0, 1, 2):
        effects += bench.receive_commit(peer, 1, OTHER.digest(), view=2)
    assert [each for each in effects if isinstance(each, Execute)] == [
        Execute(SequenceNumber(1), OTHER),
        Execute(SequenceNumber(2), PAY),
    ], "the commits for 2 came before both views"


def enter(bench: Bench, view: int) -> None:
    """A new-view that proposes nothing again."""
    changes = tuple(view_change(replica, view) for replica in (0, 1, 2))
    bench.step(signer(view % 4).new_view(View(view), changes, ()), view % 4)
    assert (bench.core.view, bench.core.active) == (view, True)


def test_p23_a_flood_of_votes_for_later_views_stays_bounded() -> None:
    bench = ticking(2)
    for view in range(1, 500):
        bench.receive_commit(3, 1 + view % 4, NULL_DIGEST, view=view)
    assert len(bench.core._later.votes[signer(3).me]) == 16
