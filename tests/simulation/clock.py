"""A machine's clock, which may jump, drift or stand still."""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    """Reads the true time of the run, changed."""

    def __init__(self, true_ms: Callable[[], int]) -> None:
        self._true_ms = true_ms
        self._offset_ms = 0
        self._drift = 0.0
        self._drift_since_ms = 0
        self._frozen_ms: int | None = None

    def read(self) -> int:
        """Unix time in milliseconds, as this machine believes."""
        if self._frozen_ms is not None:
            return self._frozen_ms
        now_ms = self._true_ms()
        drifted = int((now_ms - self._drift_since_ms) * self._drift)
        return max(0, now_ms + self._offset_ms + drifted)

    def jump(self, by_ms: int) -> None:
        """Set it forward or back."""
        self._offset_ms = by_ms

    def drift(self, ratio: float) -> None:
        """Let it run too fast (above 0) or too slow from now on."""
        self._drift, self._drift_since_ms = ratio, self._true_ms()

    def freeze(self) -> None:
        """Let it stand still."""
        self._frozen_ms = self.read()

    def right(self) -> None:
        """Show the true time again."""
        self._offset_ms, self._drift, self._frozen_ms = 0, 0.0, None
