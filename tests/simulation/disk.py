"""What survives a crash: records that were persisted, and certified blocks.

Everything else (executed but uncertified blocks, pending requests, messages) is gone. Records are
kept as bytes, so that every recovery reads the codec's own encoding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.header import FinalityCertificate
from services.consensus.domain.codec import decode_record, encode_record
from services.consensus.domain.messages import CertifiedHead, Digest, Record, SequenceNumber

GENESIS = CertifiedHead(SequenceNumber(0), Digest(digest("sim/genesis")), 1_000_000, None)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of the trivial ledger: a hash chain over batches."""

    header_hash: Digest
    batch: Batch


def execute(parent: Digest, height: int, batch: Batch) -> Block:
    """The trivial executor: deterministic, and every batch matters."""
    header = digest("sim/header", parent, height.to_bytes(8, "big"), batch.digest())
    return Block(Digest(header), batch)


@dataclass(slots=True)
class Disk:
    """One replica's durable storage; heights start at 1, so block h is `blocks[h - 1]`."""

    records: list[bytes] = field(default_factory=list)
    known: set[bytes] = field(default_factory=set)
    blocks: list[Block] = field(default_factory=list)
    certificates: list[FinalityCertificate] = field(default_factory=list)

    def persist(self, record: Record) -> None:
        """Write and sync."""
        data = encode_record(record)
        self.records.append(data)
        self.known.add(data)

    def store(self, block: Block, certificate: FinalityCertificate) -> None:
        """Append the next certified block."""
        self.blocks.append(block)
        self.certificates.append(certificate)

    def head(self) -> CertifiedHead:
        """The last certified block."""
        if not self.blocks:
            return GENESIS
        block = self.blocks[-1]
        return CertifiedHead(
            SequenceNumber(len(self.blocks)),
            block.header_hash,
            block.batch.block_time_ms,
            self.certificates[-1],
        )

    def read(self) -> list[Record]:
        """All records, in the order of writing."""
        return [decode_record(data) for data in self.records]

    def compact(self, needed: list[Record]) -> None:
        """Replace the log by what the replica says it needs."""
        self.records = [encode_record(record) for record in needed]
