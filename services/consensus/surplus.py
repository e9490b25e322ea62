"""Votes beyond the quorum: signatures are verified only up to it (pbft.md N11).

What a question has a quorum for without a vote needs no verification of it. It is held as surplus
until the question is closed, and verified after all where it turns out to matter: a vote that was
to be counted is forged or gets lost, or its sender says something else, which is evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import prometheus_client

from services.consensus.domain.log import digest_of
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    Digest,
    Message,
    PeerMessage,
    Prepare,
    ReplicaId,
    SequenceNumber,
    View,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.statements import primary_of

Vote: TypeAlias = Prepare | Commit | Checkpoint
Sent: TypeAlias = tuple[int, PeerMessage]
"""(sender, message)"""
Waiting: TypeAlias = Iterable[tuple[ReplicaId, Message]]
"""What is authentic and waits for the core, in order."""
Question: TypeAlias = tuple[type[Vote], View, SequenceNumber]


class Surplus:
    """Votes that are held unverified: one of each replica for each question that the core counts
    votes for, so a window of each type at most. One task uses it.
    """

    def __init__(self, metric: prometheus_client.Counter) -> None:
        self._metric = metric
        self._core: Replica | None = None
        self._held: dict[Question, dict[int, Vote]] = {}

    def __len__(self) -> int:
        """How many votes are held."""
        return sum(map(len, self._held.values()))

    def sift(self, core: Replica, waiting: Waiting, messages: Sequence[Sent]) -> list[Sent]:
        """Those of `messages`, in order, that must be verified now; the others are held."""
        if core is not self._core:
            self._core, self._held = core, {}
        counted = _Counted(core, waiting)
        self._drop_closed(counted)
        wanted: list[Sent] = []
        for sender, message in messages:
            if isinstance(message, Vote) and _may_vote(core, sender, message):
                wanted += self._sift_vote(counted, ReplicaId(sender), message)
            else:
                wanted.append((sender, message))
        return wanted

    def missing(self, core: Replica, waiting: Waiting) -> list[Sent]:
        """The held votes that a quorum turned out to need; they are held no more."""
        counted = _Counted(core, waiting)
        self._drop_closed(counted)
        wanted: list[Sent] = [
            (sender, vote)
            for votes in self._held.values()
            for sender, vote in votes.items()
            if counted.needs(ReplicaId(sender), vote)
        ]
        for sender, vote in wanted:
            assert isinstance(vote, Vote), "nothing else is held"
            del self._held[_question(vote)][sender]
        return wanted

    def _sift_vote(self, counted: _Counted, sender: ReplicaId, vote: Vote) -> list[Sent]:
        if counted.of(vote) is None:
            return [(sender, vote)]
        votes = self._held.setdefault(_question(vote), {})
        earlier = votes.pop(sender, None)
        if earlier is not None and earlier != vote:
            counted.needs(sender, earlier)
            return [(sender, earlier), (sender, vote)]
        if counted.needs(sender, vote):
            return [(sender, vote)]
        votes[sender] = vote
        self._metric.inc()
        return []

    def _drop_closed(self, counted: _Counted) -> None:
        """Forget what the core counts no more, and questions of which nothing is held."""
        self._held = {
            question: votes
            for question, votes in self._held.items()
            if votes and counted.of(next(iter(votes.values()))) is not None
        }


@dataclass(frozen=True, slots=True)
class _Answers:
    """What each replica said first to one question, and how many said the same."""

    said: dict[ReplicaId, Digest]
    counts: Counter[Digest]


class _Counted:
    """Who said what, in the core's order: the votes it holds, those that wait for it, and those
    that are about to be verified.
    """

    def __init__(self, core: Replica, waiting: Waiting) -> None:
        self._core = core
        self._waiting: dict[Question, dict[ReplicaId, Digest]] = {}
        self._answers: dict[Question, _Answers | None] = {}
        for sender, message in waiting:
            if isinstance(message, Vote):
                said = self._waiting.setdefault(_question(message), {})
                said.setdefault(sender, digest_of(message))

    def of(self, vote: Vote) -> _Answers | None:
        """The answers to the question of `vote`; None where the core counts none."""
        question = _question(vote)
        if question not in self._answers:
            held = self._core.held_votes.signers(vote)
            said = None if held is None else self._waiting.get(question, {}) | held
            self._answers[question] = (
                None if said is None else _Answers(said, Counter(said.values()))
            )
        return self._answers[question]

    def needs(self, sender: ReplicaId, vote: Vote) -> bool:
        """Whether `vote` must be verified, because a quorum lacks it or its sender said something
        else; it is counted from then on.
        """
        answers, digest = self.of(vote), digest_of(vote)
        assert answers is not None, "asked only of what the core counts"
        if answers.said.get(sender, digest) != digest:
            return True
        if answers.counts[digest] >= _votes_needed(self._core, vote):
            return False
        if sender not in answers.said:
            answers.said[sender] = digest
            answers.counts[digest] += 1
        return True


def _question(vote: Vote) -> Question:
    view = View(0) if isinstance(vote, Checkpoint) else vote.view
    return type(vote), view, vote.sequence


def _may_vote(core: Replica, sender: int, vote: Vote) -> bool:
    """Whether it is its sender's and within its rights; what is not is refused unverified."""
    present = core.replica_set
    if vote.replica != sender or sender >= present.size or sender in present.jailed:
        return False
    return not isinstance(vote, Prepare) or sender != primary_of(present, vote.view)


def _votes_needed(core: Replica, vote: Vote) -> int:
    """The primary's proposal is its prepare."""
    quorum = core.replica_set.quorum
    return quorum - 1 if isinstance(vote, Prepare) else quorum
