"""Set changes in the campaign: members join, leave and rotate keys while others lie and break."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.proof.quorum import ReplicaSet, faulty_max
from services.consensus.domain.authentication import authenticate
from services.consensus.domain.messages import (
    CertifiedHead,
    Commit,
    Digest,
    Hello,
    PreparedCertificate,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.signer import Signer
from services.consensus.repair import Silence
from tests.simulation.authorship import Authorship
from tests.simulation.byzantine.liar import Framed, Liar
from tests.simulation.cluster import PARAMETERS
from tests.simulation.drawing import scenario_of
from tests.simulation.governors import Governors
from tests.simulation.keys import IDEAL
from tests.simulation.membership import (
    JOINED,
    LEFT,
    ROTATED,
    Change,
    Sets,
    plan_changes,
    sets_of,
    sizes_of,
    spare_of,
)
from tests.simulation.naming import parse
from tests.simulation.people import next_members, restartable
from tests.simulation.run import run
from tests.simulation.scenario import SIZES, Act, Scenario, of_seed
from tests.simulation.workload import START_MS, Execution, genesis_of

DIGEST = Digest(b"d" * 32)
NEWCOMER = "storm/12+governed+newcomer"
"""A seed whose newcomer meets an archive and a lying source."""
DRIPPED = "storm/12+drips+governed+newcomer"
"""The same, and the liar gives the newcomer old blocks now and then."""
DOWN_BEFORE_IT_JOINS = "storm/7400076+governed+newcomer"
"""One whose newcomer does not run when it would be time for it to join; a liar is silent."""


@pytest.mark.req("G2-07-1", "G2-10-3")
@pytest.mark.parametrize("seed", [4, 12, 28, 36, 484, 916])
def test_the_set_changes_under_faults_and_lies(seed: int) -> None:
    """4 and 28 with a liar at work, 12 and 36 over the production's store. In 484 one that changed
    its key still votes in the epoch before, for those who lag: that vote counts. In 916 somebody
    says two things to a core that has just ended, which takes neither.
    """
    late = frozenset({"newcomer"} if seed in (12, 36) else ())
    scenario = of_seed(seed, traits=late | {"governed"})
    assert len(scenario.changes) == 3
    report = run(scenario)
    begun = sum(report.fired[kind] for kind in (JOINED, LEFT, ROTATED))
    assert begun + report.counts["set_changes_in_calm"] == 3
    assert run(scenario).trace == report.trace  # H1.


def test_one_seed_in_eight_changes_its_set_and_some_more_with_many_requests() -> None:
    scenarios = [scenario_of(seed) for seed in range(400)]
    governed = [each for each in scenarios if each.changes and each.kind == "storm"]
    assert 50 <= len(governed) <= 65
    others = [each for each in scenarios if each.changes and each not in governed]
    assert all(each.loss is not None and each.loss.forgetful for each in others)
    assert any(each.stored for each in governed)
    assert any(each.liars for each in governed)
    leavers = [change.seat for each in governed for change in each.changes if change.kind == LEFT]
    assert any(seat in each.liars for seat, each in zip(leavers, governed, strict=True))
    assert any(each.newcomer is not None and each.liars for each in governed)
    assert {each.size for each in governed} == set(SIZES)


@pytest.mark.parametrize("size", SIZES)
def test_a_plan_keeps_four_members_and_no_more_liars_than_the_smallest_set_bears(size: int) -> None:
    for seed in range(50):
        changes = plan_changes(Random(seed), size, 4_000)
        assert {each.kind for each in changes} == {JOINED, LEFT, ROTATED}
        sets = sets_of(IDEAL, size, changes)
        assert [each.size for each in sets] == sizes_of(size, changes)
        assert min(each.size for each in sets) >= 4
        assert spare_of(size, changes) == min(faulty_max(each.size) for each in sets)
        scenario = of_seed(seed, size, governed=True)
        if not scenario.traitors:
            assert len(scenario.faulty | scenario.damaged) <= spare_of(size, scenario.changes)


def test_a_seat_that_is_left_is_taken_with_another_key() -> None:
    changes = (Change(LEFT, 4, 0), Change(JOINED, 4, 0), Change(ROTATED, 4, 0))
    sets = sets_of(IDEAL, 5, changes)
    keys = [each.members[4].public_key for each in sets if each.size == 5]
    assert len(set(keys)) == 3


@pytest.mark.req("G2-07-1")
def test_a_newcomer_takes_a_state_where_nobody_gives_the_blocks_and_a_source_lies() -> None:
    """T1 to T7 over the simulated wire."""
    report = run(parse(NEWCOMER).scenario())
    assert report.counts["states_taken"] == 1
    assert report.fired["B22.part"] > 0
    assert report.counts["state_lies"] > 0


@pytest.mark.req("G2-07-1", "G2-13-2")
def test_t1_a_newcomer_takes_a_state_though_a_liar_gives_it_a_block_now_and_then() -> None:
    report = run(parse(DRIPPED).scenario())
    assert report.fired["B30"] > 1
    assert report.counts["states_taken"] == 1


def test_some_newcomers_of_a_campaign_meet_liars_that_drip_and_nothing_else_changes() -> None:
    scenarios = [scenario_of(seed) for seed in range(1_000)]
    late = [each for each in scenarios if each.newcomer is not None]
    dripped = [each for each in late if _drips(each)]
    assert len(late) // 3 < len(dripped) < len(late)
    assert not any(_drips(each) for each in scenarios if each.newcomer is None)
    plain = parse(NEWCOMER).scenario()
    liars = {each: acts[:-1] for each, acts in parse(DRIPPED).scenario().liars.items()}
    assert replace(parse(DRIPPED).scenario(), liars=liars) == plain


def _drips(scenario: Scenario) -> bool:
    return any(act.strategy == "B30" for acts in scenario.liars.values() for act in acts)


@pytest.mark.req("G2-10-3")
def test_a_newcomer_joins_once_it_is_there_and_keeps_silent_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that is down has forgotten that it was silent."""
    ready, asked = Governors._is_ready, []

    def is_ready(self: Governors, seat: int) -> bool:
        machine, answer = self._cluster.machines[seat], ready(self, seat)
        asked.append((answer, machine.core is not None and machine.restoring is None))
        return answer

    monkeypatch.setattr(Governors, "_is_ready", is_ready)
    run(parse(DOWN_BEFORE_IT_JOINS).scenario())
    assert {answer for answer, _ in asked} == {True, False}
    assert all(follows for answer, follows in asked if answer)
    assert any(not follows for _, follows in asked)


@pytest.mark.req("G2-10-3", "G2-13-2")
def test_who_joins_without_memory_votes_at_once_in_an_epoch_that_began_after_it_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ledger.md, silence step 6: a liar says nothing, and its vote makes the quorum of five."""
    monkeypatch.setattr(Governors, "_is_ready", lambda self, seat: self._cluster.archived > 0)
    began: list[tuple[int, int]] = []
    through = Silence.through

    def said(self: Silence, present: ReplicaSet, *rest: Any, base: int, restarted: bool) -> Any:
        answer = through(self, present, *rest, base=base, restarted=restarted)
        if present.epoch and answer is not None:
            began.append((answer, base))
        return answer

    monkeypatch.setattr(Silence, "through", said)
    run(parse(DOWN_BEFORE_IT_JOINS).scenario())
    assert began
    assert all(answer == base for answer, base in began)


def test_what_was_said_elsewhere_does_not_count_as_said_here() -> None:
    """P12: the same signature in another epoch, on another chain, in another view, as another kind,
    and in a certificate of somebody else's view-change.
    """
    here = IDEAL.replica_set(4)
    later = replace(here, epoch=1)
    vote = Signer(ReplicaId(1), here, IDEAL.signer(1)).prepare(View(0), SequenceNumber(3), DIGEST)
    said = Authorship()
    said.note(vote, here)
    assert said.fault(vote, here) is None
    assert said.fault(vote, later) is not None
    assert said.fault(vote, replace(here, chain_id="another")) is not None
    assert said.fault(replace(vote, view=View(1)), here) is not None
    commit = Commit(vote.view, vote.sequence, vote.digest, vote.replica, vote.signature)
    assert said.fault(commit, here) is not None
    for sequence, held in ((3, True), (4, False)):
        place = (View(0), SequenceNumber(sequence), DIGEST)
        prepared = PreparedCertificate(*place, bytes(64), ((ReplicaId(1), vote.signature),))
        liar = Signer(ReplicaId(2), here, IDEAL.signer(2))
        shown = liar.view_change(View(1), SequenceNumber(0), None, (prepared,))
        assert (said.fault(shown, here) is None) == held


def test_a_liar_shows_one_that_lags_an_epoch_what_the_next_set_certified() -> None:
    """B17: only that signatures name their epoch keeps the certificate from counting (P12)."""
    here = IDEAL.replica_set(4)
    later, height = replace(here, epoch=1), SequenceNumber(9)
    votes = [Signer(ReplicaId(each), later, IDEAL.signer(each)) for each in range(4)]
    signed = tuple((int(each.me), each.checkpoint(height, DIGEST).signature) for each in votes[:3])
    certificate = FinalityCertificate(DIGEST, signed)
    core = Replica.recover(
        me=ReplicaId(3),
        replica_set=later,
        parameters=PARAMETERS,
        sign=IDEAL.signer(3),
        head=CertifiedHead(height, DIGEST, START_MS, certificate),
        now_ms=START_MS,
        records=[],
        base=SequenceNumber(5),
    )
    before = Signer(ReplicaId(3), here, IDEAL.signer(3))
    liar = Liar(votes[3], IDEAL, Random(1), Counter(), (Act("B17"),), 400, 4, former=[before])
    assert liar.hear(Hello(View(0), True, False, SequenceNumber(7), 1), core) == []
    (shown,) = liar.hear(Hello(View(0), True, False, SequenceNumber(4), 0), core)
    assert isinstance(shown, Framed)
    assert isinstance(shown.message, ViewChange)
    assert (shown.epoch, shown.message.certificate) == (0, certificate)
    refused = authenticate(shown.message, ReplicaId(3), here, IDEAL.verify, 4)
    assert refused is not None
    assert refused.reason.startswith("a finality certificate in which the signature of replica 0")
    there = votes[3].view_change(View(1), height, certificate, ())
    assert authenticate(there, ReplicaId(3), later, IDEAL.verify, 4, base=5) is None


def test_a_block_of_another_epoch_than_follows_is_a_fault() -> None:
    sets = Sets(sets_of(IDEAL, 4, (Change(JOINED, 4, 0),)), window=4)
    execution = Execution(genesis_of(sets.planned[0], governed=True))
    block = execution.execute(execution.root, Batch(execution.root.block_time_ms, ()))
    assert sets.fault(block) is None
    for wrong in ({"epoch": 1}, {"next_set_hash": sets.planned[1].hash()}):
        other = replace(block, header=replace(block.header, **wrong))
        assert sets.fault(other) is not None


def test_a_restart_puts_its_set_in_force_behind_its_header_and_no_block_names_it() -> None:
    first = IDEAL.replica_set(4)
    sets = Sets([first], window=4)
    execution = Execution(restartable(genesis_of(first, governed=True)))
    block = execution.execute(execution.root, Batch(execution.root.block_time_ms, ()))
    assert sets.fault(block) is None
    members = next_members(first, (3,), frozenset({3}))
    sets.restart(replace(first, epoch=1, members=members), base=1)
    assert [sets.epoch_at(height) for height in (0, 1, 2)] == [0, 0, 1]
    assert sets.base(1) == 1
    old = execution.execute(block.header, Batch(block.header.block_time_ms, ()))
    assert sets.fault(old) is not None  # Void: of the epoch that is over.
