"""One test a sentence of docs/protocol/pbft.md: view change (V) and restart (R)."""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.batch import Batch
from services.consensus.domain.effects import (
    Broadcast,
    Effect,
    Evidence,
    Execute,
    FetchBatch,
    InvalidNewView,
    Persist,
    Send,
    ViewChanged,
)
from services.consensus.domain.messages import (
    NULL_DIGEST,
    BatchFetched,
    Checkpoint,
    Commit,
    Digest,
    Executed,
    Hello,
    NewView,
    Prepare,
    PrePrepare,
    Propose,
    RequestPending,
    SequenceNumber,
    Tick,
    View,
    ViewChange,
)
from services.consensus.domain.view_change import chosen_batches
from tests.unit.consensus.protocol import (
    CONTENT,
    LATE_MS,
    OTHER,
    PARAMETERS,
    PAY,
    START_MS,
    SUSPECTING,
    Bench,
    a_batch,
    certified,
    committed,
    header_hash,
    kinds,
    pass_time,
    prepared_certificate,
    sent,
    signer,
    ticking,
    view_change,
)

# --- View change ----------------------------------------------------------------------------


def suspicious(bench: Bench) -> list[Effect]:
    """A request that is never ordered."""
    bench.step(RequestPending(b"pay"))
    return pass_time(bench, LATE_MS)


def test_v1_a_request_that_is_not_ordered_in_time_is_said_aloud_and_work_goes_on() -> None:
    bench = ticking(1)
    effects = suspicious(bench)
    assert Broadcast(SUSPECTING) in effects
    assert bench.core.active
    assert kinds(bench.receive_pre_prepare(1, a_batch("pay", bench.now_ms)))[-1] == "Broadcast"


def test_v11_a_request_is_late_after_a_timeout_and_the_interval_in_which_it_is_sent_again() -> None:
    """Whoever passed it on may have kept it from the primary, and what tells it may get lost."""
    bench = ticking(1)
    bench.step(RequestPending(b"pay"))
    pass_time(bench, LATE_MS - 100)
    assert not bench.core._suspects
    pass_time(bench, 100)
    assert bench.core._suspects


def served(bench: Bench, heights: range) -> list[bool]:
    """Let a height be certified every 9/10 of a time-out; whether the primary is suspected then."""
    suspected = []
    for height in heights:
        pass_time(bench, PARAMETERS.timeout_ms * 9 // 10)
        committed(bench, height, a_batch(f"block {height}", bench.now_ms))
        certified(bench, height)
        suspected.append(bench.core._suspects)
    return suspected


def test_v11_a_request_that_waits_while_others_are_served_is_late_after_a_timeout() -> None:
    """A chain under load is excused in `test_slow_primary`; this one has room for the request."""
    bench = ticking(1)
    bench.step(RequestPending(b"pay"))
    assert served(bench, range(1, 3)) == [False, True]


def test_v1_an_undecided_proposal_is_late_once_a_timeout_brings_no_certified_height() -> None:
    bench = ticking(1)
    committed(bench, 1, PAY)
    bench.receive_pre_prepare(2, a_batch("second", START_MS))
    pass_time(bench, PARAMETERS.timeout_ms - 100)
    certified(bench, 1)
    pass_time(bench, PARAMETERS.timeout_ms)
    assert not bench.core._suspects
    pass_time(bench, 100)
    assert bench.core._suspects


def test_v1_a_primary_that_misses_two_heartbeats_is_suspected() -> None:
    bench = ticking(1)
    before = pass_time(bench, 2 * PARAMETERS.heartbeat_ms)
    assert not [each for each in before if each == Broadcast(SUSPECTING)]
    assert Broadcast(SUSPECTING) in pass_time(bench, 300)


def test_p21_v1_a_clock_that_jumps_an_hour_fires_no_timer() -> None:
    bench = ticking(1)
    bench.step(RequestPending(b"pay"))
    for clock_ms in (START_MS + 3_600_000, START_MS, START_MS - 3_600_000):
        bench.step(Tick(clock_ms))
    assert not bench.core._suspects


@pytest.mark.req("G2-07-1")
def test_v2_one_suspicious_replica_stays_and_two_leave() -> None:
    bench = ticking(1)
    suspicious(bench)
    assert (bench.core.view, bench.core.active) == (0, True)
    effects = bench.step(SUSPECTING, 2)
    assert (bench.core.view, bench.core.active) == (1, False)
    assert [type(each) for each in sent(effects)] == [ViewChange]


def test_v2_the_suspicion_of_others_alone_moves_nobody() -> None:
    bench = ticking(1)
    for peer in (2, 3):
        assert bench.step(SUSPECTING, peer) == []
    assert bench.core.active


def leave(bench: Bench) -> list[Effect]:
    """Suspect together with replica 3."""
    suspicious(bench)
    return [*bench.step(SUSPECTING, 3)]


@pytest.mark.req("G2-07-1")
def test_row05_v3_a_view_change_is_durable_and_carries_what_was_prepared() -> None:
    bench = ticking(2)
    bench.receive_pre_prepare(1, PAY)
    bench.receive_prepare(1, 1, PAY.digest())
    effects = leave(bench)
    assert isinstance(effects[0], Persist)
    message = effects[0].record
    assert isinstance(message, ViewChange)
    assert effects[1] == Broadcast(message)
    assert [(each.view, each.sequence) for each in message.prepared] == [(0, 1)]
    assert message.prepared[0].digest == PAY.digest()


def test_v3_a_replica_that_left_votes_no_more_but_still_counts_commits() -> None:
    bench = ticking(2)
    bench.receive_pre_prepare(1, PAY)
    leave(bench)
    assert bench.receive_prepare(1, 1, PAY.digest()) == []
    assert bench.receive_pre_prepare(2, OTHER) == []
    for peer in (0, 1):
        bench.receive_commit(peer, 1, PAY.digest())
    assert kinds(bench.receive_commit(3, 1, PAY.digest())) == ["Execute"]


def test_v3_the_view_change_is_sent_again_unchanged() -> None:
    bench = ticking(2)
    (first,) = [each for each in leave(bench) if isinstance(each, Broadcast)]
    assert first in pass_time(bench, 300)


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("huge", [2**31, 2**62])
def test_p02_row13_v4_one_liar_with_a_huge_view_moves_nobody_and_cannot_choose_the_view(
    huge: int,
) -> None:
    bench = ticking(2)
    bench.step(view_change(3, huge), 3)
    assert bench.core.view == 0
    bench.step(view_change(1, 1), 1)
    assert bench.core.view == 1


def test_p06_v4_f_plus_one_view_changes_are_joined_without_suspecting() -> None:
    bench = ticking(3)
    assert bench.step(view_change(0, 1), 0) == []
    effects = bench.step(view_change(2, 1), 2)
    assert [type(each) for each in sent(effects)] == [ViewChange]


def test_v5_the_new_primary_proposes_again_what_was_prepared_in_the_latest_view() -> None:
    old = prepared_certificate(0, 2, b"old".ljust(32))
    new = prepared_certificate(1, 2, b"new".ljust(32))
    far = prepared_certificate(0, 4, b"far".ljust(32))
    changes = (
        view_change(0, 2, prepared=(old, far)),
        view_change(1, 2, prepared=(new,)),
        view_change(3, 2, certified=1),
    )
    assert chosen_batches(changes) == (
        (2, b"new".ljust(32)),
        (3, NULL_DIGEST),
        (4, b"far".ljust(32)),
    )


def test_v5_certified_heights_are_not_proposed_again() -> None:
    old = prepared_certificate(0, 2, b"old".ljust(32))
    changes = (view_change(0, 2, prepared=(old,)), view_change(1, 2, certified=2))
    assert chosen_batches(changes) == ()


@pytest.mark.req("G2-07-1")
def test_row14_v5_the_new_primary_opens_its_view_on_a_quorum() -> None:
    bench = ticking(1)
    bench.step(view_change(2, 1), 2)
    effects = bench.step(view_change(3, 1), 3)
    assert [type(each) for each in sent(effects)] == [ViewChange, NewView]
    assert ViewChanged(View(1), signer(1).me) in effects
    assert bench.core.active
    opened = sent(effects)[1]
    assert isinstance(opened, NewView)
    assert [each.replica for each in opened.view_changes] == [1, 2, 3]
    assert effects.index(Persist(opened)) < effects.index(Broadcast(opened))


def opened_view(chosen: tuple[tuple[int, bytes], ...] | None = None) -> NewView:
    """View 1, opened by replica 1 with PAY prepared at 2; `chosen` forges its proposals."""
    prepared = prepared_certificate(0, 2, PAY.digest())
    changes = (
        view_change(0, 1),
        view_change(1, 1, prepared=(prepared,)),
        view_change(3, 1),
    )
    proposals = chosen_batches(changes) if chosen is None else chosen
    typed = tuple((SequenceNumber(number), Digest(digest)) for number, digest in proposals)
    return signer(1).new_view(View(1), changes, typed)


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize(
    "forged",
    [
        ((1, NULL_DIGEST),),
        ((2, PAY.digest()), (1, NULL_DIGEST)),
        ((1, NULL_DIGEST), (2, OTHER.digest())),
        ((1, PAY.digest()), (2, PAY.digest())),
        ((1, NULL_DIGEST), (2, PAY.digest()), (3, NULL_DIGEST)),
        (),
    ],
    ids=["omitted", "permuted", "altered", "gap filled", "added", "all omitted"],
)
def test_p08_v6_a_new_view_that_does_not_follow_is_evidence(
    forged: tuple[tuple[int, bytes], ...],
) -> None:
    bench = ticking(2)
    bench.step(view_change(0, 1), 0)
    bench.step(view_change(3, 1), 3)
    effects = bench.step(opened_view(forged), 1)
    assert kinds(effects) == ["Reject", "Evidence", "Broadcast"]
    evidence = effects[1]
    assert isinstance(evidence, Evidence)
    assert evidence.replica == 1
    assert isinstance(evidence.offence, InvalidNewView)
    assert not bench.core.active
    bench.step(Hello(View(1), False, True, SequenceNumber(0)), 0)
    assert bench.core.view == 2, "it goes on to the next view"


def test_row06_v6_two_new_views_of_one_view_are_evidence_and_the_first_stands() -> None:
    bench = ticking(2)
    bench.step(opened_view(), 1)
    changes = tuple(view_change(each, 1) for each in (0, 1, 3))
    second = signer(1).new_view(View(1), changes, chosen_batches(changes))
    assert kinds(bench.step(second, 1)) == ["Reject", "Evidence"]
    assert bench.step(opened_view(), 1) == []


@pytest.mark.req("G2-07-1")
def test_v7_a_backup_prepares_what_is_proposed_again_and_fetches_what_it_lacks() -> None:
    bench = ticking(2)
    effects = bench.step(opened_view(), 1)
    votes = [each for each in sent(effects) if isinstance(each, Prepare)]
    assert [(each.view, each.sequence) for each in votes] == [(1, 1), (1, 2)]
    assert votes[0].digest == NULL_DIGEST
    assert [each.digest for each in effects if isinstance(each, FetchBatch)] == [PAY.digest()]


def test_p09_v7_a_null_batch_is_empty_and_repeats_its_predecessors_time() -> None:
    bench = ticking(2)
    bench.step(opened_view(), 1)
    effects: list[Effect] = []
    for peer in (0, 1, 3):
        effects += bench.receive_commit(peer, 1, NULL_DIGEST, view=1)
    assert Execute(SequenceNumber(1), Batch(bench.head.block_time_ms, ())) in effects


def test_n8_a_batch_brought_back_behind_a_newer_one_executes_as_null() -> None:
    """At 1 a batch of view 1 was prepared, at 2 an older one of view 0: time must not go back."""
    bench = ticking(2)
    newer, older = a_batch("newer", START_MS + 100), a_batch("older", START_MS + 50)
    prepared = (
        prepared_certificate(1, 1, newer.digest()),
        prepared_certificate(0, 2, older.digest()),
    )
    changes = (view_change(0, 3, prepared=prepared), view_change(1, 3), view_change(3, 3))
    bench.step(signer(3).new_view(View(3), changes, chosen_batches(changes)), 3)
    bench.step(BatchFetched(SequenceNumber(1), newer))
    bench.step(BatchFetched(SequenceNumber(2), older))
    executed: list[Effect] = []
    for sequence, batch in ((1, newer), (2, older)):
        for peer in (0, 1, 3):
            executed += bench.receive_commit(peer, sequence, batch.digest(), view=3)
    assert [each for each in executed if isinstance(each, Execute)] == [
        Execute(SequenceNumber(1), newer),
        Execute(SequenceNumber(2), Batch(START_MS + 100, ())),
    ]


def test_v7_a_batch_that_is_proposed_again_is_not_held_against_the_clock() -> None:
    bench = Bench(2)
    bench.step(Tick(START_MS + 10_000_000))
    effects = bench.step(opened_view(), 1)
    assert len([each for each in sent(effects) if isinstance(each, Prepare)]) == 2


def many_view_changes() -> tuple[Bench, list[int]]:
    """A replica that has joined five view changes, and the time-out after each of them."""
    bench = ticking(2)
    timeouts = []
    for view in range(1, 6):
        bench.step(view_change(0, view), 0)
        bench.step(view_change(3, view), 3)
        timeouts.append(bench.core._suspicion.timeout_ms)
    return bench, timeouts


def test_p21_row18_v8_timeouts_double_to_their_bound() -> None:
    _, timeouts = many_view_changes()
    assert timeouts == [1_000, 2_000, 4_000, 4_000, 4_000]


def test_row18_v8_without_a_quorum_of_view_changes_no_replica_runs_ahead() -> None:
    bench = ticking(2)
    leave(bench)
    pass_time(bench, 30_000)
    assert bench.core.view == 1


def test_v9_a_peer_that_missed_the_new_view_is_sent_it() -> None:
    bench = ticking(2)
    opened = opened_view()
    bench.step(opened, 1)
    waiting = Hello(View(1), False, False, SequenceNumber(0))
    assert bench.step(waiting, 3) == [Send(signer(3).me, opened)]
    assert bench.step(waiting, 3) == [], "not more often than the resend interval"
    pass_time(bench, PARAMETERS.resend_ms)
    assert Send(signer(0).me, opened) in bench.step(CONTENT, 0)


def test_v10_votes_that_overtake_the_new_view_count_once_it_is_entered() -> None:
    bench = ticking(2)
    for peer in (0, 3):
        assert bench.receive_prepare(peer, 1, NULL_DIGEST, view=1) == []
    effects = bench.step(opened_view(), 1)
    assert any(isinstance(each, Commit) for each in sent(effects))


# --- Restart --------------------------------------------------------------------------------


@pytest.mark.req("G2-07-1")
def test_p14_r1_after_a_restart_another_proposal_gets_no_vote() -> None:
    bench = ticking(1)
    bench.receive_pre_prepare(1, PAY)
    bench.recover()
    bench.step(Tick(START_MS))
    effects = bench.receive_pre_prepare(1, OTHER)
    assert kinds(effects) == ["Reject", "Evidence", "Broadcast"]
    assert not [each for each in sent(effects) if isinstance(each, Prepare)]


def test_p05_r1_a_restarted_primary_proposes_the_next_sequence_number() -> None:
    bench = ticking(0)
    bench.step(Propose(PAY))
    bench.recover()
    bench.step(Tick(START_MS))
    (message,) = [each for each in sent(bench.step(Propose(OTHER)))]
    assert isinstance(message, PrePrepare)
    assert message.sequence == 2


def test_r2_what_was_prepared_survives_into_the_next_view_change() -> None:
    bench = ticking(2)
    bench.receive_pre_prepare(1, PAY)
    bench.receive_prepare(1, 1, PAY.digest())
    bench.recover()
    bench.step(Tick(START_MS))
    effects = leave(bench)
    assert isinstance(effects[0], Persist)
    message = effects[0].record
    assert isinstance(message, ViewChange)
    assert [each.digest for each in message.prepared] == [PAY.digest()]


def test_r2_a_replica_that_left_its_view_still_waits_after_a_restart() -> None:
    bench = ticking(2)
    leave(bench)
    bench.recover()
    assert (bench.core.view, bench.core.active) == (1, False)
    assert bench.receive_pre_prepare(1, PAY) == []


def test_r2_what_was_signed_is_sent_again() -> None:
    bench = ticking(1)
    (vote,) = sent(bench.receive_pre_prepare(1, PAY))
    bench.recover()
    assert Broadcast(vote) in [*bench.step(Tick(START_MS + 300)), *bench.step(Tick(START_MS + 600))]


def test_r3_executing_again_must_give_the_header_that_was_voted_for() -> None:
    bench = ticking(1)
    committed(bench, 1, PAY)
    bench.step(Executed(SequenceNumber(1), header_hash("block 1")))
    for again, expected in (("block 1", "Broadcast"), ("other", "Halt")):
        bench.recover()
        bench.step(Tick(START_MS))
        for peer in (0, 2):
            bench.receive_commit(peer, 1, PAY.digest())
        assert kinds(bench.step(Executed(SequenceNumber(1), header_hash(again)))) == [expected]


def test_r4_a_compacted_log_recovers_the_same_votes() -> None:
    bench = ticking(2)
    bench.step(opened_view(), 1)
    bench.step(BatchFetched(SequenceNumber(2), PAY))
    bench.receive_pre_prepare(3, OTHER, view=1)
    bench.receive_prepare(3, 3, OTHER.digest(), view=1)
    compacted = bench.core.records()
    bench.recover(compacted)
    assert bench.core.records() == compacted
    assert (bench.core.view, bench.core.active) == (1, True)
    votes = [each for each in compacted if isinstance(each, Prepare | Commit | Checkpoint)]
    assert [(type(each).__name__, each.sequence) for each in votes] == [
        ("Prepare", 1),
        ("Prepare", 2),
        ("Prepare", 3),
        ("Commit", 3),
    ]


@pytest.mark.req("G2-07-1")
def test_r4_a_compacted_log_still_shows_what_was_prepared() -> None:
    """Without it the view-change would hide a batch that may be committed elsewhere (V3)."""
    bench = ticking(2)
    bench.receive_pre_prepare(1, PAY)
    bench.receive_prepare(1, 1, PAY.digest())
    bench.recover(bench.core.records())
    bench.step(Tick(bench.now_ms))
    (message,) = [each for each in sent(leave(bench)) if isinstance(each, ViewChange)]
    assert [(each.sequence, each.digest) for each in message.prepared] == [(1, PAY.digest())]


def test_r4_a_compacted_log_still_says_that_the_view_was_left() -> None:
    """Without it the replica would vote again in the view that it had promised to leave."""
    bench = ticking(2)
    bench.receive_pre_prepare(1, PAY)
    leave(bench)
    own = [each for each in bench.core.records() if isinstance(each, ViewChange)]
    assert [each.view for each in own] == [1]
    bench.recover(bench.core.records())
    assert (bench.core.view, bench.core.active) == (1, False)
    assert bench.receive_pre_prepare(2, OTHER) == []
    assert Broadcast(own[0]) in [
        *bench.step(Tick(START_MS + 300)),
        *bench.step(Tick(START_MS + 600)),
    ]
