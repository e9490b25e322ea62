"""Whether a primary proposes empty batches without a pause, which would fill the chain and disks.

An honest one proposes an empty batch when it was quiet for a heartbeat interval, and at the end of
an epoch. Its block time tells a backup nothing of that: clocks differ, and one that was ahead holds
the block time still. So a backup counts by its own time what it accepts. Twice the rate of
heartbeats is borne for long; and two windows at once, because what an honest primary proposed in
its time arrives together behind a bad link, and so does what it proposes for an end that the backup
does not know yet: a window of each at most, for nobody proposes further ahead (reliability P16).
"""

from __future__ import annotations

from typing import Final

from services.consensus.domain.messages import ProtocolParameters

RATE_MAX: Final = 2
"""Empty batches in a heartbeat interval, for long: timers of two machines run apart."""
WINDOWS_AT_ONCE: Final = 2


class EmptyBatches:
    """Those of one view's primary; times are the timers', in milliseconds."""

    def __init__(self, parameters: ProtocolParameters, now_ms: int) -> None:
        self._each_ms = max(parameters.heartbeat_ms // RATE_MAX, 1)
        self._borne_ms = WINDOWS_AT_ONCE * parameters.window * self._each_ms
        self._paid_ms = now_ms

    def enter_view(self, now_ms: int) -> None:
        """Another primary: it is judged by itself."""
        self._paid_ms = now_ms

    def accepted(self, now_ms: int) -> None:
        """One more was accepted; it should have taken its time."""
        self._paid_ms = max(self._paid_ms, now_ms) + self._each_ms

    def too_many(self, now_ms: int) -> bool:
        """Whether more were accepted than an honest primary proposes."""
        return self._paid_ms - now_ms > self._borne_ms
