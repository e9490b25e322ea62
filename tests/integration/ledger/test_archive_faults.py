"""The N-th write, fsync or rename of every archive command fails, in the manner of T-12: nothing is
lost, nothing is listed that is not there, and the command run again ends where it would have.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from guqiao_sdk.archive.errors import NotAnArchiveError
from guqiao_sdk.archive.folder import verify_archive
from services.consensus.store import FileOperations
from services.consensus.store.archive import (
    add_sealed_segments,
    remove_archived_segments,
    restore_archived_segments,
)
from services.consensus.store.files import SYSTEM_FILES
from tests.crash.sweep import FaultyFiles, faults_of
from tests.crash.writer import EXIT_STORAGE, fork
from tests.integration.ledger.archive_builder import archive, grow, make_replica, reopen, trust_of
from tests.integration.ledger.store_builder import GENESIS, NO_FSYNC
from tests.unit.ledger.chain_builder import verify

LAST = 14

Command = Callable[[Path, FileOperations], object]


def create(place: Path, files: FileOperations) -> object:
    return add_sealed_segments(place / "data", place / "archive", GENESIS, verify, files=files)


def prune(place: Path, files: FileOperations) -> object:
    return remove_archived_segments(place / "data", place / "archive", GENESIS, files=files)


def restore(place: Path, files: FileOperations) -> object:
    return restore_archived_segments(place / "data", place / "archive", GENESIS, files=files)


def listing(place: Path) -> dict[str, bytes | str]:
    """Every file of data and archive, links by where they lead."""
    return {
        str(path.relative_to(place)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_symlink() or path.suffix in (".seg", ".json")
    }


def check_readable(place: Path) -> None:
    """Every block is there, and the archive, if there is one, verifies."""
    with contextlib.suppress(NotAnArchiveError):
        verify_archive(place / "archive", trust_of(), verify)
    opened = place.with_name("opened")  # A replica writes when it starts: not into what goes on.
    shutil.rmtree(opened, ignore_errors=True)
    shutil.copytree(place / "data", opened, symlinks=True)
    store = reopen(opened)
    assert not store.damages
    assert store.last_certified == LAST
    assert all(store.get_block(height) is not None for height in range(LAST + 1))
    store.close()


@pytest.mark.req("G2-13-2", "G2-07-3")
@pytest.mark.parametrize("command", [create, prune, restore])
def test_a_failure_at_any_operation_loses_nothing_and_is_taken_up_again(
    tmp_path: Path, command: Command
) -> None:
    begin = tmp_path / "begin"
    make_replica(begin / "data", LAST)
    if command is not create:
        archive(begin / "data", begin / "archive")
    if command is restore:
        prune(begin, NO_FSYNC)
    place, counted = tmp_path / "place", FaultyFiles()
    put(begin, place)
    command(place, counted.operations())
    expected, operations = listing(place), len(counted.kinds)
    assert operations > 6
    fired = 0
    cases = faults_of(counted.kinds)
    for fault, at in cases:
        put(begin, place)
        fired += run_with(place, command, fault, at)
        check_readable(place)
        command(place, SYSTEM_FILES)
        assert listing(place) == expected, f"{fault} at operation {at}"
    assert fired > len(cases) // 2


def put(begin: Path, place: Path) -> None:
    """The same folders in the same place, for links name it."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(begin, place, symlinks=True)
    for path in (place / "data" / "segments").iterdir():
        if path.is_symlink():
            path.unlink()
            path.symlink_to(place / "archive" / path.name)


def run_with(place: Path, command: Command, fault: str, at: int) -> int:
    """One run in a child; 1 where the fault ended it."""
    files = FaultyFiles(fault, at).operations()

    def run(_: Callable[[str], None]) -> None:
        command(place, files)

    child = fork(run)
    status = child.wait()
    with os.fdopen(child.lines) as lines:
        words = lines.read()
    match fault:
        case "kill":
            assert os.WIFSIGNALED(status), words
            assert os.WTERMSIG(status) == signal.SIGKILL, words
        case "short write":
            assert status == 0, words
            return 0
        case _:
            assert os.waitstatus_to_exitcode(status) == EXIT_STORAGE, words
    return 1


@pytest.mark.req("G2-13-2")
def test_what_is_sealed_between_two_runs_goes_into_the_next_manifest(tmp_path: Path) -> None:
    make_replica(tmp_path / "data", LAST)
    archive(tmp_path / "data", tmp_path / "archive")
    (tmp_path / "archive" / "00000099.seg.new").write_bytes(b"left over")
    store = reopen(tmp_path / "data")
    grow(store, 2 * LAST)
    store.close()
    archive(tmp_path / "data", tmp_path / "archive")
    assert verify_archive(tmp_path / "archive", trust_of(), verify).manifests == 2
