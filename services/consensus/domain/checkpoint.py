"""Checkpoint votes and the finality certificate that a quorum of them makes, at every height.

A replica votes for the header of each block it executed; the vote is durable before it is sent and
sent again until the height is certified. Heights become final in order, and the last one is the low
watermark. A certified header that differs from our own stops the replica.
"""

from __future__ import annotations

from collections.abc import Iterator

from guqiao_sdk.proof.header import FinalityCertificate
from services.consensus.domain.effects import (
    Broadcast,
    Certified,
    Effect,
    Equivocation,
    Evidence,
    Halt,
    Persist,
    Reject,
)
from services.consensus.domain.log import Tally
from services.consensus.domain.messages import (
    CertifiedElsewhere,
    CertifiedHead,
    Checkpoint,
    Digest,
    ReplicaId,
    SequenceNumber,
)
from services.consensus.domain.signer import Signer
from services.consensus.domain.statements import statement_of


class Checkpoints:
    """`head` is the last certified block, `executed` the last executed one."""

    def __init__(self, signer: Signer, window: int, head: CertifiedHead) -> None:
        self.head = head
        self.executed = head.sequence
        self.epoch_end: SequenceNumber | None = None
        self.halted = False
        self._signer = signer
        self._window = window
        self._votes: dict[SequenceNumber, Tally[Checkpoint]] = {}
        self._own: dict[SequenceNumber, Checkpoint] = {}

    def on_executed(self, sequence: SequenceNumber, header_hash: Digest) -> list[Effect]:
        """Vote for the header of the block that was just executed."""
        if sequence <= self.executed:
            return []  # Catch-up was faster.
        assert sequence == self.executed + 1, "the driver executes in order"
        self.executed = sequence
        promised = self._own.get(sequence)
        if promised is None:
            vote = self._signer.checkpoint(sequence, header_hash)
            self._own[sequence] = vote
            self._tally(sequence).add(vote, header_hash)
            return [Persist(vote), Broadcast(vote)]
        if promised.header_hash != header_hash:
            reason = "executing again gave another header than was voted for"
            return self._halt(sequence, reason, header_hash, promised.header_hash)
        return [Broadcast(promised)]

    def counts(self, sequence: SequenceNumber) -> bool:
        """Whether votes for `sequence` matter now."""
        return self.head.sequence < sequence <= self._high

    def signers(self, sequence: SequenceNumber) -> dict[ReplicaId, Digest]:
        """Whose votes for `sequence` are held, and for which header hash."""
        tally = self._votes.get(sequence)
        return {} if tally is None else tally.signers()

    def on_vote(self, vote: Checkpoint) -> list[Effect]:
        """Count a vote for a height that is not certified here."""
        if not self.counts(vote.sequence):
            return []
        earlier = self._tally(vote.sequence).add(vote, vote.header_hash)
        if earlier is None or earlier.header_hash == vote.header_hash:
            return []
        replica_set = self._signer.replica_set
        statements = (statement_of(earlier, replica_set), statement_of(vote, replica_set))
        return [
            Reject(vote.replica, "two checkpoint votes for one height"),
            Evidence(vote.replica, Equivocation(*statements)),
        ]

    def certify_next(self, block_time_ms: int | None) -> list[Effect]:
        """Certify the height after the head, if a quorum voted and it was executed here.

        `block_time_ms` is that height's block time, known once its batch was executed.
        """
        sequence = SequenceNumber(self.head.sequence + 1)
        own, tally = self._own.get(sequence), self._votes.get(sequence)
        if own is None or tally is None or sequence > self.executed or self.halted:
            return []
        winner = self._winner(tally)
        if winner is None:
            return []
        if winner != own.header_hash:
            reason = "a quorum certified another header"
            return self._halt(
                sequence, reason, own.header_hash, winner, _certificate(winner, tally)
            )
        assert block_time_ms is not None, "an executed batch has a block time"
        certificate = _certificate(winner, tally)
        self._move(CertifiedHead(sequence, winner, block_time_ms, certificate))
        return [Certified(sequence, certificate)]

    def on_certified_elsewhere(self, message: CertifiedElsewhere) -> list[Effect]:
        """Catch-up brought a certified block; it replaces all below it."""
        own = self._own.get(message.sequence)
        if own is not None and own.header_hash != message.header_hash:
            reason = "a quorum certified another header"
            certified, certificate = message.header_hash, message.certificate
            return self._halt(message.sequence, reason, own.header_hash, certified, certificate)
        if message.sequence > self.head.sequence:
            head = CertifiedHead(
                message.sequence, message.header_hash, message.block_time_ms, message.certificate
            )
            self._move(head)
        return []

    def resend(self) -> list[Effect]:
        """Own votes that are not certified yet."""
        return [Broadcast(vote) for vote in self.records() if vote.sequence <= self.executed]

    def restore(self, vote: Checkpoint) -> None:
        """Take back an own vote: it binds what executing again must give."""
        if vote.sequence > self.head.sequence:
            self._own[vote.sequence] = vote
            self._tally(vote.sequence).add(vote, vote.header_hash)

    def records(self) -> Iterator[Checkpoint]:
        """Own votes that must survive."""
        return iter([self._own[sequence] for sequence in sorted(self._own)])

    @property
    def _high(self) -> SequenceNumber:
        high = SequenceNumber(self.head.sequence + self._window)
        return high if self.epoch_end is None else min(high, self.epoch_end)

    def _tally(self, sequence: SequenceNumber) -> Tally[Checkpoint]:
        return self._votes.setdefault(sequence, Tally())

    def _winner(self, tally: Tally[Checkpoint]) -> Digest | None:
        quorum = self._signer.replica_set.quorum
        for vote in tally.votes.values():
            if tally.count(vote.header_hash) >= quorum:
                return vote.header_hash
        return None

    def _move(self, head: CertifiedHead) -> None:
        self.head = head
        self.executed = max(self.executed, head.sequence)
        for held in (self._votes, self._own):
            for sequence in [each for each in held if each <= head.sequence]:
                del held[sequence]

    def _halt(
        self,
        sequence: SequenceNumber,
        reason: str,
        own: Digest,
        certified: Digest,
        certificate: FinalityCertificate | None = None,
    ) -> list[Effect]:
        self.halted = True
        return [Halt(sequence, reason, own, certified, certificate)]


def _certificate(header_hash: Digest, tally: Tally[Checkpoint]) -> FinalityCertificate:
    signatures = sorted(
        (int(vote.replica), vote.signature)
        for vote in tally.votes.values()
        if vote.header_hash == header_hash
    )
    return FinalityCertificate(header_hash, tuple(signatures))
