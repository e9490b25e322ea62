"""Whose timers run: the driver's side of suspecting a primary.

Only the front of the queue is timed, a bounded number of the oldest transactions: what stands
behind a backlog is not late for the primary's fault. Those that nobody is owed, because they expire
too soon or too late, take no place at the front, however many came. What the core makes of it, V11
says.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Final

from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.messages import Message, RequestGone, RequestPending
from services.consensus.mempool import Mempool

FRONT_MAX: Final = 32
LOOKED_AT_MAX: Final = 4 * FRONT_MAX
"""At each change of the queue; a review looks at all."""


class RequestTimers:
    """Tells the core which requests to time. Part of the driver's one task."""

    def __init__(
        self,
        mempool: Mempool,
        tell: Callable[[Message], None],
        is_owed: Callable[[AdmittedTransaction], bool],
    ) -> None:
        self._mempool = mempool
        self._tell = tell
        self._is_owed = is_owed
        self._timed: set[bytes] = set()

    def start(self) -> None:
        """Time the oldest requests that are not timed yet, as far as there is room at the front."""
        self._start(LOOKED_AT_MAX)

    def _start(self, looked_at_max: int | None) -> None:
        room = FRONT_MAX - len(self._timed)
        if room <= 0:
            return
        for transaction in itertools.islice(self._mempool.oldest(), looked_at_max):
            if transaction.id not in self._timed and self._is_owed(transaction):
                self._timed.add(transaction.id)
                self._tell(RequestPending(transaction.id))
                room -= 1
                if room == 0:
                    return

    def restart(self) -> None:
        """Another core is at work, which was told nothing yet."""
        self._timed.clear()
        self.start()

    def stop(self, transaction_ids: Iterable[bytes], *, executed: bool) -> None:
        """These were executed, or can never be any more."""
        for transaction_id in transaction_ids:
            if transaction_id in self._timed:
                self._timed.remove(transaction_id)
                self._tell(RequestGone(transaction_id, executed))

    def review(self) -> None:
        """Nobody is suspected for what is about to expire, nor for what waits no more."""
        timed = [(key, self._mempool.find(key)) for key in sorted(self._timed)]
        gone = [key for key, entry in timed if entry is None or not self._is_owed(entry)]
        self.stop(gone, executed=False)
        self._start(None)
