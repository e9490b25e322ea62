"""A restart (R of docs/protocol/pbft.md) in a later view than what was written down is of."""

from __future__ import annotations

import pytest

from services.consensus.domain.effects import Broadcast, Evidence, Persist
from services.consensus.domain.messages import (
    Commit,
    Digest,
    Executed,
    Prepare,
    PreparedCertificate,
    Propose,
    SequenceNumber,
    View,
)
from services.consensus.domain.view_change import chosen_batches
from tests.unit.consensus.protocol import (
    OTHER,
    PARAMETERS,
    PAY,
    Bench,
    committed,
    header_hash,
    pass_time,
    sent,
    signer,
    ticking,
    view_change,
)


def recovered_in_view_1() -> Bench:
    """Backup 2 took PAY in view 0; view 1 proposes nothing again; then it starts from a compacted
    log, which names the new-view before the pre-prepares of earlier views.
    """
    bench = ticking(2)
    bench.receive_pre_prepare(1, PAY)
    changes = tuple(view_change(replica, 1) for replica in (0, 1, 3))
    bench.step(signer(1).new_view(View(1), changes, chosen_batches(changes)), 1)
    bench.recover(bench.core.records())
    assert (bench.core.view, bench.core.active) == (1, True)
    assert bench.core.batch(Digest(PAY.digest())) == PAY, "the batch is kept for whoever fetches it"
    return bench


@pytest.mark.req("G2-07-1")
def test_r4_what_an_earlier_view_proposed_gets_no_vote_in_the_view_that_is_recovered() -> None:
    bench = recovered_in_view_1()
    votes = sent(pass_time(bench, 2 * PARAMETERS.resend_ms))
    assert not [each for each in votes if isinstance(each, Prepare)]


@pytest.mark.req("G2-07-1")
def test_r4_what_an_earlier_view_proposed_is_not_held_against_the_present_primary() -> None:
    """Held to be the present primary's own, it would be evidence against an honest replica."""
    bench = recovered_in_view_1()
    pass_time(bench, 100)
    effects = bench.receive_pre_prepare(1, OTHER, view=1)
    assert not [each for each in effects if isinstance(each, Evidence)]
    (vote,) = sent(effects)
    assert isinstance(vote, Prepare)
    assert (vote.view, vote.digest) == (1, OTHER.digest())


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("me", [0, 1])
def test_r2_a_commit_that_a_fall_cut_off_behind_its_certificate_is_signed_after_the_start(
    me: int,
) -> None:
    """The certificate has all votes that are needed, and nobody has reason to send them again."""
    bench = ticking(me)
    if me == 0:
        bench.step(Propose(PAY))
    else:
        bench.receive_pre_prepare(1, PAY)
    for peer in (2, 3):
        bench.receive_prepare(peer, 1, PAY.digest())
    assert isinstance(bench.records.pop(), Commit)
    assert isinstance(bench.records[-1], PreparedCertificate)
    bench.recover()
    effects = pass_time(bench, PARAMETERS.resend_ms + 100)
    (commit,) = {each for each in sent(effects) if isinstance(each, Commit)}
    assert commit.digest == PAY.digest()
    assert effects.index(Persist(commit)) < effects.index(Broadcast(commit))


@pytest.mark.req("G2-07-1", "G2-16-4")
def test_r2_a_second_prepare_of_one_whose_first_is_in_the_certificate_is_evidence() -> None:
    bench = ticking(1)
    bench.receive_pre_prepare(1, PAY)
    bench.receive_prepare(2, 1, PAY.digest())
    bench.recover()
    effects = bench.receive_prepare(2, 1, OTHER.digest())
    assert [each.replica for each in effects if isinstance(each, Evidence)] == [2]


@pytest.mark.req("G2-07-1")
def test_r3_a_vote_for_a_header_is_sent_again_only_once_executing_again_gave_it() -> None:
    """Were it another header, the replica would stop: nobody is to hear that vote once more."""
    bench, header = ticking(1), header_hash("block 1")
    committed(bench, 1, PAY)
    bench.step(Executed(SequenceNumber(1), header))
    vote = signer(1).checkpoint(SequenceNumber(1), header)
    bench.recover()
    early = pass_time(bench, 3 * PARAMETERS.resend_ms)
    assert Commit in {type(each) for each in sent(early)}, "what it signed otherwise is sent (R2)"
    assert vote not in sent(early)
    for peer in (0, 2):
        bench.receive_commit(peer, 1, PAY.digest())
    assert bench.step(Executed(SequenceNumber(1), header)) == [Broadcast(vote)]
    assert vote in sent(pass_time(bench, 3 * PARAMETERS.resend_ms))
