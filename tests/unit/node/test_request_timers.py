"""A backlog is not the primary's fault; passing somebody over, and dawdling, are."""

from __future__ import annotations

import pytest

from services.consensus.domain.messages import Message, RequestGone, RequestPending
from services.consensus.mempool import Mempool
from services.consensus.timers import FRONT_MAX, OVERTAKEN_MAX, RequestTimers
from tests.unit.node.test_mempool import mempool, take_all, transaction

PATIENCE_MS = 8_000


class Bench:
    """Timers over a mempool, and what the core was told."""

    def __init__(self, count: int) -> None:
        self.pool: Mempool = mempool()
        self.entries = [transaction(str(number)) for number in range(count)]
        for entry in self.entries:
            self.pool.add(entry, now_ms=0)
        self.told: list[Message] = []
        self.owed = True
        self.timers = RequestTimers(
            self.pool, self.told.append, lambda _: self.owed, patience_ms=PATIENCE_MS
        )
        self.timers.start(0)

    def ids(self, begin: int, end: int) -> list[bytes]:
        return [entry.id for entry in self.entries[begin:end]]

    def execute(self, ids: list[bytes], now_ms: int) -> list[Message]:
        """A block with these; what the core is told then."""
        self.told.clear()
        self.timers.executed(self.pool.remove(ids), now_ms)
        self.timers.start(now_ms)
        return list(self.told)


def pending(ids: list[bytes]) -> list[Message]:
    return [RequestPending(each) for each in ids]


def test_only_the_front_of_a_long_queue_is_timed() -> None:
    bench = Bench(3 * FRONT_MAX)
    assert bench.told == pending(bench.ids(0, FRONT_MAX))


def test_what_is_executed_makes_room_for_the_next_in_line() -> None:
    bench = Bench(2 * FRONT_MAX)
    told = bench.execute(bench.ids(0, 3), now_ms=10)
    assert told[:3] == [RequestGone(each) for each in bench.ids(0, 3)]
    assert told[-3:] == pending(bench.ids(FRONT_MAX, FRONT_MAX + 3))


def test_a_proposed_transaction_keeps_its_timer_until_it_is_executed() -> None:
    bench = Bench(2)
    take_all(bench.pool)
    bench.told.clear()
    bench.timers.review(100)
    assert bench.told == []


@pytest.mark.req("G2-07-1")
def test_progress_starts_the_timers_of_the_others_anew() -> None:
    bench = Bench(3)
    told = bench.execute(bench.ids(0, 1), now_ms=PATIENCE_MS - 1)
    late = bench.ids(1, 3)
    assert told[1:] == [each for one in late for each in (RequestGone(one), RequestPending(one))]


@pytest.mark.req("G2-07-1")
def test_a_block_without_any_of_ours_is_no_progress() -> None:
    bench = Bench(3)
    assert bench.execute([bytes(32)], now_ms=10) == []


@pytest.mark.req("G2-07-1")
def test_a_request_that_waits_at_the_front_for_too_long_gets_no_more_time() -> None:
    bench = Bench(3)
    told = bench.execute(bench.ids(0, 1), now_ms=PATIENCE_MS)
    assert told == [RequestGone(bench.entries[0].id)]


@pytest.mark.req("G2-07-1")
def test_a_request_that_many_others_overtook_gets_no_more_time() -> None:
    bench = Bench(OVERTAKEN_MAX + 2)
    starved = bench.entries[0].id
    assert RequestPending(starved) in bench.execute(bench.ids(1, OVERTAKEN_MAX), now_ms=10)
    told = bench.execute(bench.ids(OVERTAKEN_MAX, OVERTAKEN_MAX + 1), now_ms=20)
    assert RequestPending(starved) not in told
    assert RequestGone(starved) not in told


def test_nobody_is_suspected_for_what_is_about_to_expire() -> None:
    bench = Bench(2)
    bench.told.clear()
    bench.owed = False
    bench.timers.review(100)
    assert bench.told == [RequestGone(each) for each in bench.ids(0, 2)]


def test_a_transaction_that_left_for_another_reason_is_timed_no_more() -> None:
    bench = Bench(2)
    bench.pool.drop_expired(height=500, block_time_ms=0)
    bench.told.clear()
    bench.timers.review(100)
    assert bench.told == [RequestGone(each) for each in bench.ids(0, 2)]
