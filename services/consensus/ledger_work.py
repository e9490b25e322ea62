"""What the ledger does for the core, one job after another: execute, certify, take fetched blocks.

Part of the driver: a task of its own, so that executing a batch delays no vote. Results go back to
the core as local inputs; whoever waits for a block or a transaction is told once it is certified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.proof.transaction import SignedTransaction
from services.chassis.errors import FailedPreconditionError
from services.consensus.batches import BatchTracker
from services.consensus.domain.messages import (
    CertifiedElsewhere,
    Digest,
    Executed,
    Message,
    RequestGone,
    SequenceNumber,
)
from services.consensus.finality import FinalityBoard
from services.consensus.ledger import HeaderMismatchError, Ledger, result_message
from services.consensus.mempool import Mempool
from services.consensus.metrics import ReplicaMetrics

CATCH_UP_JOBS_MAX: Final = 2


@dataclass(frozen=True, slots=True)
class _ExecuteJob:
    sequence: SequenceNumber
    batch: Batch


@dataclass(frozen=True, slots=True)
class _CertifyJob:
    sequence: SequenceNumber
    certificate: FinalityCertificate


@dataclass(frozen=True, slots=True)
class _CatchUpJob:
    blocks: tuple[VerifiedBlock, ...]


class LedgerWork:
    """`tell` gives the core a local input, `on_executed` and `on_halt` are the driver's."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        tracker: BatchTracker,
        mempool: Mempool,
        finality: FinalityBoard,
        metrics: ReplicaMetrics,
        tell: Callable[[Message], None],
        on_executed: Callable[[int], None],
        on_halt: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._tracker = tracker
        self._mempool = mempool
        self._finality = finality
        self._metrics = metrics
        self._tell = tell
        self._on_executed = on_executed
        self._on_halt = on_halt
        self._jobs: asyncio.Queue[_ExecuteJob | _CertifyJob | _CatchUpJob] = asyncio.Queue()
        self._catch_up_jobs = 0

    def execute(self, sequence: SequenceNumber, batch: Batch) -> None:
        """The core asks for the next batch to be executed."""
        self._jobs.put_nowait(_ExecuteJob(sequence, batch))

    def certify(self, sequence: SequenceNumber, certificate: FinalityCertificate) -> None:
        """The core has the certificate of a block."""
        self._jobs.put_nowait(_CertifyJob(sequence, certificate))

    def offer_blocks(self, blocks: Sequence[VerifiedBlock]) -> bool:
        """Verified blocks from a peer, in order. False when enough of them wait already."""
        if self._catch_up_jobs >= CATCH_UP_JOBS_MAX:
            return False
        self._catch_up_jobs += 1
        self._jobs.put_nowait(_CatchUpJob(tuple(blocks)))
        return True

    async def run(self) -> None:
        """Do the jobs in their order until cancelled."""
        while True:
            job = await self._jobs.get()
            try:
                match job:
                    case _ExecuteJob():
                        await self._execute(job)
                    case _CertifyJob():
                        await self._certify(job.sequence, job.certificate)
                    case _CatchUpJob():
                        self._catch_up_jobs -= 1
                        await self._catch_up(job.blocks)
            except HeaderMismatchError as error:
                self._on_halt(str(error))
            finally:
                self._jobs.task_done()

    async def settled(self) -> None:
        """Until every job so far is done."""
        await self._jobs.join()

    async def _execute(self, job: _ExecuteJob) -> None:
        """Execute the next batch; a block that is stored already answers with its header."""
        last = self._ledger.store.last_height
        if job.sequence > last:
            assert job.sequence == last + 1, f"batch {job.sequence} after block {last}"
            transactions = self._tracker.find(Digest(job.batch.digest()))
            await self._ledger.execute(job.batch, transactions)
            self._after_execution(job.sequence, job.batch)
        header = self._ledger.header(job.sequence)
        if header.batch_digest != job.batch.digest():
            self._on_halt(f"block {job.sequence} was executed from another batch")
            return
        end = self._ledger.epoch_end(header.epoch)
        self._tell(Executed(job.sequence, Digest(header.hash()), end))

    def _after_execution(self, sequence: int, batch: Batch) -> None:
        """The transactions of this batch need no ordering any more."""
        ids = [SignedTransaction.decode(encoded).id() for encoded in batch.transactions]
        self._tracker.forget_executed(SequenceNumber(sequence))
        for transaction_id in self._mempool.remove(ids):
            self._tell(RequestGone(transaction_id))
        self._on_executed(sequence)

    async def _certify(self, sequence: int, certificate: FinalityCertificate) -> None:
        if sequence <= self._ledger.store.last_certified:
            return
        await self._ledger.certify(sequence, certificate)
        self._announce(sequence)

    async def _catch_up(self, blocks: Sequence[VerifiedBlock]) -> None:
        for block in blocks:
            if block.height != self._ledger.store.last_certified + 1:
                continue
            await self._ledger.apply_certified(block)
            self._after_execution(block.height, block.batch)
            self._announce(block.height)
            self._tell(
                CertifiedElsewhere(
                    SequenceNumber(block.height),
                    Digest(block.header.hash()),
                    block.header.block_time_ms,
                    block.certificate,
                    self._ledger.epoch_end(block.header.epoch),
                )
            )

    def _announce(self, height: int) -> None:
        """Tell everybody who waits for this block or for a transaction in it."""
        header = self._ledger.header(height)
        receipts = self._ledger.receipts(height) if self._finality.is_awaited else []
        for index, receipt in enumerate(receipts):
            if self._finality.wanted(receipt.transaction_id):
                self._finality.resolve(
                    self._ledger.final_result(receipt.transaction_id)
                    or result_message(receipt, header, index)
                )
        for expired in self._mempool.drop_expired(height, header.block_time_ms):
            error = FailedPreconditionError(
                "TRANSACTION_EXPIRED", transaction_id=expired.hex(), height=height
            )
            self._finality.refuse(expired, error)
            self._tell(RequestGone(expired))
        self._metrics.height.set(height)
        self._finality.advance(height)
