"""What the ledger does for the core, one job after another: execute, take fetched blocks.

Part of the driver: a task of its own, so that executing a batch delays no vote. Results go back to
the core as local inputs; whoever waits for a block or a transaction is told once it is certified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.receipt import (
    PREDECESSOR_MISSING,
    SIGNED_BY_ANOTHER,
    Receipt,
    is_final,
)
from services.chassis.errors import FailedPreconditionError, UnavailableError
from services.consensus.batches import BatchTracker
from services.consensus.catch_up import CertifiedBatch
from services.consensus.divergence import Divergence
from services.consensus.domain.ledger.admission import read_transaction
from services.consensus.domain.messages import (
    CertifiedElsewhere,
    Digest,
    Executed,
    Message,
    SequenceNumber,
)
from services.consensus.finality import FinalityBoard
from services.consensus.jobs import AdoptJob, CatchUpJob, ExecuteJob
from services.consensus.ledger import HeaderMismatchError, Ledger
from services.consensus.mempool import Mempool
from services.consensus.metrics import ReplicaMetrics
from services.consensus.store.state_intake import Snapshot
from services.consensus.timers import RequestTimers

_log = structlog.get_logger(__name__)

CATCH_UP_JOBS_MAX: Final = 2
"""Answers with blocks: one that is being used, and one so that nothing waits for the next."""
ADOPT_JOBS_MAX: Final = 1
CORES_MAX: Final = 2
"""The one at work and the one before it: each asks for the execution of a window at most."""


class LedgerWork:
    """`tell` gives the core a local input, `on_executed` (a height and the ids of its transactions)
    and `on_halt` are the driver's.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        tracker: BatchTracker,
        mempool: Mempool,
        timers: RequestTimers,
        finality: FinalityBoard,
        metrics: ReplicaMetrics,
        tell: Callable[[Message], None],
        on_executed: Callable[[int, Sequence[bytes]], None],
        on_halt: Callable[[Divergence], None],
    ) -> None:
        self._ledger = ledger
        self._tracker = tracker
        self._mempool = mempool
        self._timers = timers
        self._finality = finality
        self._metrics = metrics
        self._tell = tell
        self._on_executed = on_executed
        self._on_halt = on_halt
        # More is our own bug: `put_nowait` raises.
        self._jobs: asyncio.Queue[ExecuteJob | CatchUpJob | AdoptJob] = asyncio.Queue(
            CORES_MAX * ledger.genesis.parameters.window + CATCH_UP_JOBS_MAX + ADOPT_JOBS_MAX
        )
        self._catch_up_jobs = self._offered_to = 0

    def execute(self, sequence: SequenceNumber, batch: Batch) -> None:
        """The core asks for the next batch to be executed."""
        self._jobs.put_nowait(ExecuteJob(sequence, batch))

    def offer_blocks(self, blocks: Sequence[VerifiedBlock]) -> bool:
        """Verified blocks from a peer, in order. False when enough of them wait already."""
        if not self.takes_blocks:
            return False
        self._catch_up_jobs += 1
        self._offered_to = max(block.height for block in blocks)
        self._jobs.put_nowait(CatchUpJob(tuple(map(CertifiedBatch.of, blocks))))
        return True

    @property
    def takes_blocks(self) -> bool:
        """Whether `offer_blocks` has room."""
        return self._catch_up_jobs < CATCH_UP_JOBS_MAX

    @property
    def offered_to(self) -> int:
        """The height of the last block that was offered and is not taken yet; 0: there is none."""
        return self._offered_to if self._catch_up_jobs else 0

    def adopt(self, snapshot: Snapshot) -> None:
        """A state whose parts are all kept; it comes after the blocks that were offered."""
        self._jobs.put_nowait(AdoptJob(snapshot))

    def note_restored(self, height: int, batch: Batch) -> None:
        """The block came back from the replica's own segments."""
        self._on_executed(height, [read_transaction(encoded).id for encoded in batch.transactions])
        certified = self._ledger.store.last_certified
        self._finality.advance(max(certified, self._finality.certified_height))

    async def run(self) -> None:
        """Do the jobs in their order until cancelled."""
        while True:
            job = await self._jobs.get()
            try:
                match job:
                    case ExecuteJob():
                        await self._execute(job)
                    case CatchUpJob():
                        await self._take_blocks(job)
                    case AdoptJob():
                        await self._adopt(job.snapshot)
            except HeaderMismatchError as error:
                self._on_halt(error.divergence)
            finally:
                self._jobs.task_done()

    async def settled(self) -> None:
        """Until every job so far is done."""
        await self._jobs.join()

    async def _execute(self, job: ExecuteJob) -> None:
        """Execute the next batch; a block that is stored already answers with its header."""
        last = self._ledger.store.last_height
        if job.sequence > last:
            assert job.sequence == last + 1, f"batch {job.sequence} after block {last}"
            transactions = self._tracker.find(Digest(job.batch.digest()))
            if transactions is None:
                # Bound by its digest: neither signatures nor expiry are asked again.
                transactions = tuple(map(read_transaction, job.batch.transactions))
            await self._ledger.execute(job.batch, transactions)
            self._on_executed(job.sequence, [transaction.id for transaction in transactions])
        header = self._ledger.header(job.sequence)
        if header.batch_digest != job.batch.digest():
            reason = "it was executed from another batch than was decided"
            self._on_halt(Divergence(job.sequence, reason, header))
            return
        end = self._ledger.epoch_end(header.epoch)
        self._tell(Executed(job.sequence, Digest(header.hash()), end))

    async def _take_blocks(self, job: CatchUpJob) -> None:
        try:
            await self._catch_up(job.blocks)
        finally:
            self._catch_up_jobs -= 1

    async def _catch_up(self, blocks: Sequence[CertifiedBatch]) -> None:
        for block in blocks:
            if block.height != self._ledger.store.last_certified + 1:
                continue
            new = await self._ledger.apply_certified(block)
            self._on_executed(block.height, block.transaction_ids)
            if new:
                self.announce(block.height)
            self._tell(
                CertifiedElsewhere(
                    SequenceNumber(block.height),
                    Digest(block.header.hash()),
                    block.header.block_time_ms,
                    block.certificate,
                    self._ledger.epoch_end(block.header.epoch),
                )
            )

    async def _adopt(self, snapshot: Snapshot) -> None:
        if await self._ledger.adopt_state(snapshot):
            height = snapshot.header.height
            _log.warning("state.adopted", height=height, parts=len(snapshot.parts))
            self._forget_skipped()
            self._refuse_expired(height, snapshot.header.block_time_ms)
            self._metrics.height.set(height)
            self._finality.advance(height)

    def _forget_skipped(self) -> None:
        """What the blocks executed that the state stands for needs no ordering, and whoever waits
        for it is told that its outcome is not here (T7).
        """
        self._timers.stop(self._mempool.drop_executed(), executed=True)
        for awaited in self._finality.awaited():
            if self._ledger.is_outcome_lost(awaited):
                self._finality.refuse(awaited, self._ledger.history_not_here(0))

    def _resolve(self, height: int) -> None:
        for result in self._ledger.results(height, self._finality.wanted):
            # Whoever waits was admitted with the right key: a copy under another is not theirs.
            # What came before its predecessor and is here still has its outcome to come.
            is_to_come = (
                result.code == PREDECESSOR_MISSING and result.transaction_id in self._mempool
            )
            if result.code != SIGNED_BY_ANOTHER and not is_to_come:
                self._finality.resolve(result)

    def announce(self, height: int) -> None:
        """Tell everybody who waits for this block or for a transaction in it."""
        header = self._ledger.header(height)
        if self._finality.is_awaited:
            # A block executed before a restart, and damaged since, answers nobody: who waits for a
            # transaction in it asks again when the block is whole.
            with suppress(UnavailableError):
                self._resolve(height)
        self._refuse_expired(height, header.block_time_ms)
        self._metrics.height.set(height)
        self._finality.advance(height)

    def _refuse_expired(self, height: int, block_time_ms: int) -> None:
        for expired in self._mempool.drop_expired(height, block_time_ms):
            error = FailedPreconditionError(
                "TRANSACTION_EXPIRED", transaction_id=expired.hex(), height=height
            )
            self._finality.refuse(expired, error)
            self._timers.stop([expired], executed=False)


def without_effect(ledger: Ledger, mempool: Mempool, height: int) -> set[bytes]:
    """The ids in a block that are still to be ordered: of which it held nothing but a copy that
    another key signed, while the transaction itself, or no copy of it, waits here; and which a
    primary put before their predecessors, which wait here, or came behind them in the block.
    """
    if not len(mempool):
        return set()
    try:
        receipts = ledger.receipts(height)
        if not any(each.code in (SIGNED_BY_ANOTHER, PREDECESSOR_MISSING) for each in receipts):
            return set()
        batch = ledger.batch(height)
    except UnavailableError:
        return set()  # Executed before a restart, and damaged since: others order what waits.
    settled = {receipt.transaction_id for receipt in receipts if is_final(receipt)}
    copies = {
        receipt.transaction_id
        for encoded, receipt in zip(batch.transactions, receipts, strict=True)
        if receipt.code == SIGNED_BY_ANOTHER and mempool.find_encoded(encoded) is None
    } - settled
    return copies | _before_their_predecessors(receipts, mempool, settled)


def _before_their_predecessors(
    receipts: Sequence[Receipt], mempool: Mempool, settled: set[bytes]
) -> set[bytes]:
    """Those whose predecessor is settled in this block, is to be ordered yet, or is one of them."""
    after: dict[bytes, bytes] = {}
    for receipt in receipts:
        if receipt.code == PREDECESSOR_MISSING and receipt.transaction_id not in settled:
            found = mempool.find(receipt.transaction_id)
            if found is not None and found.payload.after is not None:
                after[found.id] = found.payload.after
    executed = {receipt.transaction_id for receipt in receipts}
    lost = [
        key
        for key, before in after.items()
        if before not in settled
        and before not in after
        and (before in executed or before not in mempool)
    ]
    successors: dict[bytes, list[bytes]] = {}
    for key, before in after.items():
        successors.setdefault(before, []).append(key)
    while lost:
        key = lost.pop()
        lost += successors.get(key, [])
        after.pop(key, None)
    return set(after)
