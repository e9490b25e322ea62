"""Campaign: the N-th write, fsync or rename of a run of 50 blocks fails (T-12).

Every operation of the store goes through `FileOperations`; the N-th one fails with EIO or ENOSPC,
writes only a part, or kills the process before or in the middle of it. What was acknowledged before
must be there afterwards, nothing may be acknowledged after the fault, and the run must go on from
what is on disk to the same last block. The index has no such layer: for its calls there is strace.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from services.consensus.store.files import SYSTEM_FILES, FileOperations
from tests.crash.checking import check_folder, truth
from tests.crash.writer import EXIT_STORAGE, Acknowledged, fork, write_chain

BLOCKS: Final = 50
FAULTS: Final = ("EIO", "ENOSPC", "short write", "kill")


def faults_of(kinds: Sequence[str]) -> list[tuple[str, int]]:
    """What to try where a whole sweep takes too long: each operation, by its number, with a kill
    and with one of the errors that it can have, in turn.
    """
    cases = []
    for at, kind in enumerate(kinds, 1):
        errors = FAULTS[:-1] if kind == "write" else FAULTS[:2]
        cases += [(errors[at % len(errors)], at), ("kill", at)]
    return cases


class FaultyFiles:
    """Notes the operations by their kind; the one with the number `at` fails."""

    def __init__(self, fault: str = "", at: int = 0) -> None:
        self._fault = fault
        self._at = at
        self.kinds: list[str] = []

    def operations(self) -> FileOperations:
        """What the store is given."""
        return FileOperations(
            write=self._write, fsync=self._fsync, truncate=self._truncate, rename=self._rename
        )

    def _write(self, descriptor: int, data: bytes) -> int:
        if not self._is_due("write"):
            return SYSTEM_FILES.write(descriptor, data)
        if self._fault in ("short write", "kill"):
            written = SYSTEM_FILES.write(descriptor, data[: len(data) // 2])
            if self._fault == "short write":
                return written
        raise self._failure()

    def _fsync(self, descriptor: int) -> None:
        if self._is_due("fsync"):
            raise self._failure()
        SYSTEM_FILES.fsync(descriptor)

    def _truncate(self, descriptor: int, length: int) -> None:
        if self._is_due("truncate"):
            raise self._failure()
        SYSTEM_FILES.truncate(descriptor, length)

    def _rename(self, old: Path, new: Path) -> None:
        if self._is_due("rename"):
            raise self._failure()
        SYSTEM_FILES.rename(old, new)

    def _is_due(self, kind: str) -> bool:
        self.kinds.append(kind)
        return len(self.kinds) == self._at

    def _failure(self) -> OSError:
        if self._fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        number = errno.EIO if self._fault == "EIO" else errno.ENOSPC
        return OSError(number, os.strerror(number))


def run(folder: Path, *, every: int) -> dict[str, int]:
    """Sweep over each `every`-th operation with each fault; returns how often each one fired."""
    kinds = operations_of_a_run(folder / "count")
    fired = dict.fromkeys(FAULTS, 0)
    for fault in FAULTS:
        numbers = [at for at, kind in enumerate(kinds, 1) if fault != FAULTS[2] or kind == "write"]
        for at in numbers[::every]:
            data = folder / f"{fault}{at}"
            run_with(data, fault, at)
            fired[fault] += 1
            shutil.rmtree(data)
    return {"operations": len(kinds), **fired}


def operations_of_a_run(folder: Path) -> list[str]:
    """The kinds of all operations of a run in which nothing fails, in order."""
    files = FaultyFiles()
    write_chain(folder, lambda _: None, files=files.operations(), blocks=BLOCKS)
    shutil.rmtree(folder)
    return files.kinds


def run_with(folder: Path, fault: str, at: int) -> None:
    """One run with one fault, and another one without that goes on from what it left."""
    acknowledged = Acknowledged()
    files = FaultyFiles(fault, at).operations()
    child = fork(lambda say: write_chain(folder, say, files=files, blocks=BLOCKS))
    words = ""
    with os.fdopen(child.lines) as lines:
        for line in lines:
            assert not words.startswith(("failed", "bug")), f"{line} after {words}"
            acknowledged.take(line)
            words = line.strip()
    what = f"{fault} at operation {at}: {words}"
    assert _ended_as_it_must(fault, child.wait(), words), what
    if (folder / "segments").exists():
        check_folder(folder, acknowledged)
    write_chain(folder, lambda _: None, files=SYSTEM_FILES, blocks=BLOCKS)
    acknowledged.headers[BLOCKS] = truth().header(BLOCKS).hash().hex()
    assert check_folder(folder, acknowledged) == BLOCKS, what


def _ended_as_it_must(fault: str, status: int, words: str) -> bool:
    match fault:
        case "kill":
            return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        case "short write":
            return status == 0 and words == "done"
        case _:
            ended = os.waitstatus_to_exitcode(status)
            return ended == EXIT_STORAGE and words.startswith("failed")
