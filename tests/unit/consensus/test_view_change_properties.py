"""Whatever is in the view-changes, a new view can be computed, and liars cannot choose a view."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consensus.domain.effects import Equivocation, Evidence
from services.consensus.domain.messages import (
    NULL_DIGEST,
    Digest,
    PreparedCertificate,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.view_change import ViewChanges, base_of, chosen_batches
from tests.simulation.keys import replica_set
from tests.unit.consensus.protocol import (
    PARAMETERS,
    PAY,
    pass_time,
    prepared_certificate,
    ticking,
    view_change,
)

WINDOW = PARAMETERS.window


@st.composite
def view_changes_of_a_quorum(draw: st.DrawFn) -> list[ViewChange]:
    """Legal view-changes: any certified heights, any prepared certificates within the window."""
    changes = []
    for replica in range(draw(st.integers(3, 5))):
        certified = draw(st.integers(0, 6))
        offsets = draw(st.sets(st.integers(1, WINDOW)))
        prepared = tuple(
            PreparedCertificate(
                View(draw(st.integers(0, 3))),
                SequenceNumber(certified + offset),
                Digest(bytes([draw(st.integers(0, 255))]) * 32),
                bytes(64),
                (),
            )
            for offset in sorted(offsets)
        )
        changes.append(
            ViewChange(
                View(4), ReplicaId(replica), SequenceNumber(certified), None, prepared, bytes(64)
            )
        )
    return changes


@given(view_changes_of_a_quorum())
def test_row15_proposals_follow_the_base_without_gaps_and_within_the_window(
    changes: list[ViewChange],
) -> None:
    base = base_of(changes).certified
    assert base == max(each.certified for each in changes)
    numbers = [sequence for sequence, _ in chosen_batches(changes)]
    assert numbers == list(range(base + 1, base + 1 + len(numbers)))
    assert len(numbers) <= WINDOW


@given(view_changes_of_a_quorum())
def test_each_proposal_is_the_latest_prepared_one_or_a_null_batch(
    changes: list[ViewChange],
) -> None:
    """V5."""
    for sequence, digest in chosen_batches(changes):
        held = [each for change in changes for each in change.prepared if each.sequence == sequence]
        if not held:
            assert digest == NULL_DIGEST
        else:
            latest = max(each.view for each in held)
            assert digest in {each.digest for each in held if each.view == latest}


@given(view_changes_of_a_quorum())
def test_the_height_covered_does_not_depend_on_the_order_of_view_changes(
    changes: list[ViewChange],
) -> None:
    """V5."""
    forward = [sequence for sequence, _ in chosen_batches(changes)]
    backward = [sequence for sequence, _ in chosen_batches(changes[::-1])]
    assert forward == backward


@given(
    size=st.integers(4, 20),
    honest=st.lists(st.integers(1, 9), min_size=1, max_size=13),
    huge=st.integers(10, 2**62),
)
def test_p02_row13_f_liars_never_carry_a_replica_beyond_the_views_of_honest_ones(
    size: int, honest: list[int], huge: int
) -> None:
    members = replica_set(size)
    votes = ViewChanges(ReplicaId(0), members)
    liars = members.faulty_max
    views = [huge] * liars + honest[: size - 1 - liars]
    for replica, view in enumerate(views, 1):
        votes.add(
            ViewChange(View(view), ReplicaId(replica), SequenceNumber(0), None, (), bytes(64))
        )
    joined = votes.joined_view(View(0))
    assert joined is not None, "f liars and one honest replica are f + 1"
    assert joined <= max(honest[: size - 1 - liars])


@pytest.mark.req("G2-16-4")
def test_row06_two_view_changes_of_one_replica_to_one_view_are_evidence_and_the_first_stands() -> (
    None
):
    bench = ticking(2)
    prepared = prepared_certificate(0, 1, PAY.digest())
    first, second = view_change(0, 1), view_change(0, 1, prepared=(prepared,))
    assert not [each for each in bench.step(first, 0) if isinstance(each, Evidence)]
    assert bench.step(first, 0) == [], "the same again is nothing new"
    found = [each for each in bench.step(second, 0) if isinstance(each, Evidence)]
    assert [each.replica for each in found] == [0]
    assert isinstance(found[0].offence, Equivocation)
    assert not [each for each in bench.step(first, 0) if isinstance(each, Evidence)]


@pytest.mark.req("G2-07-1")
def test_v8_a_liar_who_asks_for_ever_later_views_puts_no_timeout_off() -> None:
    bench = ticking(2)
    for peer in (0, 3):
        bench.step(view_change(peer, 1), peer)
    assert (bench.core.view, bench.core.active) == (1, False), "its primary is silent"
    began = bench.now_ms
    for later in range(10, 10 + PARAMETERS.timeout_max_ms // 100):
        bench.step(view_change(3, later), 3)
        pass_time(bench, 100)
        if bench.core.view == 2:
            break
    assert bench.core.view == 2
    assert bench.now_ms - began <= PARAMETERS.timeout_ms + 100
