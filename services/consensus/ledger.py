"""The replica's ledger as the driver and the API use it: execution, storage and reading.

Blocking work runs in two threads: one writes (records, blocks, certificates; each durable when the
call returns), one executes. Blocks are executed strictly in order; readers see committed blocks.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import structlog

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, Verify
from guqiao_sdk.proof.receipt import Receipt, is_final
from services.chassis.errors import UnavailableError
from services.consensus.catch_up import CertifiedBatch
from services.consensus.chain_sets import ChainSets
from services.consensus.divergence import Divergence, DivergenceFile
from services.consensus.domain.codec import decode_log_record, encode_log_record
from services.consensus.domain.contracts.catalogue import Catalogue
from services.consensus.domain.effects import Certified
from services.consensus.domain.ledger.admission import AdmittedTransaction, read_transaction
from services.consensus.domain.ledger.execution import (
    BlockResult,
    execute_block,
)
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.domain.ledger.star_programs import StarPrograms
from services.consensus.domain.ledger.state_parts import Entry
from services.consensus.domain.messages import (
    CertifiedHead,
    Checkpoint,
    Digest,
    EpochStarted,
    LogRecord,
    NewView,
    Record,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.store import (
    ChainStore,
    DamagedRecordError,
    SegmentArchivedError,
    StoredBlock,
)
from services.consensus.store.segment import Position
from services.consensus.store.state_intake import Snapshot

T = TypeVar("T")

_log = structlog.get_logger(__name__)

RECEIPTS_KEPT_BLOCKS: Final = 16
"""Receipts of the blocks executed last, until clients are told: they need not be read again."""


class HeaderMismatchError(Exception):
    """Execution here came to another header than the one a quorum certified, or `own` is not the
    block that the certified one follows.
    """

    def __init__(
        self, own: BlockHeader, certified: BlockHeader, certificate: FinalityCertificate | None
    ) -> None:
        follows = own.height < certified.height
        here = "the block before it here is" if follows else "execution here gave"
        reason = f"{certified.hash().hex()} is certified, {here} {own.hash().hex()}"
        self.divergence = Divergence(
            certified.height, reason, own, certified=certified, certificate=certificate
        )
        super().__init__(str(self.divergence))


class Ledger(ChainSets):
    """See the module. `close` waits for what was begun."""

    def __init__(
        self,
        store: ChainStore,
        genesis: Genesis,
        catalogue: Catalogue,
        verify: Verify,
        *,
        folder: Path,
        reserve_bytes: int,
    ) -> None:
        super().__init__(store, genesis)
        self.damaged_heights: set[int] = set()
        self.divergence = DivergenceFile(folder, store.files)
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._catalogue = catalogue
        self._verify = verify
        self._programs = StarPrograms()
        self._receipts: dict[int, tuple[Receipt, ...]] = {}
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-write")
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-execute")
        self._in_order = asyncio.Lock()
        if store.promise.sequence is None and not store.promise.forgotten:
            self._promise_again()

    def close(self) -> None:
        """Finish what was begun, then close the store."""
        self._executor.shutdown(wait=True)
        self._writer.shutdown(wait=True)
        self.store.close()

    async def append(
        self, epoch: int, records: Sequence[Record], certified: Sequence[Certified] = ()
    ) -> list[int]:
        """Keep certificates of blocks that are stored, then make records of the core of `epoch`
        durable, with one fsync; before them, where it does not reach so far, the promise what they
        are for. Returns the heights whose certificate was not here yet.

        A vote reaches a window above the certified head: a head that fell back behind it after a
        power cut would make every other replica refuse this one's view-changes (pbft.md D2).
        """
        encoded = [encode_log_record(record) for record in records]

        def write() -> list[int]:
            store = self.store
            new: list[int] = [
                each.sequence
                for each in certified
                if each.sequence > store.last_certified
                and store.put_certificate(each.sequence, each.certificate)
            ]
            if records:
                if epoch != self._promised_epoch:
                    self._begin_epoch(epoch)
                self.store.cover_votes(*reach_of(records))
                self.store.append_records(encoded)
            return new

        return await self._write(write)

    async def compact(self, records: Sequence[LogRecord]) -> None:
        """Let these records stand for all of the core's so far."""
        await self._write(lambda: self.store.compact_records(map(encode_log_record, records)))

    async def execute(
        self, batch: Batch, transactions: Sequence[AdmittedTransaction] | None
    ) -> BlockHeader:
        """Execute the batch after the last block and store the block that it gives.

        It is durable with the next `append`: the checkpoint vote for it, before that is sent.
        """
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._executor, self._execute, batch, transactions)
        header = await self._write(lambda: self.store.commit_block(result))
        self._receipts[result.height] = result.receipts
        while len(self._receipts) > RECEIPTS_KEPT_BLOCKS:
            del self._receipts[next(iter(self._receipts))]
        return header

    async def apply_certified(self, block: CertifiedBatch) -> bool:
        """Take a block that a quorum certified: execute it unless that was done, compare, store.
        False: the core had its certificate kept meanwhile.

        Raises `HeaderMismatchError`: then two truths exist and people must look.
        """
        async with self._in_order:
            if block.height > self.store.last_height:
                await self._execute_as(block.header, block.batch, block.certificate)
            own = self.header(block.height)
            if own.hash() != block.header.hash():
                raise HeaderMismatchError(own, block.header, block.certificate)
            put = self.store.put_certificate
            return await self._write(lambda: put(block.height, block.certificate))

    async def take_found(self) -> tuple[int, Batch] | None:
        """Take in the next block from the replica's own segments, where it was found behind a
        missing one; None where there is none. One that was repaired is executed again.
        """
        async with self._in_order:
            found = await self._write(self.store.find_next)
            if found is None:
                return None
            block = found.block
            if found.must_execute:
                certificate = self.store.get_certificate(block.header.height)
                await self._execute_as(block.header, block.batch, certificate)
            elif not await self._write(functools.partial(self.store.take_found, found)):
                return None
            return block.header.height, block.batch

    async def repair(self, block: VerifiedBlock) -> None:
        """Take a block that is damaged here from a peer; raises `HeaderMismatchError`."""
        own = self.header(block.height)
        if own.hash() != block.header.hash():
            raise HeaderMismatchError(own, block.header, block.certificate)
        receipts = tuple(block.message.receipts)
        stored = StoredBlock(block.header, block.batch, receipts, {})
        await self._write(lambda: self.store.repair_block(stored))
        self.damaged_heights.discard(block.height)

    async def repair_genesis(self) -> None:
        """Write block 0 again: it follows from the genesis file."""
        batch = Batch(self.genesis.genesis_time_ms, ())
        stored = StoredBlock(self.header(0), batch, (), {})
        await self._write(lambda: self.store.repair_block(stored))

    async def end_silence(self) -> None:
        """What is left of lost votes is void; the replica votes again."""
        floor = View(self.store.promise.view)
        await self.compact([EpochStarted(self._promised_epoch, floor)])
        await self._write(self.store.end_silence)

    async def keep_state_part(self, entries: Sequence[Entry]) -> Position:
        """Keep a part of a state that is being taken from peers."""
        return await self._write(lambda: self.store.keep_state_part(entries))

    async def adopt_state(self, snapshot: Snapshot) -> bool:
        """Go on from a state that was taken; False where blocks came as far meanwhile.

        Its header is certified, and its root is computed again before anything changes.
        """
        async with self._in_order:
            if snapshot.header.height <= self.store.last_height:
                return False
            await self._write(lambda: self.store.adopt_state(snapshot))
            return True

    async def read(self, question: Callable[[], T]) -> T:
        """Ask something that may take a while (many blocks, proofs) off the event loop.

        `UnavailableError` where a block is damaged here: others have it, and it is fetched; and
        where it lies in an archive that is away.
        """
        with self._noting_damage():
            return await asyncio.get_running_loop().run_in_executor(None, question)

    def head(self) -> CertifiedHead:
        """Where the core starts from."""
        height = self.store.last_certified
        header = self.header(height)
        return CertifiedHead(
            SequenceNumber(height),
            Digest(header.hash()),
            header.block_time_ms,
            self.store.get_certificate(height) if height else None,
        )

    def view_floor(self, epoch: int) -> View:
        """Since votes were lost, the replica takes part in no view of `epoch` below."""
        return View(self.store.promise.floor if epoch == self._promised_epoch else 0)

    @property
    def must_restore(self) -> bool:
        """Whether certified blocks or votes are missing: the replica may not take part yet."""
        return self.store.promise.forgotten or self.store.last_certified < self.store.restore_to

    def records(self) -> Iterator[LogRecord]:
        """The core's records in the order in which they were written, each read when it is asked
        for: together they may be large.
        """
        return map(decode_log_record, self.store.records())

    def disk_is_full(self) -> bool:
        """Whether less than the reserve is free: it stops voting before it cannot write."""
        figures = os.statvfs(self._folder)
        return figures.f_bavail * figures.f_frsize < self._reserve_bytes

    def header(self, height: int) -> BlockHeader:
        """The header of a block that is stored."""
        header = self.store.get_header(height)
        assert header is not None, f"block {height} is stored"
        return header

    def final_result(self, transaction_id: bytes) -> ledger_pb2.TransactionResult | None:
        """What a transaction did, if that is certified and for ever; None otherwise."""
        with self._noting_damage():
            place = self.store.get_transaction(transaction_id)
        if place is None or place.height > self.store.last_certified:
            return None
        if not is_final(place.receipt):
            return None
        return result_message(place.receipt, self.header(place.height), place.index)

    def was_executed(self, transaction_id: bytes) -> bool:
        """Whether a transaction was executed within the expiry span."""
        with self.store.state_reader() as state:
            return state.executed(transaction_id)

    def is_outcome_lost(self, transaction_id: bytes) -> bool:
        """Whether it was executed by a block that a state stands for here, so nobody hears how."""
        with self.store.state_reader() as state:
            if not state.history_from or not state.executed(transaction_id):
                return False
        return self.store.get_transaction(transaction_id) is None

    def receipts(self, height: int) -> Sequence[Receipt]:
        """The receipts of a block that is stored; `UnavailableError` as of `read`."""
        recent = self._receipts.get(height)
        if recent is not None:
            return recent
        with self._noting_damage():
            receipts = self.store.get_receipts(height)
        if receipts is None:
            raise self.history_not_here(height)
        return receipts

    def batch(self, height: int) -> Batch:
        """What a block that is stored was made of; `UnavailableError` as of `read`."""
        with self._noting_damage():
            block = self.store.get_block(height)
        if block is None:
            raise self.history_not_here(height)
        return block.batch

    def results(
        self, height: int, wanted: Callable[[bytes], bool]
    ) -> Iterator[ledger_pb2.TransactionResult]:
        """What the transactions of a certified block did, those that are `wanted`. For a mere
        attempt it is the transaction's own outcome, where there is one already.
        """
        header = self.header(height)
        header_hash = header.hash()
        for index, receipt in enumerate(self.receipts(height)):
            if not wanted(receipt.transaction_id):
                continue
            known = None if is_final(receipt) else self.final_result(receipt.transaction_id)
            yield known or _result_message(receipt, height, header_hash, index)

    def block_message(self, height: int) -> ledger_pb2.Block | None:
        """A certified block as it travels, or None."""
        if not 1 <= height <= self.store.last_certified:
            return None
        with self._noting_damage():
            block = self.store.get_block(height)
        if block is None:
            raise self.history_not_here(height)
        certificate = self.store.get_certificate(height)
        assert certificate is not None, "and so is its certificate"
        following = self.next_set_of(block.header)
        return ledger_pb2.Block(
            certified_header=ledger_pb2.CertifiedHeader(
                header=block.header.encode(), certificate=certificate.encode()
            ),
            batch=block.batch.encode(),
            receipts=block.receipts,
            next_replica_set=b"" if following is None else following.encode(),
            restarts=[each.encode() for each in self.restarts_before(block.header)],
        )

    def certified_header_message(self, height: int) -> ledger_pb2.CertifiedHeader | None:
        """A certified header as it travels, or None; height 0 has no certificate."""
        if not 0 <= height <= self.store.last_certified:
            return None
        certificate = self.store.get_certificate(height) if height else None
        header = self.store.get_header(height)
        if header is None:
            raise self.history_not_here(height)
        return ledger_pb2.CertifiedHeader(
            header=header.encode(),
            certificate=b"" if certificate is None else certificate.encode(),
        )

    @property
    def history_from(self) -> int:
        """Above this height every block is here; below are gaps where it is not 0."""
        with self.store.state_reader() as state:
            return state.history_from

    def history_not_here(self, height: int) -> UnavailableError:
        """This replica took the state of a later height: others have the blocks before it."""
        return UnavailableError("HISTORY_NOT_HERE", height=height, since=self.history_from)

    def note_damage(self, height: int) -> None:
        """The record of this block reads back wrong: it is asked of others (`Repairs`)."""
        if height not in self.damaged_heights:
            self.damaged_heights.add(height)
            _log.critical("block.damaged", code="STORAGE_RECORD_DAMAGED", height=height)

    @contextmanager
    def _noting_damage(self) -> Iterator[None]:
        try:
            yield
        except DamagedRecordError as error:
            self.note_damage(error.height)
            raise UnavailableError("STORAGE_RECORD_DAMAGED", height=error.height) from error
        except SegmentArchivedError as error:
            raise UnavailableError(
                "SEGMENT_ARCHIVED", segment=error.segment, archive=error.archive
            ) from error

    @property
    def _promised_epoch(self) -> int:
        return max(self.store.promise.epoch, self.genesis.epoch)

    def _begin_epoch(self, epoch: int) -> None:
        """Mark in the log where the votes of `epoch` begin, then promise anew: its views start
        again.
        """
        self.store.compact_records([encode_log_record(EpochStarted(epoch))])
        self.store.begin_epoch(epoch, self.epoch_base(epoch))

    def _promise_again(self) -> None:
        """Only the promise is gone: the votes themselves say what was voted, and the certified
        height what was voted by those that are no longer needed.
        """
        started, view, sequence = EpochStarted(self.genesis.epoch), 0, 0
        for record in self.records():
            if isinstance(record, EpochStarted):
                started, view, sequence = record, 0, 0
            else:
                reach = reach_of([record])
                view, sequence = max(view, reach[0]), max(sequence, reach[1])
        certified = max(self.store.last_certified, self.store.restore_to)
        self.store.promise_again(
            epoch=started.epoch,
            view=max(view, started.view_floor),
            floor=started.view_floor,
            sequence=max(sequence, certified),
        )

    async def _execute_as(
        self, header: BlockHeader, batch: Batch, certificate: FinalityCertificate | None
    ) -> None:
        """Execute the next block and store it, if it comes out as `header`. One of another chain of
        blocks is not even tried: execution relies on what holds between a block and its parent.
        """
        before = self.store.last_header
        if header.parent != before.hash():
            raise HeaderMismatchError(before, header, certificate)
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._executor, self._execute, batch, None)
        own = await self._write(lambda: self.store.preview_header(result))
        if own.hash() != header.hash():
            raise HeaderMismatchError(own, header, certificate)
        await self._write(lambda: self.store.commit_block(result))

    def _execute(
        self, batch: Batch, transactions: Sequence[AdmittedTransaction] | None
    ) -> BlockResult:
        if transactions is None:
            # Bound by its digest: neither signatures nor expiry are asked again.
            transactions = [read_transaction(encoded) for encoded in batch.transactions]
        parent = self.store.last_header
        with self.store.state_reader() as state:
            return execute_block(
                state,
                genesis=self.genesis,
                catalogue=self._catalogue,
                parent=parent,
                batch=batch,
                transactions=transactions,
                verify=self._verify,
                restarts=self.restarts_behind(parent),
                programs=self._programs,
            )

    async def _write(self, write: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, write)


def reach_of(records: Sequence[Record]) -> tuple[int, int]:
    """The highest view and sequence number that these records are for, as a promise counts them: a
    checkpoint is of no view, a view-change and a new-view are of no sequence number
    (docs/protocol/ledger.md, the rule of silence, 1).
    """
    views = [record.view for record in records if not isinstance(record, Checkpoint)]
    sequences = [
        record.sequence for record in records if not isinstance(record, ViewChange | NewView)
    ]
    return max(views, default=0), max(sequences, default=0)


def result_message(
    receipt: Receipt, header: BlockHeader, index: int
) -> ledger_pb2.TransactionResult:
    """What a transaction did, as it travels."""
    return _result_message(receipt, header.height, header.hash(), index)


def _result_message(
    receipt: Receipt, height: int, header_hash: bytes, index: int
) -> ledger_pb2.TransactionResult:
    return ledger_pb2.TransactionResult(
        transaction_id=receipt.transaction_id,
        outcome=ledger_pb2.Outcome.ValueType(int(receipt.outcome)),
        code=receipt.code,
        detail=receipt.detail,
        replay_of=receipt.replay_of,
        height=height,
        index=index,
        header_hash=header_hash,
    )
