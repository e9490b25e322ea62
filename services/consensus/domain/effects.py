"""What a step asks of the world. The core describes effects; the driver performs them, in order.

The order is the safety argument: a replica persists a vote before it sends it, so that after a
crash it cannot vote differently for the same view and sequence number.
"""

from __future__ import annotations

from dataclasses import dataclass

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import FinalityCertificate
from services.consensus.domain.messages import (
    Digest,
    NewView,
    PeerMessage,
    PrePrepare,
    Record,
    ReplicaId,
    SequenceNumber,
    Statement,
    View,
)


@dataclass(frozen=True, slots=True)
class Persist:
    """Write to the replica's log, durably, before any later effect is performed."""

    record: Record


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send to every other replica. Delivery may fail, repeat or reorder; PBFT allows for it."""

    message: PeerMessage


@dataclass(frozen=True, slots=True)
class Send:
    """Send to one replica."""

    to: ReplicaId
    message: PeerMessage


@dataclass(frozen=True, slots=True)
class Execute:
    """Execute a committed batch and answer with `Executed`. Sequence numbers come without gaps.

    After a restart it is asked again for everything above the last certified block, and must then
    give the same header.
    """

    sequence: SequenceNumber
    batch: Batch


@dataclass(frozen=True, slots=True)
class Certified:
    """The block of `sequence` is final. In order, once each, unless catch-up certified it first."""

    sequence: SequenceNumber
    certificate: FinalityCertificate


@dataclass(frozen=True, slots=True)
class FetchBatch:
    """Ask peers (first those who said they hold it) for the batch with this digest.

    They answer from `Replica.batch`; the answer comes back as `BatchFetched`. Asked again until it
    has come.
    """

    sequence: SequenceNumber
    digest: Digest
    holders: tuple[ReplicaId, ...]


@dataclass(frozen=True, slots=True)
class FetchBlocks:
    """Catch up: ask `source` for the certified blocks `first`..`last`, verify each certificate,
    store and execute them, and tell `CertifiedElsewhere`. Asked again while the replica lags.
    """

    first: SequenceNumber
    last: SequenceNumber
    source: ReplicaId


@dataclass(frozen=True, slots=True)
class ViewChanged:
    """The replica entered `view`; `primary` proposes in it."""

    view: View
    primary: ReplicaId


@dataclass(frozen=True, slots=True)
class Reject:
    """The message broke a rule. Not an exception: Byzantine input is ordinary input. Not `certain`
    where it was held against this replica's own clock, which may be the wrong one.
    """

    sender: ReplicaId
    reason: str
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two statements of one replica that exclude each other."""

    first: Statement
    second: Statement


@dataclass(frozen=True, slots=True)
class InvalidBatch:
    """A primary signed a batch that fails stateless admission; see `BatchRefused`."""

    pre_prepare: PrePrepare
    reason: str
    index: int | None = None


@dataclass(frozen=True, slots=True)
class InvalidNewView:
    """A primary signed a new-view that does not follow from its own view-changes."""

    new_view: NewView
    reason: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Signed proof that `replica` broke the protocol."""

    replica: ReplicaId
    offence: Equivocation | InvalidBatch | InvalidNewView


@dataclass(frozen=True, slots=True)
class Halt:
    """A quorum certified another header than ours: keep both and stop; people must look.

    Without a certificate it was the replica's own vote, before a crash, that was for another one.
    """

    sequence: SequenceNumber
    reason: str
    own_header_hash: Digest
    certified_header_hash: Digest
    certificate: FinalityCertificate | None = None


Effect = (
    Persist
    | Broadcast
    | Send
    | Execute
    | Certified
    | FetchBatch
    | FetchBlocks
    | ViewChanged
    | Reject
    | Evidence
    | Halt
)
