"""One replica's surroundings: what the driver, the ledger and the pool of requests are elsewhere.

It performs effects in order and can crash between any two of them; then only its disk remains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.authentication import authenticate
from services.consensus.domain.effects import (
    Broadcast,
    Certified,
    Effect,
    Evidence,
    Execute,
    FetchBatch,
    FetchBlocks,
    Persist,
    Reject,
    Send,
    ViewChanged,
)
from services.consensus.domain.messages import (
    BatchFetched,
    BatchRefused,
    CertifiedElsewhere,
    Digest,
    Executed,
    Message,
    PeerMessage,
    PrePrepare,
    Propose,
    ReplicaId,
    RequestGone,
    RequestPending,
    SequenceNumber,
    Tick,
    View,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.statements import vote_bytes
from tests.simulation.byzantine import Liar
from tests.simulation.disk import GENESIS, Block, Disk, execute
from tests.simulation.keys import public_key, sign_with, verify

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

TICK_MS: Final = 50
BATCH_REQUESTS_MAX: Final = 3
COMPACT_AT_RECORDS: Final = 200


@dataclass(frozen=True, slots=True)
class AskBatch:
    sequence: SequenceNumber
    digest: Digest


@dataclass(frozen=True, slots=True)
class GiveBatch:
    sequence: SequenceNumber
    batch: Batch


@dataclass(frozen=True, slots=True)
class AskBlocks:
    first: SequenceNumber
    last: SequenceNumber


@dataclass(frozen=True, slots=True)
class GiveBlocks:
    first: SequenceNumber
    blocks: tuple[tuple[Batch, FinalityCertificate], ...]


Packet = PeerMessage | AskBatch | GiveBatch | AskBlocks | GiveBlocks


class Machine:
    """A replica with its disk; `core` is None while it is down."""

    def __init__(self, cluster: Cluster, me: ReplicaId, liar: Liar | None) -> None:
        self.cluster = cluster
        self.me = me
        self.liar = liar
        self.disk = Disk()
        self.core: Replica | None = None
        self.clock_offset_ms = 0
        self.life = 0
        self.start()

    # --- Life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Recover from the disk and begin to tick."""
        self.life += 1
        self.chain: list[Block] = list(self.disk.blocks)
        self.pool: dict[bytes, None] = {}
        self.proposed: set[bytes] = set()
        self.busy_until_ms = 0
        self.core = Replica.recover(
            me=self.me,
            replica_set=self.cluster.replica_set,
            parameters=self.cluster.parameters,
            sign=sign_with(public_key(self.me)),
            head=self.disk.head(),
            now_ms=self.cluster.now_ms,
            records=self.disk.read(),
        )
        self._later(self.cluster.random.randint(1, TICK_MS), self._tick)

    def crash(self) -> None:
        """Lose everything but the disk."""
        self.core = None
        self.life += 1

    def _later(self, delay_ms: int, action: object, *arguments: object) -> None:
        life = self.life

        def act() -> None:
            if self.life == life and self.core is not None:
                action(*arguments)  # type: ignore[operator]

        self.cluster.schedule(delay_ms, act)

    def _tick(self) -> None:
        self._later(TICK_MS, self._tick)
        self.step(Tick(self.cluster.now_ms + self.clock_offset_ms))
        if self.liar is not None and self.core is not None:
            self._misbehave(self.liar, self.core)

    def _misbehave(self, liar: Liar, core: Replica) -> None:
        for message in liar.idle(core):
            self._broadcast(message, lie=False)
        if liar.forgets():
            self.crash()
            self.disk = Disk(blocks=self.disk.blocks, certificates=self.disk.certificates)
            self.start()

    # --- Messages in --------------------------------------------------------------------------

    def receive(self, sender: ReplicaId, packet: Packet) -> None:
        """What the network delivers."""
        core = self.core
        if core is None:
            return
        match packet:
            case AskBatch(sequence, digest):
                batch = core.batch(digest)
                if batch is not None:
                    self.cluster.send(self.me, sender, GiveBatch(sequence, batch))
            case GiveBatch(sequence, batch):
                self.step(BatchFetched(sequence, batch))
            case AskBlocks(first, last):
                blocks = tuple(
                    (self.disk.blocks[height - 1].batch, self.disk.certificates[height - 1])
                    for height in range(first, min(last, len(self.disk.blocks)) + 1)
                )
                self.cluster.send(self.me, sender, GiveBlocks(first, blocks))
            case GiveBlocks(first, blocks):
                self._store_blocks(first, blocks)
            case _:
                self._receive_message(sender, packet)

    def request(self, request: bytes) -> None:
        """A client's request arrives."""
        if self.core is None or any(request in block.batch.transactions for block in self.chain):
            return
        if request not in self.pool:
            self.pool[request] = None
            self.step(RequestPending(request))

    def _receive_message(self, sender: ReplicaId, message: PeerMessage) -> None:
        window = self.cluster.parameters.window
        reject = authenticate(message, sender, self.cluster.replica_set, verify, window)
        if reject is not None:
            self.cluster.rejected += 1
            if self.cluster.is_correct(sender):
                self.cluster.fail(f"S10: correct replica {sender} is refused: {reject.reason}")
        elif isinstance(message, PrePrepare) and not self._admits(message.batch):
            self.step(BatchRefused(message, "a forged request"))
        else:
            self.step(message, sender)

    def _admits(self, batch: Batch) -> bool:
        return all(request in self.cluster.requests for request in batch.transactions)

    # --- Steps and effects --------------------------------------------------------------------

    def step(self, message: Message, sender: ReplicaId | None = None) -> None:
        """One step of the core, its effects, and what the driver offers after it."""
        core = self.core
        if core is None:
            return
        self.cluster.trace(self.me, message)
        effects = core.step(self.me if sender is None else sender, message)
        self._perform(core, effects)
        if self.core is core and self.cluster.is_correct(self.me):
            self.cluster.checkers.on_step(self.me, core)
        if self.core is core and core.may_propose:
            self._propose(core)

    def _propose(self, core: Replica) -> None:
        fresh = [each for each in self.pool if each not in self.proposed][:BATCH_REQUESTS_MAX]
        if fresh or core.heartbeat_due:
            self.proposed.update(fresh)
            clock_ms = self.cluster.now_ms + self.clock_offset_ms
            batch = Batch(max(clock_ms, core.block_time_min_ms), tuple(fresh))
            self.step(Propose(batch))

    def _perform(self, core: Replica, effects: list[Effect]) -> None:
        for effect in effects:
            if self.core is not core:
                return
            if self.cluster.crashes_now(self.me):
                self.crash()
                return
            if self.cluster.is_correct(self.me):
                self.cluster.checkers.on_effect(self.me, core, self.disk, effect)
            self._perform_one(core, effect)

    def _perform_one(self, core: Replica, effect: Effect) -> None:
        match effect:
            case Persist(record):
                self.disk.persist(record)
                if len(self.disk.records) > COMPACT_AT_RECORDS and self.cluster.compacts:
                    self.disk.compact([*core.records()])
            case Broadcast(message):
                self._broadcast(message, lie=True)
            case Send(to, message):
                self._send(to, message, lie=True)
            case Execute(sequence, batch):
                done_ms = max(self.busy_until_ms, self.cluster.now_ms)
                done_ms += self.cluster.random.randint(0, 5)
                self.busy_until_ms = done_ms
                self._later(done_ms - self.cluster.now_ms, self._executed, sequence, batch)
            case Certified(sequence, certificate):
                self._store(sequence, self.chain[sequence - 1], certificate)
            case _:
                self._perform_other(effect)

    def _perform_other(self, effect: Effect) -> None:
        cluster = self.cluster
        match effect:
            case FetchBatch(sequence, digest, holders):
                cluster.batches_fetched += 1
                for holder in holders or tuple(cluster.machines):
                    cluster.send(self.me, holder, AskBatch(sequence, digest))
            case FetchBlocks(first, last, source):
                cluster.send(self.me, source, AskBlocks(first, last))
            case ViewChanged():
                cluster.view_changes += 1
                self.proposed.clear()
            case Evidence():
                cluster.evidence += 1
            case Reject():
                cluster.rejected += 1
            case _:
                pass

    def _broadcast(self, message: PeerMessage, *, lie: bool) -> None:
        for to in self.cluster.machines:
            if to != self.me:
                self._send(to, message, lie=lie)

    def _send(self, to: ReplicaId, message: PeerMessage, *, lie: bool) -> None:
        messages = [message]
        if self.liar is not None and lie and self.cluster.lies:
            messages = self.liar.outgoing(to, message)
        for each in messages:
            self.cluster.checkers.on_sent(self.me, each)
            self.cluster.send(self.me, to, each)

    # --- The ledger ---------------------------------------------------------------------------

    def _parent(self, height: int) -> Digest:
        return self.chain[height - 2].header_hash if height > 1 else GENESIS.header_hash

    def _executed(self, sequence: SequenceNumber, batch: Batch) -> None:
        if sequence != len(self.chain) + 1:
            return  # Catch-up was faster.
        block = execute(self._parent(sequence), sequence, batch)
        self._append(block)
        self.step(Executed(sequence, block.header_hash))

    def _append(self, block: Block) -> None:
        self.chain.append(block)
        for request in block.batch.transactions:
            self.pool.pop(request, None)
            self.step(RequestGone(request))

    def _store(self, height: int, block: Block, certificate: FinalityCertificate) -> None:
        assert height == len(self.disk.blocks) + 1, "blocks become final in order"
        self.disk.store(block, certificate)
        if self.cluster.is_correct(self.me):
            self.cluster.on_final(self.me, block)

    def _store_blocks(
        self, first: SequenceNumber, blocks: tuple[tuple[Batch, FinalityCertificate], ...]
    ) -> None:
        """Catch-up: nothing is stored without its certificate."""
        for height, (batch, certificate) in enumerate(blocks, first):
            if height != len(self.disk.blocks) + 1:
                continue
            block = execute(self._parent(height), height, batch)
            if not self._certifies(certificate, height, block):
                return
            if len(self.chain) < height:
                self._append(block)
            self._store(height, block, certificate)
            self.step(
                CertifiedElsewhere(
                    SequenceNumber(height), block.header_hash, batch.block_time_ms, certificate
                )
            )

    def _certifies(self, certificate: FinalityCertificate, height: int, block: Block) -> bool:
        replica_set = self.cluster.replica_set
        signed = vote_bytes(
            replica_set, VoteType.CHECKPOINT, View(0), SequenceNumber(height), block.header_hash
        )
        signers = {
            signer
            for signer, signature in certificate.signatures
            if verify(public_key(signer), signed, signature)
        }
        return certificate.header_hash == block.header_hash and len(signers) >= replica_set.quorum
