"""A replica's own signed statements: the one place where the core uses its key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    Digest,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ReplicaId,
    Reproposal,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.statements import primary_of, sign_bytes, vote_bytes

Sign = Callable[[bytes], bytes]
"""message -> signature of 64 bytes, under this replica's vote key."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs, in which set, with what."""

    me: ReplicaId
    replica_set: ReplicaSet
    sign: Sign

    def primary(self, view: View) -> ReplicaId:
        """The primary of `view`."""
        return primary_of(self.replica_set, view)

    def is_primary(self, view: View) -> bool:
        """Whether this replica is the primary of `view`."""
        return self.replica_set.primary(view) == self.me

    def pre_prepare(self, view: View, sequence: SequenceNumber, batch: Batch) -> PrePrepare:
        """Propose a batch for the first time."""
        digest = Digest(batch.digest())
        signature = self._signature(VoteType.PRE_PREPARE, view, sequence, digest)
        return PrePrepare(view, sequence, batch, digest, signature)

    def prepare(self, view: View, sequence: SequenceNumber, digest: Digest) -> Prepare:
        """Accept a proposal."""
        signature = self._signature(VoteType.PREPARE, view, sequence, digest)
        return Prepare(view, sequence, digest, self.me, signature)

    def commit(self, view: View, sequence: SequenceNumber, digest: Digest) -> Commit:
        """Say that a batch is prepared."""
        signature = self._signature(VoteType.COMMIT, view, sequence, digest)
        return Commit(view, sequence, digest, self.me, signature)

    def checkpoint(self, sequence: SequenceNumber, header_hash: Digest) -> Checkpoint:
        """Certify an executed block."""
        signature = self._signature(VoteType.CHECKPOINT, View(0), sequence, header_hash)
        return Checkpoint(sequence, header_hash, self.me, signature)

    def view_change(
        self,
        view: View,
        certified: SequenceNumber,
        certificate: FinalityCertificate | None,
        prepared: tuple[PreparedCertificate, ...],
    ) -> ViewChange:
        """Leave all views below `view`."""
        message = ViewChange(view, self.me, certified, certificate, prepared, b"")
        return replace(message, signature=self.sign(sign_bytes(message, self.replica_set)))

    def new_view(
        self,
        view: View,
        view_changes: tuple[ViewChange, ...],
        chosen: tuple[tuple[SequenceNumber, Digest], ...],
    ) -> NewView:
        """Open `view` with what must be proposed again in it."""
        reproposals = tuple(
            Reproposal(
                sequence,
                digest,
                self._signature(VoteType.PRE_PREPARE, view, sequence, digest),
            )
            for sequence, digest in chosen
        )
        message = NewView(view, view_changes, reproposals, b"")
        return replace(message, signature=self.sign(sign_bytes(message, self.replica_set)))

    def _signature(
        self, vote_type: VoteType, view: View, sequence: SequenceNumber, digest: Digest
    ) -> bytes:
        return self.sign(vote_bytes(self.replica_set, vote_type, view, sequence, digest))
