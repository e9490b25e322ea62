"""How many transactions a primary keeps in progress, and how many a replica lets wait: Little's law
on measured rates.

What is in progress takes (transactions / rate) seconds, so past the rate that the replicas reach,
more in progress only makes each wait longer, until time-outs fire. The limit falls when a batch
takes longer than the target from proposal to execution, and rises while that is kept and the limit
was what held the primary back.
"""

from __future__ import annotations

from typing import Final

IN_FLIGHT_TRANSACTIONS_MIN: Final = 200
"""Below this, what a block costs by itself weighs so much that a backlog makes itself longer."""
IN_FLIGHT_TRANSACTIONS_FIRST: Final = 200
"""Few: a new primary does not know yet how fast this machine is."""
IN_FLIGHT_TRANSACTIONS_MAX: Final = 1_000
BATCH_SECONDS_TARGET: Final = 0.5
FALL_MIN: Final = 0.5
"""One slow batch at most halves the limit."""
RISE: Final = 1.1
RISE_FAST: Final = 1.5
"""While batches take less than half the target."""
WAIT_SECONDS_TARGET: Final = 2.0
WAITING_MIN: Final = 500
"""So much may always wait. Much more, and a slow machine verifies what waits while blocks come too
late, and primaries are replaced for it.
"""
RATE_FIRST: Final = 250.0
RATE_WINDOW_SECONDS: Final = 0.5


class InFlightLimit:
    """`value` is the limit in transactions."""

    def __init__(self) -> None:
        self._limit = float(IN_FLIGHT_TRANSACTIONS_FIRST)
        self._held_back = False

    @property
    def value(self) -> int:
        """The most that may be in progress."""
        return int(self._limit)

    @property
    def batch(self) -> int:
        """The most for one batch: two in progress keep verification and agreement both busy."""
        return max(self.value // 2, 1)

    def hold_back(self) -> None:
        """The primary would have proposed more."""
        self._held_back = True

    def note_batch(self, seconds: float) -> None:
        """An own batch was executed, so long after its proposal."""
        if seconds > BATCH_SECONDS_TARGET:
            fallen = self._limit * max(BATCH_SECONDS_TARGET / seconds, FALL_MIN)
            self._limit = max(fallen, float(IN_FLIGHT_TRANSACTIONS_MIN))
        elif self._held_back:
            rise = RISE_FAST if seconds < BATCH_SECONDS_TARGET / 2 else RISE
            self._limit = min(self._limit * rise, float(IN_FLIGHT_TRANSACTIONS_MAX))
        self._held_back = False


class AdmissionLimit:
    """How many transactions may wait here before clients are told to come again: what is executed
    in `WAIT_SECONDS_TARGET` at the rate measured while there was a backlog.
    """

    def __init__(self) -> None:
        self._rate = RATE_FIRST
        self._window_begun: float | None = None
        self._executed = 0

    @property
    def value(self) -> int:
        """The most that may wait."""
        return max(int(self._rate * WAIT_SECONDS_TARGET), WAITING_MIN)

    def note_executed(self, count: int, *, backlog: bool, now: float) -> None:
        """A block with `count` transactions was executed; `backlog`: more wait. `now`: seconds."""
        if self._window_begun is None:
            self._window_begun = now if backlog else None
            return
        self._executed += count
        seconds = now - self._window_begun
        if seconds >= RATE_WINDOW_SECONDS:
            self._rate += (self._executed / seconds - self._rate) / 2
        if not backlog or seconds >= RATE_WINDOW_SECONDS:
            # Without a backlog the rate is the clients', not ours.
            self._window_begun, self._executed = (now if backlog else None), 0
