"""The log between the watermarks: for each sequence number, what was proposed and who voted how.

Votes are counted by distinct replica and by digest; the first vote of a replica stands, a second
that differs is equivocation. Everything here is bounded by the window and the replica set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from guqiao_sdk.proof.batch import Batch
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    Digest,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
)

SPARE_BATCHES_MAX: Final = 8
"""Batches kept for one sequence number that this replica neither needs nor voted for."""
VOTED_BATCHES_MAX: Final = 64
"""Batches kept for one sequence number that it voted for, beside what is needed now: one a view."""

Vote = TypeVar("Vote", Prepare, Commit, Checkpoint)


class Tally(Generic[Vote]):
    """Votes on one question, at most one of each replica."""

    __slots__ = ("_counts", "votes")

    def __init__(self) -> None:
        self.votes: dict[ReplicaId, Vote] = {}
        self._counts: dict[Digest, int] = {}

    def add(self, vote: Vote, digest: Digest) -> Vote | None:
        """Count `vote`; if its replica voted before, count nothing and give the earlier vote."""
        earlier = self.votes.get(vote.replica)
        if earlier is None:
            self.votes[vote.replica] = vote
            self._counts[digest] = self._counts.get(digest, 0) + 1
        return earlier

    def count(self, digest: Digest) -> int:
        """How many distinct replicas voted for `digest`."""
        return self._counts.get(digest, 0)

    def signers(self) -> dict[ReplicaId, Digest]:
        """Who voted, and for which digest."""
        return {replica: digest_of(vote) for replica, vote in self.votes.items()}


def digest_of(vote: Prepare | Commit | Checkpoint) -> Digest:
    """What is voted for."""
    return vote.header_hash if isinstance(vote, Checkpoint) else vote.digest


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the current view's primary signed for a sequence number, and when it came."""

    digest: Digest
    signature: bytes
    since_ms: int
    again: bool


class Entry:
    """One sequence number. Tallies and own votes belong to the current view; `prepared`,
    `committed` and the batches outlive it.
    """

    __slots__ = (
        "_fetched",
        "_pre_prepares",
        "block_time_ms",
        "commit",
        "commits",
        "committed",
        "decided_ms",
        "prepare",
        "prepared",
        "prepares",
        "proposal",
        "sent_ms",
        "sequence",
        "voted",
    )

    def __init__(self, sequence: SequenceNumber) -> None:
        self.sequence = sequence
        self.prepared: PreparedCertificate | None = None
        self.committed: Digest | None = None
        self.block_time_ms: int | None = None
        self.decided_ms = 0
        self.sent_ms = 0
        self.voted: set[Digest] = set()
        """What it voted for in any view: a traitor may show later that it was prepared."""
        self._pre_prepares: dict[Digest, PrePrepare] = {}
        self._fetched: dict[Digest, Batch] = {}
        self.enter_view()

    def enter_view(self) -> None:
        """Forget the votes of the view that is left."""
        self.proposal: Proposal | None = None
        self.prepares: Tally[Prepare] = Tally()
        self.commits: Tally[Commit] = Tally()
        self.prepare: Prepare | None = None
        self.commit: Commit | None = None

    def vote(self, prepare: Prepare) -> None:
        """This replica prepares, as a backup."""
        self.prepare = prepare
        self.voted.add(prepare.digest)
        self.prepares.add(prepare, prepare.digest)

    def restore(self, record: Prepare | PreparedCertificate | Commit) -> None:
        """Take back an own vote of the current view, or all votes in a certificate of it."""
        match record:
            case Prepare():
                self.vote(record)
            case PreparedCertificate():
                for vote in record.votes():
                    self.prepares.add(vote, vote.digest)
            case Commit():
                self.commit = record
                self.commits.add(record, record.digest)

    def batch(self, digest: Digest) -> Batch | None:
        """The batch with this digest, if it is held."""
        pre_prepare = self._pre_prepares.get(digest)
        return self._fetched.get(digest) if pre_prepare is None else pre_prepare.batch

    def keep(self, pre_prepare: PrePrepare, *, voted: bool = False) -> None:
        """Hold a proposed batch; the oldest that nothing needs, and no vote is for, makes room."""
        if voted:
            self.voted.add(pre_prepare.digest)
        self._pre_prepares.pop(pre_prepare.digest, None)
        self._pre_prepares[pre_prepare.digest] = pre_prepare
        self._make_room(self._pre_prepares)

    def keep_fetched(self, digest: Digest, batch: Batch) -> None:
        """Hold a batch that a peer gave."""
        self._fetched[digest] = batch
        self._make_room(self._fetched)

    def pre_prepare(self) -> PrePrepare | None:
        """The current proposal as a pre-prepare with its batch, if it came as one."""
        if self.proposal is None or self.proposal.again:
            return None
        return self._pre_prepares.get(self.proposal.digest)

    def holds(self, signature: bytes) -> bool:
        """Whether the proposal with this signature is here, and so is its batch."""
        proposal = self.proposal
        if proposal is None or proposal.signature != signature:
            return False
        return self.batch(proposal.digest) is not None

    def pre_prepares(self) -> list[PrePrepare]:
        """All that are held, of any view, oldest first."""
        return list(self._pre_prepares.values())

    def wanted(self) -> Digest | None:
        """The digest that this sequence number is about to have, as far as it is known."""
        if self.committed is not None:
            return self.committed
        return None if self.proposal is None else self.proposal.digest

    def _make_room(self, held: dict[Digest, PrePrepare] | dict[Digest, Batch]) -> None:
        needed = {self.wanted(), None if self.prepared is None else self.prepared.digest}
        spare = [digest for digest in held if digest not in needed]
        voted = [digest for digest in spare if digest in self.voted]
        others = [digest for digest in spare if digest not in self.voted]
        for digest in others[:-SPARE_BATCHES_MAX] + voted[:-VOTED_BATCHES_MAX]:
            del held[digest]
