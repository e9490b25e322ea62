"""When blocks come too slowly to be waited for (pbft.md, T1 and T2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.consensus.block_pace import (
    BLOCKS_MIN,
    TEN_SECONDS_STEPS,
    BlockPace,
    Pace,
    said_by_one_honest,
)
from services.consensus.domain.messages import ReplicaId
from tests.simulation.keys import replica_set

WINDOW = 8
FAR = 629

pytestmark = pytest.mark.req("G2-13-2")


class Way:
    """A replica on its way, step by step; blocks come by periods."""

    def __init__(self, there: int | None, periods: int = 1) -> None:
        self.steps = periods * TEN_SECONDS_STEPS
        self.pace = BlockPace(self.steps, WINDOW)
        self.here, self.there = 0, there
        assert self.pace.step(self.here, there) is None

    def period(self, blocks: int, made: int = 0) -> list[Pace]:
        """All that is judged while so many blocks come, half way, and the others make so many."""
        judged = []
        for step in range(self.steps):
            if step == self.steps // 2:
                self.here += blocks
                self.there = None if self.there is None else self.there + made
            judged.append(self.pace.step(self.here, self.there))
        return [each for each in judged if each is not None]


def test_t1_where_no_block_comes_it_is_slow_after_ten_seconds_and_stays_so() -> None:
    way = Way(FAR)
    assert way.period(0) == [Pace.SLOW]
    assert way.period(0) == [Pace.SLOW] * TEN_SECONDS_STEPS


def test_t1_ten_seconds_count_from_the_last_block() -> None:
    way = Way(FAR)
    assert way.period(100) == [Pace.FAIR]
    judged = way.period(0)
    assert judged[0] is Pace.SLOW
    assert len(judged) > TEN_SECONDS_STEPS // 2 - 2


@pytest.mark.parametrize(
    ("blocks", "pace"), [(1, Pace.SLOW), (BLOCKS_MIN - 1, Pace.SLOW), (BLOCKS_MIN, Pace.FAIR)]
)
def test_t1_a_block_now_and_then_is_no_progress(blocks: int, pace: Pace) -> None:
    way = Way(FAR)
    for _ in range(5):
        assert way.period(blocks) == [pace]


@pytest.mark.parametrize(
    ("made", "pace"), [(0, Pace.FAIR), (99, Pace.FAIR), (100, Pace.SLOW), (101, Pace.SLOW)]
)
def test_t1_blocks_that_bring_it_no_nearer_are_no_progress(made: int, pace: Pace) -> None:
    way = Way(FAR)
    for _ in range(5):
        assert way.period(100, made) == [pace]


@pytest.mark.parametrize(("blocks", "pace"), [(999, Pace.SLOW), (1_000, Pace.FAIR)])
def test_t1_the_way_is_made_within_a_day(blocks: int, pace: Pace) -> None:
    way = Way(8_640 * 1_000)
    for _ in range(5):
        assert way.period(blocks) == [pace]


def test_t1_who_is_level_needs_no_more_than_what_the_others_make() -> None:
    way = Way(WINDOW)
    for _ in range(5):
        assert way.period(1, 1) == [Pace.FAIR]
    way = Way(WINDOW + 1)
    for _ in range(5):
        assert way.period(100, 100) == [Pace.SLOW]


def test_t1_where_few_blocks_are_missing_few_may_come() -> None:
    way = Way(BLOCKS_MIN + 1)
    assert way.period(1) == [Pace.FAIR]
    assert way.period(0)[0] is Pace.SLOW


def test_t1_where_nobody_knows_how_far_it_is_every_block_counts() -> None:
    way = Way(None)
    assert way.period(1) == [Pace.FAIR]
    way.there = FAR
    assert way.period(1) == [Pace.FAIR], "it was not known when the period began"
    assert way.period(1) == [Pace.SLOW]


def test_t1_a_lower_height_that_is_said_later_brings_nobody_nearer() -> None:
    way = Way(FAR)
    assert way.period(BLOCKS_MIN) == [Pace.FAIR]
    assert way.period(BLOCKS_MIN, made=BLOCKS_MIN) == [Pace.SLOW]
    way = Way(FAR)
    way.period(100, made=-200)
    assert way.period(100, made=200) == [Pace.FAIR], "the others made nothing since"
    assert way.period(100, made=100) == [Pace.SLOW]


def test_t1_a_way_that_begins_anew_begins_where_the_replica_is() -> None:
    way = Way(8_640 * 1_000)
    way.here = 8_640 * 1_000 - FAR
    way.pace.begin_anew()
    assert way.period(BLOCKS_MIN) == []
    assert way.period(BLOCKS_MIN) == [Pace.FAIR]


@pytest.mark.parametrize(("blocks", "pace"), [(1, Pace.SLOW), (47, Pace.SLOW), (48, Pace.FAIR)])
def test_t2_half_a_minute_is_judged_by_the_same_pace(blocks: int, pace: Pace) -> None:
    way = Way(FAR, periods=3)
    for _ in range(3):
        assert way.period(blocks) == [pace]


@pytest.mark.parametrize(
    ("heights", "said"),
    [
        ({}, None),
        ({0: 9}, None),
        ({0: 9, 1: 10**18}, 9),
        ({0: 9, 1: 10**18, 2: 7}, 9),
        ({0: 9, 1: 0, 2: 7}, 7),
        ({0: 9, 4: 8}, None),
    ],
)
def test_f_liars_do_not_say_alone_where_the_others_are(
    heights: dict[int, int], said: int | None
) -> None:
    known = {ReplicaId(peer): height for peer, height in heights.items()}
    assert said_by_one_honest(replica_set(4), known) == said


def test_what_a_jailed_member_says_does_not_count() -> None:
    jailing = replace(replica_set(5), jailed=(1,))
    known = {ReplicaId(peer): 10 + peer for peer in range(3)}
    assert said_by_one_honest(jailing, known) == 10
