"""Mistakes that show in a whole cluster only, each by its row: a P of the reliability plan, or a
row of the field lessons (docs/field-lessons.md). Virtual time, production code, all checkers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import MalformedError
from services.consensus import wire
from services.consensus.domain.messages import Commit, Prepare, PrePrepare, ReplicaId
from services.consensus.domain.replica import Replica
from tests.simulation.checkers import ViolationError
from tests.simulation.cluster import PARAMETERS, Cluster
from tests.simulation.machine import Machine
from tests.simulation.run import bound_ms, run
from tests.simulation.scenario import honest, of_seed
from tests.simulation.workload import Request, transaction

MINUTE_MS = 12_000
"""A network's minute: the simulator's clock bound is a fifth of a network's."""

Lost = Callable[[int, int, wire.Frame], bool]
"""(sender, receiver, frame) -> whether the network loses it."""


class Sieve(Cluster):
    """A cluster whose network loses what `lost` names."""

    lost: Lost | None = None

    def send(self, sender: Machine, receiver: ReplicaId, data: bytes, number: int = -1) -> None:
        """Put a frame on the wire, unless it is lost."""
        if self.lost is None or not self.lost(sender.number, receiver, self._read(data)):
            super().send(sender, receiver, data, number)

    def _read(self, data: bytes) -> wire.Frame:
        try:
            return self.read_frame(data, 0)
        except MalformedError as error:
            raise AssertionError("nobody lies here") from error


def sieve(
    size: int = 4, seed: int = 1, *, stored: bool = False, kind: type[Sieve] | None = None
) -> Sieve:
    """An honest cluster that has decided its first heights."""
    cluster = (kind or Sieve)(replace(honest(seed, size), stored=stored))
    cluster._found()
    cluster.advance(cluster.now_ms + 2 * PARAMETERS.heartbeat_ms)
    assert min(heights(cluster)) > 0
    return cluster


def heights(cluster: Cluster) -> list[int]:
    """The certified heights of the replicas that are up."""
    return [each.ledger.last_certified for each in cluster.machines if each.core is not None]


def silent(cluster: Cluster) -> list[int]:
    """The replicas that do not take part yet."""
    return [each.number for each in cluster.machines if each.restoring is not None]


def wait_until(cluster: Cluster, held: Callable[[], bool], within_ms: int) -> int:
    """Let time pass until something holds; how long it took."""
    start_ms = cluster.now_ms
    while not held():
        assert cluster.now_ms - start_ms < within_ms, f"not within {within_ms} ms"
        cluster.advance(cluster.now_ms + 10)
    return cluster.now_ms - start_ms


def serves(cluster: Cluster) -> int:
    """A new request becomes final at all replicas that are held to progress; in which time."""
    request = cluster.clients.submit()
    return wait_until(cluster, lambda: request in cluster.clients.done_ms, bound_ms(cluster))


# --- Agreement ------------------------------------------------------------------------------


@pytest.mark.req("G2-07-1", "G2-07-2")
@pytest.mark.parametrize("size", [5, 6, 8, 9])
def test_p01_two_halves_of_any_size_never_decide_both(size: int) -> None:
    """With 2f + 1 as the quorum six replicas fork without any traitor."""
    cluster = sieve(size)
    before = max(heights(cluster))
    half = size // 2
    cluster.network.split([range(half), range(half, size)], "halves")
    cluster.clients.submit()
    cluster.advance(cluster.now_ms + 20_000)
    heads = heights(cluster)
    assert max(heads[:half]) <= before + 1, "the smaller half has no quorum"
    if 2 * (size - half) < size + cluster.replica_set.faulty_max + 1:
        assert max(heads) <= before + 1, "nor has the larger one"
    cluster.network.heal()
    wait_until(cluster, cluster.clients.all_done, bound_ms(cluster))
    cluster.checkers.at_the_end()


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("informed", [0, 1, 2, 3])
def test_p07_row05_one_replica_that_committed_alone_locks_nobody(informed: int) -> None:
    """Commits of the first views reach one replica only: it executes, the others change the view,
    and all of them come to the same block.
    """
    cluster = sieve()
    start = max(heights(cluster))

    def lost(sender: int, receiver: int, frame: wire.Frame) -> bool:
        return isinstance(frame, Commit) and frame.view < 2 and receiver != informed

    cluster.lost = lost
    cluster.clients.submit()
    cluster.advance(cluster.now_ms + PARAMETERS.timeout_ms // 2)
    core = cluster.machines[informed].core
    assert core is not None
    assert core.executed > start, "it decided alone"
    assert max(heights(cluster)) == start
    wait_until(cluster, cluster.clients.all_done, bound_ms(cluster))
    assert min(heights(cluster)) > start
    assert cluster.counts["view_changes"] > 0


@pytest.mark.req("G2-07-1")
def test_p09_heights_are_sequence_numbers_though_a_null_batch_fills_a_gap() -> None:
    """Of two proposals under way only the second is prepared when the view changes."""
    cluster = sieve()
    gap = max(heights(cluster)) + 1

    def lost(sender: int, receiver: int, frame: wire.Frame) -> bool:
        return isinstance(frame, Prepare) and (frame.view, frame.sequence) == (0, gap)

    cluster.lost = lost
    for _ in range(3):
        cluster.clients.submit()
        cluster.advance(cluster.now_ms + 60)
    assert min(heights(cluster)) < gap
    wait_until(cluster, lambda: min(heights(cluster)) > gap, bound_ms(cluster))
    for machine in cluster.machines:
        before, block = (machine.ledger.block(each) for each in (gap - 1, gap))
        assert block.batch == Batch(before.header.block_time_ms, ())
        assert machine.ledger.block(gap + 1).batch.transactions
        for height in range(1, machine.ledger.last_certified + 1):
            assert machine.ledger.header(height).height == height
    wait_until(cluster, cluster.clients.all_done, bound_ms(cluster))


@pytest.mark.req("G2-07-1")
def test_p05_restarts_between_decision_and_execution_give_one_block_a_height() -> None:
    """Every replica is killed while decided batches wait for their execution, again and again."""
    cluster = sieve(seed=3)
    cluster.clients.start(0, 0)
    for turn in range(40):
        cluster.clients.submit()
        cluster.advance(cluster.now_ms + 13 + turn % 7)
        machine = cluster.machines[turn % 4]
        machine.crash()
        machine.start()
    wait_until(cluster, cluster.clients.all_done, bound_ms(cluster))
    cluster.checkers.at_the_end()


@pytest.mark.req("G2-07-1", "G2-16-4")
@pytest.mark.parametrize(
    ("strategies", "offence"),
    [(["B10"], "InvalidBatch"), (["B15", "B6", "B24"], "InvalidNewView")],
)
def test_p08_row07_what_primaries_sign_against_the_rules_is_proven(
    strategies: list[str], offence: str
) -> None:
    """Every correct replica that sees it holds a proof that the evidence contract would take; the
    checkers refuse any that it would not (S10).
    """
    seen = [run(of_seed(seed, strategies=strategies)).counts[offence] for seed in range(1, 6)]
    assert sum(count > 0 for count in seen) >= 2


# --- Coming back ----------------------------------------------------------------------------


@pytest.mark.req("G2-07-1")
def test_row16_two_of_four_that_pause_for_half_an_hour_stop_nothing_for_good() -> None:
    """What was prepared before is half an hour old when the next view proposes it again."""
    cluster = sieve()

    def lost(sender: int, receiver: int, frame: wire.Frame) -> bool:
        return isinstance(frame, Commit) and frame.view == 0

    cluster.lost = lost
    cluster.clients.submit()
    cluster.advance(cluster.now_ms + 200)
    for number in (0, 1):
        cluster.machines[number].paused = True
    cluster.advance(cluster.now_ms + 30 * MINUTE_MS)
    stuck = max(heights(cluster))
    for number in (0, 1):
        cluster.machines[number].resume()
    wait_until(cluster, lambda: min(heights(cluster)) > stuck, bound_ms(cluster))
    serves(cluster)


@pytest.mark.req("G2-07-1", "G2-13-2")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_row17_a_replica_joins_while_the_view_changes(seed: int) -> None:
    """Of four the primary dies while an empty replica catches up: its vote is needed at once."""
    cluster = sieve(seed=seed)
    cluster.machines[3].crash()
    cluster.wipe(3)
    for _ in range(3 * PARAMETERS.window):
        cluster.clients.submit()
        cluster.advance(cluster.now_ms + 100)
    cluster.machines[3].start()
    cluster.advance(cluster.now_ms + 20)
    cluster.machines[0].crash()
    cluster.required.discard(0)
    before = max(heights(cluster))
    serves(cluster)
    assert min(heights(cluster)) > before


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("minutes", [1, 5])
def test_row18_after_an_outage_the_next_block_comes_within_two_time_outs(minutes: int) -> None:
    """However long nobody had a quorum: no view was left, so no time-out had doubled."""
    cluster = sieve()
    cluster.network.split([[0, 1], [2, 3]], "halves")
    cluster.advance(cluster.now_ms + minutes * 60_000)
    stuck = max(heights(cluster))
    cluster.network.heal()
    wait_until(cluster, lambda: min(heights(cluster)) > stuck, 2 * PARAMETERS.timeout_ms)


@pytest.mark.req("G2-13-2")
def test_row19_f_wiped_replicas_come_back_and_f_plus_1_too_while_the_chain_is_young() -> None:
    cluster = sieve(stored=True)
    try:
        for wiped in ((3,), (2, 3)):
            for number in wiped:
                cluster.machines[number].crash()
                cluster.wipe(number)
            for number in wiped:
                cluster.machines[number].start()
            serves(cluster)
            wait_until(cluster, lambda: not silent(cluster), 10_000)
    finally:
        cluster.close()


@pytest.mark.req("G2-13-2")
def test_row19_f_plus_1_wiped_replicas_of_an_old_chain_keep_silent_and_contradict_nothing() -> None:
    """No quorum remembers: nobody votes against what was certified, and nothing of it is lost."""
    cluster = sieve(stored=True)
    try:
        while min(heights(cluster)) <= 3 * PARAMETERS.window:
            serves(cluster)
        for number in (2, 3):
            cluster.machines[number].crash()
            cluster.wipe(number)
        head = max(heights(cluster))
        for number in (2, 3):
            cluster.machines[number].start()
        cluster.advance(cluster.now_ms + 20_000)
        assert silent(cluster) == [2, 3]
        assert {each.ledger.last_certified for each in cluster.machines} == {head}
        cluster.checkers.at_the_end()
    finally:
        cluster.close()


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("is_young", [True, False], ids=["young", "old"])
def test_row19_emptied_folders_may_fork_a_chain_that_is_being_founded_and_no_older_one(
    is_young: bool,
) -> None:
    """Replica 3 lags, 1 and 2 lose their folders, and 0 alone holds the last block and is heard by
    nobody: two faults where f is one. What ledger.md promises then, it promises of older chains.
    """
    cluster = sieve(stored=True)
    try:
        while not is_young and min(heights(cluster)) <= 3 * PARAMETERS.window:
            serves(cluster)
        cluster.network.isolate(3)
        before = heights(cluster)[3]
        cluster.clients.submit()
        wait_until(cluster, lambda: min(heights(cluster)[:3]) > before, 20_000)
        cluster.advance(cluster.now_ms + 300)
        head = max(heights(cluster))
        for number in (1, 2):
            cluster.machines[number].crash()
            cluster.wipe(number)
        cluster.network.split([[0], [1, 2, 3]], "halves")
        for number in (1, 2):
            cluster.machines[number].start()
        if is_young:
            with pytest.raises(ViolationError, match=r"^S1"):
                cluster.advance(cluster.now_ms + 30_000)
        else:
            cluster.advance(cluster.now_ms + 30_000)
            assert silent(cluster) == [1, 2]
            assert max(heights(cluster)[1:]) < head
    finally:
        cluster.close()


@pytest.mark.req("G2-07-1")
def test_row25_a_request_survives_as_many_view_changes_as_it_takes() -> None:
    """Whatever is proposed in the first three views reaches nobody; the fourth orders it."""
    cluster = sieve()
    views = cluster.counts["view_changes"]

    def lost(sender: int, receiver: int, frame: wire.Frame) -> bool:
        return isinstance(frame, PrePrepare) and frame.view < 3

    cluster.lost = lost
    serves(cluster)
    assert cluster.counts["view_changes"] >= views + 3 * 3
    assert all(each.core is not None and each.core.view >= 3 for each in cluster.machines)


@pytest.mark.req("G2-07-1", "G2-07-6")
def test_row26_who_falls_behind_under_load_catches_up_under_load() -> None:
    """Ten minutes of requests, of which one replica misses a minute of every two."""
    cluster = sieve()
    for minute in range(10):
        if minute % 2:
            cluster.network.heal()
        else:
            cluster.network.isolate(3)
        for _ in range(20):
            cluster.clients.submit()
            cluster.advance(cluster.now_ms + MINUTE_MS // 20)
        lag = max(heights(cluster)) - min(heights(cluster))
        assert (lag <= PARAMETERS.window) == bool(minute % 2)
    wait_until(cluster, cluster.clients.all_done, bound_ms(cluster))
    assert cluster.counts["view_changes"] == 0


# --- Settings, flapping ---------------------------------------------------------------------


@pytest.mark.req("G2-07-6")
def test_row28_one_replica_with_other_numbers_stops_nobody() -> None:
    """Its time-out and heartbeat are a hundredth of the others': it suspects all the time."""
    cluster = sieve()
    core = cluster.machines[3].core
    assert isinstance(core, Replica)
    other = replace(PARAMETERS, timeout_ms=4, timeout_max_ms=4, heartbeat_ms=6)
    core._parameters = core._suspicion._parameters = core._ordering._parameters = other
    core._suspicion._timeout._parameters = other
    for _ in range(20):
        serves(cluster)
    assert core._suspects
    assert cluster.counts["view_changes"] == 0


@pytest.mark.req("G2-07-6")
def test_row29_conflicting_requests_and_a_flapping_replica_do_not_stop_the_chain() -> None:
    """Two bodies under each request id, brought to different replicas in different order."""
    cluster = sieve()
    conflicts = []
    for number in range(40):
        request = Request(number % 4, 10_000 + number)
        height, time_ms = max(heights(cluster)), cluster.now_ms
        pair = [transaction(request, height=height, time_ms=time_ms, body=b) for b in (1, 2)]
        conflicts.append(request.id)
        for machine in cluster.machines:
            for encoded in pair if machine.number % 2 else reversed(pair):
                machine.request(encoded)
        flapping = cluster.machines[3]
        if number % 2:
            flapping.start()
        else:
            flapping.crash()
        cluster.advance(cluster.now_ms + 97)
    serves(cluster)
    ledgers = [each.ledger for each in cluster.machines]
    wait_until(cluster, lambda: max(heights(cluster)) - min(heights(cluster)) <= 1, 10_000)
    common = min(heights(cluster))
    assert len({each.header(common).hash() for each in ledgers}) == 1
