"""What a replica is told: its peers' protocol messages and its own driver's inputs.

Peers' messages are the paper's (pre-prepare, prepare, commit, checkpoint, view-change, new-view)
and `Hello`, a status that is signed by nobody and trusted with nothing. Local inputs come from the
driver alone and have no wire form. A digest is always recomputed from what it covers, never read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NewType

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import digest as tagged_digest
from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.proof.votes import VoteType

ReplicaId = NewType("ReplicaId", int)
View = NewType("View", int)
SequenceNumber = NewType("SequenceNumber", int)
Digest = NewType("Digest", bytes)

NULL_DIGEST: Final = Digest(tagged_digest("guqiao/null-batch/1"))
"""What the phases agree on for a null batch; its block time is its predecessor's."""

NUMBER_MAX: Final = 2**62
"""No view, sequence number or time is larger: far above any use, far below 64 bits."""

WINDOW_MAX: Final = 32


# --- Peers' messages --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PrePrepare:
    """The primary proposes `batch` for `sequence` (PBFT 4.2).

    `digest` is `batch.digest()`; the wire carries only the batch.
    """

    view: View
    sequence: SequenceNumber
    batch: Batch
    digest: Digest
    signature: bytes


@dataclass(frozen=True, slots=True)
class Prepare:
    """A backup accepted the pre-prepare with this digest. The primary never sends one."""

    view: View
    sequence: SequenceNumber
    digest: Digest
    replica: ReplicaId
    signature: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """The batch with this digest is prepared at `replica`."""

    view: View
    sequence: SequenceNumber
    digest: Digest
    replica: ReplicaId
    signature: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`replica` executed `sequence` and its block header hashes to `header_hash` (PBFT 4.3)."""

    sequence: SequenceNumber
    header_hash: Digest
    replica: ReplicaId
    signature: bytes


@dataclass(frozen=True, slots=True)
class PreparedCertificate:
    """Proof that a digest was prepared in `view`: the primary's signed pre-prepare, which counts as
    its prepare, and prepares of q - 1 backups in ascending order of replica.
    """

    view: View
    sequence: SequenceNumber
    digest: Digest
    pre_prepare_signature: bytes
    prepares: tuple[tuple[ReplicaId, bytes], ...]

    def votes(self) -> Iterator[Prepare]:
        """The prepares as they were sent."""
        for replica, signature in self.prepares:
            yield Prepare(self.view, self.sequence, self.digest, replica, signature)


@dataclass(frozen=True, slots=True)
class ViewChange:
    """`replica` left all views below `view` (PBFT 4.4).

    `certificate` proves that `certified` is certified (None at genesis, sequence number 0);
    `prepared` holds the latest prepared certificate of each sequence number above it, ascending.
    """

    view: View
    replica: ReplicaId
    certified: SequenceNumber
    certificate: FinalityCertificate | None
    prepared: tuple[PreparedCertificate, ...]
    signature: bytes


@dataclass(frozen=True, slots=True)
class Reproposal:
    """A pre-prepare inside a new-view: by digest, the batch travels apart where it is missing."""

    sequence: SequenceNumber
    digest: Digest
    signature: bytes


@dataclass(frozen=True, slots=True)
class NewView:
    """The new primary's evidence: a quorum of view-changes, ascending by replica, and what follows
    from them. Every backup derives `reproposals` again (PBFT 4.4).
    """

    view: View
    view_changes: tuple[ViewChange, ...]
    reproposals: tuple[Reproposal, ...]
    signature: bytes


@dataclass(frozen=True, slots=True)
class Hello:
    """The sender's status, repeated while it runs: a lagging peer learns from it what to ask for.

    `active` is False while the sender waits for `view`'s new-view; `suspects` says that it asks to
    leave `view`. It binds nobody: a replica sends a view-change only when f + 1 replicas suspect.
    Views belong to `epoch`; the certified height means the same in all of them.
    """

    view: View
    active: bool
    suspects: bool
    certified: SequenceNumber
    epoch: int = 0


PeerMessage = Hello | PrePrepare | Prepare | Commit | Checkpoint | ViewChange | NewView


Record = PrePrepare | Prepare | PreparedCertificate | Commit | Checkpoint | ViewChange | NewView
"""What a replica writes down before it acts on it; `Replica.recover` reads it back in order."""


@dataclass(frozen=True, slots=True)
class EpochStarted:
    """The records after this one are of `epoch`; those before it are void. Where votes of it were
    lost the replica takes part in no view below `view_floor`.
    """

    epoch: int
    view_floor: View = View(0)


LogRecord = Record | EpochStarted
"""What the durable log holds."""


# --- Local inputs -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """The replica's clock, Unix time in milliseconds; the driver ticks at least every 250 ms.

    Block times are compared with it. Time-outs count what passes between ticks, so a clock that is
    set forward or back neither fires nor holds them (reliability P21).
    """

    now_ms: int


@dataclass(frozen=True, slots=True)
class Propose:
    """The driver offers a batch; only while `Replica.may_propose`, with a block time of at least
    `Replica.block_time_min_ms`.
    """

    batch: Batch


@dataclass(frozen=True, slots=True)
class Executed:
    """The driver performed `Execute(sequence, ...)`; in the order of the effects.

    `epoch_end` is the last sequence number of this epoch, as far as the state after this block
    tells: it is at least the window beyond the block that decides it, and may come down later.
    """

    sequence: SequenceNumber
    header_hash: Digest
    epoch_end: SequenceNumber | None = None


@dataclass(frozen=True, slots=True)
class CertifiedElsewhere:
    """Catch-up stored and executed every block up to `sequence`, whose certificate it verified."""

    sequence: SequenceNumber
    header_hash: Digest
    block_time_ms: int
    certificate: FinalityCertificate
    epoch_end: SequenceNumber | None = None


@dataclass(frozen=True, slots=True)
class BatchFetched:
    """The answer to `FetchBatch`; the core recomputes its digest."""

    sequence: SequenceNumber
    batch: Batch


@dataclass(frozen=True, slots=True)
class PeerHeight:
    """With certified blocks a peer said up to where it holds them: a hint, as in `Hello`."""

    peer: ReplicaId
    certified: SequenceNumber


@dataclass(frozen=True, slots=True)
class BatchRefused:
    """Instead of a pre-prepare whose batch fails stateless admission (already authenticated).

    `index` is the place of a transaction that is refused; None where the batch as a whole is larger
    than genesis allows.
    """

    pre_prepare: PrePrepare
    reason: str
    index: int | None = None


@dataclass(frozen=True, slots=True)
class RequestPending:
    """A client's request is admitted here and awaits ordering; its timer starts."""

    request: bytes


@dataclass(frozen=True, slots=True)
class RequestGone:
    """The request was executed, or dropped, for which the primary gets no credit; its timer
    ends.
    """

    request: bytes
    executed: bool = True


LocalInput = (
    Tick
    | Propose
    | Executed
    | CertifiedElsewhere
    | PeerHeight
    | BatchFetched
    | BatchRefused
    | RequestPending
    | RequestGone
)

Message = PeerMessage | LocalInput


# --- Evidence, parameters, position -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Statement:
    """One signed sentence of a replica, small enough to keep as evidence for ever."""

    vote_type: VoteType
    view: View
    sequence: SequenceNumber
    digest: Digest
    replica: ReplicaId
    signature: bytes


@dataclass(frozen=True, slots=True)
class CertifiedHead:
    """The last certified block that a replica holds. Genesis (0) has no certificate."""

    sequence: SequenceNumber
    header_hash: Digest
    block_time_ms: int
    certificate: FinalityCertificate | None


@dataclass(frozen=True, slots=True)
class ProtocolParameters:
    """What all replicas of a chain must agree on; from genesis, never from settings.

    `timeout_ms` doubles with every view change without progress, up to `timeout_max_ms`.
    """

    window: int
    timeout_ms: int
    timeout_max_ms: int
    heartbeat_ms: int
    resend_ms: int
    block_time_bound_ms: int

    def __post_init__(self) -> None:
        """Refuse parameters under which no chain can run."""
        if not 1 <= self.window <= WINDOW_MAX:
            raise ValueError(f"a window of {self.window}, it must lie in 1..{WINDOW_MAX}")
        times = (self.timeout_ms, self.heartbeat_ms, self.resend_ms, self.block_time_bound_ms)
        if min(times) < 1 or not self.timeout_ms <= self.timeout_max_ms <= NUMBER_MAX:
            raise ValueError("a time of zero, or a longest time-out below the first one")
