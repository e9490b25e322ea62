"""A state from another replica becomes a store's own: all of it, durably, or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from guqiao_sdk.archive.records import RecordType
from guqiao_sdk.proof.light_client import SetChange
from services.consensus.domain.ledger.state_parts import PART_BYTES_MAX
from services.consensus.store import ChainStore, FileOperations, StateDivergenceError
from services.consensus.store.errors import ArchiveConflictError
from services.consensus.store.state_intake import Snapshot
from tests.crash.sweep import FaultyFiles, faults_of
from tests.crash.writer import fork
from tests.integration.ledger.archive_builder import archive, certify, grow, options, reopen
from tests.integration.ledger.store_builder import (
    GENESIS,
    commit,
    edit_file,
    flip,
    open_store,
    payloads_of,
    position_of,
    segment_files,
    take_state,
)

HEIGHT, LAST = 17, 24


@pytest.fixture(scope="module")
def ahead(tmp_path_factory: pytest.TempPathFactory) -> ChainStore:
    """A replica that has the whole chain."""
    store = reopen(tmp_path_factory.mktemp("ahead"))
    grow(store, LAST)
    return store


def check_goes_on(store: ChainStore, ahead: ChainStore) -> None:
    """The blocks above give the headers that the others have."""
    assert (store.last_certified, store.last_height) == (HEIGHT, HEIGHT)
    store.verify_state()
    for height in range(HEIGHT + 1, LAST + 1):
        header = commit(store, *payloads_of(height))
        assert header == ahead.get_header(height)
        store.put_certificate(height, certify(header))
    assert store.last_certified == LAST
    store.verify_state()


@pytest.mark.req("G2-07-3", "G2-13-2")
@pytest.mark.parametrize(("behind", "part_bytes"), [(0, PART_BYTES_MAX), (5, 2_048)])
def test_a_state_is_adopted_and_the_chain_goes_on_from_it(
    tmp_path: Path, ahead: ChainStore, behind: int, part_bytes: int
) -> None:
    store = reopen(tmp_path)
    grow(store, behind)
    snapshot = take_state(store, ahead, HEIGHT, part_bytes)
    assert (len(snapshot.parts) > 16) is (part_bytes < PART_BYTES_MAX), "in one part, in many"
    store.adopt_state(snapshot)
    check_goes_on(store, ahead)
    with store.state_reader() as mine, ahead.state_reader() as theirs:
        assert dict(mine.scan(b"")) == dict(theirs.scan(b""))
    for height in range(HEIGHT, LAST + 1):
        assert store.prove_state(height, b"scribble/k1") == ahead.prove_state(
            height, b"scribble/k1"
        )
    assert store.scrub(0, LAST) == []
    store.close()


@pytest.mark.req("G2-07-3", "G2-13-2")
def test_the_index_is_built_again_from_an_adopted_state(tmp_path: Path, ahead: ChainStore) -> None:
    store = reopen(tmp_path)
    store.adopt_state(take_state(store, ahead, HEIGHT))
    store.close()
    shutil.rmtree(tmp_path / "index")
    rebuilt = reopen(tmp_path)
    assert rebuilt.index_rebuilt
    check_goes_on(rebuilt, ahead)
    rebuilt.close()
    shutil.rmtree(tmp_path / "index")
    again = reopen(tmp_path)
    assert (again.last_certified, again.last_header) == (LAST, ahead.get_header(LAST))
    again.close()


@pytest.mark.req("G2-13-2")
def test_what_was_taken_and_not_adopted_is_of_no_use_and_no_harm(
    tmp_path: Path, ahead: ChainStore
) -> None:
    store = reopen(tmp_path)
    grow(store, 3)
    take_state(store, ahead, HEIGHT)
    store.close()
    for lost in (False, True):
        if lost:
            shutil.rmtree(tmp_path / "index")
        store = reopen(tmp_path)
        assert (store.last_height, store.last_certified) == (3, 3)
        store.verify_state()
        store.close()
    store = reopen(tmp_path)
    store.adopt_state(take_state(store, ahead, HEIGHT))
    check_goes_on(store, ahead)
    store.close()


@pytest.mark.req("G2-07-3")
def test_a_state_without_one_part_is_not_adopted_and_nothing_changes(
    tmp_path: Path, ahead: ChainStore
) -> None:
    store = reopen(tmp_path)
    grow(store, 3)
    snapshot = take_state(store, ahead, HEIGHT)
    store.keep_state_part([(b"made/up", b"1")])
    more = Snapshot(
        snapshot.header,
        snapshot.certificate,
        (),
        (*snapshot.parts, store.keep_state_part([(b"made/up", b"1")])),
    )
    with pytest.raises(StateDivergenceError):
        store.adopt_state(more)
    assert store.last_height == 3
    store.verify_state()
    grow(store, 5)
    store.close()


@pytest.mark.req("G2-07-3", "G2-13-2")
def test_a_damaged_part_is_noticed_when_the_index_is_built_again(
    tmp_path: Path, ahead: ChainStore
) -> None:
    store = reopen(tmp_path)
    store.adopt_state(take_state(store, ahead, HEIGHT))
    check_goes_on(store, ahead)
    store.close()
    position = position_of(tmp_path, RecordType.STATE_PART, 0)
    path = segment_files(tmp_path)[position.segment - 1]
    edit_file(path, lambda data: flip(data, position.offset + 60))
    shutil.rmtree(tmp_path / "index")
    store = reopen(tmp_path)
    assert store.damages
    assert (store.last_height, store.restore_to) == (0, LAST), "all above comes from peers"
    store.close()


@pytest.mark.req("G2-07-3")
def test_the_set_changes_that_came_with_a_state_are_kept_for_others(
    tmp_path: Path, ahead: ChainStore
) -> None:
    store = reopen(tmp_path)
    snapshot = take_state(store, ahead, HEIGHT)
    header, certificate = ahead.get_header(9), ahead.get_certificate(9)
    assert header is not None
    assert certificate is not None
    change = SetChange(header, certificate, GENESIS.replica_set)
    store.adopt_state(replace(snapshot, set_changes=(change,)))
    for _ in range(2):
        assert (store.get_header(9), store.get_certificate(9)) == (header, certificate)
        assert store.get_block(9) is None
        assert store.last_certified == HEIGHT
        store.close()
        shutil.rmtree(tmp_path / "index")
        store = reopen(tmp_path)
    store.close()


def test_a_replica_without_all_blocks_is_not_archived(tmp_path: Path, ahead: ChainStore) -> None:
    store = reopen(tmp_path / "data")
    store.adopt_state(take_state(store, ahead, HEIGHT))
    grow(store, LAST + 10)
    store.close()
    with pytest.raises(ArchiveConflictError, match="took the state of a later height"):
        archive(tmp_path / "data", tmp_path / "archive")


@pytest.mark.req("G2-13-2", "G2-07-3")
def test_a_failure_at_any_operation_leaves_the_old_state_or_the_new(
    tmp_path: Path, ahead: ChainStore
) -> None:
    """In the manner of T-12; pbft.md, T6."""
    begin, place = tmp_path / "begin", tmp_path / "place"
    store = reopen(begin)
    grow(store, 3)
    store.close()

    def run(files: FileOperations) -> None:
        store = open_store(place, options=options(files))
        store.adopt_state(take_state(store, ahead, HEIGHT))
        store.close()

    def run_quietly(files: FileOperations, _: Callable[[str], None]) -> None:
        run(files)

    counted = FaultyFiles()
    shutil.copytree(begin, place)
    run(counted.operations())
    found = set()
    for fault, at in faults_of(counted.kinds):
        shutil.rmtree(place)
        shutil.copytree(begin, place)
        files = FaultyFiles(fault, at).operations()
        child = fork(partial(run_quietly, files))
        child.wait()
        os.close(child.lines)
        store = reopen(place)
        found.add(store.last_height)
        if store.last_height == 3:
            store.adopt_state(take_state(store, ahead, HEIGHT))
        check_goes_on(store, ahead)
        store.close()
    assert found == {3, HEIGHT}
