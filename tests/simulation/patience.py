"""What a replica's patience owes: no vote for a time that its clock excludes (B27), no primary that
leaves requests waiting (B7, P16), no time-out that stays long though a view holds (P7).

Measured beside the core, from what it was told and what waits in its pool, with some margin.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from services.consensus.domain.messages import Prepare, SequenceNumber, Tick
from services.consensus.domain.replica import Replica

if TYPE_CHECKING:
    from tests.simulation.machine import Machine

SLOW_TIMEOUTS: Final = 8
IDLE_SHARE_MAX: Final = 0.6
"""Requests may wait with nothing under way for half of eight time-outs; here a bit more."""
STEADY_TIMEOUTS: Final = 9
"""A view that holds for eight makes the time-out fall back with the next block; here one more."""


class Patience:
    """One replica's, from one start or view change to the next."""

    def __init__(self, bound_ms: int, timeout_ms: int) -> None:
        self._bound_ms = bound_ms
        self._shortest_ms = timeout_ms
        self._clock_ms: int | None = None
        self._place: tuple[Replica, int, int] | None = None
        self._since_ms = self._seen_ms = 0
        self._idle: deque[tuple[int, int]] = deque()

    def hear(self, message: Tick) -> None:
        """What the clock says."""
        self._clock_ms = message.now_ms

    def vote_fault(self, machine: Machine, core: Replica, vote: Prepare) -> str | None:
        """A first proposal gets a vote only where the clock allows its time, or its predecessor has
        that time already.
        """
        entries = core._ordering.entries
        entry = entries.get(vote.sequence)
        if entry is None or entry.proposal is None or entry.proposal.again:
            return None
        batch, ledger = entry.batch(vote.digest), machine.ledger
        if batch is None or self._clock_ms is None:
            return "votes before it knows the batch or the time"
        height = min(ledger.last_height, vote.sequence - 1)
        latest_ms = ledger.header(height).block_time_ms
        for number in range(height + 1, vote.sequence):
            earlier = entries.get(SequenceNumber(number))
            wanted = None if earlier is None else earlier.wanted()
            held = None if earlier is None or wanted is None else earlier.batch(wanted)
            latest_ms = max(latest_ms, 0 if held is None else held.block_time_ms)
        latest_ms = max(latest_ms, self._clock_ms + self._bound_ms)
        if self._clock_ms - self._bound_ms <= batch.block_time_ms <= latest_ms:
            return None
        return f"votes for time {batch.block_time_ms} at {self._clock_ms}"

    def block_fault(self, core: Replica) -> str | None:
        """A block is final by its own view's votes: is the time-out still what it was long ago?"""
        timeout_ms = core._suspicion.timeout_ms
        place, now_ms = (core, core.view, timeout_ms), core._suspicion.now_ms
        held = place == self._place and core.active and timeout_ms > self._shortest_ms
        if held and now_ms - self._since_ms > STEADY_TIMEOUTS * timeout_ms:
            return f"keeps the time-out of {timeout_ms} ms though its view holds"
        return None

    def step_fault(self, machine: Machine, core: Replica) -> str | None:
        """After each step: does it bear a primary that leaves requests waiting?"""
        suspicion = core._suspicion
        now_ms, timeout_ms = suspicion.now_ms, suspicion.timeout_ms
        place = core, core.view, timeout_ms
        if place != self._place or not core.active:
            self._place, self._since_ms, self._seen_ms = place, now_ms, now_ms
            self._idle.clear()
            return None
        if now_ms == self._seen_ms:
            return None
        under_way = core._ordering.accepted_through > core.low_watermark
        if machine.requests.pool.waits and not under_way:
            self._idle.append((now_ms, now_ms - self._seen_ms))
        self._seen_ms = now_ms
        whole_ms = SLOW_TIMEOUTS * timeout_ms
        while self._idle and self._idle[0][0] <= now_ms - whole_ms:
            self._idle.popleft()
        idle_ms = sum(passed_ms for _, passed_ms in self._idle)
        if idle_ms <= IDLE_SHARE_MAX * whole_ms or core.primary == machine.me or core._suspects:
            return None
        return f"bears a primary that left requests waiting for {idle_ms} of {whole_ms} ms"
