"""What certificates, view-changes and new-views carry of others convicts them (N12)."""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.authentication import authenticate
from services.consensus.domain.effects import Effect, Equivocation, Evidence
from services.consensus.domain.messages import (
    BatchRefused,
    Digest,
    NewView,
    PeerMessage,
    PreparedCertificate,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.said_before import VIEWS_MAX
from services.consensus.domain.statements import exclude_each_other
from services.consensus.domain.view_change import chosen_batches
from tests.simulation.keys import replica_set, verify
from tests.unit.consensus.protocol import (
    OTHER,
    PARAMETERS,
    PAY,
    SIZE,
    Bench,
    signer,
    ticking,
    view_change,
)


def certificate(
    view: int, sequence: int, digest: bytes, backups: tuple[int, ...]
) -> PreparedCertificate:
    """A prepared certificate by these backups."""
    place = (View(view), SequenceNumber(sequence), Digest(digest))
    primary = signer(view % SIZE).new_view(place[0], (), (place[1:],))
    prepares = tuple((ReplicaId(each), signer(each).prepare(*place).signature) for each in backups)
    return PreparedCertificate(*place, primary.reproposals[0].signature, prepares)


def receive(bench: Bench, message: PeerMessage, sender: int) -> list[Effect]:
    """One message of a peer, as the driver gives it: authentic."""
    refused = authenticate(message, ReplicaId(sender), replica_set(SIZE), verify, PARAMETERS.window)
    assert refused is None
    return bench.step(message, sender)


def convicted(effects: list[Effect]) -> list[tuple[int, VoteType]]:
    """Who is convicted, and of what; the two statements do exclude each other."""
    found: list[tuple[int, VoteType]] = []
    for each in effects:
        if isinstance(each, Evidence):
            assert isinstance(each.offence, Equivocation)
            first, second = each.offence.first, each.offence.second
            assert exclude_each_other(first, second)
            assert first.replica == each.replica
            found.append((each.replica, first.vote_type))
    return found


def new_view(*asking: ViewChange) -> NewView:
    """What the primary of view 1 opens it with."""
    return signer(1).new_view(View(1), asking, chosen_batches(asking))


SHOWN = certificate(0, 1, PAY.digest(), (1, 3))
SHOWING = view_change(1, 1, prepared=(SHOWN,))


@pytest.mark.req("G2-16-4")
def test_n12_a_primary_that_signed_one_batch_here_and_another_in_a_certificate() -> None:
    bench = ticking(2)
    assert convicted(bench.receive_pre_prepare(1, OTHER)) == []
    assert convicted(receive(bench, SHOWING, 1)) == [(0, VoteType.PRE_PREPARE)]


@pytest.mark.req("G2-16-4")
def test_n12_the_certificate_may_come_before_the_vote() -> None:
    bench = ticking(2)
    assert convicted(receive(bench, SHOWING, 1)) == []
    found = convicted(bench.receive_prepare(3, 1, OTHER.digest()))
    assert found == [(3, VoteType.PREPARE)]


@pytest.mark.req("G2-16-4")
def test_n12_a_backup_that_prepared_one_batch_here_and_another_in_a_certificate() -> None:
    bench = ticking(2)
    bench.receive_pre_prepare(1, PAY)
    assert convicted(bench.receive_prepare(3, 1, OTHER.digest())) == []
    assert convicted(receive(bench, SHOWING, 1)) == [(3, VoteType.PREPARE)]


@pytest.mark.req("G2-16-4")
def test_n12_a_view_change_that_differs_from_the_one_in_the_new_view() -> None:
    bench = ticking(2)
    receive(bench, view_change(3, 1), 3)
    hidden = view_change(3, 1, prepared=(SHOWN,))
    effects = receive(bench, new_view(view_change(0, 1), view_change(1, 1), hidden), 1)
    assert bench.core.active
    assert convicted(effects) == [(3, VoteType.VIEW_CHANGE)]


@pytest.mark.req("G2-16-4")
def test_n12_a_checkpoint_vote_that_differs_from_the_one_in_a_certificate() -> None:
    bench = ticking(2)
    bench.receive_checkpoint(1, 1, b"x" * 32)
    effects = receive(bench, view_change(3, 1, certified=1), 3)
    assert convicted(effects) == [(1, VoteType.CHECKPOINT)]


@pytest.mark.req("G2-16-4")
def test_n12_a_batch_that_was_refused_was_said_all_the_same() -> None:
    bench = ticking(2)
    bench.step(BatchRefused(bench.pre_prepare(1, OTHER), "malformed", 0))
    assert convicted(receive(bench, SHOWING, 1)) == [(0, VoteType.PRE_PREPARE)]


@pytest.mark.req("G2-16-4")
def test_n12_who_says_the_same_everywhere_is_accused_of_nothing() -> None:
    bench = ticking(2)
    effects = list(bench.receive_pre_prepare(1, PAY))
    effects += bench.receive_prepare(3, 1, PAY.digest())
    asking = (view_change(0, 1), SHOWING, view_change(3, 1, prepared=(SHOWN,)))
    for each in asking:
        effects += receive(bench, each, each.replica)
    effects += receive(bench, new_view(*asking), 1)
    effects += receive(bench, new_view(*asking), 1)
    assert bench.core.active
    assert convicted(effects) == []


@pytest.mark.req("G2-16-4")
def test_n12_nothing_is_kept_outside_the_window_and_nothing_of_certified_heights() -> None:
    bench = ticking(2)
    beyond = PARAMETERS.window + 1
    bench.receive_prepare(3, beyond, PAY.digest())
    assert bench.core._said_before._votes == {}
    receive(bench, view_change(3, 1, certified=1), 3)
    assert set(bench.core._said_before._votes) == {1}


@pytest.mark.req("G2-16-4")
def test_n12_a_flood_of_views_takes_little_room_and_forces_nothing_near_out() -> None:
    bench = ticking(2)
    receive(bench, view_change(3, 1), 3)
    for view in range(2, 40):
        receive(bench, view_change(3, view), 3)
    [(signed_by, views)] = bench.core._said_before._view_changes.items()
    assert (signed_by, len(views)) == (3, VIEWS_MAX)
    hidden = view_change(3, 1, prepared=(SHOWN,))
    effects = receive(bench, new_view(view_change(0, 1), view_change(1, 1), hidden), 1)
    assert convicted(effects) == [(3, VoteType.VIEW_CHANGE)]
