"""What must hold after every step, judged from outside the replicas.

The checkers know the quorum from the paper's formula, not from the code under test, and only judge
correct replicas. Letters and digits name the invariants of the reliability plan.
"""

from __future__ import annotations

from collections import defaultdict

from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.codec import encode_message
from services.consensus.domain.effects import (
    Broadcast,
    Certified,
    Effect,
    Evidence,
    Execute,
    Persist,
    Send,
)
from services.consensus.domain.later import LATER_MESSAGES_PER_WINDOW
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    Digest,
    Hello,
    NewView,
    PeerMessage,
    Prepare,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.statements import statement_of, vote_bytes
from tests.simulation.disk import Block, Disk
from tests.simulation.keys import verify

VIEWS_MAX = 1_000
"""No honest run of this length sees more views."""


class ViolationError(AssertionError):
    """An invariant does not hold."""


def _require(held: bool, text: str) -> None:
    if not held:
        raise ViolationError(text)


class Checkers:
    """All invariants of one run. `correct` are the replicas that follow the protocol."""

    def __init__(self, replica_set: ReplicaSet, correct: set[ReplicaId], window: int) -> None:
        size = replica_set.size
        faulty = (size - 1) // 3
        self._quorum = -(-(size + faulty + 1) // 2)
        self._set = replica_set
        self._correct = correct
        self._window = window
        self._commits: dict[int, dict[tuple[int, Digest], set[int]]] = defaultdict(
            lambda: defaultdict(set)
        )
        self._said: dict[tuple[ReplicaId, VoteType, int, int], Digest] = {}
        self._executed: dict[int, Digest] = {}
        self._certified: dict[int, bytes] = {}

    def on_sent(self, sender: ReplicaId, message: PeerMessage) -> None:
        """Every message that anyone puts on the wire."""
        if isinstance(message, Commit):
            votes = self._commits[message.sequence][message.view, message.digest]
            votes.add(message.replica)

    def on_effect(self, replica: ReplicaId, core: Replica, disk: Disk, effect: Effect) -> None:
        """One effect of a correct replica, just before it is performed."""
        match effect:
            case Persist(Commit() as commit):
                self.on_sent(replica, commit)  # It counts its own vote from here on.
            case Broadcast(message) | Send(_, message):
                self._sends(replica, core, disk, message)
            case Execute(sequence, batch):
                digest = Digest(batch.digest())
                empty = not batch.transactions  # A batch that came too late executes as null.
                self._has_quorum(replica, sequence, None if empty else digest)
                known = self._executed.setdefault(sequence, digest)
                _require(
                    known == digest, f"S1: replica {replica} executes another batch {sequence}"
                )
            case Certified(sequence, certificate):
                self._certifies(replica, sequence, certificate)
            case Evidence(offender):
                _require(offender not in self._correct, f"S10: evidence names correct {offender}")
            case _:
                pass

    def on_stored(self, replica: ReplicaId, disk: Disk, block: Block) -> None:
        """A correct replica appends a certified block."""
        height = len(disk.blocks)
        if height > 1:
            before_ms = disk.blocks[-2].batch.block_time_ms
            held = block.batch.block_time_ms >= before_ms
            _require(held, f"S3: block time decreases at {height} of replica {replica}")
        known = self._certified.setdefault(height, block.header_hash)
        _require(known == block.header_hash, f"S2: replica {replica} has another block {height}")

    def on_step(self, replica: ReplicaId, core: Replica) -> None:
        """After each step of a correct replica: everything is bounded (S8)."""
        ordering = core._ordering
        _require(not core.halted, f"S5: correct replica {replica} halted")
        _require(core.view < VIEWS_MAX, f"S8: replica {replica} was dragged to view {core.view}")
        _require(len(ordering.entries) <= 2 * self._window, "S8: more entries than the window")
        _require(len(ordering._waiting) <= self._window, "S8: more waiting than the window")
        later_max = LATER_MESSAGES_PER_WINDOW * self._window
        for kept in core._later.kept.values():
            _require(len(kept) <= later_max, "S8: too many messages of later views")
        _require(len(core._checkpoints._votes) <= 2 * self._window, "S8: too many tallies")

    def _sends(self, replica: ReplicaId, core: Replica, disk: Disk, message: PeerMessage) -> None:
        if isinstance(message, Hello):
            return
        _require(
            encode_message(message) in disk.known,
            f"P14: replica {replica} sends {type(message).__name__} before it is durable",
        )
        if isinstance(message, PrePrepare | Prepare | Commit | Checkpoint):
            high = core.low_watermark + self._window
            _require(message.sequence <= high, f"S8: replica {replica} votes beyond its window")
        self._says(replica, message)

    def _says(self, replica: ReplicaId, message: PeerMessage) -> None:
        assert not isinstance(message, Hello)
        statement = statement_of(message, self._set)
        sequence = 0 if isinstance(message, ViewChange | NewView) else statement.sequence
        said = [(statement.vote_type, statement.view, sequence, statement.digest)]
        if isinstance(message, NewView):
            if statement.replica != replica:
                return  # Another primary's new-view, passed on to a peer that missed it.
            for each in message.reproposals:
                said.append((VoteType.PRE_PREPARE, message.view, each.sequence, each.digest))
        for vote_type, view, number, digest in said:
            known = self._said.setdefault((replica, vote_type, view, number), digest)
            _require(
                known == digest,
                f"S6: correct replica {replica} equivocates in {vote_type.name} {view}/{number}",
            )

    def _has_quorum(
        self, replica: ReplicaId, sequence: SequenceNumber, digest: Digest | None
    ) -> None:
        votes = max(
            (
                len(replicas)
                for (_, voted), replicas in self._commits[sequence].items()
                if digest in (voted, None)
            ),
            default=0,
        )
        _require(
            votes >= self._quorum,
            f"S3: replica {replica} executes {sequence} on {votes} commits of {self._quorum}",
        )

    def _certifies(
        self, replica: ReplicaId, sequence: SequenceNumber, certificate: FinalityCertificate
    ) -> None:
        signed = vote_bytes(
            self._set, VoteType.CHECKPOINT, View(0), sequence, certificate.header_hash
        )
        signers = {
            signer
            for signer, signature in certificate.signatures
            if verify(self._set.members[signer].public_key, signed, signature)
        }
        _require(
            len(signers) >= self._quorum,
            f"S3: replica {replica} certifies {sequence} on {len(signers)} signatures",
        )
