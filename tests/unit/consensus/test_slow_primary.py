"""P16: a primary that starves a request, or orders at just under the time-out, is suspected within
ten seconds of virtual time; one that is idle, overloaded or far away is not.

A backup of the real core is driven through whole blocks; the parameters are the defaults.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.batch import Batch
from services.consensus.domain.effects import Broadcast, Effect
from services.consensus.domain.fairness import Fairness
from services.consensus.domain.messages import (
    Hello,
    ProtocolParameters,
    ReplicaId,
    RequestGone,
    RequestPending,
    SequenceNumber,
    Tick,
)
from services.consensus.domain.replica import Replica
from tests.simulation.keys import public_key, replica_set, sign_with
from tests.unit.consensus.protocol import (
    GENESIS,
    START_MS,
    Bench,
    a_batch,
    certified,
    committed,
)

DEFAULTS = ProtocolParameters(
    window=8,
    timeout_ms=1_000,
    timeout_max_ms=8_000,
    heartbeat_ms=5_000,
    resend_ms=400,
    block_time_bound_ms=10_000,
)
BOUND_MS = 10_000
TICK_MS = 50


@dataclass
class Backup:
    """Replica 1 under the primary 0; `requests` are pending here, oldest first."""

    bench: Bench = field(default_factory=lambda: Bench(1))
    requests: deque[bytes] = field(default_factory=deque)
    arrived: int = 0
    blocks: int = 0
    suspected_ms: int | None = None
    batches: dict[int, Batch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bench.core = Replica(
            me=ReplicaId(1),
            replica_set=replica_set(4),
            parameters=DEFAULTS,
            sign=sign_with(public_key(1)),
            head=GENESIS,
            now_ms=START_MS,
        )
        self.step(Tick(START_MS))

    def step(self, message: object) -> None:
        self.look(self.bench.step(message))  # type: ignore[arg-type]

    def look(self, effects: list[Effect]) -> None:
        for effect in effects:
            said = effect.message if isinstance(effect, Broadcast) else None
            if isinstance(said, Hello) and said.suspects and self.suspected_ms is None:
                self.suspected_ms = self.bench.now_ms - START_MS

    def arrive(self, count: int) -> None:
        """New requests are admitted here."""
        for _ in range(count):
            self.arrived += 1
            self.requests.append(b"r%d" % self.arrived)
            self.step(RequestPending(self.requests[-1]))

    def propose(self) -> None:
        """The primary's next proposal arrives; it is under way until `finish`."""
        number = self.blocks + 1
        self.look(self.bench.receive_pre_prepare(number, self.batch(number)))

    def finish(self, count: int, *, leave: int = 0) -> None:
        """A block of the oldest requests, but the first `leave`."""
        kept = [self.requests.popleft() for _ in range(min(leave, len(self.requests)))]
        taken = [self.requests.popleft() for _ in range(min(count, len(self.requests)))]
        self.requests.extendleft(reversed(kept))
        self.blocks += 1
        self.look(committed(self.bench, self.blocks, self.batch(self.blocks)))
        self.look(certified(self.bench, self.blocks))
        for request in taken:
            self.step(RequestGone(request))

    def batch(self, number: int) -> Batch:
        """What the primary proposes for this number, with the time of its first proposal."""
        if number not in self.batches:
            self.batches = {number: a_batch(f"b{number}", self.bench.now_ms)}
        return self.batches[number]

    def wait(self, milliseconds: int) -> None:
        for _ in range(milliseconds // TICK_MS):
            self.bench.now_ms += TICK_MS
            self.step(Tick(self.bench.now_ms))


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("delay_ms", [700, 800, 950])
def test_p16_row32_a_primary_just_under_the_time_out_is_suspected(delay_ms: int) -> None:
    """Each request is ordered in time, and each waits for most of it."""
    backup = Backup()
    while backup.suspected_ms is None:
        assert backup.bench.now_ms - START_MS <= BOUND_MS
        backup.arrive(1)
        backup.wait(delay_ms)
        backup.finish(10)


@pytest.mark.req("G2-07-1")
def test_p16_row32_a_primary_that_leaves_one_request_lying_is_suspected() -> None:
    backup = Backup()
    while backup.suspected_ms is None:
        assert backup.bench.now_ms - START_MS <= BOUND_MS
        backup.arrive(5)
        backup.propose()
        backup.wait(TICK_MS)
        backup.finish(100, leave=1)


@pytest.mark.req("G2-07-1")
def test_p16_row32_a_trickle_in_the_right_order_is_suspected() -> None:
    """Always something under way, oldest first, but a backlog grows that nobody else has left."""
    backup = Backup()
    while backup.suspected_ms is None:
        assert backup.bench.now_ms - START_MS <= BOUND_MS
        backup.arrive(20)
        backup.propose()
        backup.wait(TICK_MS)
        backup.finish(1)


@pytest.mark.req("G2-07-1")
def test_p16_a_primary_that_works_for_less_than_half_of_the_time_is_suspected() -> None:
    """T-9: requests wait, and most of the time nothing is under way."""
    backup = Backup()
    while backup.suspected_ms is None:
        assert backup.bench.now_ms - START_MS <= BOUND_MS
        backup.arrive(1)
        backup.wait(550)
        backup.propose()
        backup.wait(450)
        backup.finish(10)


def test_a_primary_that_works_for_more_than_half_of_the_time_is_not_suspected() -> None:
    """V11."""
    backup = Backup()
    while backup.bench.now_ms - START_MS < 60_000:
        backup.arrive(1)
        backup.wait(450)
        backup.propose()
        backup.wait(550)
        backup.finish(10)
    assert backup.suspected_ms is None


def test_row27_an_idle_primary_is_not_suspected_for_an_hour() -> None:
    backup = Backup()
    for _ in range(720):
        backup.wait(5_000)
        backup.finish(0)
    assert backup.suspected_ms is None


@pytest.mark.parametrize("away_ms", [50, 100, 150])
def test_a_primary_that_is_far_away_is_not_suspected(away_ms: int) -> None:
    """One client in a closed loop: proposals come a round trip after the requests (V11)."""
    backup = Backup()
    while backup.bench.now_ms - START_MS < 60_000:
        backup.arrive(1)
        backup.wait(2 * away_ms)
        backup.propose()
        backup.wait(2 * away_ms)
        backup.finish(10)
        backup.wait(away_ms)
    assert backup.suspected_ms is None


def test_an_overloaded_primary_is_not_suspected_while_its_requests_are_ordered_as_they_came() -> (
    None
):
    """V11: for three seconds thrice as much comes as can be ordered, then it is worked off."""
    backup = Backup()
    for number in range(300):
        backup.arrive(30 if number < 60 else 0)
        backup.propose()
        backup.wait(TICK_MS)
        backup.finish(10)
    assert not backup.requests
    assert backup.suspected_ms is None


def test_a_primary_that_keeps_pace_with_earlier_ones_is_excused_for_as_long_as_it_takes() -> None:
    """V11."""
    fair = Fairness(0)
    now_ms = 0
    for view in range(2):
        for _ in range(400):
            now_ms += 50
            fair.observe(now_ms, 1_000, waits=True, under_way=True)
            for _ in range(10 - view):
                fair.ordered(now_ms - 20_000, now_ms)
        excused = fair.excuses(now_ms - 20_000, now_ms, 1_000, 8_000)
        assert excused == (view == 1), "the first has nothing to be compared with"
        fair.enter_view(now_ms)


def test_a_primary_far_slower_than_earlier_ones_is_not_excused() -> None:
    """V11."""
    fair = Fairness(0)
    for now_ms in range(50, 5_000, 50):
        fair.observe(now_ms, 1_000, waits=True, under_way=True)
        for _ in range(10):
            fair.ordered(now_ms - 500, now_ms)
    fair.enter_view(5_000)
    for now_ms in range(5_050, 8_000, 50):
        fair.observe(now_ms, 1_000, waits=True, under_way=True)
        fair.ordered(now_ms - 2_000, now_ms)
    assert not fair.excuses(5_000, 8_000, 1_000, 8_000)


def test_p16_v11_a_slow_primary_does_not_make_the_next_one_look_good() -> None:
    """It is compared with the fast one before them both, if only at half of that rate."""
    fair, now_ms = Fairness(0), 0
    for each_turn, turns in ((10, 100), (1, 60), (2, 60)):
        entered_ms = now_ms
        for _ in range(turns):
            now_ms += 50
            fair.observe(now_ms, 1_000, waits=True, under_way=True)
            for _ in range(each_turn):
                fair.ordered(now_ms - 500, now_ms)
        excused = fair.excuses(entered_ms, now_ms, 4_000, 8_000)
        fair.enter_view(now_ms)
    assert not excused, "40 a second, where the first came to 200 and half of that counts"


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), min_size=20, max_size=60))
def test_a_primary_that_proposes_what_is_pending_at_once_is_never_suspected(
    turns: list[tuple[int, int]],
) -> None:
    """V11."""
    backup = Backup()
    for arriving, ticks in turns:
        backup.arrive(arriving)
        backup.wait(TICK_MS)
        backup.finish(100)
        backup.wait(ticks * TICK_MS)
    assert backup.suspected_ms is None
    assert backup.bench.core.low_watermark == SequenceNumber(backup.blocks)
