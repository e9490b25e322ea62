"""Quiet and plainly broken days of a cluster, in virtual time."""

from __future__ import annotations

import pytest

from tests.simulation.cluster import PARAMETERS, Cluster
from tests.simulation.scenario import honest

QUIET_DAY_MS = 120_000


def heights(cluster: Cluster) -> list[int]:
    """The certified heights of the replicas that are up."""
    return [each.ledger.last_certified for each in cluster.machines if each.core is not None]


def test_an_idle_cluster_makes_heartbeats_and_changes_no_view() -> None:
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
def test_a_replica_that_lost_its_disk_comes_back_by_certified_blocks() -> None:
    cluster = Cluster(honest(5, 4))
    cluster.advance(cluster.now_ms + 10_000)
    machine = cluster.machines[3]
    machine.crash()
    cluster.wipe(3)
    machine.start()
    cluster.advance(cluster.now_ms + 3_000)
    assert max(heights(cluster)) - min(heights(cluster)) <= PARAMETERS.window
    assert cluster.counts["view_changes"] == 0
