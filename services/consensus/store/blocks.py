"""A block as it is stored: header, batch, receipts and the write set that gives the state root.

With the write set the index can be built again without executing anything, and is checked against
the header's state root on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from guqiao_sdk.archive.records import ArchivedBlock
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.ledger.execution import BlockResult

_WRITES_MAX: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """One block. `receipts` are encoded: leaves under the header's receipts root."""

    header: BlockHeader
    batch: Batch
    receipts: tuple[bytes, ...]
    write_set: Mapping[bytes, bytes | None]
    decoded: tuple[Receipt, ...] | None = field(default=None, repr=False, compare=False)
    """The receipts before they were encoded, where the block was executed here."""

    @staticmethod
    def of(result: BlockResult, header: BlockHeader) -> StoredBlock:
        """The block that an execution came to."""
        return StoredBlock(
            header, result.batch, result.encoded_receipts, result.write_set, result.receipts
        )

    def read_receipts(self) -> list[Receipt]:
        """The receipts, decoded."""
        if self.decoded is not None:
            return list(self.decoded)
        return [Receipt.decode(receipt) for receipt in self.receipts]

    def encode(self) -> bytes:
        """The record's payload."""
        writer = Writer().blob(self.header.encode()).blob(self.batch.encode())
        writer.blobs(self.receipts).u32(len(self.write_set))
        for key, value in self.write_set.items():
            writer.blob(key)
            if value is None:
                writer.u8(0)
            else:
                writer.u8(1).blob(value)
        return bytes(writer)

    @staticmethod
    def decode(data: bytes) -> StoredBlock:
        """Read `encode`'s bytes; raises `MalformedError`."""
        reader = Reader(data)
        block = ArchivedBlock.read(reader)
        writes: dict[bytes, bytes | None] = {}
        for _ in range(reader.count(_WRITES_MAX)):
            key = reader.blob()
            if key in writes:
                raise MalformedError("a key is written twice")
            writes[key] = _value(reader)
        reader.end()
        return StoredBlock(block.header, block.batch, block.receipts, writes)

    def check_roots(self) -> None:
        """Raise `MalformedError` unless batch and receipts are those of the header.

        The write set is checked by the state root, when it is applied.
        """
        ArchivedBlock(self.header, self.batch, self.receipts).check_roots()


@dataclass(frozen=True, slots=True)
class TransactionPlace:
    """Where a transaction stands, as sent, and what came of it."""

    height: int
    index: int
    encoded: bytes
    receipt: Receipt


def _value(reader: Reader) -> bytes | None:
    is_there = reader.u8()
    if is_there > 1:
        raise MalformedError(f"{is_there} says neither that a value is there nor that it is gone")
    return reader.blob() if is_there else None
