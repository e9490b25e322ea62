"""Seeds that every change must pass, and planted bugs that prove the checkers' eyes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain import replica as replica_module
from services.consensus.domain.effects import Effect, Persist
from services.consensus.domain.log import Tally
from services.consensus.domain.messages import (
    Commit,
    Digest,
    Message,
    PreparedCertificate,
    Record,
    ReplicaId,
    View,
    ViewChange,
)
from services.consensus.domain.ordering import Ordering
from services.consensus.domain.replica import Replica
from services.consensus.domain.view_change import ViewChanges
from tests.simulation.__main__ import FAULTS
from tests.simulation.byzantine import STRATEGIES
from tests.simulation.checkers import ViolationError
from tests.simulation.cluster import SIZES, Cluster
from tests.simulation.disk import Disk

SEEDS = 60
PLANTED_SEEDS_MAX = 60


@pytest.mark.req("G2-07-1")
def test_sixty_hostile_runs_stay_safe_and_finish_and_every_fault_fires() -> None:
    """Safety under all faults, then progress after healing; the campaign must not be tame."""
    fired: Counter[str] = Counter()
    views = fetched = evidence = 0
    for seed in range(SEEDS):
        report = Cluster(seed).run()
        fired.update(report.fired)
        views += report.view_changes
        fetched += report.batches_fetched
        evidence += report.evidence
        assert report.height > 0, f"seed {seed} made no block"
    assert [name for name in (*FAULTS, *STRATEGIES) if not fired[name]] == []
    assert views > 0
    assert fetched > 0
    assert evidence > 0


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_f_liars_with_one_strategy_break_neither_safety_nor_progress(strategy: str) -> None:
    for seed, size in enumerate(SIZES):
        Cluster(seed, size=size, strategies=[strategy]).run()


@pytest.mark.parametrize("seed", [3, 14])
def test_the_same_seed_gives_the_same_run_to_the_last_byte(seed: int) -> None:
    assert Cluster(seed).run().trace == Cluster(seed).run().trace


@pytest.mark.req("G2-07-2")
def test_four_replicas_go_on_when_one_never_comes_up() -> None:
    for seed in range(3):
        report = Cluster(seed, size=4, strategies=["silent"]).run()
        assert report.height > 0


def caught(strategies: list[str] | None, seeds: Iterable[int] = range(PLANTED_SEEDS_MAX)) -> str:
    """What the checkers say about a planted bug; fails if no seed reveals it."""
    for seed in seeds:
        try:
            Cluster(seed, strategies=strategies).run()
        except ViolationError as violation:
            return str(violation)
    pytest.fail("the planted bug went unseen")


def test_a_quorum_one_too_small_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReplicaSet, "quorum", property(lambda each: -(-2 * each.size // 3) - 1))
    assert caught(["equivocate"]).startswith("S")


def test_sending_a_vote_before_it_is_durable_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Replica.step

    def hasty(self: Replica, sender: ReplicaId, message: Message) -> list[Effect]:
        return sorted(step(self, sender, message), key=lambda each: isinstance(each, Persist))

    monkeypatch.setattr(Replica, "step", hasty)
    assert caught(None).startswith("P14")


def test_a_new_view_that_nobody_derives_again_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "new_view_fault", lambda message: None)
    assert caught(["forged_new_view", "withhold_commits"])[:2] in ("S1", "S2", "S5")


def test_joining_on_a_single_view_change_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def credulous(self: ViewChanges, view: View) -> View | None:
        return max((each.view for each in self._latest.values() if each.view > view), default=None)

    monkeypatch.setattr(ViewChanges, "joined_view", credulous)
    assert "dragged" in caught(["huge_view"])


def test_leaving_prepared_certificates_out_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: Ordering) -> tuple[PreparedCertificate, ...]:
        return ()

    monkeypatch.setattr(Ordering, "prepared", forgetful)
    assert caught(None)[:2] in ("S1", "S2", "S5")


def test_counting_one_replica_twice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def generous(self: Tally[Commit], vote: Commit, digest: Digest) -> Commit | None:
        self._counts[digest] = self._counts.get(digest, 0) + 1
        self.votes[vote.replica] = vote
        return None

    monkeypatch.setattr(Tally, "add", generous)
    assert caught(None)[:2] in ("S1", "S2", "S3", "S5")


def test_counting_votes_whatever_their_digest_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(self: Tally[Commit], digest: Digest) -> int:
        return len(self.votes)

    monkeypatch.setattr(Tally, "count", careless)
    assert caught(["wrong_digest"])[:2] in ("S1", "S2", "S3", "S5")


def test_a_recovery_that_forgets_its_votes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: Disk) -> list[Record]:
        return []

    monkeypatch.setattr(Disk, "read", forgetful)
    assert caught(None)[:2] in ("S1", "S2", "S5", "S6")


def test_a_view_change_that_nobody_answers_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(self: ViewChanges, view: View) -> tuple[ViewChange, ...] | None:
        return None

    monkeypatch.setattr(ViewChanges, "quorum_for", deaf)
    assert caught(["silent"]).startswith("L1")
