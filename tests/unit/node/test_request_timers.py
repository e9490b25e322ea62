"""Only the front of the queue is timed: a backlog is not the primary's fault."""

from __future__ import annotations

import pytest

from services.consensus.domain.messages import Message, RequestGone, RequestPending
from services.consensus.mempool import Mempool
from services.consensus.timers import FRONT_MAX, LOOKED_AT_MAX, RequestTimers
from tests.unit.node.test_mempool import mempool, take_all, transaction


class Bench:
    """Timers over a mempool, and what the core was told."""

    def __init__(self, count: int) -> None:
        self.pool: Mempool = mempool()
        self.entries = [transaction(str(number)) for number in range(count)]
        for entry in self.entries:
            self.pool.add(entry, now_ms=0)
        self.told: list[Message] = []
        self.owed = True
        self.timers = RequestTimers(self.pool, self.told.append, lambda _: self.owed)
        self.timers.start()

    def ids(self, begin: int, end: int) -> list[bytes]:
        return [entry.id for entry in self.entries[begin:end]]

    def execute(self, ids: list[bytes]) -> list[Message]:
        """A block with these; what the core is told then."""
        self.told.clear()
        self.timers.stop(self.pool.remove(ids), executed=True)
        self.timers.start()
        return list(self.told)


def pending(ids: list[bytes]) -> list[Message]:
    return [RequestPending(each) for each in ids]


def test_only_the_front_of_a_long_queue_is_timed() -> None:
    bench = Bench(3 * FRONT_MAX)
    assert bench.told == pending(bench.ids(0, FRONT_MAX))


def test_what_is_executed_makes_room_for_the_next_in_line() -> None:
    bench = Bench(2 * FRONT_MAX)
    told = bench.execute(bench.ids(0, 3))
    assert told[:3] == [RequestGone(each) for each in bench.ids(0, 3)]
    assert told[-3:] == pending(bench.ids(FRONT_MAX, FRONT_MAX + 3))


def test_a_proposed_transaction_keeps_its_timer_until_it_is_executed() -> None:
    bench = Bench(2)
    take_all(bench.pool)
    bench.told.clear()
    bench.timers.review()
    assert bench.told == []


def test_what_waits_goes_on_waiting_when_others_are_executed() -> None:
    """Whether that is the primary's fault is for the core to judge, from when the timer began."""
    bench = Bench(3)
    assert bench.execute(bench.ids(0, 1)) == [RequestGone(bench.entries[0].id)]
    assert bench.execute([bytes(32)]) == []


@pytest.mark.req("G2-07-1")
def test_a_core_that_was_told_nothing_yet_is_told_of_the_front() -> None:
    """pbft.md G6: requests outlive the epoch in which they came."""
    bench = Bench(FRONT_MAX + 3)
    bench.execute(bench.ids(0, 2))
    bench.told.clear()
    bench.timers.restart()
    assert bench.told == pending(bench.ids(2, FRONT_MAX + 2))


def test_nobody_is_suspected_for_what_is_about_to_expire() -> None:
    bench = Bench(2)
    bench.told.clear()
    bench.owed = False
    bench.timers.review()
    assert bench.told == [RequestGone(each, executed=False) for each in bench.ids(0, 2)]


def test_a_transaction_that_left_for_another_reason_is_timed_no_more() -> None:
    bench = Bench(2)
    bench.pool.drop_expired(height=500, block_time_ms=0)
    bench.told.clear()
    bench.timers.review()
    assert bench.told == [RequestGone(each, executed=False) for each in bench.ids(0, 2)]


def test_those_that_nobody_is_owed_hide_no_other_however_many_they_are() -> None:
    """B25: a client and a primary together would blind the timers of everybody."""
    pool, told = mempool(), list[Message]()
    junk = [transaction(f"junk {number}") for number in range(3 * LOOKED_AT_MAX)]
    unowed = {entry.id for entry in junk}
    timers = RequestTimers(pool, told.append, lambda entry: entry.id not in unowed)
    honest = transaction("honest")
    for entry in (*junk, honest):
        pool.add(entry, now_ms=0)
        timers.start()
    timers.review()
    assert told == pending([honest.id])


def test_who_is_passed_over_beside_full_batches_is_timed_once_he_is_the_oldest() -> None:
    """P16: the primary always has others in batches, more than are timed."""
    pool, told = mempool(), list[Message]()
    timers = RequestTimers(pool, told.append, lambda _: True)
    batches = [[transaction(f"{batch}/{n}") for n in range(2 * FRONT_MAX)] for batch in range(6)]
    victim = transaction("victim")
    in_flight: list[list[bytes]] = []
    for number, batch in enumerate(batches):
        for entry in batch:
            pool.add(entry, now_ms=0)
        if number == 1:
            pool.add(victim, now_ms=0)
        ids = [entry.id for entry in batch]
        pool.mark_proposed(ids)
        in_flight.append(ids)
        timers.start()
        if len(in_flight) > 2:
            timers.stop(pool.remove(in_flight.pop(0)), executed=True)
            timers.start()
    assert RequestPending(victim.id) in told
