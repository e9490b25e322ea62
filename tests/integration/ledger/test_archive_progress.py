"""What the steps of an archive tell of how far they are: each block or segment, of how many."""

from __future__ import annotations

from pathlib import Path

import pytest

from guqiao_sdk.archive.folder import prove_transaction, verify_archive
from services.consensus.store.archive import (
    add_sealed_segments,
    remove_archived_segments,
    restore_archived_segments,
)
from tests.integration.ledger.archive_builder import (
    archive,
    grow,
    make_replica,
    reopen,
    trust_of,
)
from tests.integration.ledger.store_builder import GENESIS, NO_FSYNC, segment_files
from tests.unit.ledger.chain_builder import verify

LAST = 40


class Told(list[tuple[int, int]]):
    """What was told, in order."""

    def __call__(self, done: int, total: int) -> None:
        self.append((done, total))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_replica(tmp_path / "data", LAST)
    return tmp_path


def add(place: Path) -> Told:
    told = Told()
    add_sealed_segments(
        place / "data", place / "archive", GENESIS, verify, on_segment=told, files=NO_FSYNC
    )
    return told


def test_an_archive_that_is_made_counts_the_sealed_segments(place: Path) -> None:
    sealed = len(segment_files(place / "data")) - 1
    assert add(place)[:sealed] == [(number, sealed) for number in range(1, sealed + 1)]
    store = reopen(place / "data")
    grow(store, LAST + 20)
    store.close()
    added = len(segment_files(place / "data")) - 1 - sealed
    assert added > 2
    assert add(place)[:added] == [(number, added) for number in range(1, added + 1)]


def test_an_archive_that_is_judged_or_searched_counts_its_blocks(place: Path) -> None:
    archive(place / "data", place / "archive")
    judged, searched = Told(), Told()
    verdict = verify_archive(place / "archive", trust_of(), verify, on_block=judged)
    count = verdict.height + 1
    assert judged == [(number, count) for number in range(1, count + 1)]
    prove_transaction(place / "archive", trust_of(), bytes(32), on_block=searched)
    assert searched == judged


def test_segments_that_are_removed_and_brought_back_are_counted(place: Path) -> None:
    count = len(archive(place / "data", place / "archive").segments)
    told = [Told(), Told()]
    for step, each in zip((remove_archived_segments, restore_archived_segments), told, strict=True):
        step(place / "data", place / "archive", GENESIS, on_segment=each, files=NO_FSYNC)
    assert told == [[(number, count) for number in range(count)]] * 2
