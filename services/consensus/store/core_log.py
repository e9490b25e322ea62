"""The records of the PBFT core in the segments, opaque here, and how they are compacted.

A compaction writes anew what still matters and makes everything before void. What is too much for
one record goes before it in parts, of no meaning until the last record names them, and durable by
then: a crash on the way leaves the old records as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from guqiao_sdk.archive.records import RecordType
from guqiao_sdk.proof.canonical import Reader, Writer
from services.consensus.store.errors import DamagedRecordError
from services.consensus.store.index import Index
from services.consensus.store.segment import Position, Record, Segments
from services.consensus.store.tables import Transaction

PART_BYTES: Final = 16 * 1024 * 1024
"""Records of the core that one record of a compaction holds; one that is larger stands alone."""


class CoreLog:
    """The records since the last compaction; `appended_bytes` came after it (at a start: all that
    are there), `kept_bytes` with it.
    """

    def __init__(self, index: Index, segments: Segments, part_bytes: int) -> None:
        self._index = index
        self._segments = segments
        self._part_bytes = part_bytes
        self._pending: list[tuple[Position, bytes]] = []
        self.kept_bytes = 0
        with index.begin() as transaction:
            self.appended_bytes = index.core_bytes(transaction)

    def append(self, records: Sequence[bytes]) -> None:
        """Append records; the next `flush` takes them into the index."""
        for record in records:
            position = self._segments.append(RecordType.CORE, 0, record)
            self._pending.append((position, record))
            self.appended_bytes += len(record)

    def flush(self, transaction: Transaction) -> None:
        """Take into the index what was appended."""
        for position, record in self._pending:
            self._index.put_core(transaction, position, record)
        self._pending.clear()

    def records(self) -> Iterator[bytes]:
        """Yield the records in the order appended, one at a time from the index."""
        pending = [record for _, record in self._pending]
        with self._index.begin() as transaction:
            yield from self._index.core_records(transaction)
        yield from pending

    def compact(self, transaction: Transaction, records: Iterable[bytes]) -> None:
        """Let `records` stand for all so far, durably, and in the index with `transaction`."""
        self._index.clear_core(transaction)
        chunks = _chunks(records, self._part_bytes)
        chunk, parts = next(chunks), list[Position]()
        self.kept_bytes = sum(map(len, chunk))
        for following in chunks:
            position = self._segments.append(RecordType.CORE_PART, 0, bytes(Writer().blobs(chunk)))
            self._index.put_compacted(transaction, position, chunk)
            parts.append(position)
            chunk = following
            self.kept_bytes += sum(map(len, chunk))
        if parts:
            self._segments.sync()  # Durable before the record that gives them a meaning.
        payload = bytes(Writer().blobs([*map(Position.to_bytes, parts), *chunk]))
        position = self._segments.append(RecordType.CORE_COMPACTED, len(parts), payload)
        self._segments.sync()
        self._index.put_compacted(transaction, position, chunk)
        self._index.set_compacted(transaction, (*parts, position)[0])
        self._pending.clear()
        self.appended_bytes = 0


def take_compaction(
    index: Index, segments: Segments, transaction: Transaction, record: Record
) -> None:
    """Take a compaction from the segments into the index. Raises `DamagedRecordError` where a part
    does not read back: what it would make void still counts. The transaction must not be kept then.
    """
    parts, last = _content_of(record)
    index.clear_core(transaction)
    for position in parts:
        part = segments.read(position)
        if not isinstance(part, Record) or part.type is not RecordType.CORE_PART:
            raise DamagedRecordError(0, f"votes in segment {position.segment}")
        index.put_compacted(transaction, position, Reader(part.payload).blobs())
    index.put_compacted(transaction, record.position, last)
    index.set_compacted(transaction, began_at(record))


def began_at(record: Record) -> Position:
    """Where a compaction begins, whose last record this is: records of the core before are void."""
    return _content_of(record)[0][0] if record.height else record.position


def _content_of(record: Record) -> tuple[list[Position], Sequence[bytes]]:
    blobs, parts = Reader(record.payload).blobs(), record.height
    return [Position.from_bytes(each) for each in blobs[:parts]], blobs[parts:]


def _chunks(records: Iterable[bytes], bytes_max: int) -> Iterator[list[bytes]]:
    """The records in lists of at most so many bytes, or of one record; the last may be empty."""
    chunk, size = list[bytes](), 0
    for record in records:
        if chunk and size + len(record) > bytes_max:
            yield chunk
            chunk, size = [], 0
        chunk.append(record)
        size += len(record)
    yield chunk
