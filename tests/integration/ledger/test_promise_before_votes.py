"""P14: the promise covers a vote, durably, before a byte of the vote is written (ADR 0020)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.consensus.domain.codec import encode_log_record
from services.consensus.domain.messages import (
    Checkpoint,
    Digest,
    Prepare,
    Record,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.ledger import Ledger
from services.consensus.store import ChainStore, FatalStorageError, FileOperations, StoreOptions
from services.consensus.store.promise import Promise
from tests.integration.ledger.store_builder import GENESIS, open_store
from tests.unit.ledger.chain_builder import CATALOGUE, verify

PROMISES = ("promise.1.json", "promise.2.json")
ME = ReplicaId(0)
DIGEST = Digest(b"d" * 32)


def prepare(view: int, sequence: int) -> Record:
    return Prepare(View(view), SequenceNumber(sequence), DIGEST, ME, bytes(64))


VOTES = {
    "a sequence number beyond": (0, prepare(0, 1)),
    "a block beyond": (0, Checkpoint(SequenceNumber(1), DIGEST, ME, bytes(64))),
    "a view beyond": (0, ViewChange(View(3), ME, SequenceNumber(0), None, (), bytes(64))),
    "another epoch": (1, prepare(2, 1)),
}


@dataclass(slots=True)
class Observed:
    """The system's files, which say what the promise on disk was when a vote was written."""

    vote: bytes
    fails_at: str = ""
    paths: dict[int, Path] = field(default_factory=dict)
    synced: set[str] = field(default_factory=set)
    at_vote: list[list[Promise | None]] = field(default_factory=list)

    @property
    def files(self) -> FileOperations:
        return FileOperations(
            open=self._open, write=self._write, fsync=self._fsync, rename=self._rename
        )

    def _open(self, path: Path, flags: int, mode: int) -> int:
        descriptor = os.open(path, flags, mode)
        self.paths[descriptor] = path
        self.synced.discard(path.name.removesuffix(".new"))
        return descriptor

    def _write(self, descriptor: int, data: bytes) -> int:
        path = self.paths[descriptor]
        if path.suffix == ".seg" and self.vote in data:
            folder = path.parent.parent
            self.at_vote.append([Promise.decode((folder / each).read_bytes()) for each in PROMISES])
        return os.write(descriptor, data)

    def _fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)
        self.synced.add(self.paths[descriptor].name.removesuffix(".new"))

    def _rename(self, source: Path, target: Path) -> None:
        if target.name == self.fails_at:
            raise OSError(5, "Input/output error")
        assert target.name in self.synced, "a power cut may leave it empty"
        os.replace(source, target)


@contextmanager
def ledger_of(folder: Path, files: FileOperations) -> Iterator[Ledger]:
    """A ledger that votes, on a store that is closed without a word, as by a kill."""
    founded = open_store(folder)
    founded.end_silence()
    founded.close()
    store = open_store(folder, options=StoreOptions(reserve_bytes=0, files=files))
    ledger = Ledger(store, GENESIS, CATALOGUE, verify, folder=folder, reserve_bytes=0)
    try:
        yield ledger
    finally:
        ledger._executor.shutdown()
        ledger._writer.shutdown()
        release(store)


def release(store: ChainStore) -> None:
    """What the end of a process does."""
    store._index.close()
    store._segments.close()
    store._folder.release()


@pytest.mark.req("G2-07-1", "G2-13-2")
@pytest.mark.parametrize("kind", VOTES)
async def test_p14_both_promises_on_disk_cover_a_vote_when_its_first_byte_is_written(
    tmp_path: Path, kind: str
) -> None:
    """ledger.md, rule of silence, step 1."""
    epoch, vote = VOTES[kind]
    observed = Observed(encode_log_record(vote))
    with ledger_of(tmp_path / "data", observed.files) as ledger:
        before = ledger.store.promise
        await ledger.append(epoch, [vote])
        assert ledger.store.promise != before, "the vote needs another promise"
    assert len(observed.at_vote) == 1
    for promise in observed.at_vote[0]:
        assert promise is not None
        assert promise.sequence is not None
        assert promise.epoch == epoch
        assert promise.view >= getattr(vote, "view", 0)
        assert promise.sequence >= getattr(vote, "sequence", 0)


@pytest.mark.req("G2-07-1", "G2-13-2")
@pytest.mark.parametrize("fails_at", PROMISES)
@pytest.mark.parametrize("kind", VOTES)
async def test_p14_a_stop_while_the_promise_is_made_leaves_no_vote_behind(
    tmp_path: Path, kind: str, fails_at: str
) -> None:
    """The folder is opened again as the stop left it: no vote stands above what is promised."""
    epoch, vote = VOTES[kind]
    observed = Observed(encode_log_record(vote))
    with ledger_of(tmp_path / "data", observed.files) as ledger:
        observed.fails_at = fails_at
        with pytest.raises(FatalStorageError):
            await ledger.append(epoch, [vote])
    store = open_store(tmp_path / "data")
    assert encode_log_record(vote) not in list(store.records())
    assert not store.promise.forgotten
    store.close()
