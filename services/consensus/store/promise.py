"""What a replica may have voted on, kept apart from its votes: two small files with checksums.

A promise is made before a vote is written down: no vote goes beyond it. So a replica whose votes
are damaged still knows up to which sequence number, and from which view on, it may have voted, and
stays silent up to there. Sequence numbers are promised in steps: the files are rarely written.
Views belong to an epoch, sequence numbers to all: the promise of views is of the last epoch in
which votes were written, and its sequence number reaches into that epoch at least.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from services.consensus.store.files import FileOperations
from services.consensus.store.segment import START, Position

SEQUENCES_A_PROMISE: Final = 64
"""How far ahead is promised: a replica that lost its votes is silent for so many heights at most,
and the window.
"""

_NAMES: Final = ("promise.1.json", "promise.2.json")


@dataclass(frozen=True, slots=True)
class Promise:
    """No vote for a sequence number above `sequence` was ever sent, none of an epoch after `epoch`,
    and none for a view above `view` in it; a view-change and a new-view count by their view alone
    (docs/protocol/ledger.md, the rule of silence, 1).

    `epoch` is 0 until votes of another than the chain's first are written. `sequence` is None where
    nothing is known. `reached`: the segments were at least this long.
    `forgotten`: votes were lost; nothing may be voted before the others are past `sequence`.
    `floor`: since votes were lost, the replica takes part in no view of `epoch` below.
    """

    view: int = 0
    sequence: int | None = 0
    reached: Position = START
    forgotten: bool = False
    floor: int = 0
    epoch: int = 0

    def encode(self) -> bytes:
        """The file's bytes."""
        body = json.dumps(
            {
                "view": self.view,
                "sequence": self.sequence,
                "reached": list(self.reached),
                "forgotten": self.forgotten,
                "floor": self.floor,
                "epoch": self.epoch,
            }
        )
        return f"{body}\n{zlib.crc32(body.encode()):08x}\n".encode()

    @staticmethod
    def decode(data: bytes) -> Promise | None:
        """Read `encode`'s bytes; None where they are damaged, or other software wrote them."""
        body, _, checksum = data.partition(b"\n")
        if checksum != b"%08x\n" % zlib.crc32(body):
            return None
        try:
            value = json.loads(body)
            promise = Promise(**{**value, "reached": Position(*value["reached"])})
        except (ValueError, TypeError, KeyError):
            return None
        return promise if promise.encode() == data else None


class Promises:
    """The promise of one folder. `made` is what counts now."""

    def __init__(
        self, folder: Path, files: FileOperations, step: int = SEQUENCES_A_PROMISE
    ) -> None:
        self._step = step
        self._paths = [folder / name for name in _NAMES]
        self._files = files
        read = [_read(path) for path in self._paths]
        self.made = _strictest([promise for promise in read if promise is not None])
        if len(set(read)) > 1:
            self._write(self.made)

    def cover(self, view: int, sequence: int, reached: Position) -> None:
        """Promise enough for votes of this view and sequence number, before they are written."""
        made = self.made
        assert not made.forgotten, "a replica that forgot its votes is silent"
        assert made.sequence is not None, "a promise that is gone was made again"
        through = made.sequence
        if sequence <= through and view <= made.view:
            return
        if sequence > through:
            through = sequence + self._step
        view = max(view, made.view)
        self._write(replace(made, view=view, sequence=through, reached=reached))

    def begin_epoch(self, epoch: int, base: int, reached: Position) -> None:
        """Before the first vote of `epoch` is written: its views start again. Whoever loses such
        votes is silent at least up to `base`, so until this epoch is in force.
        """
        made = self.made
        assert not made.forgotten, "a replica that forgot its votes is silent"
        assert made.sequence is not None, "a promise that is gone was made again"
        assert epoch > made.epoch, "nobody votes in an epoch that is over"
        sequence = max(made.sequence, base)
        self._write(Promise(sequence=sequence, reached=reached, epoch=epoch))

    def settle(self, *, votes_lost: bool) -> None:
        """After reading the segments: remember until `restore` that votes were lost. Where only the
        promise is gone, `make_again` follows, from the votes.
        """
        if votes_lost and not self.made.forgotten:
            self._write(replace(self.made, forgotten=True))

    def make_again(self, promise: Promise) -> None:
        """Promise what the votes say, instead of what is gone."""
        assert self.made.sequence is None, "a promise is taken back by nobody"
        assert not self.made.forgotten, "the votes are whole"
        self._write(promise)

    def restore(self, sequence: int, reached: Position) -> None:
        """The chain is past everything that was forgotten; the views that were left stay left."""
        made, through = self.made, max(self.made.sequence or 0, sequence)
        self._write(Promise(made.view, through, reached, floor=made.view, epoch=made.epoch))

    def _write(self, promise: Promise) -> None:
        for path in self._paths:
            self._files.replace_durably(path, promise.encode())
        self.made = promise


def _read(path: Path) -> Promise | None:
    return Promise.decode(path.read_bytes()) if path.exists() else None


def _strictest(found: list[Promise]) -> Promise:
    """What holds for every one of them: a crash between two writes leaves one older."""
    if not found:
        return Promise(sequence=None)
    sequences = [promise.sequence for promise in found]
    epoch = max(promise.epoch for promise in found)
    of_epoch = [promise for promise in found if promise.epoch == epoch]
    return Promise(
        max(promise.view for promise in of_epoch),
        None if None in sequences else max(each for each in sequences if each is not None),
        max(promise.reached for promise in found),
        any(promise.forgotten for promise in found),
        max(promise.floor for promise in of_epoch),
        epoch,
    )
