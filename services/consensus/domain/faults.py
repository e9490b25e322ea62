"""What a primary signed that no honest one signs, shown by the signed parts alone.

Two kinds beside statements that exclude each other: a batch that fails stateless admission (N4),
shown by one of its transactions with the path to the root that the batch's digest covers, and a
new-view whose proposals do not follow from its view-changes (V6), shown whole. The judgement is the
core's own: `check_stateless`, `authenticate` and `new_view_fault`; no rule is written twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.batch import BATCH_TRANSACTIONS_MAX, batch_digest
from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import HASH_BYTES
from guqiao_sdk.proof.merkle import merkle_path, verify_merkle_path
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.authentication import Verify, authenticate
from services.consensus.domain.codec import decode_message, encode_message
from services.consensus.domain.ledger.admission import Refused, check_stateless
from services.consensus.domain.messages import NewView, PrePrepare, ReplicaId, Statement
from services.consensus.domain.statements import (
    STATEMENT_BYTES,
    decode_statement,
    encode_statement,
    primary_of,
    statement_bytes,
    statement_of,
)
from services.consensus.domain.view_change import new_view_fault

PROOF_BYTES_MAX: Final = 448 * 1024
"""In hex, with what stands around it, it still fits into a transaction."""
PATH_HASHES_MAX: Final = 32
_PIECE: Final = "transaction"


class UnprovenError(Exception):
    """The parts show no fault; the text says which of them does not hold."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What was signed, and which rule it breaks: a code of the rule catalogue, or a sentence."""

    statement: Statement
    fault: str


@dataclass(frozen=True, slots=True)
class BatchProof:
    """A signed pre-prepare without its batch, and the one transaction that admission refuses.

    The digest that the statement names covers the block time and, through the root, the number of
    transactions and each of them at its place.
    """

    statement: Statement
    block_time_ms: int
    root: bytes
    index: int
    count: int
    path: tuple[bytes, ...]
    transaction: bytes

    def encode(self) -> bytes:
        """The bytes that an evidence transaction carries; the replica is named beside them."""
        writer = Writer().raw(encode_statement(self.statement)).u64(self.block_time_ms)
        writer.raw(self.root).u32(self.index).u32(self.count).u32(len(self.path))
        for sibling in self.path:
            writer.raw(sibling)
        return bytes(writer.blob(self.transaction))

    @staticmethod
    def decode(data: bytes, replica: ReplicaId) -> BatchProof:
        """Read `encode`'s bytes; raises `MalformedError`."""
        reader = Reader(data)
        proof = BatchProof(
            decode_statement(reader.raw(STATEMENT_BYTES), replica),
            reader.u64(),
            reader.raw(HASH_BYTES),
            reader.u32(),
            reader.count(BATCH_TRANSACTIONS_MAX),
            tuple(reader.raw(HASH_BYTES) for _ in range(reader.count(PATH_HASHES_MAX))),
            reader.blob(PROOF_BYTES_MAX),
        )
        reader.end()
        return proof


def batch_proof(message: PrePrepare, index: int, replica_set: ReplicaSet) -> BatchProof:
    """The proof against the primary that signed `message`, by its transaction `index`."""
    transactions = message.batch.transactions
    return BatchProof(
        statement_of(message, replica_set),
        message.batch.block_time_ms,
        message.batch.transactions_root(),
        index,
        len(transactions),
        merkle_path(transactions, index),
        transactions[index],
    )


def new_view_proof(message: NewView) -> bytes:
    """The bytes that show what is wrong with a new-view: all of it."""
    return encode_message(message)


def judge_batch(data: bytes, replica: ReplicaId, replica_set: ReplicaSet, verify: Verify) -> Proven:
    """What `replica` is guilty of by these bytes; raises `UnprovenError`.

    The signature comes first: only what the accused signed costs more than one verification.
    """
    try:
        proof = BatchProof.decode(data, replica)
    except MalformedError as error:
        raise UnprovenError(str(error)) from error
    statement = proof.statement
    _check_proposal(statement, replica_set, verify)
    if batch_digest(proof.block_time_ms, proof.root) != statement.digest:
        raise UnprovenError("block time and root are not those of the batch that was signed")
    try:
        verify_merkle_path(
            piece=_PIECE,
            root=proof.root,
            leaf=proof.transaction,
            index=proof.index,
            count=proof.count,
            path=proof.path,
        )
    except ProofError as error:
        raise UnprovenError(error.detail) from error
    verdict = check_stateless(
        proof.transaction,
        chain_id=replica_set.chain_id,
        now_height=statement.sequence - 1,
        block_time_ms=proof.block_time_ms,
        verify_many=lambda items: [verify(*item) for item in items],
    )
    if not isinstance(verdict, Refused):
        raise UnprovenError("admission does not refuse the transaction")
    return Proven(statement, verdict.code)


def _check_proposal(statement: Statement, replica_set: ReplicaSet, verify: Verify) -> None:
    if statement.vote_type is not VoteType.PRE_PREPARE or statement.sequence < 1:
        raise UnprovenError("the statement is no proposal")
    if primary_of(replica_set, statement.view) != statement.replica:
        raise UnprovenError("the replica is not the primary of that view")
    key = replica_set.members[statement.replica].public_key
    if not verify(key, statement_bytes(statement, replica_set), statement.signature):
        raise UnprovenError(f"the signature is not that of replica {statement.replica}")


def judge_new_view(
    data: bytes,
    replica: ReplicaId,
    replica_set: ReplicaSet,
    verify: Verify,
    *,
    window: int,
    base: int,
) -> Proven:
    """What `replica` is guilty of by a new-view of its own; raises `UnprovenError`.

    It must be authentic with all its parts: one that no replica would look at proves nothing.
    """
    try:
        message = decode_message(data)
    except MalformedError as error:
        raise UnprovenError(str(error)) from error
    if not isinstance(message, NewView):
        raise UnprovenError("the message is no new-view")
    if primary_of(replica_set, message.view) != replica:
        raise UnprovenError("the replica is not the primary of that view")
    reject = authenticate(message, replica, replica_set, verify, window, base)
    if reject is not None:
        raise UnprovenError(reject.reason)
    fault = new_view_fault(message)
    if fault is None:
        raise UnprovenError("its proposals follow from its view-changes")
    return Proven(statement_of(message, replica_set), fault)
