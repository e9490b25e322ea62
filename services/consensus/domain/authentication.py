"""Who said it: every incoming message is judged here before the core steps on it.

Pure: signatures go through the caller's `verify`. The driver's signing and the simulator use this
one function, nested signatures in certificates, view-changes and new-views included. What a
message means in the replica's state is the core's affair; what it is by itself is settled here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.effects import Reject
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    Hello,
    NewView,
    PeerMessage,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.statements import (
    Signed,
    primary_of,
    sign_bytes,
    vote_bytes,
)

Verify = Callable[[bytes, bytes, bytes], bool]
"""(public key, message, signature) -> whether the signature holds."""


def authenticate(
    message: PeerMessage,
    sender: ReplicaId,
    replica_set: ReplicaSet,
    verify: Verify,
    window: int,
    base: int = 0,
) -> Reject | None:
    """None if `sender` may say `message` and all its signatures hold, else what is wrong.

    `base` is the height that the set's epoch starts above: genesis, or the last height of the epoch
    before, whose certificate is of another set and is asked of nobody.
    `sender` is who the authenticated link says it is. Only a new-view is ever passed on by others
    than its signer: any replica brings a late one into the view with it.
    """
    if not 0 <= sender < replica_set.size:
        return Reject(sender, f"replica {sender} is not in the set")
    if sender in replica_set.jailed and not isinstance(message, Hello):
        return Reject(sender, f"replica {sender} is jailed, its votes do not count")
    judge = _Judge(replica_set, verify, window, base)
    fault = judge.fault(message, sender)
    return None if fault is None else Reject(sender, fault)


class _Judge:
    """One question's context; every method gives a fault's text or None."""

    __slots__ = ("_base", "_set", "_verify", "_window")

    def __init__(self, replica_set: ReplicaSet, verify: Verify, window: int, base: int) -> None:
        self._base = base
        self._set = replica_set
        self._verify = verify
        self._window = window

    def fault(self, message: PeerMessage, sender: ReplicaId) -> str | None:
        match message:
            case Hello():
                return None
            case PrePrepare():
                return self._pre_prepare(message, sender)
            case Prepare() | Commit() | Checkpoint():
                return self._vote(message, sender)
            case ViewChange():
                if message.replica != sender:
                    return f"a view-change of replica {message.replica}"
                return self._view_change(message)
            case NewView():
                return self._new_view(message)

    def _pre_prepare(self, message: PrePrepare, sender: ReplicaId) -> str | None:
        if sender != primary_of(self._set, message.view):
            return f"pre-prepare in view {message.view} from a replica that is not its primary"
        if message.sequence < 1:
            return "a proposal of genesis"
        return self._signature(message, sender)

    def _vote(self, message: Prepare | Commit | Checkpoint, sender: ReplicaId) -> str | None:
        if message.replica != sender:
            return f"a vote of replica {message.replica}"
        if message.sequence < 1:
            return "a vote for genesis"
        if isinstance(message, Prepare) and sender == primary_of(self._set, message.view):
            return f"prepare from the primary of view {message.view}"
        return self._signature(message, sender)

    def _view_change(self, message: ViewChange) -> str | None:
        if message.view < 1:
            return "a view-change to view 0"
        if message.replica >= self._set.size or message.replica in self._set.jailed:
            return f"replica {message.replica} has no vote in the set"
        fault = self._signature(message, message.replica) or self._certified(message)
        if fault is not None:
            return fault
        sequences = [message.certified, *(each.sequence for each in message.prepared)]
        if not _ascending(sequences):
            return "prepared certificates that do not ascend above the certified height"
        if sequences[-1] > message.certified + self._window:
            return "a prepared certificate beyond the window"
        return next(
            filter(None, (self._prepared(each, message) for each in message.prepared)), None
        )

    def _certified(self, message: ViewChange) -> str | None:
        certificate = message.certificate
        if certificate is None:
            at_base = message.certified == self._base
            return None if at_base else "a certified height without its certificate"
        if message.certified <= self._base:
            return "a certificate of genesis or of an earlier epoch"
        signed = self._bytes(
            VoteType.CHECKPOINT, View(0), message.certified, certificate.header_hash
        )
        if len(certificate.signatures) < self._set.quorum:
            return "a finality certificate below the quorum"
        return self._signatures("finality certificate", certificate.signatures, signed)

    def _prepared(self, prepared: PreparedCertificate, holder: ViewChange) -> str | None:
        if prepared.view >= holder.view:
            return "a prepared certificate of a view that the view-change does not leave"
        primary = primary_of(self._set, prepared.view)
        place = (prepared.view, prepared.sequence, prepared.digest)
        key = self._set.members[primary].public_key
        proposed = self._bytes(VoteType.PRE_PREPARE, *place)
        if not self._verify(key, proposed, prepared.pre_prepare_signature):
            return "a prepared certificate whose pre-prepare is not the primary's"
        if len(prepared.prepares) + 1 < self._set.quorum:
            return "a prepared certificate below the quorum"
        if any(replica == primary for replica, _ in prepared.prepares):
            return "a prepared certificate with a prepare of the primary"
        signed = self._bytes(VoteType.PREPARE, *place)
        return self._signatures("prepared certificate", prepared.prepares, signed)

    def _new_view(self, message: NewView) -> str | None:
        primary = primary_of(self._set, message.view)
        if message.view < 1:
            return "a new-view of view 0"
        if len(message.view_changes) < self._set.quorum:
            return "a new-view with fewer view-changes than the quorum"
        if not _ascending([each.replica for each in message.view_changes]):
            return "a new-view whose view-changes are not of distinct, ascending replicas"
        if any(each.view != message.view for each in message.view_changes):
            return "a new-view with a view-change to another view"
        fault = self._signature(message, primary) or self._reproposals(message, primary)
        if fault is not None:
            return fault
        return next(filter(None, map(self._view_change, message.view_changes)), None)

    def _reproposals(self, message: NewView, primary: ReplicaId) -> str | None:
        key = self._set.members[primary].public_key
        for each in message.reproposals:
            signed = self._bytes(VoteType.PRE_PREPARE, message.view, each.sequence, each.digest)
            if not self._verify(key, signed, each.signature):
                return f"the signature of the pre-prepare for {each.sequence} does not hold"
        return None

    def _bytes(
        self, vote_type: VoteType, view: View, sequence: SequenceNumber, digest: bytes
    ) -> bytes:
        return vote_bytes(self._set, vote_type, view, sequence, digest)

    def _signature(self, message: Signed, signer: ReplicaId) -> str | None:
        key = self._set.members[signer].public_key
        if self._verify(key, sign_bytes(message, self._set), message.signature):
            return None
        return f"the signature of replica {signer} does not hold"

    def _signatures(
        self, what: str, signatures: Sequence[tuple[int, bytes]], signed: bytes
    ) -> str | None:
        replicas = [replica for replica, _ in signatures]
        if not _ascending(replicas) or replicas[-1] >= self._set.size:
            return f"a {what} whose signers are not distinct, ascending members"
        for replica, signature in signatures:
            if replica in self._set.jailed:
                return f"a {what} with the vote of replica {replica}, which is jailed"
            if not self._verify(self._set.members[replica].public_key, signed, signature):
                return f"a {what} in which the signature of replica {replica} does not hold"
        return None


def _ascending(numbers: Sequence[int] | Sequence[SequenceNumber] | Sequence[ReplicaId]) -> bool:
    return all(earlier < later for earlier, later in itertools.pairwise(numbers))
