"""How long a view may stand still: doubled by every view change, taken back by what was seen since.

A time-out is halved as soon as a view that certifies heights has shown for one time-out that half
of it leaves room; else it takes eight (docs/adr/0018): a machine that was too slow a moment ago,
and whose blocks or requests still wait, most likely still is. Where haste was wrong, because the
view was left after all, the next one takes twice as long.
"""

from __future__ import annotations

from typing import Final

from services.consensus.domain.messages import ProtocolParameters

STEADY_TIMEOUTS: Final = 8
"""How many time-outs a view holds before the time-out is halved, whatever waited in it."""
ROOM: Final = 4
"""So many of the longest waits fit into a time-out that may be halved sooner: two into its half."""


class Timeout:
    """`now_ms` is the timers' time, which only grows."""

    def __init__(self, parameters: ProtocolParameters, now_ms: int) -> None:
        self.attempts = 0
        self._parameters = parameters
        self._entered_ms = self._since_ms = now_ms
        self._longest_wait_ms = 0
        self._haste_timeouts = 1
        self._hastened = False

    @property
    def value_ms(self) -> int:
        """The present time-out: the first one or a doubling of it, up to the longest."""
        parameters = self._parameters
        if self.attempts <= 1:
            return parameters.timeout_ms
        return min(parameters.timeout_ms << self.attempts - 1, parameters.timeout_max_ms)

    def leave_view(self) -> None:
        """The view stood still for too long: wait longer than the last time, up to the bound."""
        if self.value_ms < self._parameters.timeout_max_ms:
            self.attempts += 1
        if self._hastened:
            self._haste_timeouts = min(2 * self._haste_timeouts, STEADY_TIMEOUTS)
            self._hastened = False

    def enter_view(self, now_ms: int) -> None:
        """Another primary: what waited under the one before says nothing of it."""
        self._entered_ms = now_ms
        self._begin(now_ms)

    def waited(self, wait_ms: int) -> None:
        """So long has something stood still, or waited for the primary, until now."""
        self._longest_wait_ms = max(self._longest_wait_ms, wait_ms)

    def progress(self, now_ms: int) -> None:
        """A block became final in the view."""
        if now_ms - self._entered_ms >= STEADY_TIMEOUTS * self._parameters.timeout_max_ms:
            self._haste_timeouts, self._hastened = 1, False
        has_room = ROOM * self._longest_wait_ms <= self.value_ms
        timeouts = self._haste_timeouts if has_room else STEADY_TIMEOUTS
        if self.attempts > 0 and now_ms - self._since_ms >= timeouts * self.value_ms:
            self.attempts -= 1
            self._hastened |= timeouts < STEADY_TIMEOUTS
            self._begin(now_ms)

    def _begin(self, now_ms: int) -> None:
        self._since_ms, self._longest_wait_ms = now_ms, 0
