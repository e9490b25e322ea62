"""What damage of a folder's files does: nothing durable is cut, no vote is forgotten silently."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from guqiao_sdk.archive.records import RecordType
from services.consensus.store import IdentityDamagedError, StoreOptions
from services.consensus.store.promise import SEQUENCES_A_PROMISE
from services.consensus.store.segment import Position, Segments
from tests.integration.ledger.store_builder import (
    NO_FSYNC,
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


def test_a_damaged_block_met_while_rebuilding_is_waited_for(tmp_path: Path) -> None:
    """Nothing is cut, nothing behind the block is lost: it waits until the block is back."""
    store = open_store(tmp_path)
    store.end_silence()
    grow(store, 6)
    good, header = store.get_block(4), store.last_header
    assert good is not None
    store.close()
    position = position_of(tmp_path, RecordType.BLOCK, 4)
    edit_file(segment_files(tmp_path)[0], lambda data: flip(data, position.offset + 200))
    shutil.rmtree(tmp_path / "index")
    size = segment_files(tmp_path)[0].stat().st_size
    store = open_store(tmp_path)
    assert segment_files(tmp_path)[0].stat().st_size >= size
    assert (store.last_height, store.last_certified, store.restore_to) == (3, 3, 6)
    assert (store.next_found_height, store.find_next()) == (5, None)
    assert not store.promise.forgotten, "no vote was damaged"
    commit(store, *payloads_of(4))
    store.take_all_found()
    assert (store.last_header, store.last_certified) == (header, 6)
    assert store.get_block(4) == good
    store.verify_state()
    store.close()
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path)
    assert (store.last_header, store.last_certified) == (header, 6), "the repair is durable"
    store.close()


def test_a_repaired_block_is_executed_again_when_the_index_is_rebuilt(tmp_path: Path) -> None:
    """A peer sends no write set, and none is believed."""
    store = open_store(tmp_path)
    grow(store, 6)
    good, header = store.get_block(4), store.last_header
    assert good is not None
    position = position_of(tmp_path, RecordType.BLOCK, 4)
    edit_file(segment_files(tmp_path)[0], lambda data: flip(data, position.offset + 200))
    assert not store.is_whole(4)
    lie = replace(good, write_set={b"scribble/k1": b"7"})
    store.repair_block(lie)
    assert store.is_whole(4)
    store.close()
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path)
    found = store.find_next()
    assert found is not None
    assert (found.must_execute, found.block.header) == (True, good.header)
    assert found.block.write_set == {}
    commit(store, *payloads_of(4))
    store.take_all_found()
    assert store.last_header == header
    store.verify_state()
    store.close()


def test_a_damaged_block_that_nobody_certified_is_not_waited_for(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    grow(store, 3)
    grow(store, 5, certify=False)
    store.append_records([b"relies on block 5"])
    store.append_records([b"and so does this"])
    store.close()
    position = position_of(tmp_path, RecordType.BLOCK, 4)
    edit_file(segment_files(tmp_path)[0], lambda data: flip(data, position.offset + 200))
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path)
    assert (store.last_height, store.restore_to, store.next_found_height) == (3, 3, None)
    assert list(store.records())[-1] == b"and so does this"
    store.close()


@pytest.mark.parametrize("offset", [8, 26, 30])
def test_damaged_votes_are_never_forgotten_silently(tmp_path: Path, offset: int) -> None:
    """ledger.md, rule of silence, step 2. In the head's fields, its checksum and the payload: what
    may have been voted is known.
    """
    store = open_store(tmp_path)
    store.end_silence()
    store.cover_votes(2, 3)
    grow(store, 3)
    store.close()
    position = position_of(tmp_path, RecordType.CORE, 0, nth=1)
    edit_file(segment_files(tmp_path)[0], lambda data: flip(data, position.offset + offset))
    shutil.rmtree(tmp_path / "index")
    for _ in range(2):
        store = open_store(tmp_path)
        assert store.promise.forgotten
        assert (store.promise.view, store.promise.sequence) == (2, 3 + SEQUENCES_A_PROMISE)
        store.close()
    store = open_store(tmp_path)
    store.end_silence()
    store.compact_records([])
    store.close()
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path)
    assert (store.promise.forgotten, store.promise.floor) == (False, 2), "views that were left"
    store.close()


@pytest.mark.req("G2-07-1", "G2-13-2")
def test_damage_from_the_first_record_on_takes_votes_along(tmp_path: Path) -> None:
    """Found by the damage campaign: a segment of another folder stood in place of the first."""
    for name in ("other", "mine"):
        store = open_store(tmp_path / name)
        store.end_silence()
        store.cover_votes(0, 3)
        grow(store, 3)
        store.close()
    shutil.rmtree(tmp_path / "mine" / "index")
    shutil.copy(segment_files(tmp_path / "other")[0], segment_files(tmp_path / "mine")[0])
    store = open_store(tmp_path / "mine")
    assert (store.last_height, list(store.records())) == (0, [])
    assert store.promise.forgotten, "votes were forgotten silently"
    store.close()


@pytest.mark.req("G2-07-1", "G2-13-2")
def test_a_damaged_compaction_that_the_index_still_holds_is_written_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.end_silence()
    store.cover_votes(0, 3)
    grow(store, 3)
    store.compact_records([b"vote 3"])
    store.close()
    position = position_of(tmp_path, RecordType.CORE_COMPACTED, 0)
    edit_file(segment_files(tmp_path)[0], lambda data: flip(data, position.offset + 40))
    store = open_store(tmp_path)
    assert list(store.records()) == [b"vote 3"]
    assert store.votes_damaged()
    store.compact_records(store.records())
    assert not store.votes_damaged()
    store.close()
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path)
    assert (store.promise.forgotten, list(store.records())) == (False, [b"vote 3"])
    store.close()


def test_damaged_votes_that_the_index_still_holds_are_written_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.end_silence()
    store.cover_votes(0, 3)
    grow(store, 3)
    store.close()
    position = position_of(tmp_path, RecordType.CORE, 0, nth=1)
    edit_file(segment_files(tmp_path)[0], lambda data: flip(data, position.offset + 30))
    store = open_store(tmp_path)
    assert not store.promise.forgotten
    assert store.votes_damaged()
    store.compact_records(store.records())
    assert not store.votes_damaged()
    store.close()
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path)
    assert not store.promise.forgotten
    assert list(store.records()) == [b"vote 1", b"vote 2", b"vote 3"]
    store.close()


@pytest.mark.parametrize("spoilt", [1, 2])
def test_the_promise_is_kept_twice(tmp_path: Path, spoilt: int) -> None:
    store = open_store(tmp_path)
    store.end_silence()
    store.cover_votes(5, 100)
    store.close()
    path = tmp_path / f"promise.{spoilt}.json"
    good = path.read_bytes()
    for damaged in (b"", good[:10], good.replace(b"5", b"6"), None):
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        store = open_store(tmp_path)
        assert (store.promise.view, store.promise.sequence) == (5, 100 + SEQUENCES_A_PROMISE)
        assert not store.promise.forgotten
        store.close()
        assert path.read_bytes() == good


def test_a_lost_promise_alone_makes_nobody_forget(tmp_path: Path) -> None:
    """ledger.md, rule of silence, step 2."""
    store = open_store(tmp_path)
    store.end_silence()
    grow(store, 2)
    store.close()
    for number in (1, 2):
        (tmp_path / f"promise.{number}.json").unlink()
    store = open_store(tmp_path)
    assert (store.promise.forgotten, store.promise.sequence) == (False, None)
    assert list(store.records()) == [b"vote 1", b"vote 2"]
    store.promise_again(epoch=1, view=4, floor=3, sequence=2)
    store.close()
    store = open_store(tmp_path)
    made = store.promise
    assert (made.epoch, made.view, made.floor, made.sequence) == (1, 4, 3, 2)
    store.close()


def test_where_votes_are_lost_after_the_promise_nobody_knows_what_was_voted(
    tmp_path: Path,
) -> None:
    """The promise was not made again in between: the replica is like one of an empty folder."""
    store = open_store(tmp_path)
    store.end_silence()
    grow(store, 2)
    store.close()
    for number in (1, 2):
        (tmp_path / f"promise.{number}.json").unlink()
    open_store(tmp_path).close()
    shutil.rmtree(tmp_path / "segments")
    store = open_store(tmp_path)
    assert (store.promise.forgotten, store.promise.sequence) == (True, None)
    store.close()


@pytest.mark.parametrize("what", ["segments", "segments and promise", "everything"])
def test_a_folder_without_votes_knows_what_it_may_have_voted_or_that_it_does_not(
    tmp_path: Path, what: str
) -> None:
    """ledger.md, rule of silence, step 2."""
    store = open_store(tmp_path)
    store.end_silence()
    store.cover_votes(3, 2)
    grow(store, 2)
    store.close()
    shutil.rmtree(tmp_path / "segments")
    shutil.rmtree(tmp_path / "index")
    if what != "segments":
        for number in (1, 2):
            (tmp_path / f"promise.{number}.json").unlink()
    if what == "everything":
        shutil.rmtree(tmp_path)
    store = open_store(tmp_path)
    known = (3, 2 + SEQUENCES_A_PROMISE) if what == "segments" else (0, None)
    assert (store.promise.view, store.promise.sequence) == known
    assert store.promise.forgotten
    store.close()


@pytest.mark.parametrize("damage", ["truncated", "removed", "stale"])
def test_segments_that_are_shorter_than_they_were_are_noticed(tmp_path: Path, damage: str) -> None:
    """ledger.md, rule of silence, step 2. Nothing is ever written where the lost bytes were, and
    the votes in them count as lost.
    """
    store = open_store(tmp_path)
    store.end_silence()
    grow(store, 3)
    stale = segment_files(tmp_path)[0].read_bytes()
    store.cover_votes(0, 3)
    grow(store, 5)
    store.cover_votes(0, 5 + SEQUENCES_A_PROMISE)
    grow(store, 6)
    store.close()
    segment = segment_files(tmp_path)[0]
    if damage == "truncated":
        segment.write_bytes(segment.read_bytes()[: segment.stat().st_size // 2])
    elif damage == "removed":
        segment.unlink()
    else:
        segment.write_bytes(stale)
        shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path)
    assert store.promise.forgotten
    store.append_records([b"new"])
    assert segment_files(tmp_path)[-1].name == "00000002.seg"
    store.close()


def test_a_segment_cut_between_two_records_shows_in_the_next_one(tmp_path: Path) -> None:
    options = StoreOptions(reserve_bytes=0, segment_bytes_max=20_000, files=NO_FSYNC)
    store = open_store(tmp_path, options=options)
    store.end_silence()
    grow(store, 12)
    store.close()
    segments = Segments(tmp_path / "segments", salt=salt_of(tmp_path), files=NO_FSYNC)
    last = [item for item in segments.scan(Position(1, 0)) if item.position.segment == 1][-1]
    segments.close()
    with segment_files(tmp_path)[0].open("r+b") as file:
        file.truncate(last.position.offset)
    shutil.rmtree(tmp_path / "index")
    store = open_store(tmp_path, options=options)
    assert store.damages[0].position == last.position
    assert store.promise.forgotten
    store.close()


@pytest.mark.parametrize("spoilt", ["identity.json", "identity.copy.json"])
def test_the_identity_is_kept_twice(tmp_path: Path, spoilt: str) -> None:
    store = open_store(tmp_path)
    grow(store, 2)
    store.close()
    good = (tmp_path / spoilt).read_bytes()
    (tmp_path / spoilt).write_bytes(good.replace(b"replica", b"replics"))
    store = open_store(tmp_path)
    assert store.scrub(0, 2) == []
    store.close()
    assert (tmp_path / spoilt).read_bytes() == good


def test_a_folder_whose_identity_is_lost_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    for name in ("identity.json", "identity.copy.json"):
        (tmp_path / name).unlink()
    with pytest.raises(IdentityDamagedError):
        open_store(tmp_path)


@pytest.mark.req("G2-07-1")
def test_the_promised_view_is_of_the_epoch_in_which_votes_were_written_last(tmp_path: Path) -> None:
    """pbft.md R6: a new epoch owes nothing to earlier views, and its own votes bind as ever."""
    store = open_store(tmp_path)
    store.end_silence()
    store.cover_votes(5, 3)
    store.begin_epoch(1, 200)
    assert (store.promise.epoch, store.promise.view, store.promise.sequence) == (1, 0, 200)
    store.cover_votes(2, 0)
    grow(store, 2)
    store.close()
    shutil.rmtree(tmp_path / "segments")
    store = open_store(tmp_path)
    assert store.promise.forgotten
    assert store.promise.sequence == 200, "silent until the epoch of its votes is in force"
    store.end_silence()
    assert (store.promise.epoch, store.promise.floor) == (1, 2)
    store.close()
