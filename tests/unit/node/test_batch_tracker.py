"""What a new view carries on is proposed by nobody else; what it drops is forgotten."""

from __future__ import annotations

from guqiao_sdk.proof.batch import Batch
from services.consensus.batches import BatchTracker, is_told_enough
from services.consensus.domain.messages import (
    NULL_DIGEST,
    Digest,
    NewView,
    PrePrepare,
    Reproposal,
    SequenceNumber,
    View,
)
from tests.unit.node.test_mempool import transaction

SIGNATURE = bytes(64)


def digest(number: int) -> Digest:
    return Digest(bytes([number]) * 32)


def new_view(view: int, *entries: tuple[int, Digest]) -> NewView:
    reproposals = tuple(
        Reproposal(SequenceNumber(sequence), named, SIGNATURE) for sequence, named in entries
    )
    return NewView(View(view), (), reproposals, SIGNATURE)


def tracker_with_three_batches() -> BatchTracker:
    tracker = BatchTracker()
    for number in (1, 2, 3):
        content = [transaction(f"t{number}")]
        tracker.add(View(0), SequenceNumber(number), digest(number), content)
    return tracker


def test_a_new_view_keeps_what_it_names_and_drops_the_rest() -> None:
    tracker = tracker_with_three_batches()
    tracker.note_new_view(new_view(1, (2, digest(2)), (3, NULL_DIGEST)))
    assert tracker.enter_view(View(1), SequenceNumber(1)) == {transaction("t2").id}
    assert tracker.is_complete
    assert tracker.find(digest(3)) is None


def test_a_batch_that_is_carried_on_unknown_holds_proposals_back_until_it_has_come() -> None:
    tracker = tracker_with_three_batches()
    tracker.note_new_view(new_view(1, (2, digest(9))))
    tracker.enter_view(View(1), SequenceNumber(1))
    assert not tracker.is_complete
    assert tracker.is_missing(digest(9))
    tracker.add(View(1), SequenceNumber(2), digest(9), [transaction("t9")])
    assert tracker.is_complete
    assert tracker.ids() == {transaction("t9").id}


def test_a_missing_batch_that_was_executed_meanwhile_holds_nothing_back() -> None:
    tracker = BatchTracker()
    tracker.note_new_view(new_view(1, (2, digest(9))))
    tracker.enter_view(View(1), SequenceNumber(1))
    tracker.forget_executed(SequenceNumber(2))
    assert tracker.is_complete


def test_a_new_view_of_another_view_is_not_applied() -> None:
    tracker = tracker_with_three_batches()
    tracker.note_new_view(new_view(1, (2, digest(2))))
    assert tracker.enter_view(View(2), SequenceNumber(0)) == set()


def test_of_a_view_and_sequence_number_the_first_batch_alone_is_tracked() -> None:
    tracker = tracker_with_three_batches()
    other = [transaction("other")]
    assert not tracker.add(View(0), SequenceNumber(1), digest(9), other)
    assert tracker.add(View(0), SequenceNumber(1), digest(1), [transaction("t1")])
    assert tracker.ids() == {transaction(f"t{number}").id for number in (1, 2, 3)}


def test_a_batch_that_the_view_carries_on_is_tracked_beside_what_the_primary_proposed() -> None:
    tracker = tracker_with_three_batches()
    tracker.note_new_view(new_view(1, (2, digest(9))))
    tracker.enter_view(View(1), SequenceNumber(1))
    assert tracker.add(View(1), SequenceNumber(2), digest(5), [transaction("proposed")])
    assert tracker.add(View(1), SequenceNumber(2), digest(9), [transaction("carried")])
    assert tracker.ids() == {transaction("proposed").id, transaction("carried").id}


def proposal(name: str, sequence: int = 1, view: int = 0) -> PrePrepare:
    batch = Batch(1, (name.encode(),))
    return PrePrepare(
        View(view), SequenceNumber(sequence), batch, Digest(batch.digest()), SIGNATURE
    )


def test_two_proposals_for_one_place_are_enough_to_wait_for_the_core() -> None:
    first, second, third = (proposal(name) for name in ("a", "b", "c"))
    assert not is_told_enough(first, [])
    assert is_told_enough(first, [first]), "the same again"
    assert not is_told_enough(second, [first]), "it convicts the primary"
    assert is_told_enough(third, [first, second])
    elsewhere = [proposal("a", sequence=2), proposal("b", sequence=2), proposal("c", view=1)]
    assert not is_told_enough(third, elsewhere)


def test_executed_batches_are_forgotten() -> None:
    tracker = tracker_with_three_batches()
    tracker.forget_executed(SequenceNumber(2))
    assert tracker.ids() == {transaction("t3").id}
    assert tracker.in_flight == 1
