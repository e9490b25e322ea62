"""The chain as one replica keeps it: core records, blocks, certificates, state and its proofs.

One thread writes; readers may be many. `append_records` is durable when it returns, and with it
every block committed before; a replica that votes for a block through it has both. What a caller
relies on otherwise is durable only after `sync`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import lmdb

from guqiao_sdk.archive.records import RecordType
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.restart import Restart
from guqiao_sdk.proof.state_proof import StateProof
from services.consensus.domain.ledger.execution import BlockResult
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.domain.ledger.state_parts import Entry
from services.consensus.domain.ledger.state_tree import apply, changes_of
from services.consensus.store.blocks import StoredBlock, TransactionPlace
from services.consensus.store.core_log import CoreLog
from services.consensus.store.errors import (
    DamagedRecordError,
    FatalStorageError,
    IndexDamagedError,
    IndexFullError,
    SegmentArchivedError,
    StateDivergenceError,
)
from services.consensus.store.files import FileOperations
from services.consensus.store.folder import DataFolder
from services.consensus.store.index import Index
from services.consensus.store.opening import distrust_after, open_index
from services.consensus.store.options import StoreOptions
from services.consensus.store.promise import Promise, Promises
from services.consensus.store.recovery import FoundBlock, recover, take_block
from services.consensus.store.restarts import Restarts
from services.consensus.store.segment import Damage, Position, Record, Segments
from services.consensus.store.snapshot import StateSnapshot
from services.consensus.store.state_intake import Snapshot, adopt, encode_entries
from services.consensus.store.tables import Transaction

_MAY_BE_VOTES: Final = {
    None,
    RecordType.CORE,
    RecordType.CORE_COMPACTED,
    RecordType.CORE_PART,
}


class ChainStore:
    """Open it with `ChainStore.open`, close it with `close`."""

    def __init__(
        self,
        folder: DataFolder,
        segments: Segments,
        index: Index,
        options: StoreOptions,
        promises: Promises,
        restarts: Restarts,
    ) -> None:
        self._folder = folder
        self._segments = segments
        self._index = index
        self._options = options
        self._promises = promises
        self._restarts = restarts
        self.core_log = CoreLog(index, segments, options.compaction_part_bytes)
        self.index_rebuilt = False
        self.damages: Sequence[Damage] = ()

    @staticmethod
    def open(
        path: Path, genesis: Genesis, *, replica: int | None, options: StoreOptions | None = None
    ) -> ChainStore:
        """Open or create the data folder of `replica` (None: an observer).

        Raises `StorageError`. Damaged records keep nothing from opening: `damages` lists them,
        `restore_to` and `promise` say what must come back before the replica may vote.
        """
        options = options or StoreOptions()
        folder = DataFolder(path, genesis, replica, options.files)
        try:
            return _open(folder, genesis, options)
        except lmdb.Error as error:
            try:
                distrust_after(error, folder)
            finally:
                folder.release()
            raise FatalStorageError("opening the index", str(error)) from error
        except BaseException:
            folder.release()
            raise

    @property
    def files(self) -> FileOperations:
        """What its folder is written with."""
        return self._options.files

    @property
    def index_bytes(self) -> int:
        """How long the index's file is."""
        return self._index.bytes_used

    def close(self) -> None:
        """Make everything durable and close."""
        try:
            self._segments.seal()
            with self._write() as transaction:
                self._flush(transaction)
            self._index.sync()
            if not self._folder.index_distrusted:
                self._folder.end_session(self._segments.end)
        finally:
            self._index.close()
            self._segments.close()
            self._folder.release()

    def check_index(self) -> None:
        """Raise `IndexDamagedError` once damage of the index was met: the process must end."""
        if self._folder.index_distrusted:
            raise IndexDamagedError("it did not read back as written")

    # --- The core's records -------------------------------------------------------------------

    def append_records(self, records: Sequence[bytes]) -> None:
        """Append records of the PBFT core, opaque here, and make them durable with one fsync.

        Blocks committed before are durable with them.
        """
        self._folder.check_reserve(self._options.reserve_bytes)
        self.core_log.append(records)
        self.sync()

    @property
    def promise(self) -> Promise:
        """What this replica may have voted on, and whether votes were lost."""
        return self._promises.made

    def cover_votes(self, view: int, sequence: int) -> None:
        """Promise, durably, to vote up to here: before records of such votes are appended."""
        self._promises.cover(view, sequence, self._segments.durable)

    def begin_epoch(self, epoch: int, base: int) -> None:
        """Votes are of `epoch` from now on, which starts above `base` with its first view."""
        self._promises.begin_epoch(epoch, base, self._segments.durable)

    def promise_again(self, *, epoch: int, view: int, floor: int, sequence: int) -> None:
        """Both files of the promise are gone, the votes are not and say this."""
        reached = self._segments.durable
        self._promises.make_again(Promise(view, sequence, reached, floor=floor, epoch=epoch))

    def end_silence(self) -> None:
        """The chain is past everything that forgotten votes were for; the replica votes again."""
        self._promises.restore(self.last_certified, self._segments.durable)

    def records(self) -> Iterator[bytes]:
        """Yield the core's records since the last compaction, in the order appended."""
        return self.core_log.records()

    def compact_records(self, records: Iterable[bytes]) -> None:
        """Let `records` stand for all core records so far; the others are no longer needed."""
        self._folder.check_reserve(self._options.reserve_bytes)
        with self._write() as transaction:
            self.core_log.compact(transaction, records)
            self._index.set_marker(transaction, self._segments.end)

    def sync(self) -> None:
        """Make everything appended durable. `FatalStorageError` means: stop, never retry."""
        self._segments.sync()

    # --- Blocks -------------------------------------------------------------------------------

    def preview_header(self, result: BlockResult) -> BlockHeader:
        """Return the header that `commit_block` would give, without keeping anything."""
        with self._index.begin() as transaction:
            update = self._index.update_tree(transaction, result.height, result.write_set)
        return result.header(update.root)

    def commit_block(self, result: BlockResult) -> BlockHeader:
        """Add the block after the last one; return its header. Durable after `sync`."""
        self._folder.check_reserve(self._options.reserve_bytes)
        with self._write() as transaction:
            last = self._index.last_height(transaction)
            assert last is not None
            assert result.height == last + 1, "blocks are committed in order"
            update = self._index.update_tree(transaction, result.height, result.write_set)
            header = result.header(update.root)
            block = StoredBlock.of(result, header)
            position = self._segments.append(RecordType.BLOCK, header.height, block.encode())
            self._index.put_block(transaction, block, position, update)
            self._flush(transaction)
        return header

    def put_certificate(self, height: int, certificate: FinalityCertificate) -> bool:
        """Keep the certificate of a block that is here, durable with the next records; the first
        one stays. False: there was one.
        """
        header = self.get_header(height)
        assert header is not None, "a block is stored before its certificate"
        assert certificate.header_hash == header.hash(), "another header is certified: halt"
        if self.get_certificate(height) is not None:
            return False
        self._segments.append(RecordType.CERTIFICATE, height, certificate.encode())
        with self._write() as transaction:
            self._index.put_certificate(transaction, height, certificate)
            self._flush(transaction)
        return True

    @property
    def last_height(self) -> int:
        """The last executed height; 0 is genesis."""
        with self._index.begin() as transaction:
            height = self._index.last_height(transaction)
        assert height is not None
        return height

    @property
    def last_header(self) -> BlockHeader:
        """The header of the last executed block."""
        header = self.get_header(self.last_height)
        assert header is not None
        return header

    @property
    def last_certified(self) -> int:
        """The last height at and below which every block has its certificate; 0 is genesis."""
        with self._index.begin() as transaction:
            return self._index.last_certified(transaction)

    def get_header(self, height: int) -> BlockHeader | None:
        """Return the header of `height`, or None."""
        with self._index.begin() as transaction:
            return self._index.header(transaction, height)

    def get_certificate(self, height: int) -> FinalityCertificate | None:
        """Return the certificate of `height`, or None."""
        with self._index.begin() as transaction:
            return self._index.certificate(transaction, height)

    def get_block(self, height: int) -> StoredBlock | None:
        """Return the block of `height`, or None; raises `DamagedRecordError`, and
        `SegmentArchivedError` where it lies in an archive that is away.
        """
        with self._index.begin() as transaction:
            position = self._index.position(transaction, height)
        if position is None:
            return None
        where = f"segment {position.segment}, offset {position.offset}"
        record = self._segments.read(position)
        if isinstance(record, Damage) or record.height != height:
            raise DamagedRecordError(height, where)
        return StoredBlock.decode(record.payload)

    def get_receipts(self, height: int) -> list[Receipt] | None:
        """Return the receipts of `height`, or None; raises `DamagedRecordError`."""
        block = self.get_block(height)
        return None if block is None else block.read_receipts()

    def get_transaction(self, transaction_id: bytes) -> TransactionPlace | None:
        """Return a transaction and its receipt, or None; raises `DamagedRecordError`."""
        return self._place("transactions", transaction_id)

    def find_object(self, object_id: str) -> TransactionPlace | None:
        """Return the transaction that last sent this data object, or None."""
        key = object_id.encode()
        return self._place("objects", key) if 0 < len(key) <= 511 else None

    @property
    def restarts(self) -> Sequence[Restart]:
        """The restarts that this folder goes by, in the order of their epochs."""
        return self._restarts.known

    def keep_restart(self, restart: Restart) -> None:
        """Put a restart in force, durably. What it makes void goes when the folder is opened next:
        whoever calls has judged the restart, and closes.
        """
        self._restarts.keep(restart)

    # --- State --------------------------------------------------------------------------------

    def state_reader(self) -> StateSnapshot:
        """Open the state after the last block: `with store.state_reader() as state:`."""
        return StateSnapshot(self._index, self._index.snapshot())

    def prove_state(self, height: int, key: bytes) -> tuple[bytes | None, StateProof] | None:
        """Return the value at `key` after block `height` and its proof, under its state root.

        None where the height is not here or lies too far back (`PROVABLE_HEIGHTS`).
        """
        with self._index.begin() as transaction:
            return self._index.prove(transaction, height, key)

    def verify_state(self) -> None:
        """Compare the whole state with the last header; raises `StateDivergenceError` (G2-07-3)."""
        with self._index.begin() as transaction:
            height = self._index.last_height(transaction)
            assert height is not None
            header = self._index.header(transaction, height)
            state = dict(self._index.scan_state(transaction, b""))
        pages: dict[bytes, bytes] = {}
        update = apply(pages.__getitem__, None, changes_of(state), height)
        if header is None or update.root != header.state_root:
            raise StateDivergenceError(height)

    def keep_state_part(self, entries: Sequence[Entry]) -> Position:
        """Keep a part of a state that is being taken; durable, and of use, with `adopt_state`."""
        self._folder.check_reserve(self._options.reserve_bytes)
        return self._segments.append(RecordType.STATE_PART, 0, encode_entries(entries))

    def adopt_state(self, snapshot: Snapshot) -> None:
        """Let the state whose parts were kept be the one after the snapshot's header, and go on
        from there; raises `StateDivergenceError`, and nothing is changed, unless it gives its root.

        Whoever calls has verified the header's certificate. Blocks between the last one here and
        that height are not here afterwards.
        """
        assert snapshot.header.height > self.last_height, "a state is taken to get ahead"
        self._segments.sync()
        with self._write() as transaction:
            adopt(self._index, self._segments, transaction, snapshot)
            height = snapshot.header.height
            self._segments.append(RecordType.SNAPSHOT, height, snapshot.encode())
            self._segments.sync()
            self._flush(transaction)

    # --- Damage -------------------------------------------------------------------------------

    def scrub(self, first: int, last: int) -> list[int]:
        """Read the blocks `first` to `last` again; return the heights that are damaged here."""
        damaged = []
        for height in range(first, last + 1):
            try:
                block = self.get_block(height)
                if block is not None:
                    block.check_roots()
            except SegmentArchivedError:
                continue
            except (DamagedRecordError, MalformedError):
                damaged.append(height)
        return damaged

    def is_whole(self, height: int) -> bool:
        """Whether the record of a block that is here reads back as written; what was moved to an
        archive is not read: `guqiao archive verify` does that.
        """
        with self._index.begin() as transaction:
            position = self._index.position(transaction, height)
        if position is None or self._segments.is_archived(position.segment):
            return True
        record = self._segments.read(position)
        return isinstance(record, Record) and record.height == height

    def votes_damaged(self) -> bool:
        """Read all segments; whether records of the core are damaged that still count. What the
        index holds of them can be written again, with `compact_records`.
        """
        with self._index.begin() as transaction:
            compacted = self._index.compacted(transaction)
        return any(
            isinstance(item, Damage) and item.type in _MAY_BE_VOTES and item.end > compacted
            for item in self._segments.scan(compacted)
        )

    def repair_block(self, block: StoredBlock) -> None:
        """Take a damaged block anew, fetched from a peer; raises `MalformedError` for another.

        Its write set is not kept: where it is needed again, executing the block gives it.
        """
        height = block.header.height
        header = self.get_header(height)
        if header is None or block.header != header:
            raise MalformedError(f"the header is not that of block {height} here")
        block.check_roots()
        bare = replace(block, write_set={})
        position = self._segments.append(RecordType.REPAIRED_BLOCK, height, bare.encode())
        self.sync()
        with self._write() as transaction:
            self._index.move(transaction, height, position)
            self._flush(transaction)

    @property
    def restore_to(self) -> int:
        """The last height that is known to be certified; blocks up to it may be missing here."""
        with self._index.begin() as transaction:
            return self._index.known_certified(transaction)

    @property
    def next_found_height(self) -> int | None:
        """The first height above the last block whose block stands in the segments."""
        with self._index.begin() as transaction:
            last = self._index.last_height(transaction) or 0
            found = self._index.found(transaction, last + 1)
        return None if found is None else found[0]

    def find_next(self) -> FoundBlock | None:
        """The next block, if it stands in the segments; what is damaged there is let go."""
        height = self.last_height + 1
        with self._index.begin() as transaction:
            found = self._index.found(transaction, height)
        if found is None or found[0] != height:
            return None
        record = self._segments.read(found[1])
        try:
            if isinstance(record, Record) and record.height == height:
                return FoundBlock(record, StoredBlock.decode(record.payload))
        except MalformedError:
            pass
        self.drop_found(height)
        return None

    def take_found(self, found: FoundBlock) -> bool:
        """Take the next block from where it was found; False where it does not hold."""
        try:
            with self._write() as transaction:
                take_block(self._index, transaction, found.record)
        except DamagedRecordError:
            self.drop_found(found.record.height)
            return False
        return True

    def take_all_found(self) -> None:
        """Take in what was found, up to the next block that is missing or must be executed."""
        while (found := self.find_next()) is not None and not found.must_execute:
            if not self.take_found(found):
                return

    def drop_found(self, height: int) -> None:
        """A block that was found is of no use: it comes from the peers."""
        with self._write() as transaction:
            self._index.drop_found(transaction, height)

    def _place(self, table: str, key: bytes) -> TransactionPlace | None:
        with self._index.begin() as transaction:
            place = self._index.place(transaction, table, key)
        if place is None:
            return None
        block = self.get_block(place[0])
        if block is None:
            return None  # It was never certified here, and a state from others took its place.
        height, number = place
        receipt = Receipt.decode(block.receipts[number])
        return TransactionPlace(height, number, block.batch.transactions[number], receipt)

    @contextmanager
    def _write(self) -> Iterator[Transaction]:
        """Write the index; a failure is final, for the segments may already be ahead of it."""
        try:
            with self._index.begin(write=True) as transaction:
                yield transaction
        except IndexFullError as error:
            self._segments.fail(error)
            raise
        except lmdb.Error as error:
            failure = FatalStorageError("writing the index", str(error))
            self._segments.fail(failure)
            distrust_after(error, self._folder)
            raise failure from error

    def _flush(self, transaction: Transaction) -> None:
        """The index then holds everything that the segments hold."""
        self.core_log.flush(transaction)
        self._index.set_marker(transaction, self._segments.end)


def _open(folder: DataFolder, genesis: Genesis, options: StoreOptions) -> ChainStore:
    created = not folder.segments.exists()
    last = folder.begin_session()
    restarts = Restarts(folder.path, options.files)
    index, trusted = open_index(folder, last.index_trusted, restarts)
    with ExitStack() as undo:
        undo.callback(index.close)
        segments = Segments(
            folder.segments,
            salt=folder.salt,
            bytes_max=options.segment_bytes_max,
            files=options.files,
        )
        undo.callback(segments.close)
        promises = Promises(folder.path, options.files, options.sequences_a_promise)
        damages = recover(index, segments, promises, genesis, last, restarts)
        undo.pop_all()
    store = ChainStore(folder, segments, index, options, promises, restarts)
    store.index_rebuilt = not trusted and not created
    store.damages = damages
    store.take_all_found()
    return store
