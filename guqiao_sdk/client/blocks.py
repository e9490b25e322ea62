"""A block as a verifier takes it: certificate, roots and links checked before anything is read.

Replicas that catch up, clients, publishers and gateways all judge a block by `verify_block`. The
replica set is the verifier's own; nothing that comes with the block is believed.
"""

from __future__ import annotations

from dataclasses import dataclass

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, Verify, verify_certificate
from guqiao_sdk.proof.merkle import merkle_root
from guqiao_sdk.proof.quorum import ReplicaSet, ReplicaSetError
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.transaction import SignedTransaction


@dataclass(frozen=True, slots=True)
class VerifiedBlock:
    """A final block. `message` is what came over the wire, for passing on."""

    header: BlockHeader
    certificate: FinalityCertificate
    batch: Batch
    transactions: tuple[SignedTransaction, ...]
    receipts: tuple[Receipt, ...]
    message: ledger_pb2.Block
    next_set: ReplicaSet | None = None
    """The set of the next height where it is another: the header names it."""

    @property
    def height(self) -> int:
        """The block's height, at least 1."""
        return self.header.height


def verify_header(
    message: ledger_pb2.CertifiedHeader, replica_set: ReplicaSet, verify: Verify
) -> tuple[BlockHeader, FinalityCertificate]:
    """The header with its certificate, or `ProofError`."""
    try:
        header = BlockHeader.decode(message.header)
        certificate = FinalityCertificate.decode(message.certificate)
    except MalformedError as error:
        raise ProofError("certified header", str(error)) from error
    verify_certificate(header, certificate, replica_set, verify)
    return header, certificate


def verify_block(
    message: ledger_pb2.Block, replica_set: ReplicaSet, verify: Verify
) -> VerifiedBlock:
    """The block, or `ProofError` naming the piece that does not hold.

    The link to the parent is the caller's to check: it knows which block went before.
    """
    header, certificate = verify_header(message.certified_header, replica_set, verify)
    piece = f"block {header.chain_id}/{header.height}"
    try:
        batch = Batch.decode(message.batch)
        transactions = tuple(SignedTransaction.decode(encoded) for encoded in batch.transactions)
        receipts = tuple(Receipt.decode(encoded) for encoded in message.receipts)
    except MalformedError as error:
        raise ProofError(piece, str(error)) from error
    if batch.digest() != header.batch_digest or batch.block_time_ms != header.block_time_ms:
        raise ProofError(piece, "its batch is not the one that the header names")
    if batch.transactions_root() != header.transactions_root:
        raise ProofError(piece, "its transactions are not those under the header's root")
    if merkle_root(tuple(message.receipts)) != header.receipts_root:
        raise ProofError(piece, "its receipts are not those under the header's root")
    if len(receipts) != len(transactions):
        raise ProofError(piece, f"{len(receipts)} receipts for {len(transactions)} transactions")
    next_set = _next_set(message, header)
    return VerifiedBlock(header, certificate, batch, transactions, receipts, message, next_set)


def _next_set(message: ledger_pb2.Block, header: BlockHeader) -> ReplicaSet | None:
    if not message.next_replica_set:
        return None
    piece = f"next set of block {header.chain_id}/{header.height}"
    try:
        following = ReplicaSet.decode(message.next_replica_set)
        following.check()
    except (MalformedError, ReplicaSetError) as error:
        raise ProofError(piece, str(error)) from error
    if following.hash() != header.next_set_hash or following.epoch != header.epoch + 1:
        raise ProofError(piece, "the header names another")
    return following


def check_link(earlier: BlockHeader, later: BlockHeader) -> None:
    """Raise `ProofError` unless `later` is the block after `earlier`."""
    piece = f"block {later.chain_id}/{later.height}"
    if later.height != earlier.height + 1:
        raise ProofError(piece, f"height {earlier.height + 1} was due")
    if later.parent != earlier.hash():
        raise ProofError(piece, "its parent is another block than the one before it")
