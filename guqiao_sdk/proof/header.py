"""Block headers and finality certificates.

A header is a function of chain id, epoch, height, parent, batch, the three roots and the next
height's replica set: replicas that committed in different views certify the same header. A finality
certificate is a quorum of SM2 signatures over it (PBFT's stable-checkpoint certificate, taken at
every block).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from guqiao_sdk.proof.canonical import Reader, Writer, digest
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.quorum import REPLICAS_MAX, ReplicaSet
from guqiao_sdk.proof.votes import VoteType, vote_sign_bytes

HASH_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
ZERO_HASH: Final = bytes(HASH_BYTES)

Verify = Callable[[bytes, bytes, bytes], bool]
"""(public key 65 bytes, message, signature 64 bytes) -> whether the SM2 signature holds."""


@dataclass(frozen=True)
class BlockHeader:
    """One block's header. Hashes are 32 bytes, `block_time_ms` is Unix time in milliseconds."""

    chain_id: str
    epoch: int
    height: int
    parent: bytes
    batch_digest: bytes
    block_time_ms: int
    transactions_root: bytes
    receipts_root: bytes
    state_root: bytes
    next_set_hash: bytes

    def encode(self) -> bytes:
        """The canonical encoding."""
        writer = Writer().text(self.chain_id).u64(self.epoch).u64(self.height).raw(self.parent)
        writer.raw(self.batch_digest).u64(self.block_time_ms).raw(self.transactions_root)
        return bytes(writer.raw(self.receipts_root).raw(self.state_root).raw(self.next_set_hash))

    @staticmethod
    def decode(data: bytes) -> BlockHeader:
        """Read `encode`'s bytes; raises `MalformedError`."""
        reader = Reader(data)
        header = BlockHeader(
            chain_id=reader.text(64),
            epoch=reader.u64(),
            height=reader.u64(),
            parent=reader.raw(HASH_BYTES),
            batch_digest=reader.raw(HASH_BYTES),
            block_time_ms=reader.u64(),
            transactions_root=reader.raw(HASH_BYTES),
            receipts_root=reader.raw(HASH_BYTES),
            state_root=reader.raw(HASH_BYTES),
            next_set_hash=reader.raw(HASH_BYTES),
        )
        reader.end()
        return header

    def hash(self) -> bytes:
        """The header's hash: what checkpoint votes sign and what the next block names as parent;
        computed once.
        """
        return self._hash

    @cached_property
    def _hash(self) -> bytes:
        return digest("guqiao/header/1", self.encode())


@dataclass(frozen=True, slots=True)
class FinalityCertificate:
    """Signatures of distinct replicas over one header, in ascending order of replica."""

    header_hash: bytes
    signatures: tuple[tuple[int, bytes], ...]

    def encode(self) -> bytes:
        """The canonical encoding."""
        writer = Writer().raw(self.header_hash).u32(len(self.signatures))
        for replica, signature in self.signatures:
            writer.u32(replica).raw(signature)
        return bytes(writer)

    @staticmethod
    def decode(data: bytes) -> FinalityCertificate:
        """Read `encode`'s bytes; raises `MalformedError`."""
        reader = Reader(data)
        header_hash = reader.raw(HASH_BYTES)
        count = reader.count(REPLICAS_MAX)
        signatures = tuple((reader.u32(), reader.raw(SIGNATURE_BYTES)) for _ in range(count))
        reader.end()
        return FinalityCertificate(header_hash, signatures)


def checkpoint_sign_bytes(header: BlockHeader, lineage: bytes = b"") -> bytes:
    """What a replica of a set with this lineage signs to certify `header`."""
    place = (header.chain_id, header.epoch, VoteType.CHECKPOINT, 0, header.height, header.hash())
    return vote_sign_bytes(*place, lineage=lineage)


def verify_certificate(
    header: BlockHeader, certificate: FinalityCertificate, replica_set: ReplicaSet, verify: Verify
) -> None:
    """Raise `ProofError` unless a quorum of distinct members of `replica_set` signed `header`.

    The set is the verifier's own: nothing of it is taken from the sender (reliability G12).
    """
    piece = f"finality certificate of {header.chain_id} height {header.height}"
    if header.chain_id != replica_set.chain_id:
        raise ProofError(piece, f"the replica set is of chain {replica_set.chain_id}")
    if header.epoch != replica_set.epoch:
        raise ProofError(
            piece, f"the header is of epoch {header.epoch}, the set of {replica_set.epoch}"
        )
    if certificate.header_hash != header.hash():
        raise ProofError(piece, "it certifies another header")
    replicas = [replica for replica, _ in certificate.signatures]
    if any(later <= earlier for earlier, later in itertools.pairwise(replicas)):
        raise ProofError(piece, "its signers are not distinct and ascending")
    if len(replicas) < replica_set.quorum:
        raise ProofError(piece, f"{len(replicas)} signatures, the quorum is {replica_set.quorum}")
    message = checkpoint_sign_bytes(header, replica_set.lineage)
    _verify_signatures(piece, certificate.signatures, message, replica_set, verify)


def _verify_signatures(
    piece: str,
    signatures: Sequence[tuple[int, bytes]],
    message: bytes,
    replica_set: ReplicaSet,
    verify: Verify,
) -> None:
    for replica, signature in signatures:
        if replica >= replica_set.size:
            raise ProofError(piece, f"replica {replica} is not in the set")
        if replica in replica_set.jailed:
            raise ProofError(piece, f"replica {replica} is jailed, its vote does not count")
        if not verify(replica_set.members[replica].public_key, message, signature):
            raise ProofError(piece, f"the signature of replica {replica} does not hold")
