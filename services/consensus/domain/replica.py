"""One PBFT replica: a pure, synchronous state machine over messages and effects."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.effects import Effect
from services.consensus.domain.messages import (
    CertifiedHead,
    Digest,
    Message,
    ProtocolParameters,
    Record,
    ReplicaId,
    SequenceNumber,
    View,
)

Sign = Callable[[bytes], bytes]


class Replica:
    """The protocol core. `step` is the only way to change it; properties are for the driver."""

    def __init__(
        self,
        *,
        me: ReplicaId,
        replica_set: ReplicaSet,
        parameters: ProtocolParameters,
        sign: Sign,
        head: CertifiedHead,
        now_ms: int,
    ) -> None:
        raise NotImplementedError

    @classmethod
    def recover(
        cls,
        *,
        me: ReplicaId,
        replica_set: ReplicaSet,
        parameters: ProtocolParameters,
        sign: Sign,
        head: CertifiedHead,
        now_ms: int,
        records: Iterable[Record],
    ) -> Replica:
        """The replica as it was when it wrote the last of `records`; `head` is the last certified
        block that its store holds.
        """
        raise NotImplementedError

    def step(self, sender: ReplicaId, message: Message) -> list[Effect]:
        """Advance by one authenticated message (local inputs come from the replica itself)."""
        raise NotImplementedError

    def batch(self, digest: Digest) -> Batch | None:
        """A batch that is not yet certified here, to answer a peer's `FetchBatch`."""
        raise NotImplementedError

    def records(self) -> list[Record]:
        """The records that still matter: what a compacted log must keep."""
        raise NotImplementedError

    @property
    def view(self) -> View:
        """The view it is in, or waits for."""
        raise NotImplementedError

    @property
    def active(self) -> bool:
        """Whether it takes part in `view`; False while it waits for the new-view."""
        raise NotImplementedError

    @property
    def primary(self) -> ReplicaId:
        """The primary of `view`."""
        raise NotImplementedError

    @property
    def low_watermark(self) -> SequenceNumber:
        """The last certified height."""
        raise NotImplementedError

    @property
    def executed(self) -> SequenceNumber:
        """The last executed height (certified or not)."""
        raise NotImplementedError

    @property
    def may_propose(self) -> bool:
        """Whether `Propose` is welcome now."""
        raise NotImplementedError

    @property
    def heartbeat_due(self) -> bool:
        """Whether the driver should propose an empty batch, having nothing better."""
        raise NotImplementedError

    @property
    def block_time_min_ms(self) -> int:
        """The least block time that the next proposal may carry."""
        raise NotImplementedError

    @property
    def halted(self) -> bool:
        """Whether it stopped for good on a header that differs from a certified one."""
        raise NotImplementedError
