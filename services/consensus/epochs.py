"""Opens the core of the epoch in force: a replica where this node has a key that votes, else a
learner.

What is in force follows from the ledger alone, at a start as at a set change; the records of an
earlier epoch are void.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.epochs import Core, open_core, records_of_epoch, voting_key
from services.consensus.domain.messages import LogRecord, ProtocolParameters, ReplicaId
from services.consensus.domain.signer import Sign
from services.consensus.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Epochs:
    """`signers` are this node's vote keys, the present and the next, by public key."""

    me: ReplicaId
    ledger: Ledger
    signers: Mapping[bytes, Sign]
    parameters: ProtocolParameters
    now_ms: Callable[[], int]

    def in_force(self) -> ReplicaSet:
        """The set that certifies the height after the last certified one."""
        return self.ledger.set_at(self.ledger.store.last_certified + 1)

    def open(self, records: Iterable[LogRecord] = ()) -> Core:
        """The core of the epoch in force, as it was when it wrote the last of `records`."""
        replica_set, first = self.in_force(), self.ledger.genesis.epoch
        key = voting_key(replica_set, self.me)
        return open_core(
            me=self.me,
            sign=None if key is None else self.signers.get(key),
            replica_set=replica_set,
            parameters=self.parameters,
            head=self.ledger.head(),
            base=self.ledger.epoch_base(replica_set.epoch),
            epoch_end=self.ledger.epoch_end(replica_set.epoch),
            now_ms=self.now_ms(),
            records=records_of_epoch(records, replica_set.epoch, first=first),
        )

    def was_ever_member(self) -> bool:
        """Whether any set so far, or one that is scheduled, has a key of this node's."""
        return any(
            member.public_key in self.signers and member.replica == self.me
            for replica_set in self.ledger.sets()
            for member in replica_set.members
        )
