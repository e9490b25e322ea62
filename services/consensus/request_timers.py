"""Whose order the primary owes: the requests for which the core runs a timer.

Part of the driver's one task. A request is announced once it is ready and withdrawn before a
primary could rightly pass it over: nobody is suspected for what is about to expire.
"""

from __future__ import annotations

from collections.abc import Callable

from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.ledger.genesis import ProtocolParameters
from services.consensus.domain.messages import Message, RequestGone, RequestPending
from services.consensus.mempool import Mempool
from services.consensus.proposer import is_owed


class RequestTimers:
    """`low_watermark` tells the core's, `tell` gives it a local input."""

    def __init__(
        self,
        *,
        mempool: Mempool,
        parameters: ProtocolParameters,
        now_ms: Callable[[], int],
        low_watermark: Callable[[], int],
        tell: Callable[[Message], None],
    ) -> None:
        self._mempool = mempool
        self._parameters = parameters
        self._now_ms = now_ms
        self._low_watermark = low_watermark
        self._tell = tell
        self._untimed: set[bytes] = set()

    def start(self) -> None:
        """Announce what became ready."""
        now_ms = self._now_ms()
        for transaction_id in self._mempool.drain_newly_ready():
            transaction = self._mempool.find(transaction_id)
            if transaction is not None and self._is_owed(transaction, now_ms):
                self._tell(RequestPending(transaction_id))

    def restart(self) -> None:
        """Announce everything that is owed to the core of a new epoch."""
        now_ms = self._now_ms()
        self._untimed = set()
        for transaction in self._mempool.ready():
            if self._is_owed(transaction, now_ms):
                self._tell(RequestPending(transaction.id))

    def stop(self, now_ms: int) -> None:
        """Withdraw what is owed no longer."""
        ready = self._mempool.ready()
        untimed = {entry.id for entry in ready if not self._is_owed(entry, now_ms)}
        for transaction_id in untimed - self._untimed:
            self._tell(RequestGone(transaction_id))
        self._untimed = untimed

    def _is_owed(self, transaction: AdmittedTransaction, now_ms: int) -> bool:
        return is_owed(transaction, self._parameters, self._low_watermark(), now_ms)
