"""A state that was taken from peers, made durable and then, all at once, the replica's own.

Its parts are records of the segments, of no meaning until a snapshot record names them: a crash
before leaves bytes that nobody reads, and the taking begins anew. The root of all entries together
is computed before anything is active, here and whenever the index is built again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.archive.records import RecordType
from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.light_client import SetChange
from services.consensus.domain.ledger.state_parts import PART_ENTRIES_MAX, Entry
from services.consensus.store.errors import DamagedRecordError, StateDivergenceError
from services.consensus.store.index import Index
from services.consensus.store.segment import Position, Record, Segments
from services.consensus.store.tables import Transaction

SET_CHANGES_MAX: Final = 4_096
PARTS_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The header whose state root the parts give, its certificate, and the set changes up to it:
    others ask for these for ever.
    """

    header: BlockHeader
    certificate: FinalityCertificate
    set_changes: tuple[SetChange, ...]
    parts: tuple[Position, ...]

    def encode(self) -> bytes:
        """The record's payload."""
        writer = Writer().blob(self.header.encode()).blob(self.certificate.encode())
        writer.blobs([change.encode() for change in self.set_changes]).u32(len(self.parts))
        for part in self.parts:
            writer.u32(part.segment).u64(part.offset)
        return bytes(writer)

    @staticmethod
    def decode(data: bytes) -> Snapshot:
        """Read `encode`'s bytes; raises `MalformedError`."""
        reader = Reader(data)
        header = BlockHeader.decode(reader.blob())
        certificate = FinalityCertificate.decode(reader.blob())
        changes = tuple(SetChange.decode(each) for each in reader.blobs(SET_CHANGES_MAX))
        parts = tuple(Position(reader.u32(), reader.u64()) for _ in range(reader.count(PARTS_MAX)))
        reader.end()
        return Snapshot(header, certificate, changes, parts)


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """The payload of one part."""
    writer = Writer().u32(len(entries))
    for key, value in entries:
        writer.blob(key).blob(value)
    return bytes(writer)


def decode_entries(data: bytes) -> list[Entry]:
    """Read `encode_entries`' bytes; raises `MalformedError`."""
    reader = Reader(data)
    entries = [(reader.blob(), reader.blob()) for _ in range(reader.count(PART_ENTRIES_MAX))]
    reader.end()
    return entries


def adopt(index: Index, segments: Segments, transaction: Transaction, snapshot: Snapshot) -> None:
    """Let the index hold the state after the snapshot's header instead of its own; raises
    `StateDivergenceError` unless the parts give the header's root, and `DamagedRecordError` where
    one of them does not read back. The transaction must not be kept then.
    """
    header = snapshot.header
    parts = (_read_part(segments, position, header.height) for position in snapshot.parts)
    if index.adopt(transaction, header, parts) != header.state_root:
        raise StateDivergenceError(header.height)
    for change in snapshot.set_changes:
        index.put_head(transaction, change.header, change.certificate)
    index.put_head(transaction, header, snapshot.certificate)


def _read_part(segments: Segments, position: Position, height: int) -> list[Entry]:
    where = f"a part of its state, segment {position.segment}, offset {position.offset}"
    record = segments.read(position)
    if not isinstance(record, Record) or record.type is not RecordType.STATE_PART:
        raise DamagedRecordError(height, where)
    try:
        return decode_entries(record.payload)
    except MalformedError as error:
        raise DamagedRecordError(height, where) from error
