"""The process that is made to fail: it commits blocks and says what is durable, line by line.

`forked` runs it in a child of the campaign, so that a case costs milliseconds; `python -m
tests.crash.writer FOLDER BLOCKS` is the same as a program of its own, for strace. Lines: `ready`,
`vote H`, `block H HASH`, `nonce H`, `evidence H`, `diverged H`, `refused H` (what could not be
written down, though the replica goes on), `done`; the reader keeps them outside the reach of the
fault.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from services.chassis.errors import UnavailableError
from services.consensus.store import (
    FileOperations,
    StorageError,
    StoreOptions,
)
from services.consensus.store.files import SYSTEM_FILES
from tests.crash.beside import Beside
from tests.integration.ledger.store_builder import certificate_of, commit, open_store, payloads_of

EXIT_STORAGE: Final = 3
SEGMENT_BYTES_MAX: Final = 40_000
COMPACT_EVERY: Final = 12
COMPACTION_PART_BYTES: Final = 8
"""A compaction stands in three records."""
NONCE_EVERY: Final = 3
EVIDENCE_EVERY: Final = 5
DIVERGES_AT: Final = 6
"""It goes on with its blocks, which a replica does not."""


def write_chain(
    folder: Path,
    say: Callable[[str], None],
    *,
    files: FileOperations,
    files_of: Callable[[str], FileOperations] | None = None,
    blocks: int | None,
) -> None:
    """Commit blocks up to the height `blocks`, or until the process falls. `files_of` gives the
    operations of what lies beside the ledger, where they are others.
    """
    options = StoreOptions(
        reserve_bytes=0,
        segment_bytes_max=SEGMENT_BYTES_MAX,
        compaction_part_bytes=COMPACTION_PART_BYTES,
        files=files,
        sequences_a_promise=8,
    )
    store = open_store(folder, options=options)
    if store.promise.sequence is None:
        store.end_silence()
    beside = Beside(folder, store, files_of or (lambda _: files))
    say("ready")
    while blocks is None or store.last_height < blocks:
        height = store.last_height + 1
        store.cover_votes(0, height)
        store.append_records([b"vote %d" % height])
        say(f"vote {height}")
        header = commit(store, *payloads_of(height, count=2))
        say(f"block {height} {header.hash().hex()}")
        store.put_certificate(height, certificate_of(header))
        if height % COMPACT_EVERY == 0:
            store.compact_records(b"vote %d" % each for each in range(height - 2, height + 1))
        if height % NONCE_EVERY == 0:
            _use_nonce(beside, height, say)
        if height % EVIDENCE_EVERY == 0:
            say(f"{'evidence' if beside.keep_evidence(height) else 'refused'} {height}")
        if height == DIVERGES_AT:
            beside.diverge(height)
            say(f"diverged {height}")
    beside.close()
    store.close()
    say("done")


def _use_nonce(beside: Beside, height: int, say: Callable[[str], None]) -> None:
    try:
        beside.use_nonce(height)
        say(f"nonce {height}")
    except UnavailableError:  # The replica goes on; the caller asks another.
        say(f"refused {height}")


@dataclass(slots=True)
class Acknowledged:
    """What a client was told, kept by the campaign."""

    headers: dict[int, str] = field(default_factory=dict)
    voted: int = 0
    nonces: set[int] = field(default_factory=set)
    evidence: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    has_diverged: bool = False
    is_ready: bool = False
    is_done: bool = False

    def take(self, line: str) -> None:
        """One line of the writer; a second word on a height must be the first one's."""
        match line.split():
            case ["vote", height]:
                self.voted = max(self.voted, int(height))
            case ["block", height, digest]:
                assert self.headers.setdefault(int(height), digest) == digest
            case ["nonce" | "evidence" | "refused" as what, height]:
                self._heights_of(what).add(int(height))
            case ["diverged", _]:
                self.has_diverged = True
            case ["ready"]:
                self.is_ready = True
            case ["done"]:
                self.is_done = True

    def _heights_of(self, what: str) -> set[int]:
        kept = {"nonce": self.nonces, "evidence": self.evidence, "refused": self.refused}
        return kept[what]


@dataclass(frozen=True, slots=True)
class Child:
    """A forked process and what it says."""

    pid: int
    lines: int

    def wait(self) -> int:
        """Its wait status, once it ended."""
        return os.waitpid(self.pid, 0)[1]


def fork(run: Callable[[Callable[[str], None]], None]) -> Child:
    """Run `run(say)` in a child that ends without a word to anybody but the pipe."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading)
    gc.freeze()  # What is garbage of the parent may wait for threads that a child has not.
    os.close(reading)
    _end_with(run, lambda line: _write_line(writing, line))


def _end_with(run: Callable[[Callable[[str], None]], None], say: Callable[[str], None]) -> NoReturn:
    status = 1
    try:
        run(say)
        status = 0
    except (StorageError, OSError) as error:
        say(f"failed {type(error).__name__}")
        status = EXIT_STORAGE
    except BaseException as error:  # The campaign sees the exit code and the line.
        say(f"bug {error!r}".replace("\n", " "))
    finally:
        os._exit(status)


def _write_line(descriptor: int, line: str) -> None:
    os.write(descriptor, line.encode() + b"\n")


def main() -> None:
    """As a program: what forks do, on standard output."""
    folder, blocks = Path(sys.argv[1]), int(sys.argv[2])
    _end_with(
        lambda say: write_chain(folder, say, files=SYSTEM_FILES, blocks=blocks),
        lambda line: _write_line(1, line),
    )


if __name__ == "__main__":
    main()
