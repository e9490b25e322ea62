"""Which transactions are in batches that are proposed but not yet executed.

The primary must not propose a transaction twice, in no view: a new-view keeps some batches and
drops the others, and what it drops comes back into the mempool. Batches are remembered with their
admitted transactions, so that execution does not read them again. Of one view and sequence number
the first alone is: a primary that proposes others holds no memory with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.consensus.domain.ledger.admission import AdmittedTransaction, read_transaction
from services.consensus.domain.messages import (
    NULL_DIGEST,
    BatchFetched,
    Digest,
    NewView,
    PrePrepare,
    Record,
    SequenceNumber,
    View,
)

PROPOSALS_WAITING_MAX: Final = 2
"""Pre-prepares of one view and sequence number that wait for the core."""


def is_told_enough(message: PrePrepare, waiting: Iterable[object]) -> bool:
    """Whether this pre-prepare says nothing new beside the messages that wait for the core: it is
    among them, or two others for its view and sequence number are, which convict the primary.
    """
    digests = {
        each.digest
        for each in waiting
        if isinstance(each, PrePrepare)
        and (each.view, each.sequence) == (message.view, message.sequence)
    }
    return message.digest in digests or len(digests) >= PROPOSALS_WAITING_MAX


@dataclass(frozen=True, slots=True)
class TrackedBatch:
    """One batch that the core knows of."""

    view: View
    sequence: SequenceNumber
    transactions: tuple[AdmittedTransaction, ...]
    ids: frozenset[bytes] = field(init=False)

    def __post_init__(self) -> None:
        ids = frozenset(transaction.id for transaction in self.transactions)
        object.__setattr__(self, "ids", ids)


class BatchTracker:
    """Batches by digest, above the last executed sequence number."""

    def __init__(self) -> None:
        self._tracked: dict[Digest, TrackedBatch] = {}
        self._missing: dict[Digest, SequenceNumber] = {}
        self._new_view: NewView | None = None
        self._wanted: dict[SequenceNumber, Digest] = {}
        self._read: dict[Digest, tuple[SequenceNumber, tuple[AdmittedTransaction, ...]]] = {}

    @property
    def in_flight(self) -> int:
        """How many transactions are in tracked batches."""
        return sum(len(batch.transactions) for batch in self._tracked.values())

    @property
    def is_complete(self) -> bool:
        """Whether the content of every batch that the view carries on is known here."""
        return not self._missing

    def add(
        self,
        view: View,
        sequence: SequenceNumber,
        digest: Digest,
        transactions: Sequence[AdmittedTransaction],
    ) -> bool:
        """A batch was proposed or fetched. False where another one is tracked that was proposed in
        this view for this sequence number, and the view carries on none of this digest.
        """
        carried = self._missing.pop(digest, None) is not None
        if not carried and any(
            (batch.view, batch.sequence) == (view, sequence) and known != digest
            for known, batch in self._tracked.items()
        ):
            return False
        self._tracked[digest] = TrackedBatch(view, sequence, tuple(transactions))
        return True

    def find(self, digest: Digest) -> tuple[AdmittedTransaction, ...] | None:
        """The admitted transactions of a batch, if it is tracked."""
        batch = self._tracked.get(digest)
        return None if batch is None else batch.transactions

    def is_missing(self, digest: Digest) -> bool:
        """Whether the view carries on a batch of this digest that is not known here."""
        return digest in self._missing

    def want(self, sequence: SequenceNumber, digest: Digest) -> None:
        """The core asked for a batch; an answer is looked at only while it is wanted."""
        self._wanted[sequence] = digest

    def wanted(self, sequence: SequenceNumber) -> Digest | None:
        """The digest of the batch that was asked for at this sequence number, if one was."""
        return self._wanted.get(sequence)

    def note_read(self, fetched: BatchFetched, transactions: Sequence[AdmittedTransaction]) -> None:
        """A wanted batch came; it is kept until its sequence number is executed."""
        self._read[Digest(fetched.batch.digest())] = (fetched.sequence, tuple(transactions))

    def read(self, digest: Digest) -> tuple[AdmittedTransaction, ...] | None:
        """The transactions of a batch that came; None where it is executed meanwhile."""
        held = self._read.get(digest)
        return None if held is None else held[1]

    def take_missing(self, fetched: BatchFetched, view: View) -> Sequence[AdmittedTransaction]:
        """A batch came for the core: the transactions in it, if the view carries it on without
        their being known here.
        """
        digest = Digest(fetched.batch.digest())
        transactions = self.read(digest)
        if transactions is None or not self.is_missing(digest):
            return ()
        self.add(view, fetched.sequence, digest, transactions)
        return transactions

    def recover(
        self, records: Iterable[Record], view: View, executed: SequenceNumber
    ) -> set[bytes]:
        """The batches that were in progress when the replica stopped; the ids in them."""
        for record in records:
            match record:
                case PrePrepare(of_view, sequence, batch, digest, _) if sequence > executed:
                    transactions = [read_transaction(encoded) for encoded in batch.transactions]
                    self.add(of_view, sequence, digest, transactions)
                case NewView():
                    self.note_new_view(record)
        return self.enter_view(view, executed)

    def note_new_view(self, message: NewView) -> None:
        """A new-view was received or sent; it counts once its view is entered."""
        self._new_view = message

    def start_epoch(self) -> None:
        """Forget what was proposed: what was decided is executed, views begin anew."""
        self._tracked, self._missing, self._new_view, self._wanted = {}, {}, None, {}

    def enter_view(self, view: View, executed: SequenceNumber) -> set[bytes]:
        """Forget what the new view dropped; returns the transaction ids that it carries on."""
        carried: dict[Digest, SequenceNumber] = {}
        if self._new_view is not None and self._new_view.view == view:
            carried = {
                entry.digest: entry.sequence
                for entry in self._new_view.reproposals
                if entry.sequence > executed and entry.digest != NULL_DIGEST
            }
        self._tracked = {
            digest: batch
            for digest, batch in self._tracked.items()
            if digest in carried or batch.view >= view
        }
        self._missing = {
            digest: sequence for digest, sequence in carried.items() if digest not in self._tracked
        }
        return self.ids()

    def ids(self) -> set[bytes]:
        """The ids of all transactions in tracked batches."""
        return {each for batch in self._tracked.values() for each in batch.ids}

    def __contains__(self, transaction_id: object) -> bool:
        """Whether a tracked batch holds this transaction."""
        return any(transaction_id in batch.ids for batch in self._tracked.values())

    def forget_executed(self, executed: SequenceNumber) -> None:
        """Everything up to `executed` is in blocks."""
        gone: Iterable[Digest] = [
            digest for digest, batch in self._tracked.items() if batch.sequence <= executed
        ]
        for digest in gone:
            del self._tracked[digest]
        self._wanted = {each: self._wanted[each] for each in self._wanted if each > executed}
        self._read = {each: held for each, held in self._read.items() if held[0] > executed}
        for digest in [d for d, sequence in self._missing.items() if sequence <= executed]:
            del self._missing[digest]
