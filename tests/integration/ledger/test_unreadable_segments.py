"""A disk that does not give what it holds (EIO on read): that is damage, never an end without a
word, and never a wrong answer.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from guqiao_sdk.archive.records import RecordType
from services.consensus.store import ChainStore, DamagedRecordError, FileOperations, StoreOptions
from tests.integration.ledger.store_builder import (
    commit,
    grow,
    no_fsync,
    open_store,
    payloads_of,
    position_of,
    segment_files,
)

BLOCKS = 12
BAD = 7
BYTES = 8


@dataclass
class Disk:
    """`bad`: for each segment file, the bytes (begin, end) that no read gives."""

    bad: dict[Path, tuple[int, int]] = field(default_factory=dict)
    failed: int = 0

    def read(self, file: int, size: int, offset: int) -> bytes:
        begin, end = self.bad.get(Path(os.readlink(f"/proc/self/fd/{file}")), (0, 0))
        if begin < offset + size and offset < end:
            self.failed += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.pread(file, size, offset)

    def open(self, folder: Path) -> ChainStore:
        """A store on this disk."""
        files = FileOperations(read=self.read, fsync=no_fsync)
        options = StoreOptions(reserve_bytes=0, segment_bytes_max=2_048, files=files)
        return open_store(folder, options=options)

    def lose(self, folder: Path, height: int) -> None:
        """Some bytes in the middle of a block can no longer be read."""
        position = position_of(folder, RecordType.BLOCK, height)
        path = segment_files(folder)[position.segment - 1]
        self.bad[path] = (position.offset + 40, position.offset + 40 + BYTES)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """One that held a chain of some blocks before a part of it went bad."""
    disk = Disk()
    store = disk.open(tmp_path)
    grow(store, BLOCKS)
    store.close()
    disk.lose(tmp_path, BAD)
    return disk


@pytest.mark.req("G2-07-3", "G2-13-2")
def test_a_block_that_cannot_be_read_is_damaged_and_the_others_are_told(
    tmp_path: Path, disk: Disk
) -> None:
    store = disk.open(tmp_path)
    with pytest.raises(DamagedRecordError, match="STORAGE_RECORD_DAMAGED"):
        store.get_block(BAD)
    assert not store.is_whole(BAD)
    assert disk.failed == 2
    for height in set(range(1, BLOCKS + 1)) - {BAD}:
        assert store.is_whole(height)
        assert store.get_block(height) is not None
    store.close()


@pytest.mark.req("G2-07-3", "G2-13-2")
def test_a_start_without_index_finds_all_but_what_it_cannot_read(
    tmp_path: Path, disk: Disk
) -> None:
    shutil.rmtree(tmp_path / "index")
    store = disk.open(tmp_path)
    assert disk.failed > 0
    assert (store.last_height, store.restore_to) == (BAD - 1, BLOCKS)
    assert store.next_found_height == BAD + 1
    store.close()


@pytest.mark.req("G2-07-3", "G2-13-2")
def test_a_found_block_that_can_be_read_no_more_is_let_go(tmp_path: Path, disk: Disk) -> None:
    """Its peers have it."""
    shutil.rmtree(tmp_path / "index")
    store = disk.open(tmp_path)
    disk.lose(tmp_path, BAD + 1)
    commit(store, *payloads_of(BAD))
    assert store.find_next() is None
    assert (store.last_height, store.next_found_height) == (BAD, BAD + 2)
    store.close()
