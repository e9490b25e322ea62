"""Whether a primary that makes progress makes too little of it, or for the wrong requests.

A backup sees what is pending and what is ordered (the idea of RBFT, without its spare instances).
A primary is slow if requests wait while it has nothing under way for more than half of the time:
one that is honest proposes at once, and one that works for half of it does half the work. A late
request is excused only on a chain that works to capacity: requests are ordered as they came,
something is always under way, and not at less than half the rate of an earlier primary; while no
other is known, no longer than the longest time-out (reliability P16).
"""

from __future__ import annotations

from collections import deque
from typing import Final

SLOW_TIMEOUTS: Final = 8
"""The primary is judged over so many time-outs."""

IDLE_SHARE_MAX: Final = (1, 2)
"""The share of that time which it may leave requests waiting with nothing under way."""

RATE_MS: Final = 1_000
"""Requests are counted over so much time."""


class Fairness:
    """What one view's primary did with the requests that this backup knows."""

    def __init__(self, now_ms: int) -> None:
        self._entered_ms = now_ms
        self._newest_ordered_ms = now_ms
        self._seen_ms = now_ms
        self._idle: deque[tuple[int, int]] = deque()
        self._idle_ms = 0
        self._ordered: deque[int] = deque()
        self._rate_best = 0
        self._rate_others = 0

    def enter_view(self, now_ms: int) -> None:
        """Another primary: it is judged by itself, and against the rate of those before it."""
        self._rate_others = max(self._rate_best, self._rate_others // 2)
        self._entered_ms = self._newest_ordered_ms = self._seen_ms = now_ms
        self._idle.clear()
        self._ordered.clear()
        self._idle_ms = self._rate_best = 0

    def ordered(self, pending_since_ms: int, now_ms: int) -> None:
        """A request that was pending since then is executed."""
        self._newest_ordered_ms = max(self._newest_ordered_ms, pending_since_ms)
        self._ordered.append(now_ms)

    def observe(self, now_ms: int, timeout_ms: int, *, waits: bool, under_way: bool) -> None:
        """Time passed: do requests wait, and is a proposal under way?"""
        passed_ms, self._seen_ms = now_ms - self._seen_ms, now_ms
        if waits and not under_way and passed_ms > 0:
            self._idle.append((now_ms, passed_ms))
            self._idle_ms += passed_ms
        while self._idle and self._idle[0][0] <= now_ms - SLOW_TIMEOUTS * timeout_ms:
            self._idle_ms -= self._idle.popleft()[1]
        while self._ordered and self._ordered[0] <= now_ms - RATE_MS:
            self._ordered.popleft()
        self._rate_best = max(self._rate_best, len(self._ordered))

    def is_slow(self, timeout_ms: int) -> bool:
        """Whether requests waited with nothing under way for most of the time it is judged over."""
        share, whole = IDLE_SHARE_MAX
        return whole * self._idle_ms > share * SLOW_TIMEOUTS * timeout_ms

    def excuses(self, oldest_ms: int, now_ms: int, timeout_ms: int, patience_ms: int) -> bool:
        """Whether the oldest pending request is late only because there is too much to do."""
        oldest_ms = max(oldest_ms, self._entered_ms)
        if self._newest_ordered_ms - oldest_ms > timeout_ms:
            return False  # Others that came much later were ordered: it is starved.
        if not self._ordered or 2 * self._idle_ms > timeout_ms:
            return False
        if self._rate_others:
            return 2 * len(self._ordered) >= self._rate_others
        return now_ms - oldest_ms <= patience_ms
