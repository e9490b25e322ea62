"""Little's law: what is in progress and what may wait follow the rates that were measured."""

from __future__ import annotations

import pytest

from services.consensus.pacing import (
    BATCH_SECONDS_TARGET,
    IN_FLIGHT_TRANSACTIONS_FIRST,
    IN_FLIGHT_TRANSACTIONS_MAX,
    IN_FLIGHT_TRANSACTIONS_MIN,
    RATE_FIRST,
    RATE_WINDOW_SECONDS,
    WAIT_SECONDS_TARGET,
    WAITING_MIN,
    AdmissionLimit,
    InFlightLimit,
)

QUICK, SLOW = BATCH_SECONDS_TARGET / 10, BATCH_SECONDS_TARGET * 4


def test_quick_batches_let_more_be_in_progress_up_to_a_bound() -> None:
    limit = InFlightLimit()
    seen = []
    for _ in range(40):
        limit.hold_back()
        limit.note_batch(QUICK)
        seen.append(limit.value)
    assert seen == sorted(seen)
    assert limit.value == IN_FLIGHT_TRANSACTIONS_MAX


def test_a_limit_that_holds_nobody_back_does_not_rise() -> None:
    limit = InFlightLimit()
    for _ in range(40):
        limit.note_batch(QUICK)
    assert limit.value == IN_FLIGHT_TRANSACTIONS_FIRST


def test_a_slow_batch_at_most_halves_the_limit_and_never_below_the_least() -> None:
    limit = InFlightLimit()
    for _ in range(40):
        limit.hold_back()
        limit.note_batch(QUICK)
    limit.note_batch(1_000 * SLOW)
    assert limit.value == IN_FLIGHT_TRANSACTIONS_MAX // 2
    for _ in range(40):
        limit.note_batch(SLOW)
    assert limit.value == IN_FLIGHT_TRANSACTIONS_MIN


def test_one_batch_never_takes_all_that_may_be_in_progress() -> None:
    limit = InFlightLimit()
    assert 0 < limit.batch <= limit.value // 2


def under_load(limit: AdmissionLimit, rate: float, seconds: float) -> None:
    """Blocks at `rate` transactions a second while more wait."""
    now, count = 0.0, int(rate * RATE_WINDOW_SECONDS)
    while now <= seconds:
        limit.note_executed(count, backlog=True, now=now)
        now += RATE_WINDOW_SECONDS


@pytest.mark.req("G2-13-2")
def test_as_many_may_wait_as_are_executed_in_the_target_time() -> None:
    limit = AdmissionLimit()
    under_load(limit, rate=4_000, seconds=20)
    assert limit.value == pytest.approx(4_000 * WAIT_SECONDS_TARGET, rel=0.01)


def test_on_a_slow_machine_a_few_streams_may_still_wait() -> None:
    limit = AdmissionLimit()
    under_load(limit, rate=10, seconds=20)
    assert limit.value == WAITING_MIN


def test_a_quiet_hour_says_nothing_about_the_rate() -> None:
    limit = AdmissionLimit()
    for number in range(100):
        limit.note_executed(1, backlog=False, now=36.0 * number)
    assert limit.value == RATE_FIRST * WAIT_SECONDS_TARGET
