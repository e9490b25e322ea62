"""Replicas over the production's store: segment files and index in a folder in memory.

Power cuts and rot are modelled on the real files. What an fsync covered is noted; a power cut cuts
each segment file back to that (or leaves a torn part of the rest) and distrusts the index. Rot
flips a bit of what was durable or of the promise, blanks a page of it, loses it all, cuts the tail
off, or puts an older copy in place.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from structlog.testing import capture_logs

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.restart import Restart
from services.consensus.chain_sets import ChainSets
from services.consensus.domain.codec import decode_log_record, encode_log_record
from services.consensus.domain.messages import (
    CertifiedHead,
    EpochStarted,
    LogRecord,
    Record,
    View,
)
from services.consensus.ledger import reach_of
from services.consensus.restart import put_in_force
from services.consensus.store import ChainStore, FileOperations, StoreOptions
from services.consensus.store.state_intake import Snapshot
from tests.plugins.memory_disk import make_folder, remove_folder
from tests.simulation.durable import head_of, message_of
from tests.simulation.workload import ExecutedBlock, Execution

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

SEGMENT_BYTES: Final = 24 * 1024
"""Small, so that segments are sealed in every run."""
PART_BYTES: Final = 2 * 1024
"""Small, so that compactions have several parts, which segments end between."""
SEQUENCES_A_PROMISE: Final = 4
"""Few, so that a replica that lost its votes is past what it promised within the run."""
RESTART_MS: Final = 200
PAGE_BYTES: Final = 4_096


class Shelf:
    """The data folders of one run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._root = make_folder("simulation-")
        self._synced: dict[int, dict[Path, list[int]]] = {}
        self._open: dict[int, StoredLedger] = {}
        self._stale: Path | None = None
        self._is_judge = False
        rot = cluster.scenario.rot
        if rot is not None and rot.kind == "stale_file":
            cluster.schedule(rot.at_ms // 2, self._take_copy)

    def open(self, number: int) -> StoredLedger:
        """Open a replica's folder as the production does."""
        cluster = self._cluster
        store = ChainStore.open(
            self.folder(number),
            cluster.execution.genesis,
            replica=cluster.owners[number],
            options=self.options(number),
        )
        ledger = StoredLedger(store, cluster.execution, self, number)
        self._open[number] = ledger
        return ledger

    def options(self, number: int) -> StoreOptions:
        """How a replica's folder is opened."""
        return StoreOptions(
            reserve_bytes=0,
            segment_bytes_max=SEGMENT_BYTES,
            compaction_part_bytes=PART_BYTES,
            files=FileOperations(fsync=self._fsync(number), read=self._read(number)),
            sequences_a_promise=SEQUENCES_A_PROMISE,
        )

    def put_in_force(self, number: int, restart: Restart) -> bool:
        """Let a stopped machine go by the restart, as an operator does."""
        cluster = self._cluster
        return put_in_force(
            self.folder(number),
            cluster.execution.genesis,
            cluster.owners[number],
            restart,
            cluster.scheme.verify,
            self.options(number),
        )

    def move(self, number: int, place: int) -> None:
        """A replica's folder is at another machine from now on."""
        self.folder(number).rename(self.folder(place))
        self._synced.pop(number, None)

    def closed(self, number: int, *, power_cut: bool) -> None:
        """A process ended without a word."""
        self._open.pop(number, None)
        if power_cut:
            for path, sizes in self._synced.get(number, {}).items():
                self._cut(path, sizes[-1])
            self._distrust(number)

    def wipe(self, number: int) -> None:
        """A replica's folder is gone."""
        shutil.rmtree(self.folder(number), ignore_errors=True)
        self._synced.pop(number, None)

    def rot(self) -> None:
        """Damage the files of the machine that the scenario names, while it is down."""
        rot = self._cluster.scenario.rot
        assert rot is not None
        machine = self._cluster.machines[rot.machine]
        machine.crash()
        if _ROT[rot.kind](self, rot.machine):
            self._cluster.fired[rot.kind] += 1
        self._cluster.schedule(RESTART_MS, machine.start)

    def close(self) -> None:
        """End the run."""
        for ledger in list(self._open.values()):
            ledger.close(power_cut=False)
        remove_folder(self._root)

    def flip(self, number: int) -> bool:
        """One bit of what stands before the last barrier."""
        random = self._cluster.random

        def turn(data: bytearray, durable: int) -> None:
            data[random.randrange(durable)] ^= 1 << random.randrange(8)

        return self._spoil(number, turn)

    def zero(self, number: int) -> bool:
        """A page of what stands before the last barrier reads as zeros."""
        random = self._cluster.random

        def blank(data: bytearray, durable: int) -> None:
            begin = random.randrange(0, durable, PAGE_BYTES)
            end = min(begin + PAGE_BYTES, durable)
            data[begin:end] = bytes(end - begin)

        return self._spoil(number, blank)

    def flip_promise(self, number: int) -> bool:
        """One bit of one of the two files that say what the replica may have voted on."""
        random, folder = self._cluster.random, self.folder(number)
        path = random.choice(sorted(folder.glob("promise.*.json")))
        data = bytearray(path.read_bytes())
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        path.write_bytes(data)
        return True

    def _spoil(self, number: int, change: Callable[[bytearray, int], None]) -> bool:
        """Change one file that has something before the last barrier; False: there is none."""
        durable = {
            path: sizes[-2]
            for path, sizes in self._synced.get(number, {}).items()
            if len(sizes) > 1 and sizes[-2] > 0
        }
        if not durable:
            return False
        path = self._cluster.random.choice(sorted(durable))
        data = bytearray(path.read_bytes())
        change(data, durable[path])
        path.write_bytes(data)
        self._distrust(number)
        return True

    def lose(self, number: int) -> bool:
        """All segments are gone: every block and every vote."""
        shutil.rmtree(self.folder(number) / "segments")
        self._synced.pop(number, None)
        self._distrust(number)
        return True

    def truncate(self, number: int) -> bool:
        """The end of the last segment is gone, though it was durable."""
        paths = self._segments(number)
        size = paths[-1].stat().st_size
        if size == 0:
            return False
        os.truncate(paths[-1], max(0, size - self._cluster.random.randint(1, 400)))
        self._distrust(number)
        return True

    def put_back(self, number: int) -> bool:
        """An older copy of the segments stands in their place."""
        if self._stale is None:
            return False
        segments = self.folder(number) / "segments"
        shutil.rmtree(segments)
        shutil.copytree(self._stale, segments)
        self._synced.pop(number, None)
        self._distrust(number)
        return True

    def _take_copy(self) -> None:
        rot = self._cluster.scenario.rot
        assert rot is not None
        self._stale = self._root / "stale"
        shutil.copytree(self.folder(rot.machine) / "segments", self._stale)

    def _fsync(self, number: int) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            machines = self._cluster.machines
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            is_segment = path.suffix == ".seg"
            if number < len(machines) and machines[number].disk.meets_fault(votes=is_segment):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if is_segment:
                sizes = self._synced.setdefault(number, {}).setdefault(path, [])
                size = os.fstat(descriptor).st_size
                if size not in sizes[-1:]:
                    sizes.append(size)

        return fsync

    def _read(self, number: int) -> Callable[[int, int, int], bytes]:
        def read(descriptor: int, size: int, offset: int) -> bytes:
            machines = self._cluster.machines
            running = number < len(machines) and machines[number].core is not None
            if running and not self._is_judge and machines[number].disk.read_fails():
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return os.pread(descriptor, size, offset)

        return read

    @contextmanager
    def as_judge(self) -> Iterator[None]:
        """No disk withholds what is read meanwhile: a checker or a client looks."""
        self._is_judge = True
        try:
            yield
        finally:
            self._is_judge = False

    def _cut(self, path: Path, durable: int) -> None:
        size = path.stat().st_size
        kept = durable
        if self._cluster.torn and size > durable:
            kept = self._cluster.random.randint(durable, size)
            self._cluster.fired["torn_write"] += durable < kept < size
        if size > kept:
            os.truncate(path, kept)

    def _distrust(self, number: int) -> None:
        session = self.folder(number) / "session"
        if session.exists():
            session.write_text("another boot")

    def _segments(self, number: int) -> list[Path]:
        return sorted((self.folder(number) / "segments").glob("*.seg"))

    def folder(self, number: int) -> Path:
        """Where a machine keeps its chain."""
        return self._root / str(number)


_ROT: Final[dict[str, Callable[[Shelf, int], bool]]] = {
    "bit_flip": Shelf.flip,
    "zeroed_page": Shelf.zero,
    "promise_flip": Shelf.flip_promise,
    "lost_segments": Shelf.lose,
    "truncated_tail": Shelf.truncate,
    "stale_file": Shelf.put_back,
}


class StoredLedger(ChainSets):
    """One opened store. It executes on its own state; receipts and header must be everybody's."""

    def __init__(self, store: ChainStore, execution: Execution, shelf: Shelf, number: int) -> None:
        super().__init__(store, execution.genesis)
        self._execution = execution
        self._shelf = shelf
        self._number = number
        self._headers = {0: execution.root}
        self._blocks: dict[int, ExecutedBlock] = {}
        self.last_height = store.last_height
        self.last_certified = store.last_certified
        self.kept_certified = 0
        """Up to here certificates outlast a power cut: a barrier of this process covers them."""

    def view_floor(self, epoch: int) -> View:
        return View(self.store.promise.floor if epoch == self._promised_epoch else 0)

    @property
    def must_restore(self) -> bool:
        """Whether certified blocks or votes are missing: the replica may not take part yet."""
        return self.store.promise.forgotten or self.store.last_certified < self.store.restore_to

    @property
    def history_from(self) -> int:
        """Blocks up to here came as a state, and are not here."""
        with self.store.state_reader() as state:
            return state.history_from

    def adopt(self, snapshot: Snapshot) -> None:
        """Go on from a state that was taken."""
        with self._shelf.as_judge():  # A disk fault there ends the process.
            self.store.adopt_state(snapshot)
        self.last_height, self.last_certified = self.store.last_height, self.store.last_certified

    def take_found(self) -> bool:
        """Take in the next block from the replica's own segments, if it was found there."""
        with capture_logs():
            found = self.store.find_next()
        if found is None:
            return False
        assert not found.must_execute, "blocks are damaged here only together with the index"
        if not self.store.take_found(found):
            return False
        self.last_height, self.last_certified = self.store.last_height, self.store.last_certified
        return True

    def end_silence(self) -> None:
        """What is left of lost votes is void; the replica votes again."""
        mark = EpochStarted(self._promised_epoch, View(self.store.promise.view))
        self.store.compact_records([encode_log_record(mark)])
        self.store.end_silence()

    def head(self) -> CertifiedHead:
        return head_of(self)

    def append(self, epoch: int, records: Sequence[Record]) -> None:
        """As `Ledger.append` does."""
        if epoch != self._promised_epoch:
            self.store.compact_records([encode_log_record(EpochStarted(epoch))])
            self.store.begin_epoch(epoch, self.epoch_base(epoch))
        self.store.cover_votes(*reach_of(records))
        self.store.append_records(list(map(encode_log_record, records)))
        self.kept_certified = self.last_certified

    def compact(self, records: Sequence[LogRecord]) -> None:
        self.store.compact_records(list(map(encode_log_record, records)))
        self.kept_certified = self.last_certified

    def records(self) -> Iterator[LogRecord]:
        return map(decode_log_record, self.store.records())

    def execute(self, batch: Batch) -> BlockHeader:
        parent = self.header(self.last_height)
        restarts = self.restarts_behind(parent)
        with self.store.state_reader() as state:
            result = self._execution.result(state, parent, batch, restarts)
        header = self.store.commit_block(result)
        block = self._execution.execute(parent, batch, restarts)
        same = block.result.encoded_receipts == result.encoded_receipts
        assert same, f"S5: block {header.height} has other receipts at replica {self._number}"
        assert header == block.header, f"S5: block {header.height} has another state root"
        self.last_height += 1
        self.last_certified = self.store.last_certified
        self._blocks[self.last_height] = block
        return header

    def header(self, height: int) -> BlockHeader:
        header = self._headers.get(height)
        if header is None:
            header = self.store.get_header(height)
            assert header is not None, f"block {height} is stored"
            self._headers[height] = header
        return header

    def certificate(self, height: int) -> FinalityCertificate | None:
        return self.store.get_certificate(height)

    def certify(self, height: int, certificate: FinalityCertificate) -> None:
        self.store.put_certificate(height, certificate)
        self.last_certified = self.store.last_certified

    def block_message(self, height: int) -> ledger_pb2.Block | None:
        if not max(1, self.history_from + 1) <= height <= self.last_certified:
            return None
        with capture_logs():
            if not self.store.is_whole(height):
                return None  # Others give it.
        return message_of(self, height)

    def block(self, height: int) -> ExecutedBlock:
        block = self._blocks.get(height)
        if block is None:
            with self._shelf.as_judge():
                stored = self.store.get_block(height)
            assert stored is not None, f"block {height} is stored"
            parent = self.header(height - 1)
            block = self._execution.execute(parent, stored.batch, self.restarts_behind(parent))
            self._blocks[height] = block
        return block

    @property
    def _promised_epoch(self) -> int:
        return max(self.store.promise.epoch, self.genesis.epoch)

    def close(self, *, power_cut: bool) -> None:
        """The process is killed: nothing is flushed or said."""
        store = self.store
        store._index.close()
        store._segments.close()
        store._folder.release()
        self._shelf.closed(self._number, power_cut=power_cut)
