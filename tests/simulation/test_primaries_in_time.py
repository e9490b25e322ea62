"""How long a slow or lost primary holds the others up: T-9 of the reliability plan, ADR 0018.

Virtual time, production code, all checkers. The simulator's first time-out is 400 ms where a
network's is a second, so what is told in seconds there is counted in time-outs here.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from guqiao_sdk.proof.quorum import faulty_max
from services.consensus import wire
from services.consensus.domain.messages import PrePrepare, ReplicaId
from services.consensus.domain.replica import Replica
from tests.simulation.cluster import PARAMETERS, Cluster
from tests.simulation.machine import Machine
from tests.simulation.scenario import Act, honest
from tests.simulation.test_known_mistakes_of_clusters import Sieve, heights, sieve, wait_until

TIMEOUT_MS = PARAMETERS.timeout_ms
STEP_MS = 10


class Dawdling(Sieve):
    """The proposals of replica 0 leave it late."""

    late_ms = 0

    def send(self, sender: Machine, receiver: ReplicaId, data: bytes, number: int = -1) -> None:
        """Put a frame on the wire, a pre-prepare of replica 0 later."""
        held = sender.number == 0 and isinstance(self._read(data), PrePrepare)
        if held and self.late_ms:
            self.schedule(self.late_ms, lambda: super(Dawdling, self).send(sender, receiver, data))
        else:
            super().send(sender, receiver, data, number)


def dawdling(late_ms: int) -> Dawdling:
    found = sieve(kind=Dawdling)
    assert isinstance(found, Dawdling)
    found.late_ms = late_ms
    return found


def served(cluster: Sieve, milliseconds: int) -> int:
    """How many requests one client gets final that waits for each before the next."""
    ends_ms, count = cluster.now_ms + milliseconds, 0
    while cluster.now_ms < ends_ms:
        request = cluster.clients.submit()
        while request not in cluster.clients.done_ms:
            cluster.advance(cluster.now_ms + STEP_MS)
        count += 1
    return count


@pytest.fixture(scope="module")
def fault_free() -> int:
    """The same under a primary that is not late."""
    return served(dawdling(0), 20 * TIMEOUT_MS)


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("late_ms", [10, 30, 45, 50, 55, 100, 300])
def test_p16_a_late_primary_is_replaced_within_ten_time_outs_or_leaves_half_the_throughput(
    fault_free: int, late_ms: int
) -> None:
    """One client in a closed loop feels every delay in full."""
    cluster = dawdling(late_ms)
    in_time = served(cluster, 10 * TIMEOUT_MS)
    views = [each.core.view for each in cluster.machines if each.core is not None]
    if min(views) == 0:
        assert 2 * (in_time + served(cluster, 10 * TIMEOUT_MS)) >= fault_free


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("busy", [True, False])
def test_a_primary_killed_twenty_time_outs_after_an_outage_is_replaced_within_three(
    busy: bool,
) -> None:
    """ADR 0018: the outage took the time-outs to their bound."""
    cluster = sieve()

    def lost(sender: int, receiver: int, frame: wire.Frame) -> bool:
        return isinstance(frame, PrePrepare)

    cluster.lost = lost
    cluster.clients.submit()
    wait_until(cluster, lambda: min(timeouts(cluster)) == PARAMETERS.timeout_max_ms, 30_000)
    cluster.lost = None
    wait_until(cluster, cluster.clients.all_done, 20_000)
    ends_ms = cluster.now_ms + 20 * TIMEOUT_MS
    while cluster.now_ms < ends_ms:
        if busy:
            cluster.clients.submit()
        cluster.advance(cluster.now_ms + TIMEOUT_MS // 4)
    wait_until(cluster, cluster.clients.all_done, TIMEOUT_MS)
    core = cluster.machines[0].core
    assert core is not None
    cluster.machines[core.primary].crash()
    cluster.required.discard(core.primary)
    request, before = cluster.clients.submit(), max(heights(cluster))
    wait_until(cluster, lambda: request in cluster.clients.done_ms, 3 * TIMEOUT_MS)
    assert max(heights(cluster)) > before


@pytest.mark.req("G2-07-1", "G2-07-6")
def test_row29_a_network_too_slow_for_the_first_time_out_settles_in_a_view() -> None:
    """A block takes more than a time-out on every link: the views must not follow each other."""
    cluster = sieve()
    links = [(a, b) for a in range(cluster.size) for b in range(cluster.size) if a != b]
    cluster.network.slow = dict.fromkeys(links, TIMEOUT_MS // 2)
    views = cluster.counts["view_changes"]
    for _ in range(150):
        cluster.clients.submit()
        cluster.advance(cluster.now_ms + TIMEOUT_MS)
    assert cluster.counts["view_changes"] - views <= 4 * cluster.size
    before = max(heights(cluster))
    cluster.advance(cluster.now_ms + 10 * TIMEOUT_MS)
    assert max(heights(cluster)) > before


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("size", [4, 7])
def test_p16_v12_a_primary_that_fills_the_chain_with_empty_batches_is_replaced(size: int) -> None:
    """It gets a few windows of them through, as the first primary; then the pace is that of
    heartbeats again.
    """
    cluster = Cluster(replace(honest(1, size), liars={0: (Act("B23"),)}))
    cluster._found()
    honest_ones = [each for each in cluster.machines if each.number != 0]
    wait_until(cluster, lambda: all(_view(each) > 0 for each in honest_ones), 10 * TIMEOUT_MS)
    assert cluster.fired["B23.empty"] > 0
    before = max(heights(cluster))
    assert before <= 6 * PARAMETERS.window
    cluster.advance(cluster.now_ms + 10 * PARAMETERS.heartbeat_ms)
    assert 0 < max(heights(cluster)) - before <= 12


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("size", [4, 6, 7])
def test_v1_v5_b29_a_primary_that_withholds_finality_is_replaced_within_three_time_outs(
    size: int,
) -> None:
    """It helps to decide a request and hides it from just so many that nothing is certified without
    its vote; then it shows what it certified alone, whose blocks it gives to nobody.
    """
    liars: dict[int, tuple[Act, ...]] = {each: (Act("B29"),) for each in range(faulty_max(size))}
    cluster = Cluster(replace(honest(1, size), liars=liars, long_pace=True))
    cluster._found()
    request = cluster.clients.submit()
    patience = (1 + 2 ** len(liars)) * TIMEOUT_MS
    wait_until(cluster, lambda: request in cluster.clients.done_ms, patience)
    assert cluster.fired["B29"] > 0
    cluster.checkers.at_the_end()


@pytest.mark.req("G2-07-1", "G2-16-4")
@pytest.mark.parametrize("size", [4, 7])
def test_p15_d5_a_backup_that_keeps_requests_from_the_primary_costs_it_no_view(size: int) -> None:
    """Nobody waits for their author, so nothing but the backups brings them to the primary."""
    cluster = Cluster(replace(honest(1, size), liars={size - 1: (Act("B25"),)}))
    cluster._found()
    cluster.advance(cluster.now_ms + 40 * TIMEOUT_MS)
    assert cluster.fired["B25.backups"] > 5
    assert [_view(each) for each in cluster.machines] == [0] * size
    assert cluster.counts["view_changes"] == 0
    assert cluster.counts["passed_on"] >= cluster.fired["B25.backups"]
    assert len(cluster.machines[1].requests.pool.oldest()) <= 1, "the last one may be under way"


def _view(machine: Machine) -> int:
    return 0 if machine.core is None else machine.core.view


def timeouts(cluster: Sieve) -> list[int]:
    cores = [each.core for each in cluster.machines]
    return [core._suspicion.timeout_ms for core in cores if isinstance(core, Replica)]
