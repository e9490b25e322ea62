"""What a new view carries on is proposed by nobody else; what it drops is forgotten."""

from __future__ import annotations

from services.consensus.batches import BatchTracker
from services.consensus.domain.messages import (
    NULL_DIGEST,
    Digest,
    NewView,
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


def test_executed_batches_are_forgotten() -> None:
    tracker = tracker_with_three_batches()
    tracker.forget_executed(SequenceNumber(2))
    assert tracker.ids() == {transaction("t3").id}
    assert tracker.in_flight == 1
