"""Whose word and which progress move a replica's timers and watermarks: one sentence a test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.effects import Certified, Effect, Evidence, Execute, FetchBatch
from services.consensus.domain.messages import (
    CertifiedElsewhere,
    Executed,
    Hello,
    NewView,
    ReplicaId,
    SequenceNumber,
    Tick,
    View,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.view_change import chosen_batches
from tests.simulation.keys import public_key, replica_set, sign_with
from tests.unit.consensus.protocol import (
    GENESIS,
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
    pass_time,
    prepared_certificate,
    sent,
    signer,
    ticking,
    view_change,
)

pytestmark = pytest.mark.req("G2-07-1")

TIMEOUT_MS = PARAMETERS.timeout_ms
STEADY_MS = 9 * PARAMETERS.timeout_max_ms
HEARTBEATS_MS = 2 * PARAMETERS.heartbeat_ms


def certified_elsewhere(number: int) -> CertifiedElsewhere:
    digest = header_hash(f"block {number}")
    certificate = finality_certificate(number, digest)
    return CertifiedElsewhere(SequenceNumber(number), digest, START_MS, certificate)


def new_view(view: int, *, prepared: bool = False) -> NewView:
    """A view that its primary opens without replica 2; `prepared`: PAY was, at 1."""
    shown = (prepared_certificate(0, 1, PAY.digest()),) if prepared else ()
    changes = tuple(view_change(each, view, prepared=shown) for each in (0, 1, 3))
    return signer(view % 4).new_view(View(view), changes, chosen_batches(changes))


def test_v8_who_asked_for_a_later_view_counts_for_the_quorum_that_waits() -> None:
    """Three of four wait, for views 3, 3 and 4: the time-out brings them together."""
    bench = ticking(0)
    bench.step(view_change(1, 3), 1)
    bench.step(view_change(2, 4), 2)
    assert (bench.core.view, bench.core.active) == (3, False)
    pass_time(bench, TIMEOUT_MS)
    assert bench.core.view == 3
    pass_time(bench, 100)
    assert bench.core.view == 4


def test_v8_who_asked_for_an_earlier_view_does_not_count_for_the_quorum_that_waits() -> None:
    """Six of seven wait, and five make a quorum, but only four for view 4 or a later one."""
    bench = ticking(0, size=7)
    for peer, view in ((1, 2), (2, 2), (3, 4), (4, 5), (5, 5)):
        bench.step(view_change(peer, view, size=7), peer)
    assert (bench.core.view, bench.core.active) == (4, False)
    pass_time(bench, 10 * TIMEOUT_MS)
    assert bench.core.view == 4
    bench.step(view_change(6, 4, size=7), 6)
    pass_time(bench, 2 * TIMEOUT_MS + 100)
    assert bench.core.view == 5


def in_a_set_with(jailed: tuple[int, ...]) -> Replica:
    """Replica 2, whose primary has missed its heartbeats."""
    core = Replica.recover(
        me=ReplicaId(2),
        replica_set=with_jailed(jailed),
        parameters=PARAMETERS,
        sign=sign_with(public_key(2)),
        head=GENESIS,
        now_ms=START_MS,
        records=[],
    )
    for clock_ms in range(START_MS, START_MS + HEARTBEATS_MS + 250, 100):
        core.step(ReplicaId(2), Tick(clock_ms))
    return core


def with_jailed(jailed: tuple[int, ...]) -> ReplicaSet:
    return replace(replica_set(4), jailed=jailed)


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize("said", [SUSPECTING, Hello(View(3), False, False, SequenceNumber(0))])
def test_e4_a_jailed_replicas_suspicion_counts_nothing(said: Hello) -> None:
    """Its Hello is heard (it follows), and moves nobody out of a view; that of another does."""
    core = in_a_set_with((0,))
    core.step(ReplicaId(0), said)
    assert core.view == 0
    core.step(ReplicaId(3), said)
    assert core.view == 1
    free = in_a_set_with(())
    free.step(ReplicaId(0), said)
    assert free.view == 1


def test_c4_what_had_its_quorum_above_a_gap_is_certified_when_catch_up_closes_it() -> None:
    """Nobody sends votes for certified heights again (C6)."""
    bench = ticking(1)
    for number, batch in ((1, PAY), (2, OTHER)):
        committed(bench, number, batch)
        bench.step(Executed(SequenceNumber(number), header_hash(f"block {number}")))
    for peer in (0, 2):
        bench.receive_checkpoint(peer, 2, header_hash("block 2"))
    assert bench.core.low_watermark == 0
    effects = bench.step(certified_elsewhere(1))
    assert [each.sequence for each in effects if isinstance(each, Certified)] == [2]
    assert bench.core.low_watermark == 2


def commits_in_view_1(bench: Bench) -> list[Effect]:
    effects: list[Effect] = []
    for peer in (0, 1, 3):
        effects += bench.receive_commit(peer, 1, PAY.digest(), view=1)
    return effects


def test_v7_the_primarys_repeated_pre_prepare_brings_a_batch_that_is_missing() -> None:
    """The new-view named it by its digest alone."""
    bench = ticking(2)
    effects = bench.step(new_view(1, prepared=True), 1)
    assert [each.digest for each in effects if isinstance(each, FetchBatch)] == [PAY.digest()]
    assert not [each for each in commits_in_view_1(bench) if isinstance(each, Execute)]
    assert Execute(SequenceNumber(1), PAY) in bench.receive_pre_prepare(1, PAY, view=1)
    assert bench.receive_pre_prepare(1, PAY, view=1) == [], "once is enough"


def test_v7_another_batch_than_the_new_view_named_is_evidence_and_not_taken() -> None:
    bench = ticking(2)
    bench.step(new_view(1, prepared=True), 1)
    effects = bench.receive_pre_prepare(1, OTHER, view=1)
    assert [each.replica for each in effects if isinstance(each, Evidence)] == [1]
    assert not [each for each in commits_in_view_1(bench) if isinstance(each, Execute)]


def left_for_view_3() -> Bench:
    """A replica with an executed block 1 that is not certified, and a time-out doubled twice."""
    bench = ticking(2)
    committed(bench, 1, PAY)
    bench.step(Executed(SequenceNumber(1), header_hash("block 1")))
    for view in (1, 2, 3):
        for peer in (0, 3):
            bench.step(view_change(peer, view), peer)
    assert (bench.core.view, bench.core.active) == (3, False)
    return bench


def certify_the_first_block(bench: Bench) -> None:
    for peer in (0, 1):
        bench.receive_checkpoint(peer, 1, header_hash("block 1"))
    assert bench.core.low_watermark == 1


def test_v8_a_height_that_is_certified_between_views_shortens_no_time_out() -> None:
    """Only a view that certifies heights shows that a shorter time-out is enough."""
    bench = left_for_view_3()
    pass_time(bench, STEADY_MS)
    certify_the_first_block(bench)
    assert bench.core._suspicion.timeout_ms == 4 * TIMEOUT_MS
    entered = left_for_view_3()
    entered.step(new_view(3), 3)
    pass_time(entered, STEADY_MS)
    certify_the_first_block(entered)
    assert entered.core._suspicion.timeout_ms == 2 * TIMEOUT_MS


@pytest.mark.parametrize("elsewhere", [True, False])
def test_v1_blocks_that_others_certified_show_that_the_primary_works(elsewhere: bool) -> None:
    """No heartbeat reached this replica, and none is missing."""
    bench = ticking(1)
    assert SUSPECTING not in sent(pass_time(bench, HEARTBEATS_MS))
    if elsewhere:
        bench.step(certified_elsewhere(1))
    suspects = replace(SUSPECTING, certified=SequenceNumber(int(elsewhere)))
    assert (suspects in sent(pass_time(bench, HEARTBEATS_MS))) == (not elsewhere)
    assert suspects in sent(pass_time(bench, 200))


def test_v1_blocks_that_others_certified_are_progress_of_what_waits_behind_them() -> None:
    bench = ticking(1)
    for number, batch in ((1, PAY), (2, OTHER)):
        bench.receive_pre_prepare(number, batch)
    pass_time(bench, TIMEOUT_MS)
    bench.step(certified_elsewhere(1))
    suspects = replace(SUSPECTING, certified=SequenceNumber(1))
    assert suspects not in sent(pass_time(bench, TIMEOUT_MS))
    assert suspects in sent(pass_time(bench, 100))


def executed(bench: Bench, number: int) -> None:
    """Decided and executed here, and nobody else votes for the header."""
    committed(bench, number, a_batch(f"batch {number}"))
    bench.step(Executed(SequenceNumber(number), header_hash(f"block {number}")))


def test_v1_what_is_executed_and_not_certified_is_waited_for_like_what_is_undecided() -> None:
    """Of four the primary gave its commit to two, and its checkpoint vote to nobody."""
    bench = ticking(1)
    executed(bench, 1)
    assert SUSPECTING not in sent(pass_time(bench, TIMEOUT_MS))
    assert SUSPECTING in sent(pass_time(bench, 100))


def test_v1_decisions_are_no_progress_of_what_is_not_certified() -> None:
    """One block after the other is decided, each well within a time-out."""
    bench = ticking(1)
    for number in (1, 2, 3):
        executed(bench, number)
        assert SUSPECTING not in sent(pass_time(bench, TIMEOUT_MS // 3 // 100 * 100))
    executed(bench, 4)
    assert SUSPECTING in sent(pass_time(bench, 200))


def test_v1_a_height_that_is_certified_is_progress_of_what_is_executed_behind_it() -> None:
    bench = ticking(1)
    executed(bench, 1)
    executed(bench, 2)
    pass_time(bench, TIMEOUT_MS)
    for peer in (0, 2):
        bench.receive_checkpoint(peer, 1, header_hash("block 1"))
    assert bench.core.low_watermark == 1
    suspects = replace(SUSPECTING, certified=SequenceNumber(1))
    assert suspects not in sent(pass_time(bench, TIMEOUT_MS))
    assert suspects in sent(pass_time(bench, 100))


@pytest.mark.parametrize("informed", [(1, 2), (1,)])
def test_v1_v2_who_executed_and_who_could_not_decide_leave_a_primary_that_withholds(
    informed: tuple[int, ...],
) -> None:
    """Backups 1 and 2 prepared, those that are `informed` have the primary's commit, too."""
    benches = {me: ticking(me) for me in (1, 2)}
    for me, bench in benches.items():
        bench.receive_pre_prepare(1, PAY)
        bench.receive_prepare(3 - me, 1, PAY.digest())
        bench.receive_commit(3 - me, 1, PAY.digest())
        if me in informed:
            bench.receive_commit(0, 1, PAY.digest())
            bench.step(Executed(SequenceNumber(1), header_hash("block 1")))
    for me, bench in benches.items():
        said = [each for each in sent(pass_time(bench, TIMEOUT_MS + 100)) if each == SUSPECTING]
        assert said
        benches[3 - me].step(said[0], me)
    assert {bench.core.view for bench in benches.values()} == {1}


def test_v1_a_block_that_was_certified_here_is_no_heartbeat() -> None:
    """Its proposal was one, when it came."""
    bench = ticking(1)
    committed(bench, 1, PAY)
    pass_time(bench, HEARTBEATS_MS // 2)
    certified(bench, 1)
    suspects = replace(SUSPECTING, certified=SequenceNumber(1))
    assert suspects not in sent(pass_time(bench, HEARTBEATS_MS // 2))
    assert suspects in sent(pass_time(bench, 100))
