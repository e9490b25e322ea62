"""A replica that lost its votes stands at a floor: ledger.md, rule of silence, 4; pbft.md V8."""

from __future__ import annotations

import pytest

from services.consensus.domain.effects import Broadcast, Persist
from services.consensus.domain.messages import (
    Hello,
    ReplicaId,
    SequenceNumber,
    Tick,
    View,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from tests.simulation.keys import public_key, replica_set, sign_with
from tests.unit.consensus.protocol import (
    GENESIS,
    PARAMETERS,
    START_MS,
    Bench,
    a_batch,
    kinds,
)

ME = 2
FLOOR = 3
TURN_MS = 100
TURNS = PARAMETERS.timeout_ms // TURN_MS


def floored(size: int = 4) -> Bench:
    """A replica that signed something in view 3 at most, and forgot what."""
    bench = Bench(ME, size)
    bench.core = Replica.recover(
        me=ReplicaId(ME),
        replica_set=replica_set(size),
        parameters=PARAMETERS,
        sign=sign_with(public_key(ME)),
        head=GENESIS,
        now_ms=START_MS,
        records=[],
        view_floor=View(FLOOR),
    )
    bench.step(Tick(START_MS))
    return bench


def say(bench: Bench, *peers: int, active: bool, epoch: int = 0) -> None:
    """What these say of themselves: whether they wait for the new-view of view 1."""
    for peer in peers:
        bench.step(Hello(View(1), active, False, SequenceNumber(0), epoch), peer)


def asked(bench: Bench, turns: int) -> list[ViewChange]:
    """The view-changes that it writes down and sends while so many turns pass."""
    found = []
    for _ in range(turns):
        bench.now_ms += TURN_MS
        effects = bench.step(Tick(bench.now_ms))
        kept = [each.record for each in effects if isinstance(each, Persist)]
        made = [each for each in kept if isinstance(each, ViewChange)]
        assert all(Broadcast(each) in effects for each in made)
        found += made
    return found


@pytest.mark.req("G2-07-1")
def test_v3_below_its_floor_it_votes_for_nothing() -> None:
    """ledger.md, rule of silence, step 4."""
    bench = floored()
    batch = a_batch("a")
    assert bench.receive_pre_prepare(1, batch) == []
    assert kinds(bench.receive_prepare(1, 1, batch.digest())) == []
    assert (bench.core.view, bench.core.active, bench.records) == (FLOOR, False, [])


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize(("size", "waiting"), [(4, (0, 1)), (7, (0, 1, 3))])
def test_v8_f_plus_1_who_wait_in_vain_make_it_ask_for_the_view_after_its_floor(
    size: int, waiting: tuple[int, ...]
) -> None:
    """ledger.md, rule of silence, step 4."""
    bench = floored(size)
    say(bench, *waiting, active=False)
    assert asked(bench, TURNS) == []
    (made,) = asked(bench, 3)
    assert (made.view, made.prepared, bench.core.view) == (FLOOR + 1, (), FLOOR + 1)
    assert asked(bench, 10 * TURNS) == [], "it goes no further alone"


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize(("size", "waiting"), [(4, (0,)), (7, (0, 1))])
def test_v8_f_who_say_so_move_nobody(size: int, waiting: tuple[int, ...]) -> None:
    bench = floored(size)
    say(bench, *waiting, active=False)
    assert asked(bench, 5 * TURNS) == []


def test_v8_those_of_another_epoch_and_those_who_work_do_not_wait() -> None:
    bench = floored()
    say(bench, 0, active=False)
    say(bench, 1, active=True)
    say(bench, 3, active=False, epoch=1)
    assert asked(bench, 5 * TURNS) == []


def test_v8_the_time_begins_anew_when_they_found_a_view() -> None:
    bench = floored()
    say(bench, 0, 1, active=False)
    assert asked(bench, TURNS - 1) == []
    say(bench, 1, active=True)
    assert asked(bench, 1) == []
    say(bench, 1, active=False)
    assert asked(bench, TURNS) == []
    assert [each.view for each in asked(bench, 3)] == [FLOOR + 1]


def test_v2_a_replica_that_knows_what_it_asked_for_does_not_go_on_alone() -> None:
    bench = floored()
    say(bench, 0, 1, active=False)
    (made,) = asked(bench, TURNS + 3)
    bench.recover(bench.core.records())
    bench.step(Tick(bench.now_ms))
    assert (bench.core.view, bench.core.active) == (made.view, False)
    say(bench, 0, 1, active=False)
    assert asked(bench, 5 * TURNS) == []
