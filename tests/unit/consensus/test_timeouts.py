"""Time-outs fall back as fast as what was seen in the view allows: pbft.md V8, ADR 0018."""

from __future__ import annotations

import pytest

from services.consensus.domain import suspicion
from services.consensus.domain.messages import RequestGone, RequestPending
from services.consensus.domain.suspicion import Suspicion
from services.consensus.domain.timeout import STEADY_TIMEOUTS, Timeout
from tests.unit.consensus.test_slow_primary import DEFAULTS

pytestmark = pytest.mark.req("G2-07-1")

TICK_MS = 50
FIRST_MS, LONGEST_MS = DEFAULTS.timeout_ms, DEFAULTS.timeout_max_ms


class View:
    """A view that begins after an outage which took the time-out to its bound."""

    def __init__(self) -> None:
        self.suspicion = Suspicion(DEFAULTS, 0)
        self.clock_ms = 0
        self.suspicion.tick(0)
        while self.timeout_ms < LONGEST_MS:
            self.suspicion.leave_view()
        self.suspicion.enter_view()

    @property
    def timeout_ms(self) -> int:
        return self.suspicion.timeout_ms

    def blocks(self, during_ms: int, *, every_ms: int, taking_ms: int) -> list[int]:
        """A block every `every_ms` that was under way for `taking_ms`; the time-outs meanwhile."""
        seen = [self.timeout_ms]
        for _ in range(during_ms // every_ms):
            for passed_ms in range(TICK_MS, every_ms + 1, TICK_MS):
                self.clock_ms += TICK_MS
                self.suspicion.tick(self.clock_ms, under_way=passed_ms > every_ms - taking_ms)
            self.suspicion.progress()
            if self.timeout_ms != seen[-1]:
                seen.append(self.timeout_ms)
        return seen


def test_steady_quick_blocks_bring_the_first_time_out_back_within_fifteen_seconds() -> None:
    """V8."""
    assert View().blocks(15_000, every_ms=500, taking_ms=100) == [8_000, 4_000, 2_000, 1_000]


def test_heartbeats_alone_bring_the_first_time_out_back_within_twenty_seconds() -> None:
    """V8."""
    view = View()
    assert view.blocks(20_000, every_ms=DEFAULTS.heartbeat_ms, taking_ms=100)[-1] == FIRST_MS


def test_blocks_that_need_more_than_half_of_the_next_time_out_halve_it_slowly() -> None:
    """A crowded machine keeps the time-out that it needs for eight of them (row 29) (V8)."""
    view = View()
    assert view.blocks(36_000, every_ms=1_500, taking_ms=1_500) == [8_000, 4_000]
    assert view.blocks(9_000, every_ms=1_500, taking_ms=1_500) == [4_000, 2_000]


def test_a_request_that_waits_long_is_a_sign_of_a_slow_machine_as_well() -> None:
    """V8."""
    view = View()
    view.suspicion.on_request(RequestPending(b"waits"))
    assert view.blocks(60_000, every_ms=500, taking_ms=100) == [8_000]
    assert view.blocks(5_000, every_ms=500, taking_ms=100) == [8_000, 4_000]


def test_one_block_after_the_other_is_no_long_wait() -> None:
    """Under load something is always under way, and each block is progress (V8)."""
    view = View()
    assert view.blocks(15_000, every_ms=200, taking_ms=200)[-1] == FIRST_MS


def test_nothing_falls_back_without_a_certified_height() -> None:
    """V8."""
    timeout = Timeout(DEFAULTS, 0)
    for _ in range(5):
        timeout.leave_view()
    timeout.enter_view(0)
    assert timeout.value_ms == LONGEST_MS
    timeout.progress(LONGEST_MS - 1)
    assert timeout.value_ms == LONGEST_MS, "and not by a view that is hardly entered"
    timeout.progress(LONGEST_MS)
    assert timeout.value_ms == LONGEST_MS // 2


def time_to_fall(timeout: Timeout, now_ms: int) -> int:
    """How long quick blocks take until the time-out is halved."""
    before, began_ms = timeout.value_ms, now_ms
    while timeout.value_ms == before:
        now_ms += TICK_MS
        timeout.progress(now_ms)
    return now_ms - began_ms


def wait(view: Suspicion, clock_ms: int, during_ms: int) -> int:
    """Let time pass; where the clock stands then."""
    for _ in range(during_ms // TICK_MS):
        clock_ms += TICK_MS
        view.tick(clock_ms)
    return clock_ms


def test_v8_the_timer_for_a_new_view_is_not_that_of_the_view_before() -> None:
    """It starts when a quorum asks for the next one, however long the last was waited for."""
    view = View().suspicion
    view.quorum_since_ms = view.now_ms
    clock_ms = wait(view, 0, LONGEST_MS + TICK_MS)
    assert view.new_view_late()
    view.leave_view()
    assert not view.new_view_late()
    wait(view, clock_ms, 5 * LONGEST_MS)
    assert not view.new_view_late(), "nobody asked for it yet"


def test_v8_a_view_that_is_entered_waits_for_no_new_view() -> None:
    view = View().suspicion
    view.quorum_since_ms = view.now_ms
    clock_ms = wait(view, 0, LONGEST_MS)
    assert not view.new_view_late()
    view.enter_view()
    wait(view, clock_ms, 5 * LONGEST_MS)
    assert not view.new_view_late(), "it came"


def test_haste_that_was_wrong_takes_twice_as_long_the_next_time_up_to_the_slow_pace() -> None:
    """V8: a machine stalls again and again; each stall leaves the view at the shorter time-out."""
    timeout, now_ms, taken = Timeout(DEFAULTS, 0), 0, []
    for _ in range(3):
        timeout.leave_view()
    for _ in range(6):
        timeout.enter_view(now_ms)
        whole_ms = timeout.value_ms
        fell_ms = time_to_fall(timeout, now_ms)
        now_ms += fell_ms
        taken.append(fell_ms // whole_ms)
        timeout.leave_view()
    assert taken == [1, 2, 4, 8, 8, 8]
    assert STEADY_TIMEOUTS == 8


def test_a_view_that_holds_for_long_makes_up_for_earlier_haste() -> None:
    """V8."""
    timeout = Timeout(DEFAULTS, 0)
    for _ in range(3):
        timeout.leave_view()
    timeout.enter_view(0)
    now_ms = time_to_fall(timeout, 0)
    timeout.leave_view()
    timeout.enter_view(now_ms)
    assert time_to_fall(timeout, now_ms) == 2 * 4_000
    now_ms += 2 * STEADY_TIMEOUTS * LONGEST_MS
    for _ in range(4):
        now_ms += LONGEST_MS
        timeout.progress(now_ms)
    assert timeout.attempts == 0
    for _ in range(3):
        timeout.leave_view()
    timeout.enter_view(now_ms)
    assert time_to_fall(timeout, now_ms) == 4_000


def test_of_too_many_pending_requests_the_oldest_keep_their_timers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """V11, D4."""
    monkeypatch.setattr(suspicion, "PENDING_REQUESTS_MAX", 2)
    timers = Suspicion(DEFAULTS, 0)
    for number in range(4):
        timers.on_request(RequestPending(b"request %d" % number))
    assert list(timers._pending) == [b"request 0", b"request 1"]
    timers.on_request(RequestGone(b"request 0"))
    timers.on_request(RequestPending(b"request 3"))
    assert list(timers._pending) == [b"request 1", b"request 3"], "there is room again"


def test_v11_what_is_dropped_is_no_work_of_the_primary() -> None:
    """Else a late one that expires would tell that the primary left older ones lying for it."""
    for executed in (True, False):
        timers = Suspicion(DEFAULTS, 0)
        timers.on_request(RequestPending(b"done"))
        timers.on_request(RequestPending(b"oldest"))
        for clock_ms in range(0, 2 * DEFAULTS.timeout_ms + 1, 50):
            timers.tick(clock_ms, under_way=True)
        timers.on_request(RequestGone(b"done"))
        timers.on_request(RequestPending(b"late"))
        timers.on_request(RequestGone(b"late", executed=executed))
        fairness = timers._fairness
        excused = fairness.excuses(0, timers.now_ms, DEFAULTS.timeout_ms, DEFAULTS.timeout_max_ms)
        assert excused is not executed
