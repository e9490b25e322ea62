"""Clocks that jump, forth and back again, under load (T-15): one replica's, f replicas', the
primary's and all, by less and by much more than the bound within which a block time is accepted.

Each scenario is two jumps: to another time, and some seconds later back to the right one. All
replicas must agree, what a client was shown must stay (the checkers S1, S2 and S7), and requests
become final within the bound of progress, while the clocks are wrong and afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest

from services.consensus.domain.log import Entry, Proposal
from services.consensus.domain.ordering import Ordering
from services.consensus.domain.replica import Replica
from services.consensus.domain.suspicion import Suspicion
from tests.simulation.checkers import ViolationError
from tests.simulation.cluster import PARAMETERS, Cluster
from tests.simulation.fault_plan import Fault
from tests.simulation.faults import apply_fault
from tests.simulation.run import bound_ms
from tests.simulation.test_known_mistakes_of_clusters import heights, serves, sieve, wait_until

LITTLE_MS: Final = 1_500
"""Within the bound of a block time."""
MUCH_MS: Final = 3_600_000
BACK_MS: Final = 600_000
"""A simulated clock starts at little more, and shows no time before zero."""
ASTRAY_MS: Final = 4_000
REQUEST_EVERY_MS: Final = 100

Whose = Callable[[Cluster], tuple[int, ...]]


def primary_of(cluster: Cluster) -> int:
    """Who proposes in the view that all are in."""
    cores = [each.core for each in cluster.machines]
    primaries = {int(core.primary) for core in cores if isinstance(core, Replica)}
    assert len(primaries) == 1
    return primaries.pop()


def a_backup(cluster: Cluster) -> tuple[int, ...]:
    return ((primary_of(cluster) + 2) % cluster.size,)


def f_with_the_primary(cluster: Cluster) -> tuple[int, ...]:
    return f_from(cluster, primary_of(cluster))


def f_backups(cluster: Cluster) -> tuple[int, ...]:
    return f_from(cluster, primary_of(cluster) + 1)


def f_from(cluster: Cluster, first: int) -> tuple[int, ...]:
    count = cluster.replica_set.faulty_max
    return tuple(sorted((first + each) % cluster.size for each in range(count)))


def everybody(cluster: Cluster) -> tuple[int, ...]:
    return tuple(range(cluster.size))


@dataclass(frozen=True, slots=True)
class Jump:
    """In a cluster of `size` replicas these clocks jump by so much."""

    size: int
    whose: Whose
    by_ms: int

    def __str__(self) -> str:
        return f"{self.size}-{self.whose.__name__}-{self.by_ms:+d}"


WHOSE: Final = (
    (4, a_backup),
    (4, f_with_the_primary),
    (7, f_backups),
    (7, f_with_the_primary),
    (4, everybody),
    (7, everybody),
)
JUMPS: Final = tuple(
    Jump(size, whose, by_ms)
    for size, whose in WHOSE
    for by_ms in (LITTLE_MS, -LITTLE_MS, MUCH_MS, -BACK_MS)
)


def load(cluster: Cluster, for_ms: int) -> None:
    """Requests at a steady rate."""
    ends_ms = cluster.now_ms + for_ms
    while cluster.now_ms < ends_ms:
        cluster.clients.submit()
        cluster.advance(cluster.now_ms + REQUEST_EVERY_MS)


def play(jump: Jump) -> Cluster:
    """Raises where something that must hold does not."""
    cluster = sieve(jump.size)
    whose = jump.whose(cluster)
    cluster.clients.start(0, 1)  # From here on they sign anew what expires.
    load(cluster, PARAMETERS.timeout_ms)
    before = max(heights(cluster))
    apply_fault(cluster, Fault(0, "clock_jump", machines=whose, value=jump.by_ms))
    load(cluster, ASTRAY_MS)
    wait_until(cluster, lambda: min(heights(cluster)) > before, bound_ms(cluster))
    serves(cluster)
    shown, height = dict(cluster.clients.acknowledged), max(heights(cluster))
    apply_fault(cluster, Fault(0, "clock_right", machines=whose))
    load(cluster, ASTRAY_MS)
    wait_until(cluster, cluster.clients.all_done, bound_ms(cluster))
    wait_until(cluster, lambda: min(heights(cluster)) > height, bound_ms(cluster))
    serves(cluster)
    cluster.checkers.at_the_end()
    assert cluster.fired["clock_jump"] == len(whose)
    for transaction_id, place in shown.items():
        assert cluster.clients.acknowledged[transaction_id] == place
    held = set(shown.values())
    for machine in cluster.machines:
        assert all(machine.ledger.header(at).hash() == header for at, header in held)
    return cluster


@pytest.mark.req("G2-07-1", "G2-13-2")
@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_clocks_that_jump_forth_and_back_part_nobody_and_lose_nothing(jump: Jump) -> None:
    play(jump)


def test_there_are_as_many_scenarios_as_the_plan_asks_for() -> None:
    assert len({str(jump) for jump in JUMPS}) >= 12
    assert LITTLE_MS < PARAMETERS.block_time_bound_ms < BACK_MS < MUCH_MS


def test_a_primary_whose_clock_is_far_ahead_is_replaced_and_one_a_little_ahead_is_not() -> None:
    """N4: what is within the bound is voted for."""
    assert play(Jump(4, f_with_the_primary, MUCH_MS)).counts["view_changes"] > 0
    assert play(Jump(4, f_with_the_primary, LITTLE_MS)).counts["view_changes"] == 0
    assert play(Jump(4, a_backup, MUCH_MS)).counts["view_changes"] == 0


def test_timers_that_follow_the_clock_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: row P21."""

    def tick(self: Suspicion, clock_ms: int, *, under_way: bool = False) -> None:
        if self._clock_ms is not None:
            self.now_ms += clock_ms - self._clock_ms
        self._clock_ms = clock_ms

    monkeypatch.setattr(Suspicion, "tick", tick)
    with pytest.raises(ViolationError, match=r"^P21"):
        play(Jump(4, a_backup, MUCH_MS))


def test_a_chain_that_waits_for_clocks_that_were_set_ahead_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: a time that repeats the predecessor's is too late as any other is."""
    may_prepare = Ordering._may_prepare

    def strictly(self: Ordering, entry: Entry, proposal: Proposal) -> bool:
        batch = entry.batch(proposal.digest)
        bound_ms = self._parameters.block_time_bound_ms
        if batch is not None and batch.block_time_ms > (self.clock_ms or 0) + bound_ms:
            return False
        return may_prepare(self, entry, proposal)

    monkeypatch.setattr(Ordering, "_may_prepare", strictly)
    with pytest.raises(AssertionError, match="not within"):
        play(Jump(4, everybody, MUCH_MS))


def test_a_lost_acknowledgement_is_noticed() -> None:
    cluster = play(Jump(4, everybody, -BACK_MS))
    height = max(cluster.clients.shown)
    cluster.clients.shown[height] = bytes(32)
    with pytest.raises(ViolationError, match=r"^S7"):
        cluster.checkers.at_the_end()
