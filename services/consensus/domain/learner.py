"""A node without a vote in the present set: it follows the certified blocks and waits.

It is a member of a set to come, one that was removed, or a jailed one. It takes the place of the
core, signs nothing and believes nothing but certificates; when its set's epoch ends it is asked
again whether it votes in the next.
"""

from __future__ import annotations

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.effects import Broadcast, Effect
from services.consensus.domain.fetching import Fetching
from services.consensus.domain.hearsay import Hearsay
from services.consensus.domain.messages import (
    CertifiedElsewhere,
    CertifiedHead,
    Digest,
    Hello,
    Message,
    PeerHeight,
    ProtocolParameters,
    Record,
    ReplicaId,
    SequenceNumber,
    Tick,
    View,
)
from services.consensus.domain.statements import primary_of
from services.consensus.domain.suspicion import Suspicion


class Learner:
    """The driver treats it as it treats a `Replica`."""

    halted = False
    active = False
    may_propose = False
    heartbeat_due = False
    block_time_min_ms = 0

    def __init__(
        self,
        *,
        replica_set: ReplicaSet,
        parameters: ProtocolParameters,
        head: CertifiedHead,
        now_ms: int,
        epoch_end: SequenceNumber | None,
        base: SequenceNumber,
    ) -> None:
        self.base = base
        self.replica_set = replica_set
        self._resend_every_ms = parameters.resend_ms
        self._hearsay = Hearsay(replica_set.epoch, parameters.resend_ms)
        self._time = Suspicion(parameters, now_ms)
        self._resend_ms = now_ms
        self._epoch_end = epoch_end
        self.low_watermark = head.sequence
        self._fetching = Fetching(self._hearsay, head.sequence)

    def step(self, sender: ReplicaId, message: Message) -> list[Effect]:
        """Advance by one message; votes and proposals of others are not looked at."""
        match message:
            case _ if self.ended:
                return []
            case Hello():
                self._hearsay.hear(sender, message)
            case PeerHeight():
                self._hearsay.hear_height(message.peer, message.certified)
            case CertifiedElsewhere() if message.sequence > self.base:
                return self._on_certified(message)
            case Tick():
                return self._on_tick(message.now_ms)
            case _:
                pass
        return []

    def batch(self, digest: Digest) -> Batch | None:
        """It keeps no batch that is not certified."""
        return None

    def holds(self, view: View, sequence: SequenceNumber, signature: bytes) -> bool:
        """It accepts no proposals."""
        return False

    def records(self) -> list[Record]:
        """It signed nothing."""
        return []

    @property
    def view(self) -> View:
        """It follows no view."""
        return View(0)

    @property
    def primary(self) -> ReplicaId:
        """The first primary of the epoch: whom to pass transactions to when all others fail."""
        return primary_of(self.replica_set, View(0))

    @property
    def executed(self) -> SequenceNumber:
        """It executes what is certified."""
        return self.low_watermark

    @property
    def epoch(self) -> int:
        """The epoch of the set that it follows."""
        return self.replica_set.epoch

    @property
    def ended(self) -> bool:
        """Whether the last height of the epoch is certified."""
        return self._epoch_end is not None and self.low_watermark >= self._epoch_end

    def _on_certified(self, message: CertifiedElsewhere) -> list[Effect]:
        self._epoch_end = message.epoch_end
        self.low_watermark = max(self.low_watermark, message.sequence)
        if self.ended:
            return []
        return self._fetching.ask_at_once(self.low_watermark, self.low_watermark)

    def _on_tick(self, clock_ms: int) -> list[Effect]:
        self._time.tick(clock_ms)
        if self._time.now_ms < self._resend_ms:
            return []
        self._resend_ms = self._time.now_ms + self._resend_every_ms
        hello = Hello(self.view, False, False, self.low_watermark, self.replica_set.epoch)
        return [Broadcast(hello), *self._fetching.ask(self.low_watermark, self.low_watermark)]
