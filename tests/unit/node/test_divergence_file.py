"""A replica that diverged stays halted through restarts, whatever its disk does by then: C3."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from services.consensus.divergence import SPARE_BYTES, Divergence, DivergenceFile
from services.consensus.store import FatalStorageError
from services.consensus.store.files import SYSTEM_FILES, FileOperations

DIVERGENCE = Divergence(7, "another header", own_hash=b"o" * 32, certified_hash=b"c" * 32)


def failing(error: int, *operations: str) -> FileOperations:
    """Each of these fails; opening does not, since the file is there."""

    def fail(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    failing_ones: dict[str, Any] = dict.fromkeys(operations, fail)
    return FileOperations(**failing_ones)


def is_halted(folder: Path) -> bool:
    """What the next start finds."""
    return DivergenceFile(folder, SYSTEM_FILES).is_there


@pytest.mark.req("G2-07-3")
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("operation", ["write", "truncate", "fsync"])
def test_what_cannot_be_written_does_not_let_it_vote_again(
    tmp_path: Path, operation: str, error: int
) -> None:
    DivergenceFile(tmp_path, SYSTEM_FILES)
    file = DivergenceFile(tmp_path, failing(error, operation))
    try:
        file.keep(DIVERGENCE)
    except FatalStorageError:
        assert operation == "fsync", "of the folder, once the name is there"
    assert is_halted(tmp_path)


@pytest.mark.req("G2-07-3")
def test_the_record_takes_no_room_that_a_full_disk_has_not(tmp_path: Path) -> None:
    """Whatever is written lies within what was there before."""
    DivergenceFile(tmp_path, SYSTEM_FILES)
    [spare] = tmp_path.iterdir()
    before = spare.stat()
    assert before.st_size == SPARE_BYTES
    assert before.st_blocks * 512 >= SPARE_BYTES, "a hole would be no room"
    DivergenceFile(tmp_path, SYSTEM_FILES).keep(DIVERGENCE)
    [kept] = tmp_path.iterdir()
    assert kept.stat().st_ino == before.st_ino
    assert json.loads(kept.read_bytes())["height"] == 7
    assert is_halted(tmp_path)
    first = kept.read_bytes()
    DivergenceFile(tmp_path, SYSTEM_FILES).keep(Divergence(8, "and again"))
    assert kept.read_bytes() == first, "the first one stays"


@pytest.mark.req("G2-07-3")
def test_a_replica_that_cannot_take_the_name_ends_its_process(tmp_path: Path) -> None:
    DivergenceFile(tmp_path, SYSTEM_FILES)
    with pytest.raises(FatalStorageError):
        DivergenceFile(tmp_path, failing(errno.EIO, "rename")).keep(DIVERGENCE)


@pytest.mark.req("G2-07-3")
def test_a_replica_does_not_start_where_there_is_no_room_for_the_record(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        DivergenceFile(tmp_path, failing(errno.ENOSPC, "write"))
    DivergenceFile(tmp_path, SYSTEM_FILES)
    assert not is_halted(tmp_path)
