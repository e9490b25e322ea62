"""What a run finds once and keeps must be what would be found anew: as much as the checkers see by
it depends on what changes meanwhile, and that is asked each time.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from services.consensus import wire
from services.consensus.domain.codec import encode_record
from services.consensus.domain.ledger import admission as production
from services.consensus.domain.messages import (
    Digest,
    Hello,
    Prepare,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.signer import Signer
from tests.simulation import admission, once
from tests.simulation.campaign import TWICE_EVERY, is_run_twice
from tests.simulation.checkers import ViolationError
from tests.simulation.cluster import Cluster
from tests.simulation.drawing import scenario_of
from tests.simulation.keys import IDEAL
from tests.simulation.machine import Machine
from tests.simulation.network import below
from tests.simulation.once import Once, bytes_of, frame_of
from tests.simulation.scenario import honest
from tests.simulation.workload import EXPIRES_HEIGHTS, START_MS, Request, transaction

DIGEST = Digest(bytes(32))
SET = IDEAL.replica_set(4)


def signer(number: int) -> Signer:
    """A replica of the set."""
    return Signer(ReplicaId(number), SET, IDEAL.signer(number))


def vote(number: int = 1, digest: Digest = DIGEST) -> Prepare:
    """Its prepare for the first height."""
    return signer(number).prepare(View(0), SequenceNumber(1), digest)


def lab() -> tuple[Cluster, Machine, Replica]:
    """A cluster of four, in which replica 1 is looked at."""
    cluster = Cluster(honest(1, 4))
    machine = cluster.machines[1]
    assert isinstance(machine.core, Replica)
    return cluster, machine, machine.core


class TestOnce:
    def test_an_object_is_asked_about_once_and_an_equal_one_for_itself(self) -> None:
        asked: list[bytes] = []

        def length(value: bytes) -> int:
            asked.append(value)
            return len(value)

        find = Once(length)
        first, equal = bytes([1, 2]), bytes(bytearray([1, 2]))
        assert [find(first), find(first), find(equal), find(first)] == [2, 2, 2, 2]
        assert [id(each) for each in asked] == [id(first), id(equal)]

    def test_it_never_holds_more_than_its_bound_and_is_right_beyond_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(once, "VALUES_MAX", 3)
        find = Once[str, str](str.upper)
        for number in range(20):
            assert find(f"value {number}") == f"VALUE {number}"
            assert len(find._found) <= 3

    def test_bytes_and_frames_are_the_productions_in_each_epoch(self) -> None:
        message = vote()
        assert bytes_of(message) == bytes_of(message) == encode_record(message)
        for said in (message, Hello(View(1), True, False, SequenceNumber(3), 0)):
            for epoch in (0, 1, 0):
                assert frame_of(said, epoch) == wire.message_frame(said, epoch)


class TestAdmission:
    def test_what_was_admitted_once_expires_all_the_same(self) -> None:
        encoded = transaction(Request(1, 1), height=0, time_ms=START_MS)
        asked = admission.Admission()
        for height, admits in [(0, True), (EXPIRES_HEIGHTS, False), (1, True)]:
            admitted = asked.admit(encoded, height, START_MS)
            assert (admitted is not None) == admits
        assert asked.admit(encoded, 0, START_MS + 10**9) is None

    def test_what_was_refused_once_is_judged_anew(self) -> None:
        encoded = transaction(Request(1, 1), height=0, time_ms=START_MS)
        asked = admission.Admission()
        assert asked.admit(encoded, EXPIRES_HEIGHTS, START_MS) is None
        assert asked.admit(encoded, 0, START_MS) is not None
        forged = transaction(Request(1, 1), height=0, time_ms=START_MS, signer=2)
        assert [asked.admit(forged, 0, START_MS) for _ in range(2)] == [None, None]

    def test_the_signatures_of_what_is_known_are_not_asked_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        encoded, asked = transaction(Request(1, 1), height=0, time_ms=START_MS), []
        check = production.check_stateless

        def counted(data: bytes, **place: Any) -> object:
            asked.append(data)
            return check(data, **place)

        monkeypatch.setattr(admission, "check_stateless", counted)
        known = admission.Admission()
        assert known.admit(encoded, 0, START_MS) == known.admit(encoded, 0, START_MS)
        assert asked == [encoded]


class TestCheckers:
    def test_a_vote_that_is_said_again_is_held_against_what_was_said_meanwhile(self) -> None:
        cluster, machine, core = lab()
        said = vote()
        machine.known.update(map(bytes_of, [said]))
        for _ in range(2):
            cluster.checkers._says(machine.me, said, core.epoch)
        with pytest.raises(ViolationError, match=r"^S6: correct replica 1 equivocates in PREPARE"):
            cluster.checkers._says(machine.me, vote(digest=Digest(bytes([1]) * 32)), core.epoch)
        cluster.checkers.on_votes_lost(machine.me)
        with pytest.raises(ViolationError, match=r"^P14: replica 1 votes where it has forgotten"):
            cluster.checkers._says(machine.me, said, core.epoch)

    def test_a_signature_that_does_not_cover_its_message_is_noticed_each_time(self) -> None:
        cluster, machine, core = lab()
        forged = replace(vote(), signature=bytes(64))
        for _ in range(2):
            with pytest.raises(ViolationError, match=r"^S9: the signature of replica 1"):
                cluster.checkers._says(machine.me, forged, core.epoch)

    def test_what_holds_in_one_set_is_asked_again_in_another(self) -> None:
        cluster, machine, core = lab()
        said = vote()
        cluster.checkers._says(machine.me, said, core.epoch)
        cluster.checkers.sets.planned[0] = replace(SET, lineage=bytes(32))
        with pytest.raises(ViolationError, match=r"^S9: the signature of replica 1"):
            cluster.checkers._says(machine.me, said, core.epoch)

    def test_who_passes_a_known_new_view_on_says_nothing_itself(self) -> None:
        cluster, machine, core = lab()
        changes = [
            signer(each).view_change(View(1), SequenceNumber(0), None, ()) for each in (1, 2, 3)
        ]
        opened = signer(1).new_view(View(1), tuple(changes), ())
        cluster.checkers._says(machine.me, opened, core.epoch)
        cluster.checkers.on_votes_lost(ReplicaId(2))
        cluster.checkers._forgotten[ReplicaId(2)] = (0, 9), 9
        cluster.checkers._says(ReplicaId(2), opened, core.epoch)

    def test_a_commit_counts_once_signed_and_in_its_epoch_alone(self) -> None:
        cluster, machine, _ = lab()
        checkers = cluster.checkers
        commit = signer(1).commit(View(0), SequenceNumber(1), DIGEST)
        forged = replace(commit, signature=bytes(64))
        for sent, epoch, counted in [
            (forged, 0, 0),
            (commit, 1, 0),
            (commit, 0, 1),
            (commit, 0, 1),
        ]:
            checkers.on_sent(machine.me, sent, epoch)
            votes = checkers._commits[SequenceNumber(1)][DIGEST][View(0)]
            assert len(votes) == counted
        checkers.on_sent(ReplicaId(2), commit, 0)
        assert votes == {1}

    def test_who_does_not_follow_f_plus_one_others_is_noticed(self) -> None:
        """Its own view-change is none of theirs, and of one replica the last one counts."""
        cluster, machine, core = lab()
        asked = [(1, 9), (2, 5), (2, 7)]
        for number, view in asked:
            told = ViewChange(View(view), ReplicaId(number), SequenceNumber(0), None, (), bytes(64))
            cluster.checkers.before_step(machine, core, told)
            cluster.checkers.on_step(machine, core)
        last = ViewChange(View(3), ReplicaId(3), SequenceNumber(0), None, (), bytes(64))
        cluster.checkers.before_step(machine, core, last)
        with pytest.raises(ViolationError, match=r"^P6: replica 1 does not join f \+ 1 others"):
            cluster.checkers.on_step(machine, core)
        core._view = View(2)
        with pytest.raises(ViolationError, match=r"^P6"):
            cluster.checkers.on_step(machine, core)
        core._view = View(3)
        cluster.checkers.on_step(machine, core)

    @pytest.mark.parametrize("moved_ms", [-1, 1_001])
    def test_timers_that_follow_a_clock_are_noticed(self, moved_ms: int) -> None:
        cluster, machine, core = lab()
        cluster.checkers.on_step(machine, core)
        core._suspicion.now_ms += 1_000
        cluster.checkers.on_step(machine, core)
        core._suspicion.now_ms += moved_ms
        with pytest.raises(ViolationError, match=r"^P21: the timers of replica 1 follow its clock"):
            cluster.checkers.on_step(machine, core)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 64, 65, 800])
def test_a_delay_is_drawn_as_the_standard_library_draws_it(count: int) -> None:
    ours, theirs = Random(count), Random(count)
    drawn = [below(ours, count) for _ in range(200)]
    assert drawn == [theirs.randrange(count) for _ in range(200)]
    assert ours.getstate() == theirs.getstate()


def test_one_seed_in_twenty_is_played_twice_of_every_kind() -> None:
    seeds = [seed for seed in range(1_000) if is_run_twice(seed)]
    assert [seed // TWICE_EVERY for seed in seeds] == list(range(50))
    played = list(map(scenario_of, seeds))
    kinds = {each.kind for each in played}
    assert kinds >= {"storm", "ceremony", "twins", "byzzfuzz", "withheld"}
    assert {each.stored for each in played} == {each.governed for each in played} == {True, False}
    assert any(each.rot for each in played)
