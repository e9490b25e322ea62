"""Whose timers run, and how patient they are: the driver's side of suspecting a primary.

Only the front of the queue is timed: a bounded number of the oldest transactions. As in PBFT, what
is executed starts the timers of the others anew, so that a backlog is not taken for the primary's
fault. That patience ends for a request which many others overtook at the front, or which waited for
the longest time-out: then its timer runs to its end, so neither a primary that passes a client over
nor one that orders a little now and then stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.messages import Message, RequestGone, RequestPending
from services.consensus.mempool import Mempool
from services.consensus.pacing import IN_FLIGHT_TRANSACTIONS_MAX

FRONT_MAX: Final = 32
LOOKED_AT_MAX: Final = 4 * FRONT_MAX
"""Some at the front may be about to expire, and are owed by nobody."""
OVERTAKEN_MAX: Final = 2 * IN_FLIGHT_TRANSACTIONS_MAX
"""Transactions that an honest primary may order before the oldest one that is known here."""


@dataclass(frozen=True, slots=True)
class _Timed:
    since_ms: int
    executed_before: int


class RequestTimers:
    """Tells the core which requests to time. Part of the driver's one task."""

    def __init__(
        self,
        mempool: Mempool,
        tell: Callable[[Message], None],
        is_owed: Callable[[AdmittedTransaction], bool],
        *,
        patience_ms: int,
    ) -> None:
        self._mempool = mempool
        self._tell = tell
        self._is_owed = is_owed
        self._patience_ms = patience_ms
        self._timed: dict[bytes, _Timed] = {}
        self._executed = 0

    def start(self, now_ms: int) -> None:
        """Time the oldest requests that are not timed yet, as far as there is room at the front."""
        room = FRONT_MAX - len(self._timed)
        if room <= 0:
            return
        for transaction in self._mempool.oldest(LOOKED_AT_MAX):
            if transaction.id not in self._timed and self._is_owed(transaction):
                self._timed[transaction.id] = _Timed(now_ms, self._executed)
                self._tell(RequestPending(transaction.id))
                room -= 1
                if room == 0:
                    return

    def executed(self, transaction_ids: Iterable[bytes], now_ms: int) -> None:
        """These were executed: progress, which gives the others time anew."""
        ids = list(transaction_ids)
        self.stop(ids)
        self._executed += len(ids)
        if not ids:
            return
        for transaction_id, timed in self._timed.items():
            if self._is_patient(timed, now_ms):
                self._tell(RequestGone(transaction_id))
                self._tell(RequestPending(transaction_id))

    def stop(self, transaction_ids: Iterable[bytes]) -> None:
        """These can never be executed any more, or were."""
        for transaction_id in transaction_ids:
            if transaction_id in self._timed:
                del self._timed[transaction_id]
                self._tell(RequestGone(transaction_id))

    def review(self, now_ms: int) -> None:
        """Nobody is suspected for what is about to expire, nor for what waits no more."""
        timed = [(key, self._mempool.find(key)) for key in self._timed]
        self.stop([key for key, entry in timed if entry is None or not self._is_owed(entry)])
        self.start(now_ms)

    def _is_patient(self, timed: _Timed, now_ms: int) -> bool:
        overtaken = self._executed - timed.executed_before
        return now_ms - timed.since_ms < self._patience_ms and overtaken < OVERTAKEN_MAX
