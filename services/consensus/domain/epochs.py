"""One core an epoch: a set change ends the life of a core, and the next starts with a clean slate.

Views, votes and records belong to the epoch that they were made in. The durable log says where an
epoch begins, so that a vote of an old epoch is never taken for one of the new.
"""

from __future__ import annotations

from collections.abc import Iterable

from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.learner import Learner
from services.consensus.domain.messages import (
    CertifiedHead,
    EpochStarted,
    LogRecord,
    NewView,
    ProtocolParameters,
    Record,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.replica import FIRST_VIEW, GENESIS, Replica
from services.consensus.domain.signer import Sign

Core = Replica | Learner


def open_core(
    *,
    me: ReplicaId,
    sign: Sign | None,
    replica_set: ReplicaSet,
    parameters: ProtocolParameters,
    head: CertifiedHead,
    base: SequenceNumber,
    epoch_end: SequenceNumber | None,
    now_ms: int,
    records: Iterable[Record],
    view_floor: View = FIRST_VIEW,
) -> Core:
    """The core of the epoch of `replica_set`, which certifies the height above `head`: a replica,
    or a learner where `sign` is None: this node has no key that votes in the set. `view_floor` is
    of this epoch.
    """
    if sign is None:
        return Learner(
            replica_set=replica_set,
            parameters=parameters,
            head=head,
            now_ms=now_ms,
            epoch_end=epoch_end,
            base=base,
        )
    return Replica.recover(
        me=me,
        replica_set=replica_set,
        parameters=parameters,
        sign=sign,
        head=head,
        now_ms=now_ms,
        records=records,
        view_floor=view_floor,
        epoch_end=epoch_end,
        base=base,
    )


def voting_key(replica_set: ReplicaSet, me: ReplicaId) -> bytes | None:
    """The key with which number `me` votes in the set; None where nobody votes under it."""
    if me >= replica_set.size or me in replica_set.jailed:
        return None
    return replica_set.members[me].public_key


def records_of_epoch(
    records: Iterable[LogRecord],
    epoch: int,
    *,
    first: int,
    certified: SequenceNumber = GENESIS,
) -> list[Record]:
    """The records of `epoch`, where the log began in the epoch `first`, without what is for
    `certified` or below: no core looks at it, and a log may hold many batches of it. Each is let go
    before the next is read.
    """
    found: list[Record] = []
    current = first
    for record in records:
        if isinstance(record, EpochStarted):
            current = record.epoch
        elif current == epoch and not _is_void(record, certified):
            found.append(record)
    return found


def _is_void(record: Record, certified: SequenceNumber) -> bool:
    return not isinstance(record, NewView | ViewChange) and record.sequence <= certified
