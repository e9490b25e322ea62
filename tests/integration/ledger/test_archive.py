"""Archiving sealed segments: what is added verifies by itself, and nothing is ever out of reach
unsaid.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from guqiao_sdk.archive.errors import NotAnArchiveError
from guqiao_sdk.archive.folder import prove_transaction, read_manifests, verify_archive
from guqiao_sdk.archive.manifest import Manifest
from guqiao_sdk.archive.records import ArchivedBlock, RecordType, records_of
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.bundle import Bundle
from guqiao_sdk.proof.canonical import Reader
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.verify import verify_bundle
from services.consensus.store import (
    DataFolderInUseError,
    OtherNetworkError,
    SegmentArchivedError,
)
from services.consensus.store.archive import (
    remove_archived_segments,
    restore_archived_segments,
)
from services.consensus.store.errors import (
    ArchiveConflictError,
    ArchiveInUseError,
    DamagedSegmentError,
    IdentityDamagedError,
)
from tests.integration.ledger.archive_builder import (
    archive,
    grow,
    make_replica,
    reopen,
    trust_of,
)
from tests.integration.ledger.store_builder import (
    GENESIS,
    NO_FSYNC,
    commit,
    edit_file,
    flip,
    open_store,
    payloads_of,
    segment_files,
)
from tests.integration.ledger.store_builder import grow as grow_without_signatures
from tests.unit.ledger.chain_builder import genesis_json, genesis_of, id_of, verify

LAST = 43


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replica's folder and its archive, to be copied."""
    place = tmp_path_factory.mktemp("archived")
    make_replica(place / "data", LAST)
    archive(place / "data", place / "archive")
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "here", symlinks=True)
    return tmp_path / "here"


def refusal(folder: Path) -> ProofError:
    with pytest.raises(ProofError) as caught:
        verify_archive(folder, trust_of(), verify)
    return caught.value


def remove(place: Path) -> tuple[str, ...]:
    return remove_archived_segments(
        place / "data", place / "archive", GENESIS, files=NO_FSYNC
    ).segments


def restore(place: Path) -> tuple[str, ...]:
    return restore_archived_segments(
        place / "data", place / "archive", GENESIS, files=NO_FSYNC
    ).segments


def rewrite(folder: Path, change: Callable[[dict[str, object]], None], number: int = 1) -> None:
    """A manifest that somebody wrote anew, in its own form."""
    path = folder / f"guqiao-archive-{number:08d}.json"
    members = json.loads(path.read_bytes())
    change(members)
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    path.write_text(text)


# --- Adding -------------------------------------------------------------------------------------


@pytest.mark.req("G2-13-2", "G2-07-3")
def test_all_that_is_sealed_and_certified_is_archived_and_verifies_by_itself(place: Path) -> None:
    files = segment_files(place / "data")
    verdict = verify_archive(place / "archive", trust_of(), verify)
    assert verdict.segments == len(files) - 1 > 5, "all but the one that is still written"
    assert (verdict.chain_id, verdict.replica, verdict.manifests) == (GENESIS.chain_id, 0, 1)
    assert LAST - 5 < verdict.height <= LAST
    store = reopen(place / "data")
    header = store.get_header(verdict.height)
    assert header is not None
    assert header.hash() == verdict.header_hash
    assert verdict.transactions == 3 * verdict.height
    assert verdict.unlisted == 0
    store.close()
    for path in files[:-1]:
        assert (place / "archive" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.req("G2-13-2")
def test_a_running_replica_is_archived_and_what_it_seals_later_is_added(place: Path) -> None:
    store = reopen(place / "data")
    before = verify_archive(place / "archive", trust_of(), verify)
    assert archive(place / "data", place / "archive").segments == ()
    grow(store, LAST + 20)
    step = archive(place / "data", place / "archive")
    after = verify_archive(place / "archive", trust_of(), verify)
    assert len(step.segments) == after.segments - before.segments > 2
    assert step.height == after.height > before.height
    assert step.manifest_digest == after.manifest_digest != before.manifest_digest
    assert after.manifests == 2
    store.close()


@pytest.mark.req("G2-13-2")
def test_a_segment_waits_until_all_its_blocks_are_certified(tmp_path: Path) -> None:
    store = reopen(tmp_path / "data")
    for height in range(1, 31):  # Nothing is certified.
        commit(store, *payloads_of(height))
    assert len(segment_files(tmp_path / "data")) > 3
    step = archive(tmp_path / "data", tmp_path / "archive")
    assert (step.segments, step.height, step.manifest_digest) == ((), None, None)
    store.close()
    with pytest.raises(NotAnArchiveError):
        verify_archive(tmp_path / "archive", trust_of(), verify)


@pytest.mark.req("G2-13-2")
def test_a_damaged_segment_is_named_and_not_archived(tmp_path: Path) -> None:
    make_replica(tmp_path / "data", LAST)
    third = segment_files(tmp_path / "data")[2]
    edit_file(third, lambda data: flip(data, len(data) // 2))
    with pytest.raises(DamagedSegmentError, match=r"00000003.seg"):
        archive(tmp_path / "data", tmp_path / "archive")
    with pytest.raises(NotAnArchiveError):
        read_manifests(tmp_path / "archive")
    third.unlink()
    with pytest.raises(DamagedSegmentError, match=r"00000003.seg"):
        archive(tmp_path / "data", tmp_path / "archive")


@pytest.mark.req("G2-07-3")
def test_certificates_that_do_not_hold_are_not_archived(tmp_path: Path) -> None:
    store = reopen(tmp_path / "data")
    grow_without_signatures(store, LAST)
    store.close()
    with pytest.raises(ProofError, match="the signature of replica 0 does not hold"):
        archive(tmp_path / "data", tmp_path / "archive")


def test_an_archive_belongs_to_one_folder_and_lies_outside_of_it(place: Path) -> None:
    other = genesis_of({**genesis_json(), "chain_id": "other"})
    with pytest.raises(OtherNetworkError):
        remove_archived_segments(place / "data", place / "archive", other)
    make_replica(place / "fresh", LAST)
    with pytest.raises(ArchiveConflictError, match=r"not the file"):
        remove_archived_segments(place / "fresh", place / "archive", GENESIS)
    with pytest.raises(ArchiveConflictError, match="lies in the data folder"):
        archive(place / "data", place / "data" / "segments")
    with pytest.raises(FileNotFoundError):
        archive(place / "nowhere", place / "archive")
    with pytest.raises(IdentityDamagedError):
        archive(place / "data" / "segments", place / "archive")


def test_two_writers_at_once_are_refused(place: Path) -> None:
    with (place / "archive" / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ArchiveInUseError):
            archive(place / "data", place / "archive")


# --- Verifying ----------------------------------------------------------------------------------


@pytest.mark.req("G2-07-3")
def test_any_changed_byte_of_any_file_is_named(place: Path) -> None:
    """docs/protocol/archive.md, A5."""
    names = sorted(path.name for path in (place / "archive").iterdir() if path.name != "lock")
    for name in names:
        path = place / "archive" / name
        whole = path.read_bytes()
        for offset in range(0, len(whole), max(len(whole) // 7, 1)):
            path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
            assert name in refusal(place / "archive").piece
        path.write_bytes(whole[:-1])
        assert name in refusal(place / "archive").piece
        path.unlink()
        if name.endswith(".seg"):
            assert refusal(place / "archive").detail == "it is missing"
            assert refusal(place / "archive").piece.startswith(name)
        path.write_bytes(whole)
    verify_archive(place / "archive", trust_of(), verify)


@pytest.mark.req("G2-07-3")
def test_exchanged_segments_and_missing_or_exchanged_manifests_are_named(place: Path) -> None:
    store = reopen(place / "data")
    for last in (LAST + 20, LAST + 40):
        grow(store, last)
        archive(place / "data", place / "archive")
    store.close()
    folder = place / "archive"
    first, second = (folder / f"0000000{number}.seg" for number in (1, 2))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert refusal(folder).piece.startswith(first.name)
    first.write_bytes(kept)
    manifests = [folder / f"guqiao-archive-0000000{number}.json" for number in (1, 2, 3)]
    whole = [path.read_bytes() for path in manifests]
    manifests[1].unlink()
    assert (refusal(folder).piece, refusal(folder).detail) == (manifests[1].name, "it is missing")
    manifests[1].write_bytes(whole[2])
    assert "number 2 is due" in refusal(folder).detail
    manifests[1].write_bytes(whole[1])
    rewrite(folder, lambda members: members.update(replica=1))
    assert refusal(folder).piece == manifests[1].name, "it names the first one as it was"


@pytest.mark.req("G2-07-3")
def test_whoever_writes_the_manifest_anew_fails_by_certificates(place: Path) -> None:
    """Digests find accidents; a forger makes them agree, and the chain still does not."""
    folder = place / "archive"
    path = folder / "00000002.seg"
    data = bytearray(path.read_bytes())
    record = next(each for each in records_of(bytes(data)) if each.type is RecordType.BLOCK)
    block = ArchivedBlock.read(Reader(record.payload))
    at = data.index(block.batch.transactions[0], record.offset)
    flip(data, at + 20)
    path.write_bytes(bytes(data))

    def agree(members: dict[str, object]) -> None:
        entries = members["segments"]
        assert isinstance(entries, list)
        entries[1]["sm3"] = sm3(bytes(data)).hex()

    rewrite(folder, agree)
    found = refusal(folder)
    assert found.piece.startswith(path.name)
    assert found.piece.endswith(f": block {block.header.height}")
    assert "header's" in found.detail


@pytest.mark.req("G2-07-3")
def test_certificates_of_the_manifest_are_judged_too(place: Path) -> None:
    def spoil(members: dict[str, object]) -> None:
        entries = members["certificates"]
        assert isinstance(entries, list)
        assert entries, "the last block's certificate stands in the next segment"
        text = entries[0]["certificate"]
        entries[0]["certificate"] = text[:-2] + ("00" if text[-2:] != "00" else "01")

    def leave_out(members: dict[str, object]) -> None:
        members["certificates"] = []

    store = reopen(place / "data")
    for last in range(LAST + 1, LAST + 30):
        grow(store, last)
        archive(place / "data", place / "archive")
        manifest = read_manifests(place / "archive")[-1]
        if manifest.certificates:
            break
    store.close()
    kept = (place / "archive" / manifest.file).read_bytes()
    rewrite(place / "archive", spoil, manifest.number)
    assert "does not hold" in refusal(place / "archive").detail
    assert manifest.file in refusal(place / "archive").piece
    (place / "archive" / manifest.file).write_bytes(kept)
    rewrite(place / "archive", leave_out, manifest.number)
    assert "is missing" in refusal(place / "archive").detail


def test_a_folder_without_a_manifest_is_no_archive(place: Path, tmp_path: Path) -> None:
    for folder in (place / "data" / "segments", tmp_path / "nowhere"):
        with pytest.raises(NotAnArchiveError):
            verify_archive(folder, trust_of(), verify)


def test_what_no_manifest_lists_is_counted_and_is_no_part_of_it(place: Path) -> None:
    (place / "archive" / "00000099.seg").write_bytes(b"left by an interrupted step")
    assert verify_archive(place / "archive", trust_of(), verify).unlisted == 1


# --- Proving ------------------------------------------------------------------------------------


@pytest.mark.req("G2-07-3", "G2-19-3")
def test_any_archived_transaction_is_proven_from_the_archive_alone(place: Path) -> None:
    shutil.rmtree(place / "data")
    height = verify_archive(place / "archive", trust_of(), verify).height
    for at in (1, 7, height):
        for payload in payloads_of(at):
            found = prove_transaction(place / "archive", trust_of(), id_of(payload))
            assert found is not None
            bundle = Bundle.decode(found.encode())
            verdict = verify_bundle(bundle.encode(), trust_of(), verify, now_ms=0)
            assert (verdict.block.height, verdict.transaction_id) == (at, id_of(payload))
            assert len(verdict.packets) == verdict.accepted
    assert prove_transaction(place / "archive", trust_of(), bytes(32)) is None


# --- Removing and bringing back -----------------------------------------------------------------


@pytest.mark.req("G2-13-2")
def test_removed_segments_are_read_through_the_archive(place: Path) -> None:
    removed = remove(place)
    assert len(removed) > 3
    assert remove(place) == (), "once is enough"
    store = reopen(place / "data")
    assert not store.index_rebuilt
    for height in range(1, LAST + 1):
        block = store.get_block(height)
        assert block is not None
        block.check_roots()
    grow(store, LAST + 10)
    store.close()
    shutil.rmtree(place / "data" / "index")
    rebuilt = reopen(place / "data")
    assert rebuilt.index_rebuilt
    assert not rebuilt.damages
    assert rebuilt.last_certified == LAST + 10
    assert not rebuilt.promise.forgotten
    rebuilt.close()


@pytest.mark.req("G2-13-2")
def test_where_the_archive_is_away_the_replica_starts_and_says_what_it_needs(place: Path) -> None:
    removed = remove(place)
    (place / "archive").rename(place / "away")
    store = reopen(place / "data")
    assert not store.damages
    assert store.last_certified == LAST
    with pytest.raises(SegmentArchivedError, match=r"00000001.seg.*archive") as caught:
        store.get_block(1)
    assert caught.value.segment == removed[0]
    assert caught.value.archive == str((place / "archive").resolve() / removed[0])
    with pytest.raises(SegmentArchivedError):
        store.get_transaction(id_of(payloads_of(1)[0]))
    assert store.get_header(1) is not None, "headers and certificates are in the index"
    assert store.get_certificate(1) is not None
    assert store.get_block(LAST) is not None
    assert store.scrub(0, LAST) == [], "it is away, not damaged"
    assert all(store.is_whole(height) for height in range(LAST + 1))
    grow(store, LAST + 5)
    store.close()


@pytest.mark.req("G2-13-2")
def test_an_index_is_not_rebuilt_without_its_archive_and_is_once_it_is_restored(
    place: Path,
) -> None:
    removed = remove(place)
    shutil.rmtree(place / "data" / "index")
    (place / "archive").rename(place / "away")
    with pytest.raises(SegmentArchivedError, match=r"guqiao archive restore"):
        open_store(place / "data")
    (place / "away").rename(place / "archive")
    assert restore(place) == removed
    assert restore(place) == ()
    (place / "archive").rename(place / "away")
    store = reopen(place / "data")
    assert store.last_certified == LAST
    assert store.get_block(1) is not None
    store.close()


@pytest.mark.req("G2-13-2")
def test_votes_that_count_are_never_removed(tmp_path: Path) -> None:
    make_replica(tmp_path / "data", 14)  # Compacted at 5 and 10.
    archive(tmp_path / "data", tmp_path / "archive")
    step = remove_archived_segments(
        tmp_path / "data", tmp_path / "archive", GENESIS, files=NO_FSYNC
    )
    assert step.kept > 0
    shutil.rmtree(tmp_path / "data" / "index")
    store = reopen(tmp_path / "data")
    assert list(store.records()) == [f"vote {height}".encode() for height in range(10, 15)]
    store.close()


def test_nothing_is_removed_while_the_replica_runs(place: Path) -> None:
    store = reopen(place / "data")
    with pytest.raises(DataFolderInUseError):
        remove(place)
    with pytest.raises(DataFolderInUseError):
        restore(place)
    store.close()


@pytest.mark.req("G2-13-2")
def test_nothing_is_removed_unless_the_archive_holds_it(place: Path) -> None:
    edit_file(place / "archive" / "00000001.seg", lambda data: flip(data, 100))
    with pytest.raises(ProofError, match=r"00000001.seg: its digest"):
        remove(place)
    assert not any(path.is_symlink() for path in segment_files(place / "data"))


def test_a_segment_that_differs_from_its_copy_is_neither_removed_nor_overwritten(
    place: Path,
) -> None:
    edit_file(segment_files(place / "data")[0], lambda data: flip(data, 100))
    with pytest.raises(ArchiveConflictError, match=r"00000001.seg"):
        remove(place)
    with pytest.raises(ArchiveConflictError, match=r"00000001.seg"):
        restore(place)


def test_the_very_same_file_is_no_copy(place: Path) -> None:
    copy = place / "archive" / "00000001.seg"
    copy.unlink()
    copy.hardlink_to(segment_files(place / "data")[0])
    with pytest.raises(ArchiveConflictError, match="this very file"):
        remove(place)


def test_manifests_read_back(place: Path) -> None:
    for manifest in read_manifests(place / "archive"):
        assert isinstance(manifest, Manifest)
        assert (place / "archive" / manifest.file).read_bytes() == manifest.encode()
