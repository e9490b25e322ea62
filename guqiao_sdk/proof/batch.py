"""The batch: what PBFT agrees on for one sequence number, and what a block holds.

A batch is (block time, transactions); its digest covers both. A null batch carries its
predecessor's block time and no transactions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer, digest
from guqiao_sdk.proof.merkle import merkle_root

BATCH_TRANSACTIONS_MAX: Final = 4_000
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024


@dataclass(frozen=True)
class Batch:
    """`transactions` are encoded `SignedTransaction`s;

    `block_time_ms` is Unix time in milliseconds.
    """

    block_time_ms: int
    transactions: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The canonical encoding."""
        return bytes(Writer().u64(self.block_time_ms).blobs(self.transactions))

    @staticmethod
    def decode(data: bytes) -> Batch:
        """Read `encode`'s bytes; raises `MalformedError`."""
        if len(data) > BATCH_BYTES_MAX:
            raise MalformedError(f"a batch of {len(data)} bytes, at most {BATCH_BYTES_MAX} allowed")
        reader = Reader(data)
        batch = Batch(reader.u64(), reader.blobs(BATCH_TRANSACTIONS_MAX))
        reader.end()
        return batch

    def transactions_root(self) -> bytes:
        """The Merkle root over the transactions, 32 bytes; computed once."""
        return self._root

    @cached_property
    def _root(self) -> bytes:
        return merkle_root(self.transactions)

    def digest(self) -> bytes:
        """What the three phases agree on, 32 bytes; computed once."""
        return self._digest

    @cached_property
    def _digest(self) -> bytes:
        return batch_digest(self.block_time_ms, self.transactions_root())


def batch_digest(block_time_ms: int, transactions_root: bytes) -> bytes:
    """The digest from its parts:

    a header names both, so a light client can check that they belong together.
    """
    time = block_time_ms.to_bytes(8, "big")
    return digest("guqiao/batch/1", time, transactions_root)
