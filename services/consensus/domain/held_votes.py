"""Whose votes the core holds for one question: what has a quorum needs no more of them verified."""

from __future__ import annotations

from services.consensus.domain.checkpoint import Checkpoints
from services.consensus.domain.messages import Checkpoint, Commit, Digest, Prepare, ReplicaId
from services.consensus.domain.ordering import Ordering


class HeldVotes:
    """Reads what the core counts, changes nothing."""

    def __init__(self, ordering: Ordering, checkpoints: Checkpoints) -> None:
        self._ordering = ordering
        self._checkpoints = checkpoints

    def signers(self, vote: Prepare | Commit | Checkpoint) -> dict[ReplicaId, Digest] | None:
        """Who voted in the phase, view and sequence number of `vote`, and for which digest, this
        replica included; None where such a vote does not count now.
        """
        if isinstance(vote, Checkpoint):
            counts = self._checkpoints.counts(vote.sequence)
            return self._checkpoints.signers(vote.sequence) if counts else None
        if not self._ordering.counts(vote.view, vote.sequence):
            return None
        entry = self._ordering.entries.get(vote.sequence)
        if entry is None:
            return {}
        return (entry.commits if isinstance(vote, Commit) else entry.prepares).signers()
