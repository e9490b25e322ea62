"""A replica and its peers by hand: what the protocol's tests and golden files are written with."""

from __future__ import annotations

from dataclasses import dataclass, field

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import FinalityCertificate
from services.consensus.domain.effects import Broadcast, Effect, Persist
from services.consensus.domain.messages import (
    CertifiedHead,
    Digest,
    Executed,
    Hello,
    Message,
    PeerMessage,
    PreparedCertificate,
    PrePrepare,
    ProtocolParameters,
    Record,
    ReplicaId,
    SequenceNumber,
    Tick,
    View,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.signer import Signer
from tests.simulation.keys import public_key, replica_set, sign_with

SIZE = 4
START_MS = 1_000_000
GENESIS = CertifiedHead(SequenceNumber(0), Digest(b"\x07" * 32), START_MS - 1, None)
PARAMETERS = ProtocolParameters(
    window=4,
    timeout_ms=1_000,
    timeout_max_ms=4_000,
    heartbeat_ms=5_000,
    resend_ms=200,
    block_time_bound_ms=2_000,
)
LATE_MS = PARAMETERS.timeout_ms + PARAMETERS.resend_ms + 100
"""A request that has waited for so long is late, and was not at the tick before."""


def signer(replica: int, size: int = SIZE) -> Signer:
    """The signing half of any replica of the set."""
    return Signer(ReplicaId(replica), replica_set(size), sign_with(public_key(replica)))


def a_batch(name: str, time_ms: int = START_MS) -> Batch:
    """A batch of one request."""
    return Batch(time_ms, (name.encode(),))


def header_hash(name: str) -> Digest:
    """A header hash that stands for an executed block."""
    return Digest(name.encode().ljust(32, b"."))


@dataclass(slots=True)
class Bench:
    """One real replica, with its peers' keys at hand. `step` collects what it persists."""

    me: int
    size: int = SIZE
    head: CertifiedHead = GENESIS
    records: list[Record] = field(default_factory=list)
    core: Replica = field(init=False)
    now_ms: int = START_MS

    def __post_init__(self) -> None:
        self.recover()

    def recover(self, records: list[Record] | None = None) -> None:
        """Start again from what was written down."""
        self.core = Replica.recover(
            me=ReplicaId(self.me),
            replica_set=replica_set(self.size),
            parameters=PARAMETERS,
            sign=sign_with(public_key(self.me)),
            head=self.head,
            now_ms=self.now_ms,
            records=self.records if records is None else records,
        )

    def step(self, message: Message, sender: int | None = None) -> list[Effect]:
        """One step; local inputs have no sender."""
        effects = self.core.step(ReplicaId(self.me if sender is None else sender), message)
        self.records += [effect.record for effect in effects if isinstance(effect, Persist)]
        return effects

    def pre_prepare(self, sequence: int, batch: Batch, view: int = 0) -> PrePrepare:
        """The proposal of `view`'s primary."""
        return signer(view % self.size, self.size).pre_prepare(
            View(view), SequenceNumber(sequence), batch
        )

    def receive_pre_prepare(self, sequence: int, batch: Batch, view: int = 0) -> list[Effect]:
        """The primary proposes."""
        return self.step(self.pre_prepare(sequence, batch, view), view % self.size)

    def receive_prepare(
        self, sender: int, sequence: int, digest: bytes, view: int = 0
    ) -> list[Effect]:
        """A backup prepares."""
        message = signer(sender, self.size).prepare(
            View(view), SequenceNumber(sequence), Digest(digest)
        )
        return self.step(message, sender)

    def receive_commit(
        self, sender: int, sequence: int, digest: bytes, view: int = 0
    ) -> list[Effect]:
        """A replica commits."""
        message = signer(sender, self.size).commit(
            View(view), SequenceNumber(sequence), Digest(digest)
        )
        return self.step(message, sender)

    def receive_checkpoint(self, sender: int, sequence: int, header: bytes) -> list[Effect]:
        """A replica votes for a header."""
        message = signer(sender, self.size).checkpoint(SequenceNumber(sequence), Digest(header))
        return self.step(message, sender)


def sent(effects: list[Effect]) -> list[PeerMessage]:
    """What was broadcast."""
    return [effect.message for effect in effects if isinstance(effect, Broadcast)]


def kinds(effects: list[Effect]) -> list[str]:
    """The effects' names, in order."""
    return [type(effect).__name__ for effect in effects]


def prepared_certificate(
    view: int, sequence: int, digest: bytes, size: int = SIZE
) -> PreparedCertificate:
    """A certificate signed by the first backups that make a quorum."""
    primary = view % size
    place = (View(view), SequenceNumber(sequence), Digest(digest))
    backups = [each for each in range(size) if each != primary]
    prepares = [
        (ReplicaId(each), signer(each, size).prepare(*place).signature)
        for each in backups[: replica_set(size).quorum - 1]
    ]
    proposal = signer(primary, size).new_view(View(view), (), ((place[1], place[2]),))
    return PreparedCertificate(*place, proposal.reproposals[0].signature, tuple(prepares))


def finality_certificate(sequence: int, header: bytes, size: int = SIZE) -> FinalityCertificate:
    """A certificate signed by the first quorum of replicas."""
    signatures = tuple(
        (each, signer(each, size).checkpoint(SequenceNumber(sequence), Digest(header)).signature)
        for each in range(replica_set(size).quorum)
    )
    return FinalityCertificate(header, signatures)


def view_change(
    replica: int,
    view: int,
    certified: int = 0,
    prepared: tuple[PreparedCertificate, ...] = (),
    size: int = SIZE,
) -> ViewChange:
    """A replica's signed view-change."""
    certificate = finality_certificate(certified, b"h" * 32, size) if certified else None
    return signer(replica, size).view_change(
        View(view), SequenceNumber(certified), certificate, prepared
    )


PAY = a_batch("pay")
OTHER = a_batch("other")
SUSPECTING = Hello(View(0), True, True, SequenceNumber(0))
CONTENT = Hello(View(0), True, False, SequenceNumber(0))


def ticking(me: int, size: int = SIZE) -> Bench:
    """A bench whose clock is known."""
    bench = Bench(me, size=size)
    bench.step(Tick(START_MS))
    return bench


def pass_time(bench: Bench, milliseconds: int) -> list[Effect]:
    """Tick in small steps; everything that came of it."""
    effects: list[Effect] = []
    for _ in range(milliseconds // 100):
        bench.now_ms += 100
        effects += bench.step(Tick(bench.now_ms))
    return effects


def committed(bench: Bench, sequence: int, batch: Batch) -> list[Effect]:
    """Take a backup through all phases of one sequence number."""
    digest = batch.digest()
    effects: list[Effect] = [*bench.receive_pre_prepare(sequence, batch)]
    peers = [each for each in (1, 2, 3) if each != bench.me]
    effects += bench.receive_prepare(peers[0], sequence, digest)
    for peer in (0, peers[0]):
        effects += bench.receive_commit(peer, sequence, digest)
    return effects


def certified(bench: Bench, sequence: int) -> list[Effect]:
    """Execute and certify one sequence number that is committed."""
    header = header_hash(f"block {sequence}")
    effects: list[Effect] = [*bench.step(Executed(SequenceNumber(sequence), header))]
    for peer in [each for each in range(4) if each != bench.me][:2]:
        effects += bench.receive_checkpoint(peer, sequence, header)
    return effects
