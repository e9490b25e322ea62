"""What a store meets seldom: archives that were moved or are another's, an index that lacks a part,
heads of records that are none, and disks that fail otherwise than by being full.
"""

from __future__ import annotations

import errno
import shutil
import zlib
from pathlib import Path

import pytest

from guqiao_sdk.archive.records import HEAD, MAGIC, RecordType
from guqiao_sdk.proof.receipt import Event
from services.consensus.store import ChainStore, IndexDamagedError, OtherNetworkError
from services.consensus.store.archive import (
    add_sealed_segments,
    remove_archived_segments,
    restore_archived_segments,
)
from services.consensus.store.errors import ArchiveConflictError, raise_if_full
from services.consensus.store.folder import is_in_use
from services.consensus.store.index import TABLES, _object_id
from services.consensus.store.segment import Damage, Position, Record, parse_record
from services.consensus.store.tables import _SUMS, Tables
from tests.integration.ledger import archive_builder
from tests.integration.ledger.archive_builder import archive, make_replica, options, reopen
from tests.integration.ledger.store_builder import (
    GENESIS,
    NO_FSYNC,
    certificate_of,
    commit,
    grow,
    open_store,
    payloads_of,
    segment_files,
)
from tests.unit.ledger.chain_builder import verify

LAST = 14
SALT = 7


def test_a_folder_is_in_use_while_a_store_has_it_open(tmp_path: Path) -> None:
    assert not is_in_use(tmp_path), "there is none"
    store = open_store(tmp_path)
    assert is_in_use(tmp_path)
    store.close()
    assert not is_in_use(tmp_path)


def test_the_first_certificate_of_a_block_stays(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    certificate = certificate_of(commit(store, *payloads_of(1)))
    assert store.put_certificate(1, certificate)
    assert not store.put_certificate(1, certificate_of(store.last_header))
    assert store.get_certificate(1) == certificate
    store.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_raised_as_it_is(number: int) -> None:
    with pytest.raises(OSError, match="full") as full:
        raise_if_full(OSError(number, "full"))
    assert full.value.errno == number


def test_another_fault_of_a_disk_is_left_to_the_caller() -> None:
    raise_if_full(OSError(errno.EIO, "an error"))


def head(*, kind: int = RecordType.CORE, magic: bytes = MAGIC, salt: int = SALT) -> bytes:
    """A record without payload, whose head has the right checksum."""
    plain = HEAD.pack(magic, kind, 3, 0, zlib.crc32(b"", salt))
    return plain + zlib.crc32(plain, salt).to_bytes(4, "big")


@pytest.mark.parametrize(
    "data",
    [head(kind=99), head(magic=b"GQR9"), head(salt=SALT + 1), head()[:-1]],
    ids=["kind", "magic", "salt", "short"],
)
def test_a_head_of_another_kind_or_form_is_damage_though_its_checksum_holds(data: bytes) -> None:
    place = Position(1, 0)
    assert isinstance(parse_record(head(), 0, place, SALT), Record)
    assert isinstance(parse_record(data, 0, place, SALT), Damage)


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (b'{"payload":{"header":{"content":{"object_id":"a1"}}}}', b"a1"),
        (b'{"payload":{"header":{"content":{"object_id":""}}}}', None),
        (b'{"payload":{"header":{"content":{"object_id":7}}}}', None),
        (b'{"payload":{"header":{"content":{}}}}', None),
        (b"[]", None),
    ],
)
def test_a_packet_that_carries_no_object_has_no_object_id(
    event: bytes, found: bytes | None
) -> None:
    assert _object_id(Event("packet.sent", event)) == found
    assert _object_id(Event("packet.received", event)) is None


def scribble(store: ChainStore, table: str, *, key: bytes | None = None) -> None:
    """Take everything, or one key, out of a table of the index, as a broken disk would."""
    environment = store._index._tables._environment
    with environment.begin(write=True) as transaction:
        opened = environment.open_db(table.encode(), txn=transaction)
        if key is None:
            transaction.drop(opened, delete=False)
        else:
            transaction.delete(key, db=opened)


@pytest.mark.req("G2-07-3")
def test_a_page_that_the_tree_refers_to_and_is_not_there_is_damage(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    grow(store, 5)
    store.close()
    store = open_store(tmp_path)
    scribble(store, "pages")
    with pytest.raises(IndexDamagedError):
        commit(store, *payloads_of(6))
    store.close()
    store = open_store(tmp_path)
    assert store.index_rebuilt
    store.verify_state()
    store.close()


@pytest.mark.req("G2-07-3")
def test_a_value_that_its_proof_has_and_the_state_has_not_is_no_answer(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    grow(store, 5)
    answer = store.prove_state(5, b"scribble/k7")
    assert answer is not None
    assert answer[0] is not None
    scribble(store, "state", key=b"scribble/k7")
    with pytest.raises(IndexDamagedError):
        store.prove_state(5, b"scribble/k7")
    store.close()


def test_sums_of_another_length_are_damage_and_the_index_is_built_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    grow(store, 3)
    salt = store._folder.salt
    store.close()
    tables = Tables(tmp_path / "index", TABLES, salt, lambda: None)
    with tables._environment.begin(write=True) as transaction:
        transaction.put(_SUMS, b"short", db=tables._sums_table)
    with pytest.raises(IndexDamagedError, match="its sums are altered"), tables.begin(write=True):
        pass
    tables.close()
    store = open_store(tmp_path)
    assert store.index_rebuilt
    assert store.last_height == 3
    store.close()


def remove(place: Path, folder: str = "archive") -> list[str]:
    step = remove_archived_segments(place / "data", place / folder, GENESIS, files=NO_FSYNC)
    return list(step.segments)


@pytest.mark.req("G2-13-2")
def test_segments_of_an_archive_that_moved_are_read_where_it_is_now(tmp_path: Path) -> None:
    make_replica(tmp_path / "data", LAST)
    archive(tmp_path / "data", tmp_path / "archive")
    removed = remove(tmp_path)
    assert removed
    assert remove(tmp_path) == [], "nothing is left to remove"
    shutil.move(tmp_path / "archive", tmp_path / "moved")
    assert remove(tmp_path, "moved") == removed
    links = [path.resolve() for path in segment_files(tmp_path / "data") if path.is_symlink()]
    assert {path.parent for path in links} == {(tmp_path / "moved").resolve()}
    shutil.rmtree(tmp_path / "data" / "index")
    store = reopen(tmp_path / "data")
    assert store.last_height == LAST
    store.close()


@pytest.mark.req("G2-13-2")
def test_without_a_compaction_all_votes_count_and_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_builder, "COMPACT_EVERY", LAST + 1)
    make_replica(tmp_path / "data", LAST)
    archive(tmp_path / "data", tmp_path / "archive")
    assert remove(tmp_path) == []
    assert not any(path.is_symlink() for path in segment_files(tmp_path / "data"))


@pytest.mark.req("G2-13-2")
def test_an_archive_takes_segments_of_its_own_replica_and_gives_them_to_its_own_folder(
    tmp_path: Path,
) -> None:
    make_replica(tmp_path / "data", LAST)
    archive(tmp_path / "data", tmp_path / "archive")
    other = ChainStore.open(tmp_path / "other", GENESIS, replica=1, options=options())
    archive_builder.grow(other, LAST)
    other.close()
    with pytest.raises(OtherNetworkError):
        add_sealed_segments(
            tmp_path / "other", tmp_path / "archive", GENESIS, verify, files=NO_FSYNC
        )
    make_replica(tmp_path / "twin", LAST)
    segment_files(tmp_path / "twin")[0].unlink()
    with pytest.raises(ArchiveConflictError, match="another data folder"):
        restore_archived_segments(tmp_path / "twin", tmp_path / "archive", GENESIS, files=NO_FSYNC)
