"""What can be proven of the guilty: evidence is checked anew, and after a fork the culprits are
found in what correct replicas themselves keep (B28).

That is their evidence, which names who signed two statements that exclude each other, or a batch or
new-view against the rules; and the certificates in their ledgers, which laid side by side show who
signed two headers of one height.
"""

from __future__ import annotations

from collections.abc import Callable

from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.effects import Equivocation, Evidence, InvalidBatch, InvalidNewView
from services.consensus.domain.faults import (
    UnprovenError,
    batch_proof,
    judge_batch,
    judge_new_view,
    new_view_proof,
)
from services.consensus.domain.messages import (
    Digest,
    ReplicaId,
    SequenceNumber,
    Statement,
    View,
)
from services.consensus.domain.statements import statement_bytes
from tests.simulation.keys import verify

Verify = Callable[[bytes, bytes, bytes], bool]
Place = tuple[ReplicaId, VoteType, View, SequenceNumber]


class Forensics:
    """Everything that correct replicas hold against anybody."""

    def __init__(self, verify: Verify, window: int) -> None:
        self._verify = verify
        self._window = window
        self._said: dict[Place, Digest] = {}
        self.guilty: set[ReplicaId] = set()
        self.named: set[ReplicaId] = set()

    def hold_certificate(self, height: int, certificate: FinalityCertificate) -> None:
        """A correct replica keeps a finality certificate."""
        digest = Digest(certificate.header_hash)
        for replica, signature in certificate.signatures:
            statement = Statement(
                VoteType.CHECKPOINT,
                View(0),
                SequenceNumber(height),
                digest,
                ReplicaId(replica),
                signature,
            )
            self._hold_statement(statement)

    def on_evidence(self, evidence: Evidence) -> None:
        """A correct replica says that somebody is guilty."""
        self.named.add(evidence.replica)

    def proves(self, evidence: Evidence, replica_set: ReplicaSet, base: int) -> bool:
        """Whether the evidence holds for one who only knows the replica set of its epoch, and the
        height `base` that the epoch starts above: an invalid batch or new-view as the bytes that an
        evidence transaction carries, judged as the contract does.
        """
        offence, accused = evidence.offence, evidence.replica
        try:
            if isinstance(offence, InvalidBatch):
                assert offence.index is not None, "no simulated batch is larger than genesis allows"
                proof = batch_proof(offence.pre_prepare, offence.index, replica_set).encode()
                judged_batch = judge_batch(proof, accused, replica_set, self._judge(replica_set))
                return bool(judged_batch.fault)
            if isinstance(offence, InvalidNewView):
                proof = new_view_proof(offence.new_view)
                place = {"window": self._window, "base": base}
                judged = judge_new_view(proof, accused, replica_set, self._verify, **place)
                return bool(judged.fault)
        except UnprovenError:
            return False
        return self._excludes(offence, accused, replica_set)

    def _judge(self, replica_set: ReplicaSet) -> Verify:
        """Clients always sign with keyed hashes, replicas as the run's scheme says."""
        keys = {member.public_key for member in replica_set.members}

        def judge(key: bytes, message: bytes, signature: bytes) -> bool:
            held = self._verify if key in keys else verify
            return held(key, message, signature)

        return judge

    def culprits(self) -> set[ReplicaId]:
        """Everyone against whom correct replicas, together, keep proof."""
        return self.guilty | self.named

    def _hold_statement(self, said: Statement) -> None:
        place = (said.replica, said.vote_type, said.view, said.sequence)
        known = self._said.setdefault(place, said.digest)
        if known != said.digest:
            self.guilty.add(said.replica)

    def _excludes(self, offence: Equivocation, replica: ReplicaId, replica_set: ReplicaSet) -> bool:
        first, second = offence.first, offence.second
        same = (first.vote_type, first.view) == (second.vote_type, second.view)
        if first.vote_type is not VoteType.VIEW_CHANGE:
            same = same and first.sequence == second.sequence
        differ = (first.sequence, first.digest) != (second.sequence, second.digest)
        signed = all(self._signed(each, replica, replica_set) for each in (first, second))
        return same and differ and signed

    def _signed(self, statement: Statement, replica: ReplicaId, replica_set: ReplicaSet) -> bool:
        key = replica_set.members[replica].public_key
        data = statement_bytes(statement, replica_set)
        return statement.replica == replica and self._verify(key, data, statement.signature)
