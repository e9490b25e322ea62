"""A state from another replica becomes a store's own: all of it, durably, or nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from guqiao_sdk.archive.records import RecordType
from services.consensus.domain.ledger.state_parts import StateBuild
from services.consensus.store import ChainStore, StateDivergenceError
from services.consensus.store.segment import Position
from services.consensus.store.state_intake import Snapshot
from tests.integration.ledger.archive_builder import certify, grow, reopen
from tests.integration.ledger.store_builder import (
    commit,
    edit_file,
    flip,
    payloads_of,
    position_of,
    segment_files,
)

HEIGHT, LAST = 17, 24


@pytest.fixture(scope="module")
def ahead(tmp_path_factory: pytest.TempPathFactory) -> ChainStore:
    """A replica that has the whole chain."""
    store = reopen(tmp_path_factory.mktemp("ahead"))
    grow(store, LAST)
    return store


def take(store: ChainStore, ahead: ChainStore) -> Snapshot:
    """Every part, kept; the last thing to do is to adopt."""
    header, certificate = ahead.get_header(HEIGHT), ahead.get_certificate(HEIGHT)
    assert header is not None
    assert certificate is not None
    build, parts = StateBuild(header.state_root, [0]), list[Position]()
    with ahead.state_reader() as state:
        while asked := build.ask():
            for source, prefix in asked:
                part = state.part(HEIGHT, prefix)
                assert part is not None
                if entries := build.take(source, part):
                    parts.append(store.keep_state_part(entries))
    assert build.finished
    return Snapshot(header, certificate, (), tuple(parts))


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
@pytest.mark.parametrize("behind", [0, 5])
def test_a_state_is_adopted_and_the_chain_goes_on_from_it(
    tmp_path: Path, ahead: ChainStore, behind: int
) -> None:
    store = reopen(tmp_path)
    grow(store, behind)
    store.adopt_state(take(store, ahead))
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
    store.adopt_state(take(store, ahead))
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
    take(store, ahead)
    store.close()
    for lost in (False, True):
        if lost:
            shutil.rmtree(tmp_path / "index")
        store = reopen(tmp_path)
        assert (store.last_height, store.last_certified) == (3, 3)
        store.verify_state()
        store.close()
    store = reopen(tmp_path)
    store.adopt_state(take(store, ahead))
    check_goes_on(store, ahead)
    store.close()


@pytest.mark.req("G2-07-3")
def test_a_state_without_one_part_is_not_adopted_and_nothing_changes(
    tmp_path: Path, ahead: ChainStore
) -> None:
    store = reopen(tmp_path)
    grow(store, 3)
    snapshot = take(store, ahead)
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
    store.adopt_state(take(store, ahead))
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
