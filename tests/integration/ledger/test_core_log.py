"""Compactions of the core's records that are too large for one record: in parts, and a crash
between two of them loses nothing (ledger.md, segments and recovery).
"""

from __future__ import annotations

import errno
import os
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from guqiao_sdk.archive.records import RecordType
from services.consensus.store import ChainStore, FatalStorageError, FileOperations, StoreOptions
from services.consensus.store import segment as segment_module
from services.consensus.store.archive import remove_archived_segments
from tests.integration.ledger.archive_builder import archive, certify, options
from tests.integration.ledger.store_builder import (
    GENESIS,
    NO_FSYNC,
    OPTIONS,
    commit,
    edit_file,
    flip,
    grow,
    open_store,
    payloads_of,
    position_of,
    segment_files,
)

MEBIBYTE = 1024 * 1024
PART_BYTES = 1_000
IN_PARTS = replace(OPTIONS, compaction_part_bytes=PART_BYTES)
OLD = [b"vote %d" % height for height in range(1, 4)]
KEPT = [bytes([number]) * 400 for number in range(10)]
"""Two of them in each part."""
PARTS = 4


def voted(folder: Path, options: StoreOptions = IN_PARTS) -> ChainStore:
    """Three blocks and the votes before them, nothing compacted yet."""
    store = open_store(folder, options=options)
    store.end_silence()
    store.cover_votes(0, 3)
    grow(store, 3)
    assert list(store.records()) == OLD
    return store


def kill(store: ChainStore) -> None:
    store._index.close()
    store._segments.close()
    store._folder.release()


@pytest.mark.req("G2-07-1", "G2-13-2")
@pytest.mark.parametrize("rebuilt", [False, True], ids=["index whole", "index built again"])
def test_what_is_too_large_for_one_record_is_compacted_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rebuilt: bool
) -> None:
    store = voted(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(segment_module, "RECORD_BYTES_MAX", 2 * PART_BYTES)
        store.compact_records(KEPT)
    assert list(store.records()) == KEPT
    store.append_records([b"later"])
    store.close()
    if rebuilt:
        shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path, options=IN_PARTS)
    assert list(store.records()) == [*KEPT, b"later"]
    assert not store.promise.forgotten
    assert not store.votes_damaged()
    store.close()


def test_one_record_that_is_larger_than_a_part_stands_alone(tmp_path: Path) -> None:
    store = voted(tmp_path)
    records = [b"small", b"x" * 3 * PART_BYTES, b"small too"]
    store.compact_records(records)
    store.close()
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path, options=IN_PARTS)
    assert list(store.records()) == records
    store.close()


class Failing:
    """File operations that fail from one write or fsync of a segment on; `synced` is how much of
    each file an fsync covered.
    """

    def __init__(self) -> None:
        self.left: int | None = None
        self.synced: dict[str, int] = {}
        self.files = FileOperations(write=self._write, fsync=self._fsync)

    def _write(self, descriptor: int, data: bytes) -> int:
        self._count()
        return os.write(descriptor, data)

    def _fsync(self, descriptor: int) -> None:
        self._count()
        self.synced[os.readlink(f"/proc/self/fd/{descriptor}")] = os.fstat(descriptor).st_size

    def _count(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.req("G2-07-1", "G2-13-2")
@pytest.mark.parametrize("power_cut", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("small_segments", [False, True], ids=["one segment", "many segments"])
def test_a_crash_at_any_write_of_a_compaction_leaves_the_old_records_or_the_new(
    tmp_path: Path, power_cut: bool, small_segments: bool
) -> None:
    outcomes = []
    for number in range(100):
        folder, failing = tmp_path / str(number), Failing()
        given = replace(IN_PARTS, files=failing.files)
        given = replace(given, segment_bytes_max=1_500) if small_segments else given
        store = voted(folder, given)
        failing.left = number
        try:
            store.compact_records(KEPT)
        except FatalStorageError:
            pass
        else:
            failing.left = None
            store.close()
            break
        kill(store)
        if power_cut:
            for path in segment_files(folder):
                os.truncate(path, failing.synced.get(str(path), 0))
            (folder / "session").write_text("another boot")
        store = open_store(folder, options=IN_PARTS)
        assert not store.promise.forgotten
        assert list(store.records()) in (OLD, KEPT)
        outcomes.append(list(store.records()) == KEPT)
        store.append_records([b"later"])
        assert list(store.records())[-1] == b"later"
        store.close()
    assert outcomes.count(False) > PARTS, "the crash fell between all parts"
    assert outcomes == sorted(outcomes), "once it is durable it stays"


@pytest.mark.req("G2-07-1", "G2-13-2")
@pytest.mark.parametrize("part", range(PARTS))
def test_a_damaged_part_is_never_forgotten_silently(tmp_path: Path, part: int) -> None:
    """ledger.md, rule of silence, step 2."""
    store = voted(tmp_path)
    store.compact_records(KEPT)
    store.close()
    position = position_of(tmp_path, RecordType.CORE_PART, 0, nth=part)
    edit_file(segment_files(tmp_path)[0], lambda data: flip(data, position.offset + 60))
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path, options=IN_PARTS)
    assert store.promise.forgotten
    store.close()


@pytest.mark.req("G2-07-1", "G2-13-2")
@pytest.mark.parametrize("part", range(PARTS))
def test_a_damaged_part_that_the_index_still_holds_is_written_again(
    tmp_path: Path, part: int
) -> None:
    store = voted(tmp_path)
    store.compact_records(KEPT)
    store.close()
    position = position_of(tmp_path, RecordType.CORE_PART, 0, nth=part)
    edit_file(segment_files(tmp_path)[0], lambda data: flip(data, position.offset + 60))
    store = open_store(tmp_path, options=IN_PARTS)
    assert not store.promise.forgotten
    assert store.votes_damaged()
    store.compact_records(store.records())
    assert not store.votes_damaged()
    store.close()
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path, options=IN_PARTS)
    assert (store.promise.forgotten, list(store.records())) == (False, KEPT)
    store.close()


@pytest.mark.req("G2-13-2")
def test_a_segment_with_parts_that_count_is_not_removed_from_the_folder(tmp_path: Path) -> None:
    data, in_parts = tmp_path / "data", replace(options(), compaction_part_bytes=PART_BYTES)
    store = open_store(data, options=in_parts)
    store.end_silence()
    kept = [bytes([number]) * 900 for number in range(40)]
    for height in range(1, 31):
        store.cover_votes(0, height)
        store.append_records([b"vote"])
        store.put_certificate(height, certify(commit(store, *payloads_of(height))))
        if height == 15:
            store.compact_records(kept)
    store.close()
    first = position_of(data, RecordType.CORE_PART, 0).segment
    assert first < position_of(data, RecordType.CORE_COMPACTED, len(kept) - 1).segment
    archive(data, tmp_path / "archive")
    step = remove_archived_segments(data, tmp_path / "archive", GENESIS, files=NO_FSYNC)
    assert len(step.segments) == first - 1
    shutil.rmtree(data / "index")
    store = open_store(data, options=in_parts)
    assert list(store.records()) == [*kept, *[b"vote"] * 15]
    store.close()


@pytest.mark.req("G2-13-2")
def test_how_much_there_is_since_the_last_compaction_is_known_after_a_start_too(
    tmp_path: Path,
) -> None:
    store = voted(tmp_path)
    log = store.core_log
    appended = log.appended_bytes
    store.append_records([bytes(100_000)])
    assert log.appended_bytes == appended + 100_000
    store.close()
    store = open_store(tmp_path, options=IN_PARTS)
    assert 100_000 <= store.core_log.appended_bytes <= 120_000
    store.compact_records(KEPT)
    assert (store.core_log.appended_bytes, store.core_log.kept_bytes) == (0, 4_000)
    store.close()


@pytest.mark.req("G2-13-2")
def test_records_are_read_one_at_a_time(tmp_path: Path) -> None:
    store = voted(tmp_path)
    for _ in range(40):
        store.append_records([bytes(MEBIBYTE)])
    store.close()
    store = open_store(tmp_path, options=IN_PARTS)
    tracemalloc.start()
    try:
        total = sum(map(len, store.records()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total > 40 * MEBIBYTE
    assert peak < 8 * MEBIBYTE
    store.close()
