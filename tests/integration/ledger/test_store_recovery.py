"""What a crash, a lost index and damaged bytes do: nothing acknowledged is lost or invented."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import lmdb
import pytest

from guqiao_sdk.archive.records import RecordType
from guqiao_sdk.proof.canonical import MalformedError
from services.consensus.store import (
    DamagedRecordError,
    FatalStorageError,
    StoredBlock,
    StoreOptions,
)
from services.consensus.store.index import Index
from services.consensus.store.segment import Damage, Position, Segments
from tests.crash.writer import fork
from tests.integration.ledger.store_builder import (
    GENESIS,
    NO_FSYNC,
    certificate_of,
    commit,
    edit_file,
    flip,
    grow,
    open_store,
    payloads_of,
    position_of,
    salt_of,
    segment_files,
)
from tests.unit.ledger.chain_builder import MemoryChain

KILLS = 20


@pytest.mark.req("G2-07-3")
def test_kill_9_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Goal: durability and determinism. Method: a process commits blocks and says so after each
    fsync; it is killed after a chosen number of lines plus a little; the folder is opened again,
    compared with what was said, and with the same blocks executed in memory.
    """
    chance = random.Random(20_261_122)
    headers: dict[int, str] = {}
    voted = 0
    for _ in range(KILLS):
        lines = _run_and_kill(tmp_path, lines=chance.randint(2, 12), spin=chance.randint(0, 20_000))
        for line in lines:
            match line.split():
                case ["block", number, digest]:
                    headers.setdefault(int(number), digest)
                case ["vote", number]:
                    voted = int(number)
        store = open_store(tmp_path)
        assert not store.index_rebuilt, "after kill -9 the index is merely behind"
        assert store.last_height >= max(headers, default=0)
        for height, digest in headers.items():
            header = store.get_header(height)
            assert header is not None
            assert header.hash().hex() == digest
        assert f"vote {voted}".encode() in list(store.records())
        assert store.scrub(0, store.last_height) == []
        store.verify_state()
        last = store.last_header
        store.close()
    memory = MemoryChain(GENESIS)
    for height in range(1, last.height + 1):
        memory.execute(*payloads_of(height), time_ms=memory.header.block_time_ms + 1)
    assert memory.header == last, "what is stored is what execution gives"
    assert last.height >= KILLS


def _run_and_kill(folder: Path, *, lines: int, spin: int) -> list[str]:
    """What it said; a fork, because a new interpreter would take far longer than the writing."""
    child = fork(partial(_write_on, folder))
    with os.fdopen(child.lines) as said:
        seen = [said.readline() for _ in range(lines)]
        for _ in range(
            spin
        ):  # A busy wait of a seeded length: the kill falls anywhere in a commit.
            pass
        os.kill(child.pid, signal.SIGKILL)
        rest = said.read()
    status = child.wait()
    assert os.WIFSIGNALED(status), (seen, rest)
    return [*seen, *(line + "\n" for line in rest.split("\n")[:-1])]


def _write_on(folder: Path, say: Callable[[str], None]) -> None:
    """Commit blocks until killed, and say what is durable."""
    store = open_store(folder, options=StoreOptions(reserve_bytes=0, segment_bytes_max=100_000))
    say(f"ready {store.last_height}")
    while True:
        height = store.last_height + 1
        store.append_records([b"vote %d" % height])
        say(f"vote {height}")
        header = commit(store, *payloads_of(height))
        say(f"block {height} {header.hash().hex()}")
        store.put_certificate(height, certificate_of(header))


def test_a_lost_index_is_built_again_with_the_same_root(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    grow(store, 15)
    header, records = store.last_header, list(store.records())
    proof = store.prove_state(7, b"scribble/k3")
    store.close()
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path)
    assert store.index_rebuilt
    assert (store.last_header, store.last_certified) == (header, 15)
    assert list(store.records()) == records
    assert store.prove_state(7, b"scribble/k3") == proof
    store.verify_state()
    commit(store, *payloads_of(16))
    store.close()


@pytest.mark.parametrize("how", ["no session", "another boot", "spoilt"])
def test_an_index_that_a_power_cut_may_have_torn_is_not_trusted(tmp_path: Path, how: str) -> None:
    store = open_store(tmp_path)
    grow(store, 5)
    header = store.last_header
    store.close()
    if how == "no session":
        (tmp_path / "session").unlink()
    elif how == "another boot":
        (tmp_path / "session").write_text("00000000-0000-0000-0000-000000000000")
    else:
        (tmp_path / "index" / "data.mdb").write_bytes(b"not a database" * 1_000)
    store = open_store(tmp_path)
    assert store.index_rebuilt
    assert store.last_header == header
    store.close()


def test_any_torn_tail_is_cut_and_what_was_synced_stays(tmp_path: Path) -> None:
    """Exhaustive over every length of the last group: two records that no sync covered."""
    base = tmp_path / "base"
    store = open_store(base)
    grow(store, 2)
    store.append_records([b"durable"])
    store.close()
    (segment,) = segment_files(base)
    durable = segment.stat().st_size
    salt = salt_of(base)
    segments = Segments(base / "segments", salt=salt, files=NO_FSYNC)
    segments.sync()
    segments.append(RecordType.CORE, 0, b"torn 1")
    segments.append(RecordType.CORE, 0, b"torn 2")
    whole = segments.end.offset
    segments.close()
    content = segment.read_bytes()
    for length in range(durable, whole):
        folder = tmp_path / str(length)
        shutil.copytree(base, folder)
        segment_files(folder)[0].write_bytes(content[:length])
        store = open_store(folder)
        records = list(store.records())
        assert records[:3] == [b"vote 1", b"vote 2", b"durable"], length
        assert records[3:] in ([], [b"torn 1"]), length
        assert store.last_height == 2
        store.append_records([b"next"])
        store.close()
        store = open_store(folder)
        assert list(store.records()) == [*records, b"next"]
        store.close()
        shutil.rmtree(folder)


def test_a_damaged_block_is_reported_repaired_and_never_cut(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    grow(store, 6)
    good = store.get_block(3)
    assert good is not None
    position = position_of(tmp_path, RecordType.BLOCK, 3)
    sizes = [path.stat().st_size for path in segment_files(tmp_path)]
    edit_file(segment_files(tmp_path)[0], lambda data: flip(data, position.offset + 200))
    with pytest.raises(DamagedRecordError, match="STORAGE_RECORD_DAMAGED") as caught:
        store.get_block(3)
    assert caught.value.height == 3
    assert store.scrub(0, 6) == [3]
    assert [path.stat().st_size for path in segment_files(tmp_path)] == sizes

    other = StoredBlock(good.header, good.batch, (), good.write_set)
    with pytest.raises(MalformedError):
        store.repair_block(other)
    store.repair_block(good)
    assert store.get_block(3) == replace(good, write_set={})
    assert store.scrub(0, 6) == []
    store.close()


def test_damaged_votes_that_a_compaction_made_void_do_not_matter(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    grow(store, 3)
    store.compact_records([b"still matters"])
    store.close()
    position = position_of(tmp_path, RecordType.CORE, 0, nth=1)
    edit_file(segment_files(tmp_path)[0], lambda data: flip(data, position.offset + 30))
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path)
    assert (list(store.records()), store.last_height) == ([b"still matters"], 3)
    store.close()


def test_the_image_of_a_record_inside_a_payload_is_not_taken_for_one(tmp_path: Path) -> None:
    """Whoever sends transactions chooses payload bytes, but does not know the folder's salt."""
    segments = Segments(tmp_path, salt=0x1234_5678, files=NO_FSYNC)
    stranger = Segments(tmp_path / "stranger", salt=0, files=NO_FSYNC)
    stranger.append(RecordType.CORE, 0, b"forged vote")
    stranger.close()
    image = (tmp_path / "stranger" / "00000001.seg").read_bytes()
    first = segments.append(RecordType.BLOCK, 1, b"x" * 50 + image + b"y" * 50)
    segments.append(RecordType.CORE, 0, b"true vote")
    segments.close()
    edit_file(tmp_path / "00000001.seg", lambda data: flip(data, first.offset + 5))
    segments = Segments(tmp_path, salt=0x1234_5678, files=NO_FSYNC)
    items = list(segments.scan(Position(1, 0)))
    assert isinstance(items[1], Damage)
    assert [item.payload for item in items[2:] if not isinstance(item, Damage)] == [b"true vote"]
    segments.close()


def test_records_span_many_segments(tmp_path: Path) -> None:
    options = StoreOptions(reserve_bytes=0, segment_bytes_max=20_000, files=NO_FSYNC)
    store = open_store(tmp_path, options=options)
    grow(store, 30)
    header = store.last_header
    assert len(segment_files(tmp_path)) > 3
    assert store.scrub(0, 30) == []
    store.close()
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path, options=options)
    assert (store.last_header, store.last_certified) == (header, 30)
    grow(store, 32)
    store.close()


def test_a_missing_segment_is_damage(tmp_path: Path) -> None:
    options = StoreOptions(reserve_bytes=0, segment_bytes_max=20_000, files=NO_FSYNC)
    store = open_store(tmp_path, options=options)
    store.end_silence()
    grow(store, 30)
    store.close()
    segment_files(tmp_path)[1].unlink()
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path, options=options)
    assert store.last_height < 30
    assert (store.restore_to, store.promise.forgotten) == (30, True)
    assert store.next_found_height is not None
    store.close()


def test_a_certificate_for_another_header_is_our_own_bug(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    grow(store, 2, certify=False)
    other = store.get_header(1)
    assert other is not None
    with pytest.raises(AssertionError):
        store.put_certificate(2, certificate_of(other))
    store.close()


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("when", ["opened", "filled"])
def test_a_disk_that_fails_the_new_index_ends_the_process_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Found by power cuts that fell into a start."""
    store = open_store(tmp_path)
    grow(store, 3)
    store.close()
    shutil.rmtree(tmp_path / "index")

    def fails(*_: object, **__: object) -> None:
        raise lmdb.DiskError("Input/output error")

    with monkeypatch.context() as patched:
        if when == "opened":
            patched.setattr(lmdb, "open", fails)

        else:
            patched.setattr(Index, "put_block", fails)
        with pytest.raises(FatalStorageError):
            open_store(tmp_path)
    store = open_store(tmp_path)
    assert store.last_height == 3
    store.close()
