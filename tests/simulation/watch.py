"""What the checkers keep beside one core of one machine, to hold the core against it."""

from __future__ import annotations

from typing import Final

from services.consensus.domain.messages import ReplicaId, ViewChange
from services.consensus.domain.replica import Replica
from tests.simulation.patience import Patience
from tests.simulation.room import said_fault
from tests.simulation.seen import SeenStatements

TIMER_STEP_MAX_MS: Final = 1_000


class Watch:
    """From one start of the machine to the next, in one epoch; `due_view` is the least view that it
    may be in: the (f + 1)-th largest that others asked for (P6).
    """

    __slots__ = ("_asked", "_core", "_me", "_now_ms", "due_view", "patience", "seen")

    def __init__(self, me: ReplicaId, patience: Patience, seen: SeenStatements) -> None:
        self.patience = patience
        self.seen = seen
        self.due_view = 0
        self._me = me
        self._asked: dict[ReplicaId, int] = {}
        self._core: Replica | None = None
        self._now_ms = 0

    def ask(self, message: ViewChange, faulty_max: int) -> None:
        """Somebody asks for a view, authentically."""
        if message.replica == self._me:
            return
        asked = self._asked
        asked[message.replica] = max(message.view, asked.get(message.replica, 0))
        if len(asked) > faulty_max:
            self.due_view = sorted(asked.values(), reverse=True)[faulty_max]

    def time_fault(self, core: Replica, window: int) -> str | None:
        """P21: what its time-outs count only grows, and never by more than a tick is late. When
        they have moved what it holds of others' statements is counted, for that is much (S8).
        """
        now_ms = core._suspicion.now_ms
        if core is self._core:
            if now_ms == self._now_ms:
                return None
            if not 0 <= now_ms - self._now_ms <= TIMER_STEP_MAX_MS:
                return f"P21: the timers of replica {self._me} follow its clock"
        self._core, self._now_ms = core, now_ms
        fault = said_fault(core, window)
        return None if fault is None else f"S8: replica {self._me} {fault}"
