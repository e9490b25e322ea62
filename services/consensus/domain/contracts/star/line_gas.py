"""Where the gas of a call goes, by line of the source: for tools, never for a chain."""

from __future__ import annotations

from collections import Counter

from services.consensus.domain.contracts.star.gas import Meter


class LineGas:
    """Gas by line; line 0 is what no statement used: arguments and result.

    A statement is charged without those inside it, and what it calls counts where that stands, so
    that all lines together are the gas of the call.
    """

    def __init__(self, meter: Meter) -> None:
        self.by_line: Counter[int] = Counter()
        self._meter = meter
        self._open = [0]
        self._counted = 0

    def enter(self, line: int) -> None:
        """A statement begins."""
        self._count()
        self._open.append(line)

    def leave(self) -> None:
        """It has ended, in whatever way."""
        self._count()
        self._open.pop()

    def total(self) -> dict[int, int]:
        """All of it, by line in order; once the call is over."""
        self._count()
        return {line: gas for line, gas in sorted(self.by_line.items()) if gas}

    def _count(self) -> None:
        used = self._meter.used
        self.by_line[self._open[-1]] += used - self._counted
        self._counted = used
