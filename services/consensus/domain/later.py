"""Messages of views that are not entered yet: votes may overtake the new-view they belong to.

A bounded number of votes is kept of each peer, the oldest go. Pre-prepares, which carry whole
batches, are kept only of the one view that the replica waits for, one for each sequence number and
within a bound of bytes: its primary sends them again, and a second one convicts it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.effects import Effect, Equivocation, Evidence, Reject
from services.consensus.domain.messages import (
    Commit,
    Prepare,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    View,
)
from services.consensus.domain.statements import statement_of

LATER_VOTES_PER_WINDOW: Final = 4
"""Votes of later views kept of one peer, for each sequence number of the window."""
LATER_BATCHES_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of the transactions in all batches that are kept."""

Ordered = PrePrepare | Prepare | Commit


class Later:
    """What each peer said about views that are still to come."""

    def __init__(self, window: int, replica_set: ReplicaSet) -> None:
        self.votes: dict[ReplicaId, deque[Prepare | Commit]] = {}
        self.proposals: dict[SequenceNumber, tuple[ReplicaId, PrePrepare]] = {}
        self._votes_max = LATER_VOTES_PER_WINDOW * window
        self._set = replica_set

    def keep(
        self, sender: ReplicaId, message: Ordered, awaited: View, low: SequenceNumber
    ) -> list[Effect]:
        """Keep a message of a later view; `awaited` is the view this replica waits for, `low` its
        low watermark.
        """
        if isinstance(message, PrePrepare):
            return self._keep_proposal(sender, message, awaited, low)
        held = self.votes.setdefault(sender, deque(maxlen=self._votes_max))
        held.append(message)
        return []

    def take(self, view: View) -> list[tuple[ReplicaId, Ordered]]:
        """The messages of `view`, which is entered now; those of earlier views are forgotten."""
        proposals, self.proposals = self.proposals.values(), {}
        taken: list[tuple[ReplicaId, Ordered]] = [
            (sender, message) for sender, message in proposals if message.view == view
        ]
        for sender, held in self.votes.items():
            taken += [(sender, each) for each in held if each.view == view]
            ahead = [each for each in held if each.view > view]
            held.clear()
            held.extend(ahead)
        return taken

    def _keep_proposal(
        self, sender: ReplicaId, message: PrePrepare, awaited: View, low: SequenceNumber
    ) -> list[Effect]:
        if message.view != awaited:
            return []
        self.proposals = {
            sequence: entry
            for sequence, entry in self.proposals.items()
            if entry[1].view == awaited and sequence > low
        }
        if message.sequence in self.proposals:
            return self._conflict(sender, self.proposals[message.sequence][1], message)
        held = sum(_bytes_of(kept) for _, kept in self.proposals.values())
        if held + _bytes_of(message) <= LATER_BATCHES_BYTES_MAX:
            self.proposals[message.sequence] = (sender, message)
        return []

    def _conflict(
        self, sender: ReplicaId, earlier: PrePrepare, message: PrePrepare
    ) -> list[Effect]:
        if earlier.digest == message.digest:
            return []
        first, second = (statement_of(each, self._set) for each in (earlier, message))
        return [
            Reject(sender, "two pre-prepares for one sequence number"),
            Evidence(second.replica, Equivocation(first, second)),
        ]


def _bytes_of(message: PrePrepare) -> int:
    return sum(map(len, message.batch.transactions))
