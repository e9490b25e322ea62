"""The requests that wait at one replica: a plain mempool."""

from __future__ import annotations

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.transaction import EXPIRY_HEIGHTS_MAX, EXPIRY_MS_MAX
from services.consensus.domain.ledger.admission import AdmittedTransaction
from tests.simulation.durable import Durable
from tests.simulation.workload import ExecutedBlock, read


class Pool:
    """Admitted transactions by id; those in a batch under way wait apart."""

    def __init__(self, ledger: Durable) -> None:
        self._pending: dict[bytes, AdmittedTransaction] = {}
        self._sources: dict[bytes, int] = {}
        self._proposed: set[bytes] = set()
        self._done: set[bytes] = set()
        for height in range(ledger.history_from + 1, ledger.last_height + 1):
            self.executed(ledger.block(height))

    @property
    def waits(self) -> bool:
        """Whether anything is not executed yet."""
        return bool(self._pending)

    def knows(self, encoded: bytes) -> bool:
        """Whether nothing needs to be done for this transaction; what is none is not known."""
        try:
            transaction_id = read(encoded).id
        except MalformedError:
            return False
        return transaction_id in self._pending or transaction_id in self._done

    def add(self, transaction: AdmittedTransaction, source: int | None = None) -> bool:
        """Take it up; False where it is known."""
        if transaction.id in self._pending or transaction.id in self._done:
            return False
        if source is not None:
            self._sources[transaction.id] = source
        self._pending[transaction.id] = transaction
        return True

    def take(self, count: int, high: int, time_ms: int) -> list[bytes]:
        """The next transactions for a batch: none that a backup could refuse for its expiry."""
        taken: list[bytes] = []
        for transaction in self._pending.values():
            if len(taken) == count:
                break
            payload = transaction.payload
            fits = high < payload.expires_height <= high + EXPIRY_HEIGHTS_MAX - 10
            fits = fits and time_ms <= payload.expires_time_ms <= time_ms + EXPIRY_MS_MAX
            if fits and transaction.id not in self._proposed:
                taken.append(transaction.encoded)
                self._proposed.add(transaction.id)
        return taken

    def return_proposed(self) -> None:
        """The view changed: what it dropped must come again, what it kept comes twice."""
        self._proposed.clear()

    def oldest(self) -> list[AdmittedTransaction]:
        """What waits, as it came."""
        return list(self._pending.values())

    def find(self, transaction_id: bytes) -> AdmittedTransaction | None:
        """What waits, by its id."""
        return self._pending.get(transaction_id)

    def source(self, transaction_id: bytes) -> int | None:
        """Which peer passed it on; None: a client brought it."""
        return self._sources.get(transaction_id)

    def is_ready(self, transaction_id: bytes) -> bool:
        """Whether it waits in no batch of this replica's."""
        return transaction_id in self._pending and transaction_id not in self._proposed

    def is_executed(self, transaction_id: bytes) -> bool:
        """Whether a block holds it."""
        return transaction_id in self._done

    def executed(self, block: ExecutedBlock) -> list[bytes]:
        """Forget a block's transactions; the ids of those that waited here."""
        ids = [read(encoded).id for encoded in block.batch.transactions]
        self._done.update(ids)
        return [each for each in ids if self._pending.pop(each, None) is not None]

    def expired(self, height: int, time_ms: int) -> list[bytes]:
        """Drop what can never be executed any more."""
        late = [
            each.id
            for each in self._pending.values()
            if each.payload.expires_height <= height or each.payload.expires_time_ms < time_ms
        ]
        for transaction_id in late:
            del self._pending[transaction_id]
        return late
