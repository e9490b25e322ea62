"""One test a sentence of docs/protocol/pbft.md: normal case (N) and checkpoints (C)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.consensus.domain.effects import (
    Broadcast,
    Certified,
    Effect,
    Equivocation,
    Evidence,
    Execute,
    FetchBatch,
    FetchBlocks,
    Halt,
    InvalidBatch,
    Persist,
)
from services.consensus.domain.messages import (
    BatchFetched,
    BatchRefused,
    CertifiedElsewhere,
    Commit,
    Executed,
    Hello,
    PeerHeight,
    Prepare,
    PrePrepare,
    Propose,
    ReplicaId,
    SequenceNumber,
    Tick,
    View,
)
from services.consensus.domain.view_change import chosen_batches
from tests.unit.consensus.protocol import (
    OTHER,
    PARAMETERS,
    PAY,
    START_MS,
    SUSPECTING,
    Bench,
    a_batch,
    certified,
    committed,
    finality_certificate,
    header_hash,
    kinds,
    pass_time,
    prepared_certificate,
    sent,
    signer,
    ticking,
    view_change,
)

# --- Normal case ----------------------------------------------------------------------------


@pytest.mark.req("G2-07-1")
def test_n1_the_primary_persists_its_proposal_before_it_sends_it() -> None:
    bench = ticking(0)
    assert bench.core.may_propose
    effects = bench.step(Propose(PAY))
    message = bench.pre_prepare(1, PAY)
    assert effects == [Persist(message), Broadcast(message)]


def test_n1_a_backup_may_not_propose() -> None:
    assert not ticking(1).core.may_propose


def test_n1_the_primary_stops_at_the_high_watermark() -> None:
    bench = ticking(0)
    for number in range(PARAMETERS.window):
        assert bench.core.may_propose
        bench.step(Propose(a_batch(f"pay {number}")))
    assert not bench.core.may_propose


def test_n1_the_next_block_time_is_at_least_the_last_one() -> None:
    bench = ticking(0)
    bench.step(Propose(a_batch("pay", START_MS + 7)))
    assert bench.core.block_time_min_ms == START_MS + 7


def test_n1_a_heartbeat_is_due_when_the_primary_was_quiet() -> None:
    bench = ticking(0)
    assert not bench.core.heartbeat_due
    pass_time(bench, PARAMETERS.heartbeat_ms)
    assert bench.core.heartbeat_due


def test_n2_a_proposal_that_comes_early_waits_for_its_predecessor() -> None:
    bench = ticking(1)
    assert bench.receive_pre_prepare(2, OTHER) == []
    prepares = [each for each in sent(bench.receive_pre_prepare(1, PAY))]
    assert [each.sequence for each in prepares if isinstance(each, Prepare)] == [1, 2]


def test_p11_n2_a_proposal_that_jumps_is_never_voted_for() -> None:
    bench = ticking(1)
    assert bench.receive_pre_prepare(3, PAY) == []
    assert not any(
        isinstance(each, Broadcast) and isinstance(each.message, Prepare)
        for each in pass_time(bench, 500)
    )


@pytest.mark.req("G2-07-1")
def test_p13_n3_two_proposals_for_one_sequence_number_are_evidence_and_the_first_stands() -> None:
    bench = ticking(1)
    bench.receive_pre_prepare(1, PAY)
    effects = bench.receive_pre_prepare(1, OTHER)
    evidence = [each for each in effects if isinstance(each, Evidence)]
    assert [each.replica for each in evidence] == [0]
    offence = evidence[0].offence
    assert isinstance(offence, Equivocation)
    assert {offence.first.digest, offence.second.digest} == {PAY.digest(), OTHER.digest()}
    assert SUSPECTING in sent(effects)
    assert bench.core.batch(bench.pre_prepare(1, PAY).digest) == PAY


@pytest.mark.req("G2-07-1")
def test_p13_n3_a_proposal_that_was_refused_for_its_time_proves_a_second_one_all_the_same() -> None:
    bench = ticking(1)
    older = a_batch("older", 0)
    assert "Reject" in kinds(bench.receive_pre_prepare(1, older))
    assert kinds(bench.receive_pre_prepare(1, older)) == [], "it is said once"
    effects = bench.receive_pre_prepare(1, PAY)
    offences = [each.offence for each in effects if isinstance(each, Evidence)]
    assert len(offences) == 1
    assert isinstance(offences[0], Equivocation)
    digests = {offences[0].first.digest, offences[0].second.digest}
    assert digests == {older.digest(), PAY.digest()}


@pytest.mark.parametrize("shift_ms", [-1, 1])
def test_n4_a_block_time_outside_the_bound_gets_no_vote(shift_ms: int) -> None:
    bench = Bench(1)
    bench.step(Tick(START_MS + 10_000))
    bound = PARAMETERS.block_time_bound_ms
    outside = START_MS + 10_000 + shift_ms * (bound + 1)
    inside = START_MS + 10_000 + shift_ms * bound
    assert "Reject" in kinds(bench.receive_pre_prepare(1, a_batch("pay", outside)))
    other = Bench(1)
    other.step(Tick(START_MS + 10_000))
    assert kinds(other.receive_pre_prepare(1, a_batch("pay", inside)))[-1] == "Broadcast"


def test_n4_a_proposal_from_the_future_gets_its_vote_when_the_clock_agrees() -> None:
    bench = ticking(1)
    early = a_batch("pay", START_MS + PARAMETERS.block_time_bound_ms + 300)
    assert "Broadcast" not in kinds(bench.receive_pre_prepare(1, early))
    later = pass_time(bench, 600)
    assert any(isinstance(each, Persist) and isinstance(each.record, Prepare) for each in later)


def test_n4_a_block_time_below_its_predecessor_is_refused_and_the_primary_suspected() -> None:
    bench = ticking(1)
    bench.receive_pre_prepare(1, a_batch("pay", START_MS + 5))
    effects = bench.receive_pre_prepare(2, a_batch("other", START_MS + 4))
    assert kinds(effects) == ["Reject", "Broadcast"]
    assert sent(effects) == [SUSPECTING]


def test_n4_the_predecessors_time_is_never_too_late() -> None:
    bench = ticking(1)
    far_ms = START_MS + 3_600_000
    bench.step(
        CertifiedElsewhere(
            SequenceNumber(1), header_hash("block 1"), far_ms, finality_certificate(1, b"x" * 32)
        )
    )
    assert "Reject" in kinds(bench.receive_pre_prepare(2, a_batch("later", far_ms + 1)))
    other = ticking(1)
    other.step(
        CertifiedElsewhere(
            SequenceNumber(1), header_hash("block 1"), far_ms, finality_certificate(1, b"x" * 32)
        )
    )
    assert kinds(other.receive_pre_prepare(2, a_batch("same", far_ms)))[-1] == "Broadcast"


def test_row07_n4_an_invalid_batch_is_evidence_and_the_primary_suspected() -> None:
    bench = ticking(1)
    refused = bench.pre_prepare(1, PAY)
    effects = bench.step(BatchRefused(refused, "a bad signature"))
    assert Evidence(signer(0).me, InvalidBatch(refused, "a bad signature")) in effects
    assert SUSPECTING in sent(effects)


@pytest.mark.req("G2-07-1")
def test_p14_n5_a_backup_persists_proposal_and_prepare_before_it_sends_the_prepare() -> None:
    effects = ticking(1).receive_pre_prepare(1, PAY)
    assert kinds(effects) == ["Persist", "Persist", "Broadcast"]
    records = [each.record for each in effects if isinstance(each, Persist)]
    assert [type(each) for each in records] == [PrePrepare, Prepare]
    assert sent(effects) == [records[1]]


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize(("size", "prepares"), [(4, 1), (5, 2), (6, 2), (7, 3)])
def test_n6_the_proposal_and_the_prepares_of_a_quorum_make_it_prepared(
    size: int, prepares: int
) -> None:
    """q - 1 backups, this one among them: with one fewer there is no commit."""
    bench = ticking(1, size=size)
    bench.receive_pre_prepare(1, PAY)
    for peer in range(2, 2 + prepares - 1):
        assert bench.receive_prepare(peer, 1, PAY.digest()) == []
    effects = bench.receive_prepare(1 + prepares, 1, PAY.digest())
    assert kinds(effects) == ["Persist", "Persist", "Broadcast"]
    assert isinstance(sent(effects)[0], Commit)


def test_row01_n6_prepares_for_another_digest_do_not_count() -> None:
    bench = ticking(1)
    bench.receive_pre_prepare(1, PAY)
    assert bench.receive_prepare(2, 1, OTHER.digest()) == []
    assert bench.receive_prepare(3, 1, OTHER.digest()) == []


@pytest.mark.req("G2-07-1")
def test_n7_commits_of_a_quorum_decide_and_one_fewer_does_not() -> None:
    bench = ticking(1)
    bench.receive_pre_prepare(1, PAY)
    bench.receive_prepare(2, 1, PAY.digest())
    assert bench.receive_commit(0, 1, PAY.digest()) == []
    assert bench.receive_commit(2, 1, PAY.digest()) == [Execute(SequenceNumber(1), PAY)]


def test_n7_a_replica_that_missed_the_proposal_fetches_the_decided_batch() -> None:
    bench = ticking(1)
    for peer in (0, 2, 3):
        bench.receive_commit(peer, 1, PAY.digest())
    digest = bench.pre_prepare(1, PAY).digest
    holders = tuple(signer(each).me for each in (0, 2, 3))
    assert FetchBatch(SequenceNumber(1), digest, holders) in pass_time(bench, 300)
    assert bench.step(BatchFetched(SequenceNumber(1), OTHER)) == []
    effects = bench.step(BatchFetched(SequenceNumber(1), PAY))
    assert effects == [Execute(SequenceNumber(1), PAY)]


def test_n8_execution_waits_for_the_sequence_numbers_before() -> None:
    bench = ticking(1)
    bench.receive_pre_prepare(1, PAY)
    assert "Execute" not in [type(each).__name__ for each in committed(bench, 2, OTHER)]
    bench.receive_prepare(2, 1, PAY.digest())
    bench.receive_commit(0, 1, PAY.digest())
    effects = bench.receive_commit(2, 1, PAY.digest())
    assert effects == [Execute(SequenceNumber(1), PAY), Execute(SequenceNumber(2), OTHER)]


@pytest.mark.req("G2-07-1")
def test_p13_p24_row02_n9_a_replica_that_votes_twice_counts_once_and_leaves_evidence() -> None:
    bench = ticking(1)
    bench.receive_pre_prepare(1, PAY)
    bench.receive_prepare(2, 1, PAY.digest())
    assert bench.receive_commit(0, 1, PAY.digest()) == []
    assert bench.receive_commit(0, 1, PAY.digest()) == [], "the same vote again is no offence"
    effects = bench.receive_commit(0, 1, OTHER.digest())
    assert kinds(effects) == ["Reject", "Evidence"]


@pytest.mark.parametrize(("sequence", "taken"), [(0, False), (1, True), (4, True), (5, False)])
def test_p10_n10_votes_outside_the_window_are_dropped(sequence: int, taken: bool) -> None:
    bench = ticking(1)
    for peer in (0, 2, 3):
        bench.receive_commit(peer, sequence, PAY.digest())
    assert (SequenceNumber(sequence) in bench.core._ordering.entries) == taken


def brought_back(me: int) -> Bench:
    """View 3 decides again a batch of view 1, and behind it an older one of view 0."""
    bench = ticking(me)
    newer, older = a_batch("newer", START_MS + 100), a_batch("older", START_MS + 50)
    prepared = (
        prepared_certificate(1, 1, newer.digest()),
        prepared_certificate(0, 2, older.digest()),
    )
    changes = (view_change(0, 3, prepared=prepared), view_change(1, 3), view_change(2, 3))
    if me == 3:
        for each in changes:
            bench.step(each, each.replica)
    else:
        bench.step(signer(3).new_view(View(3), changes, chosen_batches(changes)), 3)
    assert (bench.core.view, bench.core.active) == (3, True)
    for number, batch in enumerate((newer, older), 1):
        bench.step(BatchFetched(SequenceNumber(number), batch))
    return bench


@pytest.mark.req("G2-07-1")
def test_n1_n8_no_batch_that_was_brought_back_makes_block_time_fall() -> None:
    """The older one executes as a null batch: what follows it follows the newer one's time."""
    assert brought_back(3).core.block_time_min_ms == START_MS + 100
    early = a_batch("early", START_MS + 99)
    effects = brought_back(1).receive_pre_prepare(3, early, view=3)
    assert "Reject" in kinds(effects)
    assert not [each for each in sent(effects) if isinstance(each, Prepare)]
    in_time = a_batch("in time", START_MS + 100)
    (vote,) = sent(brought_back(1).receive_pre_prepare(3, in_time, view=3))
    assert isinstance(vote, Prepare)


# --- Checkpoints ----------------------------------------------------------------------------


@pytest.mark.req("G2-09-3")
def test_c1_a_checkpoint_vote_is_durable_before_it_is_sent_and_sent_until_certified() -> None:
    bench = ticking(1)
    committed(bench, 1, PAY)
    effects = bench.step(Executed(SequenceNumber(1), header_hash("block 1")))
    vote = signer(1).checkpoint(SequenceNumber(1), header_hash("block 1"))
    assert effects == [Persist(vote), Broadcast(vote)]
    assert Broadcast(vote) in pass_time(bench, 300)
    for peer in (0, 2):
        bench.receive_checkpoint(peer, 1, header_hash("block 1"))
    assert Broadcast(vote) not in pass_time(bench, 300)


@pytest.mark.req("G2-07-1", "G2-09-3")
def test_p10_c2_a_quorum_of_votes_certifies_and_moves_the_low_watermark() -> None:
    bench = ticking(1)
    committed(bench, 1, PAY)
    bench.step(Executed(SequenceNumber(1), header_hash("block 1")))
    assert bench.receive_checkpoint(0, 1, header_hash("block 1")) == []
    effects = bench.receive_checkpoint(2, 1, header_hash("block 1"))
    assert [type(each) for each in effects] == [Certified]
    assert isinstance(effects[0], Certified)
    assert [replica for replica, _ in effects[0].certificate.signatures] == [0, 1, 2]
    assert bench.core.low_watermark == 1
    assert bench.core.batch(bench.pre_prepare(1, PAY).digest) is None


def test_c2_votes_that_come_before_execution_count_afterwards() -> None:
    bench = ticking(1)
    for peer in (0, 2):
        assert bench.receive_checkpoint(peer, 1, header_hash("block 1")) == []
    committed(bench, 1, PAY)
    effects = bench.step(Executed(SequenceNumber(1), header_hash("block 1")))
    assert kinds(effects) == ["Persist", "Broadcast", "Certified"]


def test_c2_heights_are_certified_in_order() -> None:
    bench = ticking(1)
    committed(bench, 1, PAY)
    committed(bench, 2, OTHER)
    bench.step(Executed(SequenceNumber(1), header_hash("block 1")))
    assert "Certified" not in [type(each).__name__ for each in certified(bench, 2)]
    bench.receive_checkpoint(0, 1, header_hash("block 1"))
    effects = bench.receive_checkpoint(2, 1, header_hash("block 1"))
    assert [each.sequence for each in effects if isinstance(each, Certified)] == [1, 2]


def test_c2_a_replica_that_signs_two_headers_leaves_evidence() -> None:
    bench = ticking(1)
    bench.receive_checkpoint(2, 1, header_hash("block 1"))
    assert kinds(bench.receive_checkpoint(2, 1, header_hash("other"))) == ["Reject", "Evidence"]


def test_c5_replicas_that_committed_in_different_views_vote_for_the_same_header() -> None:
    first, second = ticking(1), ticking(1)
    committed(first, 1, PAY)
    changes = tuple(
        view_change(each, 4, prepared=(prepared_certificate(0, 1, PAY.digest()),))
        for each in (0, 2, 3)
    )
    second.step(signer(0).new_view(View(4), changes, chosen_batches(changes)), 0)
    second.step(BatchFetched(SequenceNumber(1), PAY))
    for peer in (0, 2, 3):
        second.receive_commit(peer, 1, PAY.digest(), view=4)
    assert (first.core.view, second.core.view) == (0, 4)
    executed = Executed(SequenceNumber(1), header_hash("block 1"))
    votes = [bench.step(executed)[-1] for bench in (first, second)]
    assert (
        votes[0]
        == votes[1]
        == Broadcast(signer(1).checkpoint(SequenceNumber(1), header_hash("block 1")))
    )


def test_d3_the_driver_answers_in_the_order_of_execution_or_is_stopped() -> None:
    bench = ticking(1)
    committed(bench, 1, PAY)
    committed(bench, 2, OTHER)
    with pytest.raises(AssertionError, match="in order"):
        bench.step(Executed(SequenceNumber(2), header_hash("block 2")))
    assert bench.core.executed == 0


def test_c3_a_certified_header_that_differs_halts_for_good() -> None:
    bench = ticking(1)
    committed(bench, 1, PAY)
    bench.step(Executed(SequenceNumber(1), header_hash("mine")))
    for peer in (0, 2):
        assert bench.receive_checkpoint(peer, 1, header_hash("theirs")) == []
    effects = bench.receive_checkpoint(3, 1, header_hash("theirs"))
    assert [type(each) for each in effects] == [Halt]
    assert isinstance(effects[0], Halt)
    assert effects[0].own_header_hash == header_hash("mine")
    assert effects[0].certified_header_hash == header_hash("theirs")
    assert bench.core.halted
    assert bench.step(Tick(START_MS + 5_000)) == []


def test_p22_c4_a_lagging_replica_asks_each_of_those_ahead_in_turn() -> None:
    bench = ticking(1)
    for peer in (0, 2):
        bench.step(hello(3), peer)
    asked = fetched(pass_time(bench, 1_000))
    assert {(each.first, each.last) for each in asked} == {(1, 3)}
    assert {each.source for each in asked} == {0, 2}


def test_c4_blocks_of_a_peer_beyond_the_window_are_asked_for_at_once_and_once() -> None:
    bench = ticking(1)
    assert fetched(bench.step(hello(4), 0)) == [], "votes for all of these may still come"
    assert fetched(bench.step(hello(5), 0)) == [fetch(1, 5, 0)]
    assert fetched(bench.step(hello(9), 2)) == [], "the first answer is awaited"
    assert fetched(pass_time(bench, 1_000)) != [], "and does not come"


def test_c6_what_was_certified_during_a_fetch_is_fetched_until_nothing_is_missing() -> None:
    bench = ticking(1)
    bench.step(hello(9), 2)
    bench.step(PeerHeight(ReplicaId(2), SequenceNumber(11)))
    for number in range(1, 9):
        assert fetched(bench.step(certified_elsewhere(number))) == []
    assert fetched(bench.step(certified_elsewhere(9))) == [fetch(10, 11, 2)]
    bench.step(certified_elsewhere(10))
    assert fetched(bench.step(certified_elsewhere(11))) == []
    assert kinds(bench.receive_pre_prepare(12, PAY))[-1] == "Broadcast", "it takes part from here"


def hello(certified: int) -> Hello:
    return Hello(View(0), True, False, SequenceNumber(certified))


def fetch(first: int, last: int, source: int) -> FetchBlocks:
    return FetchBlocks(SequenceNumber(first), SequenceNumber(last), ReplicaId(source))


def fetched(effects: Sequence[Effect]) -> list[FetchBlocks]:
    return [each for each in effects if isinstance(each, FetchBlocks)]


def certified_elsewhere(number: int) -> CertifiedElsewhere:
    digest = header_hash(f"block {number}")
    certificate = finality_certificate(number, digest)
    return CertifiedElsewhere(SequenceNumber(number), digest, START_MS, certificate)


def test_c4_catch_up_moves_the_watermarks_past_what_was_under_way() -> None:
    bench = ticking(1)
    bench.receive_pre_prepare(1, PAY)
    certificate = finality_certificate(9, header_hash("block 9"))
    bench.step(CertifiedElsewhere(SequenceNumber(9), header_hash("block 9"), START_MS, certificate))
    assert (bench.core.low_watermark, bench.core.executed) == (9, 9)
    assert kinds(bench.receive_pre_prepare(10, OTHER))[-1] == "Broadcast"


def test_row21_c4_catch_up_at_the_same_height_changes_nothing() -> None:
    bench = ticking(1)
    committed(bench, 1, PAY)
    certified(bench, 1)
    certificate = finality_certificate(1, header_hash("block 1"))
    same = CertifiedElsewhere(SequenceNumber(1), header_hash("block 1"), START_MS, certificate)
    assert bench.step(same) == []
    assert bench.core.view == 0


def test_c3_catch_up_with_another_header_than_ours_halts() -> None:
    bench = ticking(1)
    committed(bench, 1, PAY)
    bench.step(Executed(SequenceNumber(1), header_hash("mine")))
    certificate = finality_certificate(1, header_hash("theirs"))
    told = CertifiedElsewhere(SequenceNumber(1), header_hash("theirs"), START_MS, certificate)
    assert kinds(bench.step(told)) == ["Halt"]
