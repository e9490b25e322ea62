"""Opens the core of the epoch in force: a replica where this node has a key that votes, else a
learner.

What is in force follows from the ledger alone, at a start, after a repair and at a set change; the
records of an earlier epoch are void. Where blocks or votes are missing the core is opened without
its records, and is given nothing to do before they are back (docs/protocol/ledger.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.epochs import Core, open_core, records_of_epoch, voting_key
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.domain.messages import (
    CertifiedHead,
    LogRecord,
    ProtocolParameters,
    Record,
    ReplicaId,
    SequenceNumber,
    View,
)
from services.consensus.domain.signer import Sign

_log = structlog.get_logger(__name__)


class Memory(Protocol):
    """What a replica remembers, as far as its core needs it."""

    @property
    def genesis(self) -> Genesis:
        """The chain's rules."""

    @property
    def must_restore(self) -> bool:
        """Whether certified blocks or votes are missing."""

    def head(self) -> CertifiedHead:
        """The last certified block."""

    def records(self) -> Iterable[LogRecord]:
        """The log of what was signed, each record read when it is asked for."""

    def view_floor(self, epoch: int) -> View:
        """It takes part in no view of `epoch` below."""

    def set_at(self, height: int) -> ReplicaSet:
        """The set that certifies `height`."""

    def epoch_base(self, epoch: int) -> SequenceNumber:
        """The height that `epoch` starts above."""

    def epoch_end(self, epoch: int) -> SequenceNumber | None:
        """The last height of `epoch`, as far as it is known."""

    def is_over(self, epoch: int) -> bool:
        """Whether nobody who goes by the same restarts votes in `epoch` any more."""


@dataclass(frozen=True, slots=True)
class Epochs:
    """`signers` are this node's vote keys, the present and the next, by public key."""

    me: ReplicaId
    ledger: Memory
    signers: Mapping[bytes, Sign]
    parameters: ProtocolParameters
    now_ms: Callable[[], int]

    def in_force(self) -> ReplicaSet:
        """The set that certifies the height after the last certified one."""
        return self.ledger.set_at(self.ledger.head().sequence + 1)

    def records(self) -> list[Record]:
        """What this node signed in the epoch in force above the last certified block; nothing while
        that is not known whole.
        """
        if self.ledger.must_restore:
            return []
        return records_of_epoch(
            self.ledger.records(),
            self.in_force().epoch,
            first=self.ledger.genesis.epoch,
            certified=self.ledger.head().sequence,
        )

    def open(self, records: Iterable[Record]) -> Core:
        """The core of the epoch in force, as it was when it wrote the last of `records`.

        One that goes by a restart from a height that is not here yet votes for nothing up to there:
        those blocks are certified, and what it could vote for above them is void (pbft.md, Q6).
        """
        replica_set = self.in_force()
        _warn(replica_set)
        is_over = self.ledger.is_over(replica_set.epoch)
        key = None if is_over else voting_key(replica_set, self.me)
        return open_core(
            me=self.me,
            sign=None if key is None else self.signers.get(key),
            replica_set=replica_set,
            parameters=self.parameters,
            head=self.ledger.head(),
            base=self.ledger.epoch_base(replica_set.epoch),
            epoch_end=self.ledger.epoch_end(replica_set.epoch),
            now_ms=self.now_ms(),
            records=records,
            view_floor=self.ledger.view_floor(replica_set.epoch),
        )


def _warn(replica_set: ReplicaSet) -> None:
    """Of a set however it came: by genesis, a set change, or a restart (pbft.md, G1 and Q4)."""
    above = replica_set.entities_above_faulty_max()
    if above:
        _log.warning(
            "set.entity_above_faulty_max",
            code="ENTITY_ABOVE_FAULTY_MAX",
            epoch=replica_set.epoch,
            entities=above,
        )
