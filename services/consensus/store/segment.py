"""Segment files: the append-only, checksummed source of truth of a replica.

Records are appended and made durable in groups. The first record after a sync is a barrier: what
stands before a barrier was durable, so damage there is reported and never cut; a bad record behind
the last barrier is taken for the torn tail that a crash leaves. Checksums begin from
a salt that only this folder knows, so that no payload can contain the image of a record.
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from guqiao_sdk.archive.records import (
    HEAD,
    HEAD_BYTES,
    MAGIC,
    RECORD_BYTES_MAX,
    Data,
    RecordType,
)
from guqiao_sdk.files import make_folder
from services.consensus.store.errors import FatalStorageError, SegmentArchivedError
from services.consensus.store.files import SYSTEM_FILES, FileOperations

SEGMENT_BYTES_MAX: Final = 64 * 1024 * 1024

READ_BYTES: Final = 1024 * 1024

_READING: Final = os.O_RDONLY | os.O_CLOEXEC
_APPENDING: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


_log = structlog.get_logger(__name__)


class Position(NamedTuple):
    """Where a record begins: segment number (from 1) and offset in bytes."""

    segment: int
    offset: int

    def to_bytes(self) -> bytes:
        """12 bytes, which are ordered as positions are."""
        return self.segment.to_bytes(4, "big") + self.offset.to_bytes(8, "big")

    @staticmethod
    def from_bytes(value: bytes) -> Position:
        """Of `to_bytes`' bytes."""
        return Position(int.from_bytes(value[:4], "big"), int.from_bytes(value[4:], "big"))


START: Final = Position(1, 0)


@dataclass(frozen=True, slots=True)
class Record:
    """A record that reads back as written; `end` is where the next one begins."""

    type: RecordType
    height: int
    payload: bytes
    position: Position
    end: Position


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no record. `type` and `height` are known where the record's head is whole;
    `cut_short`: what is there may be the beginning of a record.
    """

    position: Position
    end: Position
    type: RecordType | None
    height: int
    cut_short: bool = False


class Segments:
    """The segment files of one folder, with one writer."""

    def __init__(
        self,
        folder: Path,
        *,
        salt: int,
        bytes_max: int = SEGMENT_BYTES_MAX,
        files: FileOperations = SYSTEM_FILES,
    ) -> None:
        self._folder = folder
        self._salt = salt
        self._bytes_max = bytes_max
        self._files = files
        self._failed = False
        self._told: FatalStorageError | None = None
        self._unsynced = False
        self._barrier_due = False
        make_folder(folder)
        numbers = sorted(int(path.stem) for path in folder.glob("*.seg"))
        self._number = numbers[-1] if numbers else 1
        self._file = self._open_for_append(self._number)
        self._size = os.fstat(self._file).st_size
        before = self._path(self._number - 1)
        self._size_before = before.stat().st_size if before.exists() else 0
        self._durable = START

    @property
    def durable(self) -> Position:
        """Up to where everything is known to be durable."""
        return self._durable

    @property
    def end(self) -> Position:
        """Where the next record will begin."""
        return Position(self._number, self._size)

    def close(self) -> None:
        """Close the file; what was not synced may be lost."""
        os.close(self._file)

    def append(self, kind: RecordType, height: int, payload: bytes) -> Position:
        """Append a record; durable only after `sync`. Return where it begins."""
        assert len(payload) <= RECORD_BYTES_MAX
        if self._size >= self._bytes_max:
            self._rotate()
        data = b""
        if self._barrier_due or not self._size:
            data = self._barrier()
        position = Position(self._number, self._size + len(data))
        self._write(data + encode_record(kind, height, payload, self._salt))
        return position

    def sync(self) -> None:
        """Make everything appended durable. A failure is final: the bytes' fate is unknown."""
        self._check()
        if not self._unsynced:
            return
        try:
            self._files.fsync(self._file)
        except OSError as error:
            self._failed = True
            raise FatalStorageError("fsync of a segment", str(error)) from error
        self._unsynced = False
        self._barrier_due = True
        self._durable = self.end

    def seal(self) -> None:
        """Say that everything here is durable: what is damaged from now on was no torn tail."""
        self.sync()
        if self._barrier_due:
            self._write(self._barrier())
            self.sync()
            self._barrier_due = False

    def fail(self, error: FatalStorageError) -> None:
        """Refuse everything from now on, for this reason: the process must stop."""
        self._failed, self._told = True, error

    def settle(self, cut: Position | None, *, beyond: int | None) -> None:
        """After reading: remove the torn tail that begins at `cut` and make the rest durable. Where
        the end is damaged nothing is ever written after it: go on in a segment after `beyond`.
        """
        if cut is not None:
            assert cut.segment == self._number
            try:
                self._files.truncate(self._file, cut.offset)
            except OSError as error:
                self._failed = True
                raise FatalStorageError("cutting a torn tail", str(error)) from error
            self._size = cut.offset
        self._unsynced = True
        self.sync()
        if beyond is not None:
            self._number = max(self._number, beyond)
            self._rotate()

    def read(self, position: Position) -> Record | Damage:
        """Read the record at `position`; what the disk does not give is damage, too. Raises
        `SegmentArchivedError` where the archive with it is away.
        """
        path = self._path(position.segment)
        try:
            data = self._bytes_at(path, position.offset)
        except OSError as error:
            if path.is_symlink():
                raise SegmentArchivedError(path) from error
            _log.error("segment.unreadable", segment=path.name, why=error.strerror)
            return Damage(position, position, None, 0)
        return parse_record(data, 0, position, self._salt)

    def _bytes_at(self, path: Path, offset: int) -> bytes:
        """The bytes of the record that begins there, as far as its head says how long it is."""
        read, file = self._files.read, self._files.open(path, _READING, 0)
        try:
            head = read(file, HEAD_BYTES, offset)
            fields = _read_head(head, self._salt)
            return head if fields is None else head + read(file, fields[2], offset + HEAD_BYTES)
        finally:
            os.close(file)

    def is_archived(self, number: int) -> bool:
        """Whether a link to an archive stands in the segment's place."""
        return self._path(number).is_symlink()

    def scan(self, start: Position) -> Iterator[Record | Damage]:
        """Yield all records from `start` on, and the damage between them; the missing end of a
        segment comes after the records of the next one have shown it.
        """
        for number in range(start.segment, self._number + 1):
            offset = start.offset if number == start.segment else 0
            path = self._path(number)
            if path.is_symlink() and not path.exists():
                raise SegmentArchivedError(path)
            size = path.stat().st_size if path.exists() else 0
            if size < max(offset, int(number < self._number)):
                yield Damage(Position(number, min(offset, size)), Position(number + 1, 0), None, 0)
            elif size > offset:
                with self._content(path, size) as data:
                    yield from self._scan_file(data, Position(number, offset))

    @contextmanager
    def _content(self, path: Path, size: int) -> Iterator[Data]:
        """A whole segment. Where the disk does not give all of it, the pages that are missing are
        blank: a map of it would end the process (SIGBUS).
        """
        with path.open("rb") as file:
            blanked = self._blanked(file.fileno(), size)
            if blanked is not None:
                _log.error("segment.unreadable", segment=path.name)
                yield blanked
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield data

    def _blanked(self, file: int, size: int) -> bytes | None:
        """The content with blanks for what cannot be read; None: all of it can."""
        read = self._files.read
        try:
            for offset in range(0, size, READ_BYTES):
                read(file, READ_BYTES, offset)
        except OSError:
            pages = range(0, size, mmap.PAGESIZE)
            return b"".join(self._page(file, min(mmap.PAGESIZE, size - at), at) for at in pages)
        return None

    def _page(self, file: int, size: int, offset: int) -> bytes:
        try:
            return self._files.read(file, size, offset)
        except OSError:
            return bytes(size)

    def _scan_file(self, data: Data, position: Position) -> Iterator[Record | Damage]:
        while position.offset < len(data):
            item = parse_record(data, position.offset, position, self._salt)
            if isinstance(item, Damage):
                end = self._resynchronise(data, item)
                if end != item.end:  # It takes more along than the record that began here.
                    item = replace(item, end=end, type=None, height=0)
            yield item
            if isinstance(item, Record) and item.type is RecordType.BARRIER and item.height:
                yield from self._check_size_before(item)
            position = item.end

    def _check_size_before(self, barrier: Record) -> Iterator[Damage]:
        """A segment that was cut between two records shows in the next one's first barrier."""
        number = barrier.position.segment - 1
        path = self._path(number)
        size = path.stat().st_size if path.exists() else 0
        if size < barrier.height and size:
            yield Damage(Position(number, size), Position(number, barrier.height), None, 0)

    def _resynchronise(self, data: Data, damage: Damage) -> Position:
        """Return where the next whole record begins, or the file's end."""
        number, offset = damage.end
        if damage.type is not None and self._is_record(data, offset):
            return damage.end
        offset = damage.position.offset + 1
        while (offset := data.find(MAGIC, offset)) >= 0:
            if self._is_record(data, offset):
                return Position(number, offset)
            offset += 1
        return Position(number, len(data))

    def _is_record(self, data: Data, offset: int) -> bool:
        return isinstance(parse_record(data, offset, START, self._salt), Record)

    def _barrier(self) -> bytes:
        """The first one of a segment says how long the segment before it is."""
        self._barrier_due = False
        return encode_record(
            RecordType.BARRIER, 0 if self._size else self._size_before, b"", self._salt
        )

    def _check(self) -> None:
        if self._told is not None:
            raise self._told
        if self._failed:
            raise FatalStorageError("writing after a failed write", "the earlier failure is final")

    def _write(self, data: bytes) -> None:
        self._check()
        try:
            self._files.write_all(self._file, data)
        except OSError as error:
            self._failed = True
            raise FatalStorageError("append to a segment", str(error)) from error
        self._size += len(data)
        self._unsynced = True

    def _rotate(self) -> None:
        self.sync()
        following = self._open_for_append(self._number + 1)  # The old one is closed once, here.
        os.close(self._file)
        self._size_before = self._size
        self._number += 1
        self._file, self._size = following, 0

    def _open_for_append(self, number: int) -> int:
        path = self._path(number)
        try:
            file = self._files.open(path, _APPENDING, 0o600)
            self._files.sync_folder(self._folder)
        except OSError as error:
            self._failed = True
            raise FatalStorageError(f"opening {path.name}", str(error)) from error
        return file

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.seg"


def encode_record(kind: RecordType, height: int, payload: bytes, salt: int) -> bytes:
    """The bytes of a record: a head with its own checksum, then the payload."""
    head = HEAD.pack(MAGIC, kind, height, len(payload), zlib.crc32(payload, salt))
    return b"".join((head, zlib.crc32(head, salt).to_bytes(4, "big"), payload))


def _read_head(head: bytes, salt: int) -> tuple[RecordType, int, int, int] | None:
    """Type, height, payload length and checksum, or None where the bytes are no record's head."""
    if len(head) < HEAD_BYTES:
        return None
    checksum = int.from_bytes(head[HEAD.size : HEAD_BYTES], "big")
    if zlib.crc32(head[: HEAD.size], salt) != checksum:
        return None
    magic, kind, height, length, payload_checksum = HEAD.unpack(head[: HEAD.size])
    if magic != MAGIC or kind not in list(RecordType) or length > RECORD_BYTES_MAX:
        return None
    return RecordType(kind), height, length, payload_checksum


def parse_record(data: Data, offset: int, position: Position, salt: int) -> Record | Damage:
    """The record at `offset`, or what is wrong with it."""
    fields = _read_head(data[offset : offset + HEAD_BYTES], salt)
    if fields is None:
        return Damage(position, position, None, 0, len(data) - offset < HEAD_BYTES)
    kind, height, length, checksum = fields
    begin = offset + HEAD_BYTES
    payload = data[begin : begin + length]
    end = Position(position.segment, position.offset + HEAD_BYTES + length)
    if len(payload) != length or zlib.crc32(payload, salt) != checksum:
        return Damage(position, end, kind, height, len(payload) != length)
    return Record(kind, height, payload, position, end)
