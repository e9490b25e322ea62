"""What is wrong with one machine's disk, and what of it the machine has met.

A fault waits until something is written: only then has it happened, and is counted. A disk below
the reserve is seen at the next tick, as by the production's driver (tests/end_to_end/full_disk.py
fills a real one); what is written until then fits the reserve.
"""

from __future__ import annotations

from collections import Counter

from services.consensus.store import FatalStorageError


class Disk:
    """The disk of one machine."""

    def __init__(self, fired: Counter[str]) -> None:
        self.is_paused = False
        """Whether the replica takes no part, because it has seen the disk full."""
        self.gives_nothing = False
        """Whether what a running process reads of its blocks meets EIO."""
        self._fired = fired
        self._next: str | None = None
        self._failed: str | None = None
        self._full_since_ms: int | None = None

    def fail_next(self, kind: str) -> None:
        """The next write meets a failed fsync, or a power cut before its fsync."""
        self._next = kind

    def fill(self, now_ms: int) -> None:
        """Less than the reserve is free from now on."""
        self._full_since_ms = now_ms

    def clear(self) -> None:
        """Enough is free again."""
        self._full_since_ms = None

    def mend(self) -> None:
        """Nothing is wrong any more."""
        self._next = self._full_since_ms = None
        self.gives_nothing = False

    def meets_fault(self, *, votes: bool = True) -> bool:
        """Something is being written, votes or not: whether that fails now, for good. A power cut
        waits for votes, of which it takes all or a part.
        """
        if self._next is None or (self._next != "fsync_error" and not votes):
            return False
        self._failed, self._next = self._next, None
        if self._failed != "torn_write":  # That is counted where a part of it was there.
            self._fired[self._failed] += 1
        return True

    def read_fails(self) -> bool:
        """A running process reads: whether that fails."""
        self._fired["read_error"] += self.gives_nothing
        return self.gives_nothing

    def stopped_by(self, error: FatalStorageError) -> str:
        """The fault that stopped the process; raises AssertionError where there was none."""
        failed, self._failed = self._failed, None
        if failed is None:
            raise AssertionError(f"L3: a replica stops though its disk works: {error}") from error
        return failed

    def look(self) -> bool:
        """A tick: is the disk full?"""
        full = self._full_since_ms is not None
        self._fired["enospc"] += full and not self.is_paused
        self.is_paused = full
        return full

    def was_full(self, at_ms: int) -> bool:
        """Whether it is full, and was already then, seen or not."""
        return self._full_since_ms is not None and self._full_since_ms < at_ms
