"""Only the front of the queue is timed: a backlog is not the primary's fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.messages import Message, RequestGone, RequestPending
from services.consensus.mempool import Mempool
from services.consensus.timers import FRONT_MAX, LOOKED_AT_MAX, RequestTimers
from tests.unit.node.test_mempool import mempool, take_all, transaction

RESEND_MS = 400


class Bench:
    """Timers over a mempool, and what the core and the primary were told."""

    def __init__(self, count: int, source: int | None = None) -> None:
        self.pool: Mempool = mempool()
        self.entries = [transaction(str(number)) for number in range(count)]
        for entry in self.entries:
            self.pool.add(entry, now_ms=0, source=source)
        self.told: list[Message] = []
        self.passed_on: list[bytes] = []
        self.owed, self.now_ms = True, 0
        self.timers = RequestTimers(
            self.pool,
            self.told.append,
            lambda _: self.owed,
            pass_on=self._pass_on,
            clock_ms=lambda: self.now_ms,
            resend_ms=RESEND_MS,
        )
        self.timers.start()

    def _pass_on(self, transactions: Sequence[AdmittedTransaction]) -> None:
        self.passed_on += [entry.id for entry in transactions]

    def ids(self, begin: int, end: int) -> list[bytes]:
        return [entry.id for entry in self.entries[begin:end]]

    def execute(self, ids: list[bytes]) -> list[Message]:
        """A block with these; what the core is told then."""
        self.told.clear()
        self.timers.stop(self.pool.remove(ids), executed=True)
        self.timers.start()
        return list(self.told)


def timers_of(
    pool: Mempool,
    told: list[Message],
    is_owed: Callable[[AdmittedTransaction], bool] = lambda _: True,
) -> RequestTimers:
    """Of which only what the core is told is looked at."""
    return RequestTimers(
        pool,
        told.append,
        is_owed,
        pass_on=lambda _: None,
        clock_ms=lambda: 0,
        resend_ms=RESEND_MS,
    )


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
    timers = timers_of(pool, told, lambda entry: entry.id not in unowed)
    honest = transaction("honest")
    for entry in (*junk, honest):
        pool.add(entry, now_ms=0)
        timers.start()
    timers.review()
    assert told == pending([honest.id])


def test_who_is_passed_over_beside_full_batches_is_timed_once_he_is_the_oldest() -> None:
    """P16: the primary always has others in batches, more than are timed."""
    pool, told = mempool(), list[Message]()
    timers = timers_of(pool, told)
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


# --- What others passed on -----------------------------------------------------------------------


@pytest.mark.req("G2-07-1", "G2-16-4")
def test_what_a_peer_passed_on_goes_to_the_primary_when_it_is_timed() -> None:
    """pbft.md D5: the peer may have left the primary out."""
    bench = Bench(2 * FRONT_MAX, source=3)
    assert bench.passed_on == bench.ids(0, FRONT_MAX), "no more than is timed"
    bench.execute(bench.ids(0, 2))
    assert bench.passed_on[FRONT_MAX:] == bench.ids(FRONT_MAX, FRONT_MAX + 2)


def test_what_clients_brought_here_went_to_everybody_when_it_came() -> None:
    assert Bench(3).passed_on == []


@pytest.mark.parametrize("source", [None, 3])
def test_what_lies_for_a_resend_interval_is_passed_on_again_unless_it_is_in_a_batch(
    source: int | None,
) -> None:
    """pbft.md D5"""
    bench = Bench(3, source=source)
    bench.passed_on.clear()
    bench.pool.mark_proposed(bench.ids(0, 1))
    bench.now_ms = RESEND_MS - 1
    bench.timers.resend()
    assert bench.passed_on == []
    bench.now_ms = RESEND_MS
    bench.timers.resend()
    bench.timers.resend()
    assert bench.passed_on == bench.ids(1, 3)


def test_a_new_primary_is_told_at_once_of_what_is_timed() -> None:
    """pbft.md D5"""
    bench = Bench(3)
    bench.pool.mark_proposed(bench.ids(0, 1))
    bench.timers.enter_view()
    assert bench.passed_on == bench.ids(1, 3)


@pytest.mark.req("G2-07-1", "G2-16-4")
def test_what_was_released_without_its_predecessor_is_not_timed() -> None:
    """pbft.md D4: at the primary, which heard of it later, it may still wait."""
    pool, told = mempool(predecessor_wait_ms=1_000), list[Message]()
    timers = timers_of(pool, told)
    orphan = transaction("orphan", after=bytes(32))
    successor = transaction("successor", after=orphan.id)
    for entry in (successor, orphan):
        pool.add(entry, now_ms=0)
    assert pool.stop_waiting(1_000)
    timers.start()
    timers.review()
    assert (len(pool.own()), told) == (2, [])


def test_what_follows_a_request_that_is_timed_or_executed_is_timed() -> None:
    """pbft.md D4"""
    executed, told = {bytes(32)}, list[Message]()
    pool = mempool(executed)
    timers = timers_of(pool, told)
    chain = [transaction("0", after=bytes(32))]
    chain += [transaction("1", after=chain[0].id)]
    for entry in chain:
        pool.add(entry, now_ms=0)
    timers.start()
    assert told == pending([entry.id for entry in chain])


def test_what_follows_a_request_that_nobody_is_owed_is_not_timed() -> None:
    """pbft.md D4: the primary is not told of the first, so it may let the second wait for it."""
    pool, told = mempool(), list[Message]()
    first = transaction("first")
    timers = timers_of(pool, told, lambda entry: entry.id != first.id)
    pool.add(first, now_ms=0)
    pool.add(transaction("second", after=first.id), now_ms=0)
    timers.start()
    assert told == []
