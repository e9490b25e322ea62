"""Rows of the field lessons that need long or many runs of a cluster: what each of them does.

The lengths are the callers': `tests/unit/consensus/test_rows_in_runs.py` has what every change can
wait for, `tests/endurance/test_rows_at_length.py` what `make endurance` runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from services.consensus import wire
from services.consensus.domain.messages import Commit, Prepare, PrePrepare, ViewChange
from tests.simulation.cluster import PARAMETERS
from tests.simulation.network import CALM
from tests.simulation.run import bound_ms
from tests.simulation.test_known_mistakes_of_clusters import (
    Sieve,
    heights,
    serves,
    sieve,
    wait_until,
)
from tests.simulation.workload import Request, transaction

STEPS_OF_LONG_RUNS: Final = 20_000_000
"""The simulator's own bound is for runs of seconds."""
SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60_000
SIZE: Final = 4
QUORUM: Final = 3


# --- Row 5 ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class History:
    """How far each replica came with one batch in view 0 (0 nothing, 1 it was proposed to it, 2 it
    saw a quorum of prepares, 3 of commits too); whose view-changes nobody hears; and who sees the
    commits of view 1.
    """

    reached: tuple[int, ...]
    unheard: int
    commits: frozenset[int]


def reaches() -> Iterator[tuple[int, ...]]:
    """All that can be at n = 4: replica 0 proposed it, and votes come only from who got so far."""
    for reached in itertools.product(range(4), repeat=SIZE):
        proposed, prepared, committed = (
            sum(each >= level for each in reached) for level in range(1, SIZE)
        )
        is_voted_for = not prepared or proposed >= QUORUM
        if reached[0] and is_voted_for and (not committed or prepared >= QUORUM):
            yield reached


def histories(commits: Sequence[frozenset[int]]) -> list[History]:
    """The full product."""
    return list(itertools.starmap(History, itertools.product(reaches(), range(SIZE), commits)))


def subsets() -> list[frozenset[int]]:
    """All sets of replicas."""
    return [
        frozenset(chosen)
        for count in range(SIZE + 1)
        for chosen in itertools.combinations(range(SIZE), count)
    ]


def play(history: History) -> Sieve:
    """Run it under all checkers: nothing is decided twice, and everything is decided in the end."""
    cluster = sieve()
    since = max(heights(cluster))

    def lost(sender: int, receiver: int, frame: wire.Frame) -> bool:
        match frame:
            case PrePrepare(view=0, sequence=number) if number > since:
                return history.reached[receiver] < 1
            case Prepare(view=0, sequence=number) if number > since:
                return history.reached[receiver] < 2
            case Commit(view=0, sequence=number) if number > since:
                return history.reached[receiver] < 3
            case Commit(view=1):
                return receiver not in history.commits
            case ViewChange(view=1):
                return sender == history.unheard
        return False

    cluster.lost = lost
    request = cluster.clients.submit()
    wait_until(cluster, lambda: request in cluster.clients.done_ms, bound_ms(cluster))
    cluster.lost = None
    serves(cluster)
    cluster.checkers.at_the_end()
    return cluster


# --- Rows 16, 26 and 29 --------------------------------------------------------------------------


def pause_two_of_four(minutes: int) -> Sieve:
    """Row 16: what was prepared before the pause is that old when a later view proposes it."""
    cluster = sieve()
    cluster.lost = lambda sender, receiver, frame: isinstance(frame, Commit) and frame.view == 0
    request = cluster.clients.submit()
    cluster.advance(cluster.now_ms + 200)
    for number in (0, 1):
        cluster.machines[number].paused = True
    began_ms, stuck = cluster.now_ms, max(heights(cluster))
    cluster.advance(cluster.now_ms + minutes * MINUTE_MS)
    assert max(heights(cluster)) == stuck, "two of four decided alone"
    for number in (0, 1):
        cluster.machines[number].resume()
    wait_until(cluster, lambda: min(heights(cluster)) > stuck, bound_ms(cluster))
    wait_until(cluster, lambda: request in cluster.clients.done_ms, bound_ms(cluster))
    serves(cluster)
    assert cluster.now_ms - began_ms >= minutes * MINUTE_MS
    cluster.checkers.at_the_end()
    return cluster


WAITING: Final = 60
"""So many requests wait at every connected replica, at all times; 32 fit into the window."""
OVERLOAD_DELAY_MS: Final = 100
"""What a message takes at most: the slower the links, the sooner requests pile up."""


def overload(minutes: int) -> Sieve:
    """Row 26: more is offered than the cluster orders, without a pause. Of every two minutes one
    replica misses the first, and catches up in the second, under that load. Then all drains.
    """
    cluster = sieve()
    for minute in range(minutes):
        if minute % 2:
            cluster.network.heal()
        else:
            cluster.network.isolate(SIZE - 1)
        cluster.network.weather = replace(CALM, delay_max_ms=OVERLOAD_DELAY_MS)
        before, ends_ms = max(heights(cluster)), cluster.now_ms + MINUTE_MS
        while cluster.now_ms < ends_ms:
            for _ in range(WAITING - _fewest_waiting(cluster)):
                cluster.clients.submit()
            cluster.advance(cluster.now_ms + 100)
            assert _fewest_waiting(cluster) > 0, "no overload"
        assert max(heights(cluster)) - before >= 100, "the others do not go on"
        lag = max(heights(cluster)) - min(heights(cluster))
        assert (lag <= PARAMETERS.window) == bool(minute % 2), f"minute {minute}: {lag} behind"
    cluster.network.heal()
    wait_until(cluster, cluster.clients.all_done, bound_ms(cluster))
    serves(cluster)
    cluster.checkers.at_the_end()
    return cluster


def _fewest_waiting(cluster: Sieve) -> int:
    return min(len(each.requests.pool._pending) for each in cluster.machines[: SIZE - 1])


def flap(minutes: int) -> tuple[Sieve, int]:
    """Row 29: two bodies under each request id, brought to different replicas in different order,
    while one replica falls and comes back all the time. How often it did, too.
    """
    cluster, random = sieve(), Random(29)
    ends_ms, number, flaps = cluster.now_ms + minutes * MINUTE_MS, 0, 0
    while cluster.now_ms < ends_ms:
        number += 1
        request = Request(number % 4, 1_000_000 + number)
        height = max(heights(cluster))
        pair = [
            transaction(request, height=height, time_ms=cluster.now_ms, body=body)
            for body in (1, 2)
        ]
        for machine in cluster.machines:
            for encoded in pair if machine.number % 2 else reversed(pair):
                machine.request(encoded)
        flapping = cluster.machines[SIZE - 1]
        if flapping.core is None:
            flapping.start()
            flaps += 1
        else:
            flapping.crash()
        cluster.advance(cluster.now_ms + random.choice([90, 400, 1_500, 3_000]))
        if number % 10 == 0:
            serves(cluster)
    cluster.machines[SIZE - 1].start()
    serves(cluster)
    wait_until(cluster, lambda: max(heights(cluster)) - min(heights(cluster)) <= 1, 10_000)
    common = min(heights(cluster))
    assert len({each.ledger.header(common).hash() for each in cluster.machines}) == 1
    cluster.checkers.at_the_end()
    return cluster, flaps
