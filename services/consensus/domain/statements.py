"""The bytes under every protocol signature, and the small statements that evidence is made of.

A signature covers chain id, epoch, type, view, sequence number and a digest (reliability P12).
Composite messages are signed through a digest over their canonical content.
"""

from __future__ import annotations

from guqiao_sdk.proof.canonical import digest
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

Signed = PrePrepare | Prepare | Commit | Checkpoint | ViewChange | NewView


def statement_of(message: Signed, replica_set: ReplicaSet) -> Statement:
    """What `message`'s signature says, without what hangs on it."""
    vote_type, view, sequence, digested = _signed_fields(message)
    if isinstance(message, PrePrepare | NewView):
        signer = primary_of(replica_set, message.view)
    else:
        signer = message.replica
    return Statement(vote_type, view, sequence, digested, signer, message.signature)


def sign_bytes(message: Signed, replica_set: ReplicaSet) -> bytes:
    """The bytes under `message.signature`."""
    vote_type, view, sequence, digested = _signed_fields(message)
    return vote_sign_bytes(
        replica_set.chain_id, replica_set.epoch, vote_type, view, sequence, digested
    )


def statement_bytes(statement: Statement, replica_set: ReplicaSet) -> bytes:
    """The bytes under `statement.signature`: how a reader of evidence checks it."""
    return vote_sign_bytes(
        replica_set.chain_id,
        replica_set.epoch,
        statement.vote_type,
        statement.view,
        statement.sequence,
        statement.digest,
    )


def pre_prepare_bytes(
    replica_set: ReplicaSet, view: View, sequence: SequenceNumber, digested: Digest
) -> bytes:
    """What a primary signs, with a batch or inside a new-view."""
    return vote_sign_bytes(
        replica_set.chain_id, replica_set.epoch, VoteType.PRE_PREPARE, view, sequence, digested
    )


def prepare_bytes(
    replica_set: ReplicaSet, view: View, sequence: SequenceNumber, digested: Digest
) -> bytes:
    """What a backup signs to prepare."""
    return vote_sign_bytes(
        replica_set.chain_id, replica_set.epoch, VoteType.PREPARE, view, sequence, digested
    )


def checkpoint_bytes(
    replica_set: ReplicaSet, sequence: SequenceNumber, header_hash: bytes
) -> bytes:
    """What a replica signs to certify a header; view 0, for certificates know no view."""
    return vote_sign_bytes(
        replica_set.chain_id, replica_set.epoch, VoteType.CHECKPOINT, 0, sequence, header_hash
    )


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
