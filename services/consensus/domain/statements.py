"""The bytes under every protocol signature, and the small statements that evidence is made of.

A signature covers chain id, epoch, type, view, sequence number and a digest (reliability P12).
Composite messages are signed through a digest over their canonical content.
"""

from __future__ import annotations

from typing import Final

from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer, digest
from guqiao_sdk.proof.header import HASH_BYTES, SIGNATURE_BYTES
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.votes import VoteType, vote_sign_bytes
from services.consensus.domain.codec import new_view_content, view_change_content
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    Digest,
    NewView,
    Prepare,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    Statement,
    View,
    ViewChange,
)

STATEMENT_BYTES: Final = 1 + 8 + 8 + HASH_BYTES + SIGNATURE_BYTES
"""The length of an encoded statement."""

_STATED: Final = frozenset(VoteType) - {VoteType.PEER}

_OF_PRIMARY: Final = (PrePrepare, NewView)

Signed = PrePrepare | Prepare | Commit | Checkpoint | ViewChange | NewView


def statement_of(message: Signed, replica_set: ReplicaSet) -> Statement:
    """What `message`'s signature says, without what hangs on it."""
    vote_type, view, sequence, digested = _signed_fields(message)
    if isinstance(message, _OF_PRIMARY):
        signer = primary_of(replica_set, message.view)
    else:
        signer = message.replica
    return Statement(vote_type, view, sequence, digested, signer, message.signature)


def sign_bytes(message: Signed, replica_set: ReplicaSet) -> bytes:
    """The bytes under `message.signature`."""
    return vote_bytes(replica_set, *_signed_fields(message))


def statement_bytes(statement: Statement, replica_set: ReplicaSet) -> bytes:
    """The bytes under `statement.signature`: how a reader of evidence checks it."""
    return vote_bytes(
        replica_set, statement.vote_type, statement.view, statement.sequence, statement.digest
    )


def encode_statement(statement: Statement) -> bytes:
    """The bytes that an evidence transaction carries; the replica is named beside them."""
    writer = Writer().u8(statement.vote_type).u64(statement.view).u64(statement.sequence)
    return bytes(writer.raw(statement.digest).raw(statement.signature))


def decode_statement(data: bytes, replica: ReplicaId) -> Statement:
    """Read `encode_statement`'s bytes; raises `MalformedError`."""
    reader = Reader(data)
    number = reader.u8()
    if number not in _STATED:
        raise MalformedError(f"{number} is no type of statement")
    statement = Statement(
        VoteType(number),
        View(reader.u64()),
        SequenceNumber(reader.u64()),
        Digest(reader.raw(HASH_BYTES)),
        replica,
        reader.raw(SIGNATURE_BYTES),
    )
    reader.end()
    return statement


def exclude_each_other(first: Statement, second: Statement) -> bool:
    """Whether no replica that keeps the protocol signs both (N3, N9, V3, V6).

    A view-change has the certified height where others have a sequence number: two of them for one
    view exclude each other whatever they name. A new-view has none.
    """
    if (first.vote_type, first.view, first.replica) != (
        second.vote_type,
        second.view,
        second.replica,
    ):
        return False
    if first.vote_type in (VoteType.VIEW_CHANGE, VoteType.NEW_VIEW):
        return (first.sequence, first.digest) != (second.sequence, second.digest)
    return first.sequence == second.sequence and first.digest != second.digest


def vote_bytes(
    replica_set: ReplicaSet,
    vote_type: VoteType,
    view: View,
    sequence: SequenceNumber,
    digested: bytes,
) -> bytes:
    """What a replica of `replica_set` signs. A checkpoint vote has view 0."""
    place = (replica_set.chain_id, replica_set.epoch, vote_type, view, sequence, digested)
    return vote_sign_bytes(*place, lineage=replica_set.lineage)


def primary_of(replica_set: ReplicaSet, view: View) -> ReplicaId:
    """The primary of `view`."""
    return ReplicaId(replica_set.primary(view))


def _signed_fields(message: Signed) -> tuple[VoteType, View, SequenceNumber, Digest]:
    match message:
        case PrePrepare():
            return VoteType.PRE_PREPARE, message.view, message.sequence, message.digest
        case Prepare():
            return VoteType.PREPARE, message.view, message.sequence, message.digest
        case Commit():
            return VoteType.COMMIT, message.view, message.sequence, message.digest
        case Checkpoint():
            return VoteType.CHECKPOINT, View(0), message.sequence, message.header_hash
        case ViewChange():
            digested = Digest(digest("guqiao/view-change/1", view_change_content(message)))
            return VoteType.VIEW_CHANGE, message.view, message.certified, digested
        case NewView():
            digested = Digest(digest("guqiao/new-view/1", new_view_content(message)))
            return VoteType.NEW_VIEW, message.view, SequenceNumber(0), digested
