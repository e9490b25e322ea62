"""Whether the blocks that come bring a replica to the others fast enough to be waited for.

Whoever replays the blocks has the history, so blocks come before a state. But one peer that gives a
block now and then must not keep a replica from the state that all others offer: what comes counts
by how much nearer it brings the replica. docs/protocol/pbft.md, steps T1 and T2.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.messages import ReplicaId

TEN_SECONDS_STEPS: Final = 100
"""Of the steps in which a replica restores, and those in which one that takes part looks at it."""

BLOCKS_MIN: Final = 16
"""In ten seconds, unless fewer are missing."""

DAY_STEPS: Final = 8_640 * TEN_SECONDS_STEPS
"""The whole way must be made in so many."""


class Pace(Enum):
    """What a period was."""

    FAIR = "fair"
    SLOW = "slow"


def said_by_one_honest(present: ReplicaSet, heights: Mapping[ReplicaId, int]) -> int | None:
    """The (f + 1)-th largest of the certified heights that members of `present` say: f liars cannot
    raise it above what an honest one said. None: too few have said where they stand.
    """
    falling = sorted(
        (
            height
            for peer, height in heights.items()
            if peer < present.size and peer not in present.jailed
        ),
        reverse=True,
    )
    return falling[present.faulty_max] if len(falling) > present.faulty_max else None


class BlockPace:
    """Judges periods of `period_steps`, one after another, on a chain with this `window`."""

    def __init__(self, period_steps: int, window: int) -> None:
        self._period_steps = period_steps
        self._window = window
        self._blocks_min = -(-BLOCKS_MIN * period_steps // TEN_SECONDS_STEPS)
        self._steps = 0
        self.begin_anew()

    def begin_anew(self) -> None:
        """The way begins where the replica is at the next step."""
        self._began: int | None = None
        self._there: int | None = None
        """The highest that one honest replica at least has said since."""

    def step(self, here: int, there: int | None) -> Pace | None:
        """One step at the certified height `here`, while the others say `there`
        (`said_by_one_honest`): what the period that ends with it was; None while it lasts.
        SLOW at once where no block came for as long.
        """
        self._steps += 1
        if there is not None:
            self._there = max(there, self._there or 0)
        if self._began is None:
            self._began = self._last = here
            self._moved_at = self._steps
            self._begin_period(here)
        elif here != self._last:
            self._last, self._moved_at = here, self._steps
        is_still = self._steps - self._moved_at >= self._period_steps
        if not is_still and self._steps - self._period_at < self._period_steps:
            return None
        is_fair = not is_still and self._was_fair(self._began, here)
        self._begin_period(here)
        return Pace.FAIR if is_fair else Pace.SLOW

    def _begin_period(self, here: int) -> None:
        self._period_at, self._period_from, self._period_there = self._steps, here, self._there

    def _was_fair(self, began: int, here: int) -> bool:
        came = here - self._period_from
        if self._there is None or self._period_there is None:
            return came > 0  # Nobody knows how far it is.
        missing = self._there - here
        if missing > self._blocks_min and came < self._blocks_min:
            return False
        nearer = came - (self._there - self._period_there)
        due = -(-(self._there - began) * self._period_steps // DAY_STEPS)
        return came > 0 and (missing <= self._window or nearer >= due)
