"""The records of a segment file, as far as whoever reads an archive needs them.

A record is a head (type, height, length, two checksums) and a payload. The checksums begin from a
salt that only the replica knows, so a reader of an archive does not ask them: the manifest's digest
covers the file, and certificates what it proves. The replica's own reader is the store's.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from guqiao_sdk.proof.batch import BATCH_TRANSACTIONS_MAX, Batch, batch_digest
from guqiao_sdk.proof.canonical import MalformedError, Reader
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.merkle import merkle_root
from guqiao_sdk.proof.restart import Restart

RECORD_BYTES_MAX: Final = 256 * 1024 * 1024
MAGIC: Final = b"GQR1"
HEAD: Final = struct.Struct(">4sBxxxQII")
"""Magic, type, height, length and checksum of the payload; the head's own checksum follows."""
HEAD_BYTES: Final = HEAD.size + 4
RESTARTS: Final = b"governance/restarts/"
"""Where the state keeps the restart that an epoch began with."""

Data: TypeAlias = bytes | mmap.mmap


class RecordType(IntEnum):
    """What a record holds. A number is never used twice."""

    BARRIER = 1  # everything before it is durable; its height: the size of the segment before
    CORE = 2  # one record of the PBFT core
    CORE_COMPACTED = 3  # the core's records that still matter; its height: in how many parts before
    BLOCK = 4
    CERTIFICATE = 5
    REPAIRED_BLOCK = 6  # stands for a damaged BLOCK of the same height; without its write set
    STATE_PART = 7  # entries of a state that is being taken from peers; void without a SNAPSHOT
    SNAPSHOT = 8  # the certified header of a state that was taken, and where its parts stand
    CORE_PART = 9  # some of the core's records that still matter; void without a CORE_COMPACTED


@dataclass(frozen=True, slots=True)
class ArchivedRecord:
    """One record where it stands; its payload is cut out when it is asked for."""

    type: RecordType
    height: int
    offset: int
    data: Data
    end: int

    @property
    def payload(self) -> bytes:
        """The record's payload."""
        return self.data[self.offset + HEAD_BYTES : self.end]


@dataclass(frozen=True, slots=True)
class ArchivedBlock:
    """A block without its write set: what a header proves."""

    header: BlockHeader
    batch: Batch
    receipts: tuple[bytes, ...]

    @staticmethod
    def read(reader: Reader) -> ArchivedBlock:
        """Read the first part of a stored block; its write set follows in `reader`."""
        header, batch = BlockHeader.decode(reader.blob()), Batch.decode(reader.blob())
        return ArchivedBlock(header, batch, reader.blobs(BATCH_TRANSACTIONS_MAX))

    def check_roots(self) -> None:
        """Raise `MalformedError` unless batch and receipts are those of the header."""
        header, root = self.header, self.batch.transactions_root()
        if batch_digest(self.batch.block_time_ms, root) != header.batch_digest:
            raise MalformedError("the batch is not the header's")
        if root != header.transactions_root or self.batch.block_time_ms != header.block_time_ms:
            raise MalformedError("the transactions are not the header's")
        if merkle_root(self.receipts) != header.receipts_root:
            raise MalformedError("the receipts are not the header's")


def read_restarts(reader: Reader) -> list[Restart]:
    """The restarts in a block's write set, which stands behind what `ArchivedBlock.read` reads.
    They prove themselves. Raises `MalformedError`.
    """
    found: list[Restart] = []
    for _ in range(reader.count()):
        key = reader.blob()
        value = reader.blob() if reader.u8() else b""
        if not key.startswith(RESTARTS) or not value:
            continue
        try:
            found.append(Restart.decode(bytes.fromhex(json.loads(value))))
        except (ValueError, TypeError, RecursionError) as error:
            raise MalformedError(f"{key!r} holds no restart") from error
    return sorted(found, key=lambda each: each.statement.epoch)


def records_of(data: Data) -> Iterator[ArchivedRecord]:
    """Every record of a segment file; raises `MalformedError` where one does not follow."""
    offset = 0
    while offset < len(data):
        record = _record_at(data, offset)
        yield record
        offset = record.end


def _record_at(data: Data, offset: int) -> ArchivedRecord:
    head = data[offset : offset + HEAD.size]
    if len(data) - offset < HEAD_BYTES:
        raise MalformedError(f"the record at offset {offset} is cut short")
    magic, kind, height, length, _ = HEAD.unpack(head)
    end = offset + HEAD_BYTES + length
    if magic != MAGIC or kind not in list(RecordType) or length > RECORD_BYTES_MAX:
        raise MalformedError(f"what stands at offset {offset} is no record")
    if end > len(data):
        raise MalformedError(f"the record at offset {offset} is cut short")
    return ArchivedRecord(RecordType(kind), height, offset, data, end)
