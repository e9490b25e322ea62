"""What signatures really prove in a run: who signed a certificate, and what follows from the
view-changes of a new-view, by the paper's formula and not by the code under test.
"""

from __future__ import annotations

from guqiao_sdk.proof.header import FinalityCertificate, Verify
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.messages import (
    NULL_DIGEST,
    NewView,
    PreparedCertificate,
    ViewChange,
)
from tests.simulation import statements
from tests.simulation.membership import Sets


class Proofs:
    """By the set of each height or epoch."""

    def __init__(self, sets: Sets, verify: Verify) -> None:
        self._sets = sets
        self._verify = verify
        self._signers: dict[int, tuple[FinalityCertificate, ReplicaSet, int, set[int]]] = {}
        """By its identity, a certificate, and who of this set signed it for this height."""

    def quorum(self, height: int) -> int:
        """How many of the height's set decide."""
        return _quorum(self._sets.at(height))

    def is_final(self, height: int, certificate: FinalityCertificate) -> bool:
        """Whether a quorum of the height's set really signed the certificate."""
        return len(self.signers(height, certificate)) >= self.quorum(height)

    def signers(self, height: int, certificate: FinalityCertificate) -> set[int]:
        """Who really signed the header that a certificate is about."""
        present = self._sets.at(height)
        known = self._signers.get(id(certificate))
        if known is not None and known[1] is present and known[2] == height:
            return known[3]
        signed = statements.vote_bytes(
            present, statements.CHECKPOINT, 0, height, certificate.header_hash
        )
        signers = {
            signer
            for signer, signature in certificate.signatures
            if self.holds(present, signer, signed, signature)
        }
        self._signers[id(certificate)] = certificate, present, height, signers
        return signers

    def new_view_fault(self, message: NewView, epoch: int) -> str | None:
        """Why a new-view of an epoch does not follow from its signed parts, or None."""
        present = self._sets.planned[epoch]
        senders = {each.replica for each in message.view_changes}
        if not len(senders) == len(message.view_changes) >= _quorum(present):
            return "on too few view-changes"
        base = max(each.certified for each in message.view_changes)
        latest: dict[int, PreparedCertificate] = {}
        for view_change in message.view_changes:
            signed = statements.signed_bytes(view_change, present)
            held = self.holds(present, view_change.replica, signed, view_change.signature)
            if not held or view_change.view != message.view:
                return "on a forged view-change"
            if not self._is_certified(view_change, epoch):
                return "on a forged height"
            for each in view_change.prepared:
                if not self._is_prepared(each, present):
                    return "on a forged certificate"
                known = latest.get(each.sequence)
                if each.sequence > base and (known is None or known.view < each.view):
                    latest[each.sequence] = each
        due = [
            (number, latest[number].digest if number in latest else NULL_DIGEST)
            for number in range(base + 1, max(latest, default=base) + 1)
        ]
        stated = [(int(each.sequence), each.digest) for each in message.reproposals]
        return None if due == stated else "as it is told, not as it follows"

    def holds(self, present: ReplicaSet, signer: int, signed: bytes, signature: bytes) -> bool:
        """Whether that member of the set signed these bytes."""
        return signer < present.size and self._verify(
            present.members[signer].public_key, signed, signature
        )

    def _is_certified(self, said: ViewChange, epoch: int) -> bool:
        """The height that a view-change starts from has a quorum's signatures, of its epoch."""
        if said.certificate is None:
            return said.certified == self._sets.base(epoch)
        held = self.is_final(said.certified, said.certificate)
        return held and self._sets.epoch_at(said.certified) == epoch

    def _is_prepared(self, each: PreparedCertificate, present: ReplicaSet) -> bool:
        """A quorum of distinct replicas, the primary by its proposal, signed this digest."""
        primary = each.view % present.size
        place = (each.view, each.sequence, each.digest)
        proposed = statements.vote_bytes(present, statements.PRE_PREPARE, *place)
        prepared = statements.vote_bytes(present, statements.PREPARE, *place)
        signers: set[int] = set()
        if self.holds(present, primary, proposed, each.pre_prepare_signature):
            signers.add(primary)
        signers |= {
            signer
            for signer, signature in each.prepares
            if self.holds(present, signer, prepared, signature)
        }
        return primary in signers and len(signers) >= _quorum(present)


def _quorum(present: ReplicaSet) -> int:
    """By the paper's formula."""
    faulty = (present.size - 1) // 3
    return -(-(present.size + faulty + 1) // 2)
