"""Quiet and plainly broken days of a cluster, in virtual time."""

from __future__ import annotations

import pytest

from tests.simulation import restoring
from tests.simulation.checkers import ViolationError
from tests.simulation.cluster import PARAMETERS, Cluster
from tests.simulation.fault_plan import NOTICED, Fault, Rot
from tests.simulation.run import run
from tests.simulation.scenario import Scenario, honest

QUIET_DAY_MS = 120_000


def heights(cluster: Cluster) -> list[int]:
    """The certified heights of the replicas that are up."""
    return [each.ledger.last_certified for each in cluster.machines if each.core is not None]


def test_row27_an_idle_cluster_makes_heartbeats_and_changes_no_view() -> None:
    cluster = Cluster(honest(1, 4))
    cluster.advance(cluster.now_ms + QUIET_DAY_MS)
    assert cluster.counts["view_changes"] == 0
    expected = QUIET_DAY_MS // PARAMETERS.heartbeat_ms
    assert all(expected * 0.8 <= height <= expected for height in heights(cluster))


@pytest.mark.req("G2-07-1", "G2-07-2")
@pytest.mark.parametrize("size", [4, 7])
def test_a_killed_primary_is_replaced_within_three_time_outs(size: int) -> None:
    cluster = Cluster(honest(2, size))
    cluster.advance(cluster.now_ms + 3_000)
    cluster.machines[0].crash()
    before = max(heights(cluster))
    cluster.required.discard(0)
    request = cluster.clients.submit()
    cluster.advance(cluster.now_ms + 3 * PARAMETERS.timeout_ms)
    assert request in cluster.clients.done_ms
    assert min(heights(cluster)) > before


@pytest.mark.req("G2-07-1")
def test_without_a_quorum_nothing_is_decided_and_with_it_all_goes_on() -> None:
    cluster = Cluster(honest(3, 4))
    cluster.advance(cluster.now_ms + 2_000)
    for number in (2, 3):
        cluster.machines[number].crash()
    cluster.advance(cluster.now_ms + 500)
    stuck = max(heights(cluster))
    cluster.advance(cluster.now_ms + 30_000)
    assert max(heights(cluster)) == stuck
    cluster.machines[2].start()
    cluster.advance(cluster.now_ms + 2 * PARAMETERS.timeout_max_ms)
    assert min(heights(cluster)) > stuck


def test_an_isolated_replica_drags_nobody_and_comes_back_into_the_same_view() -> None:
    cluster = Cluster(honest(4, 4))
    cluster.advance(cluster.now_ms + 1_000)
    cluster.network.isolate(3)
    cluster.advance(cluster.now_ms + 20_000)
    cluster.network.heal()
    cluster.advance(cluster.now_ms + 2_000)
    cores = [each.core for each in cluster.machines]
    assert cluster.counts["view_changes"] == 0
    assert all(core is not None and core.view == 0 and core.active for core in cores)
    assert max(heights(cluster)) - min(heights(cluster)) <= PARAMETERS.window


@pytest.mark.req("G2-07-1")
def test_row19_a_replica_that_lost_its_disk_comes_back_by_certified_blocks() -> None:
    cluster = Cluster(honest(5, 4))
    cluster.advance(cluster.now_ms + 10_000)
    machine = cluster.machines[3]
    machine.crash()
    cluster.wipe(3)
    machine.start()
    cluster.advance(cluster.now_ms + 3_000)
    assert max(heights(cluster)) - min(heights(cluster)) <= PARAMETERS.window
    assert cluster.counts["view_changes"] == 0


def rotten(seed: int, kind: str) -> Scenario:
    """Replica 3 votes without effect for a while, then its files are damaged; all rules hold for it
    as for the others.
    """
    halves = Fault(1_200, "halves", groups=((0, 1), (2, 3)))
    return Scenario(
        seed=seed,
        size=4,
        requests=60,
        storm_ms=3_000,
        faults=(halves, Fault(2_900, "heal_network")),
        rot=Rot(kind, 3, at_ms=2_000),
        stored=True,
    )


@pytest.mark.req("G2-07-3", "G2-13-2")
@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("bit_flip", "votes_lost"),
        ("bit_flip", "blocks_missing"),
        ("lost_segments", "votes_lost"),
    ],
)
def test_a_replica_whose_files_are_damaged_is_silent_for_a_while_and_then_takes_part_again(
    kind: str, found: str
) -> None:
    """What a flip hits depends on the seed; every run of them must hold."""
    assert kind in NOTICED
    for seed in range(1, 13):
        report = run(rotten(seed, kind))
        assert report.fired[kind] == 1
        if report.counts[found] == 1:
            return
    pytest.fail(f"no damage led to {found}")


def test_votes_that_a_replica_casts_although_it_forgot_its_earlier_ones_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restoring, "due_height", lambda store, *_, **__: store.restore_to)

    def lose_many() -> None:
        """Not in every run does it vote where it must not."""
        for seed in range(1, 13):
            run(rotten(seed, "lost_segments"))

    with pytest.raises(ViolationError, match=r"^P14"):
        lose_many()
