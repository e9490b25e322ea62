"""Campaign: the N-th write, fsync, rename or truncate of a run of 50 blocks fails, and of the start
after a kill (T-12).

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
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Final

from services.consensus.store.files import SYSTEM_FILES, FileOperations
from tests.crash.beside import OF_DIVERGENCE, OF_EVIDENCE, OF_NONCES
from tests.crash.checking import check_folder, truth
from tests.crash.writer import EXIT_STORAGE, Acknowledged, fork, write_chain

BLOCKS: Final = 50
KILLED_AT: Final = 3
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

    def operations(self, of: str = "") -> FileOperations:
        """What the store is given, or others: `of` begins the names of their kinds."""
        return FileOperations(
            write=lambda descriptor, data: self._write(of, descriptor, data),
            fsync=lambda descriptor: self._fsync(of, descriptor),
            truncate=lambda descriptor, length: self._truncate(of, descriptor, length),
            rename=lambda old, new: self._rename(of, old, new),
        )

    def _write(self, of: str, descriptor: int, data: bytes) -> int:
        if not self._is_due(of + "write"):
            return SYSTEM_FILES.write(descriptor, data)
        if self._fault in ("short write", "kill"):
            written = SYSTEM_FILES.write(descriptor, data[: len(data) // 2])
            if self._fault == "short write":
                return written
        raise self._failure()

    def _fsync(self, of: str, descriptor: int) -> None:
        if self._is_due(of + "fsync"):
            raise self._failure()
        SYSTEM_FILES.fsync(descriptor)

    def _truncate(self, of: str, descriptor: int, length: int) -> None:
        if self._is_due(of + "truncate"):
            raise self._failure()
        SYSTEM_FILES.truncate(descriptor, length)

    def _rename(self, of: str, old: Path, new: Path) -> None:
        if self._is_due(of + "rename"):
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


def run(folder: Path, *, every: int, seed: int) -> dict[str, int]:
    """Sweep over each `every`-th operation with each fault; returns how often each one fired. Each
    fault begins at another operation, and with another seed again.
    """
    kinds = operations_of(folder / "count", BLOCKS)
    fired: Counter[str] = Counter({fault: 0 for fault in FAULTS})
    for begin, fault in enumerate(FAULTS, seed):
        for at in _numbers(fault, kinds)[begin % every :: every]:
            run_with(folder / "run", fault, at, kinds[at - 1])
            fired[fault] += 1
            fired[kinds[at - 1]] += 1
    return {"operations": len(kinds), **fired, **_sweep_recovery(folder, kinds, every)}


def _sweep_recovery(folder: Path, kinds: Sequence[str], every: int) -> dict[str, int]:
    """The same while a replica starts again, after kills in the middle of a write: what is torn is
    cut off then, and an index that is lost is built again. Every truncate has its turn.
    """
    fired = {f"recovery {each}": 0 for each in (*FAULTS, "truncate")}
    writes = [at for at, kind in enumerate(kinds, 1) if kind == "write"]
    for at in writes[:: len(writes) // KILLED_AT]:
        for without_index in (False, True):
            base, acknowledged = folder / "base", Acknowledged()
            _run(base, "kill", at, BLOCKS, acknowledged)
            if without_index:
                shutil.rmtree(base / "index", ignore_errors=True)
            last = max(acknowledged.headers, default=0) + 1
            operations = operations_of(shutil.copytree(base, folder / "count"), last)
            for fault in FAULTS:
                for number in _numbers(fault, operations):
                    kind = operations[number - 1]
                    if kind != "truncate" and (number + at) % every:
                        continue
                    data = shutil.copytree(base, folder / "run")
                    run_with(data, fault, number, kind, last, deepcopy(acknowledged))
                    fired[f"recovery {fault}"] += 1
                    fired["recovery truncate"] += kind == "truncate"
            shutil.rmtree(base)
    return fired


def _numbers(fault: str, kinds: Sequence[str]) -> list[int]:
    """The operations, from 1, that this fault can befall."""
    return [at for at, kind in enumerate(kinds, 1) if fault != FAULTS[2] or "write" in kind]


def operations_of(folder: Path, blocks: int) -> list[str]:
    """The kinds of all operations of a run in which nothing fails, in order."""
    files = FaultyFiles()
    write_chain(
        folder,
        lambda _: None,
        files=files.operations(),
        files_of=files.operations,
        blocks=blocks,
    )
    shutil.rmtree(folder)
    return files.kinds


def run_with(
    folder: Path,
    fault: str,
    at: int,
    kind: str,
    blocks: int = BLOCKS,
    acknowledged: Acknowledged | None = None,
) -> None:
    """One run with one fault, on top of what was acknowledged before, and another one without that
    goes on from what it left. Nothing is there afterwards.
    """
    acknowledged = acknowledged or Acknowledged()
    status, words = _run(folder, fault, at, blocks, acknowledged)
    what = f"{fault} at operation {at}, {kind}: {words}"
    assert _ended_as_it_must(fault, kind, status, words, acknowledged), what
    if (folder / "segments").exists():
        check_folder(folder, acknowledged)
    write_chain(folder, lambda _: None, files=SYSTEM_FILES, blocks=blocks)
    acknowledged.headers[blocks] = truth().header(blocks).hash().hex()
    assert check_folder(folder, acknowledged) == blocks, what
    shutil.rmtree(folder)


def _run(
    folder: Path, fault: str, at: int, blocks: int, acknowledged: Acknowledged
) -> tuple[int, str]:
    """In a child; returns its wait status and its last words."""
    files = FaultyFiles(fault, at)
    child = fork(
        lambda say: write_chain(
            folder,
            say,
            files=files.operations(),
            files_of=files.operations,
            blocks=blocks,
        )
    )
    words = ""
    with os.fdopen(child.lines) as lines:
        for line in lines:
            assert not words.startswith(("failed", "bug")), f"{line} after {words}"
            acknowledged.take(line)
            words = line.strip()
    return child.wait(), words


def _ended_as_it_must(
    fault: str, kind: str, status: int, words: str, acknowledged: Acknowledged
) -> bool:
    """Where a nonce cannot be written down its request is refused, where the disk is too full for a
    proof the log says it, and of a divergence the file's name alone counts: the replica goes on.
    """
    ended = os.waitstatus_to_exitcode(status)
    match fault:
        case "kill":
            return ended == -signal.SIGKILL
        case "short write":
            return ended == 0 and words == "done"
    is_marked = kind.startswith(OF_DIVERGENCE) and acknowledged.has_diverged
    is_full = fault == "ENOSPC" and kind.startswith(OF_EVIDENCE)
    if is_full or is_marked or (kind.startswith(OF_NONCES) and acknowledged.refused):
        return ended == 0 and words == "done"
    return ended == EXIT_STORAGE and words.startswith("failed")
