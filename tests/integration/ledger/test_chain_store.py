"""The store on disk: what it keeps, proves and finds, and whom it lets in."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from guqiao_sdk.proof.packet import commitment_key
from guqiao_sdk.proof.state_proof import verify_state_proof
from services.consensus.store import (
    ChainStore,
    DataFolderInUseError,
    DiskFullError,
    FatalStorageError,
    FileOperations,
    IndexDamagedError,
    OtherNetworkError,
    StateDivergenceError,
    StoreOptions,
)
from services.consensus.store import index as index_module
from services.consensus.store.tables import Tables
from tests.integration.ledger.store_builder import (
    GENESIS,
    NO_FSYNC,
    OPTIONS,
    certificate_of,
    commit,
    grow,
    no_fsync,
    open_store,
    payloads_of,
    segment_files,
)
from tests.unit.ledger.chain_builder import genesis_json, genesis_of, id_of, payload_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChainStore]:
    opened = open_store(tmp_path)
    yield opened
    opened.close()


def test_a_new_folder_holds_genesis(store: ChainStore) -> None:
    assert (store.last_height, store.last_certified) == (0, 0)
    assert store.last_header.height == 0
    assert not store.index_rebuilt
    with store.state_reader() as state:
        assert state.get(b"ledger/genesis") == json.dumps(GENESIS.hash().hex()).encode()


def test_what_was_stored_reads_back(store: ChainStore) -> None:
    grow(store, 4)
    block = store.get_block(3)
    assert block is not None
    block.check_roots()
    assert block.header == store.get_header(3)
    assert [receipt.transaction_id for receipt in store.get_receipts(3) or []] == [
        id_of(payload) for payload in payloads_of(3)
    ]
    assert store.get_certificate(3) == certificate_of(block.header)
    assert (store.get_block(5), store.get_header(5), store.get_certificate(5)) == (None,) * 3
    place = store.get_transaction(id_of(payloads_of(2)[1]))
    assert place is not None
    assert (place.height, place.index, place.receipt.accepted) == (2, 1, True)
    assert store.get_transaction(bytes(32)) is None


def test_a_transactions_own_receipt_outlives_later_attempts(store: ChainStore) -> None:
    waiting = payload_of("count", after=id_of(payloads_of(3)[0]))
    commit(store, waiting)
    early = store.get_transaction(id_of(waiting))
    assert early is not None
    assert early.receipt.code == "PREDECESSOR_MISSING"
    commit(store, payloads_of(3)[0])
    commit(store, waiting)
    commit(store, waiting)
    place = store.get_transaction(id_of(waiting))
    assert place is not None
    assert (place.height, place.receipt.code) == (3, "")


def test_data_objects_are_found_by_their_id(store: ChainStore) -> None:
    grow(store, 3)
    sent = id_of(payloads_of(2)[1])
    place = store.find_object(f"testing:{sent.hex()}")
    assert place is not None
    assert (place.height, place.index, place.receipt.transaction_id) == (2, 1, sent)
    assert store.find_object("nothing") is None
    assert store.find_object("") is None
    assert store.find_object("x" * 600) is None


def test_every_kept_height_proves_its_state(store: ChainStore) -> None:
    """ledger.md, life of a block, step 4."""
    grow(store, 12)
    keys = [b"scribble/k%d" % number for number in range(20)]
    keys += [b"scribble/own/%d/1" % height for height in range(14)]
    keys.append(commitment_key("supervising", "data_object", 9).encode())
    expected: dict[bytes, bytes | None] = {}
    for height in range(1, 13):
        block = store.get_block(height)
        assert block is not None
        expected.update(block.write_set)
        for key in keys:
            answer = store.prove_state(height, key)
            assert answer is not None
            value, proof = answer
            assert value == expected.get(key), (height, key)
            verify_state_proof(
                piece="test", root=block.header.state_root, key=key, value=value, proof=proof
            )
    assert store.prove_state(13, keys[0]) is None


def test_old_heights_are_pruned_and_kept_ones_still_prove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ledger.md, life of a block, step 6."""
    monkeypatch.setattr(index_module, "PROVABLE_HEIGHTS", 4)
    store = open_store(tmp_path)
    grow(store, 20)
    key = b"scribble/k3"
    assert [store.prove_state(height, key) is not None for height in range(15, 21)] == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]
    for height in range(17, 21):
        answer, header = store.prove_state(height, key), store.get_header(height)
        assert answer is not None
        assert header is not None
        verify_state_proof(
            piece="test", root=header.state_root, key=key, value=answer[0], proof=answer[1]
        )
    store.verify_state()
    store.close()
    environment = lmdb.open(str(tmp_path / "index"), max_dbs=20, readonly=True)
    with environment.begin() as transaction:
        for table in (b"versions", b"stale", b"old_keys"):
            count = transaction.stat(environment.open_db(table, txn=transaction))["entries"]
            assert count <= 5, table
    environment.close()


def test_uncertified_heights_prune_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ledger.md, life of a block, step 6."""
    monkeypatch.setattr(index_module, "PROVABLE_HEIGHTS", 2)
    store = open_store(tmp_path)
    grow(store, 8, certify=False)
    assert store.prove_state(0, b"ledger/genesis") is not None
    headers = [store.get_header(height) for height in range(1, 9)]
    for header in (headers[2], headers[1]):
        assert header is not None
        store.put_certificate(header.height, certificate_of(header))
    assert store.last_certified == 0, "a gap: block 1 has no certificate"
    assert headers[0] is not None
    store.put_certificate(1, certificate_of(headers[0]))
    assert store.last_certified == 3
    assert store.prove_state(1, b"ledger/genesis") is None
    assert store.prove_state(2, b"ledger/genesis") is not None
    store.close()


def test_a_snapshot_does_not_change_while_blocks_come(store: ChainStore) -> None:
    grow(store, 3)
    with store.state_reader() as state:
        before = dict(state.scan(b""))
        grow(store, 6)
        assert dict(state.scan(b"")) == before
        assert not state.executed(id_of(payloads_of(6)[0]))
    with store.state_reader() as state:
        assert dict(state.scan(b"")) != before
        assert state.executed(id_of(payloads_of(6)[0]))


def test_core_records_survive_reopening_in_order_and_compaction_replaces_them(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path)
    store.append_records([b"one", b"two"])
    grow(store, 1)
    store.append_records([b"three"])
    wanted = [b"one", b"two", b"vote 1", b"three"]
    assert list(store.records()) == wanted
    store.close()
    store = open_store(tmp_path)
    assert list(store.records()) == wanted
    store.compact_records([b"two", b"three"])
    store.append_records([b"four"])
    assert list(store.records()) == [b"two", b"three", b"four"]
    store.close()
    store = open_store(tmp_path)
    assert list(store.records()) == [b"two", b"three", b"four"]
    store.close()


def test_the_previewed_header_is_the_committed_one(store: ChainStore) -> None:
    from guqiao_sdk.proof.batch import Batch
    from services.consensus.domain.ledger.execution import execute_block
    from tests.unit.ledger.chain_builder import CATALOGUE, verify

    with store.state_reader() as state:
        result = execute_block(
            state,
            genesis=GENESIS,
            catalogue=CATALOGUE,
            parent=store.last_header,
            batch=Batch(store.last_header.block_time_ms, ()),
            transactions=[],
            verify=verify,
        )
    preview = store.preview_header(result)
    assert store.last_height == 0
    assert store.commit_block(result) == preview


def test_records_and_the_blocks_before_them_are_durable_with_one_fsync(tmp_path: Path) -> None:
    """ledger.md, life of a block, step 5."""
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)

    store = open_store(
        tmp_path, options=StoreOptions(reserve_bytes=0, files=FileOperations(fsync=fsync))
    )
    (segment,) = segment_files(tmp_path)
    commit(store, *payloads_of(1))
    synced.clear()
    store.append_records([b"vote 1", b"vote 2"])
    assert synced == [segment.stat().st_size]
    store.sync()
    assert len(synced) == 1, "nothing new to make durable"
    store.compact_records([b"vote 2"])
    assert synced[1:] == [segment.stat().st_size]
    store.close()


def test_a_segment_that_cannot_be_begun_leaves_a_store_that_can_be_closed_and_opened(
    tmp_path: Path,
) -> None:
    """No file is closed twice: its number may be another file's by then."""
    failing: list[bool] = []

    def open_file(path: Path, flags: int, mode: int) -> int:
        if failing and path.suffix == ".seg":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.open(path, flags, mode)

    options = StoreOptions(
        reserve_bytes=0,
        segment_bytes_max=1_024,
        files=FileOperations(open=open_file, fsync=no_fsync),
    )
    store = open_store(tmp_path, options=options)
    failing.append(True)
    with pytest.raises(FatalStorageError, match="opening"):
        grow(store, 20)
    with pytest.raises(FatalStorageError, match="writing after a failed write"):
        store.close()
    failing.clear()
    open_store(tmp_path, options=options).close()


def test_the_index_says_up_to_where_it_holds_the_segments(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    grow(store, 3)
    store.close()
    index = index_module.Index(tmp_path / "index", _salt(tmp_path))
    with index.begin() as transaction:
        marker = index.marker(transaction)
    index.close()
    assert marker == (1, segment_files(tmp_path)[0].stat().st_size)


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(DataFolderInUseError, match="DATA_FOLDER_IN_USE"):
        open_store(tmp_path)
    store.close()
    open_store(tmp_path).close()


@pytest.mark.parametrize("other", ["network", "replica"])
def test_another_networks_folder_is_refused(tmp_path: Path, other: str) -> None:
    open_store(tmp_path).close()
    value = genesis_json()
    value["parameters"]["heartbeat_ms"] = 7_000
    genesis = genesis_of(value) if other == "network" else GENESIS
    replica = 1 if other == "replica" else 0
    with pytest.raises(OtherNetworkError, match="DATA_FOLDER_OTHER_NETWORK"):
        ChainStore.open(tmp_path, genesis, replica=replica, options=OPTIONS)
    open_store(tmp_path).close()


def test_a_full_disk_stops_before_anything_is_written(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    store = open_store(tmp_path, options=StoreOptions(reserve_bytes=1 << 62, files=NO_FSYNC))
    size = sum(path.stat().st_size for path in (tmp_path / "segments").iterdir())
    for write in (lambda: store.append_records([b"vote"]), lambda: commit(store)):
        with pytest.raises(DiskFullError, match="DISK_FULL"):
            write()
    assert sum(path.stat().st_size for path in (tmp_path / "segments").iterdir()) == size
    assert (list(store.records()), store.last_height) == ([], 0)
    store.close()


@pytest.mark.parametrize("failing", range(1, 7))
def test_a_failed_fsync_is_final(tmp_path: Path, failing: int) -> None:
    """Each fsync of a short run fails once; nothing is acknowledged after it."""
    open_store(tmp_path).close()
    calls = 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(5, "Input/output error")
        os.fsync(descriptor)

    acknowledged: list[bytes] = []
    stores: list[ChainStore] = []

    def run() -> None:
        stores.append(
            open_store(
                tmp_path, options=StoreOptions(reserve_bytes=0, files=FileOperations(fsync=fsync))
            )
        )
        for number in range(10):
            record = b"vote %d" % number
            stores[0].append_records([record])
            acknowledged.append(record)
            commit(stores[0], payload_of("count"))

    with pytest.raises(FatalStorageError, match="STORAGE_FAILED"):
        run()
    assert calls == failing
    for store in stores:
        with pytest.raises(FatalStorageError):
            store.append_records([b"again"])
        with pytest.raises(FatalStorageError):
            store.sync()
        assert list(store.records())[: len(acknowledged)] == acknowledged
    assert calls == failing, "no fsync is tried again"


def test_an_index_that_cannot_be_written_is_final_and_the_block_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    grow(store, 2)

    def full(*_: object) -> None:
        raise lmdb.DiskError("Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(index_module.Index, "put_block", full)
        with pytest.raises(FatalStorageError, match="writing the index"):
            commit(store, *payloads_of(3))
    with pytest.raises(FatalStorageError):
        commit(store, *payloads_of(3))
    with pytest.raises(FatalStorageError):
        store.close()
    store = open_store(tmp_path)
    assert store.last_height == 3
    store.verify_state()
    store.close()


@pytest.mark.req("G2-07-3")
def test_an_altered_state_is_told_from_the_certified_one(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    grow(store, 5)
    store.verify_state()
    store.close()
    tables = Tables(tmp_path / "index", index_module.TABLES, _salt(tmp_path), lambda: None)
    with tables.begin(write=True) as transaction:
        tables.put(transaction, "state", b"scribble/k3", b"999")
    tables.close()
    store = open_store(tmp_path)
    with pytest.raises(StateDivergenceError, match="STATE_DIVERGENCE"):
        store.verify_state()
    store.close()


@pytest.mark.parametrize("damage", ["altered", "missing", "misplaced"])
def test_a_damaged_index_is_built_again(tmp_path: Path, damage: str) -> None:
    """LMDB has no checksums: what it returns is checked, and that nothing is missing."""
    store = open_store(tmp_path)
    grow(store, 5)
    header = store.last_header
    store.close()
    environment = lmdb.open(str(tmp_path / "index"), max_dbs=20)
    with environment.begin(write=True) as transaction:
        table = environment.open_db(b"state", txn=transaction)
        value, other = (transaction.get(b"scribble/%s" % key, db=table) for key in (b"k7", b"k8"))
        assert value is not None
        assert other is not None
        if damage == "altered":
            transaction.put(b"scribble/k7", b"x" + value[1:], db=table)
        elif damage == "missing":
            transaction.delete(b"scribble/k7", db=table)
        else:
            transaction.put(b"scribble/k7", other, db=table)
    environment.close()
    store = open_store(tmp_path)
    assert store.index_rebuilt
    assert store.last_header == header
    store.verify_state()
    store.close()


def test_damage_met_while_running_is_never_an_answer(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    grow(store, 5)
    environment = store._index._tables._environment
    with environment.begin(write=True) as transaction:
        table = environment.open_db(b"state", txn=transaction)
        transaction.put(b"scribble/k7", b"999", db=table)
    store.check_index()
    with store.state_reader() as state, pytest.raises(IndexDamagedError):
        state.get(b"scribble/k7")
    with pytest.raises(IndexDamagedError):
        store.check_index()
    store.close()
    store = open_store(tmp_path)
    assert store.index_rebuilt
    store.close()


def test_an_index_that_took_the_process_along_is_not_tried_twice(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    grow(store, 5)
    header = store.last_header
    store.close()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (tmp_path / "session").write_text(f"checking the index in boot {boot}")
    store = open_store(tmp_path)
    assert store.index_rebuilt
    assert store.last_header == header
    store.close()


def _salt(folder: Path) -> int:
    return int(json.loads((folder / "identity.json").read_bytes())["salt"])
