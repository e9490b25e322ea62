"""Set changes under faults: cores that change their set while messages are lost, late and doubled
and replicas die and come back, in virtual time and under one seed.

Requests are ordinary or decide a change: a key replaced, a member added or removed, one jailed. The
ledger is a function of the blocks, as in production: a change decided by block h takes effect at
h + window. After the faults every request must be final at every node that is up.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.authentication import authenticate
from services.consensus.domain.codec import decode_message, encode_message
from services.consensus.domain.effects import (
    Broadcast,
    Certified,
    Effect,
    Evidence,
    Execute,
    FetchBatch,
    FetchBlocks,
    Halt,
    Persist,
    Send,
)
from services.consensus.domain.epochs import Core, open_core, records_of_epoch, voting_key
from services.consensus.domain.messages import (
    BatchFetched,
    CertifiedElsewhere,
    CertifiedHead,
    Digest,
    EpochStarted,
    Executed,
    Hello,
    LogRecord,
    Message,
    PeerMessage,
    PrePrepare,
    Propose,
    ProtocolParameters,
    ReplicaId,
    RequestGone,
    RequestPending,
    SequenceNumber,
    Tick,
    View,
)
from services.consensus.domain.statements import statement_of, vote_bytes
from tests.simulation.governed_ledger import (
    CHANGES,
    GENESIS,
    WINDOW,
    Block,
    epochs_of,
    key_of,
)
from tests.simulation.keys import sign_with, verify

TICK_MS = 50
STORM_MS = 6_000
CALM_MS = 60_000
NODES = 7
PARAMETERS = ProtocolParameters(
    window=WINDOW,
    timeout_ms=400,
    timeout_max_ms=3_200,
    heartbeat_ms=600,
    resend_ms=150,
    block_time_bound_ms=2_000,
)


@dataclass
class Node:
    """One node: its disk outlives it, everything else is gone with a crash."""

    run: Run
    me: ReplicaId
    log: list[LogRecord] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    certificates: list[FinalityCertificate] = field(default_factory=list)
    chain: list[Block] = field(default_factory=list)
    core: Core | None = None
    life: int = 0
    busy_ms: int = 0
    pool: dict[bytes, None] = field(default_factory=dict)
    proposed: set[bytes] = field(default_factory=set)
    ordered: set[bytes] = field(default_factory=set)

    def start(self) -> None:
        self.life += 1
        self.chain, self.busy_ms = list(self.blocks), 0
        self.ordered = {each for block in self.blocks for each in block.batch.transactions}
        self.open(self.log)
        self.later(self.run.random.randint(1, TICK_MS), self.tick)

    def crash(self) -> None:
        self.life += 1
        self.core = None
        self.pool = {}

    def open(self, log: list[LogRecord]) -> None:
        """The core of the epoch in force, as the ledger has it."""
        known, certified = epochs_of(self.chain), len(self.blocks)
        current = [each for each in known if each.first <= certified + 1][-1]
        following = [each for each in known if each.members.epoch == current.members.epoch + 1]
        key = voting_key(current.members, self.me)
        head = GENESIS
        if certified:
            last = self.blocks[-1]
            time_ms = last.batch.block_time_ms
            place = SequenceNumber(certified)
            head = CertifiedHead(place, last.header_hash, time_ms, self.certificates[-1])
        epoch = current.members.epoch
        self.core = open_core(
            me=self.me,
            sign=None if key is None or key not in self.own_keys() else sign_with(key),
            replica_set=current.members,
            parameters=PARAMETERS,
            head=head,
            base=SequenceNumber(current.first - 1),
            epoch_end=SequenceNumber(following[0].first - 1) if following else None,
            now_ms=self.run.now_ms,
            records=records_of_epoch(log, epoch, first=0),
        )
        self.proposed.clear()
        for request in self.pool:
            self.step(RequestPending(request))

    def later(self, delay_ms: int, action: Callable[..., None], *arguments: object) -> None:
        life = self.life

        def act() -> None:
            if self.life == life:
                action(*arguments)

        self.run.schedule(delay_ms, act)

    def tick(self) -> None:
        self.later(TICK_MS, self.tick)
        self.step(Tick(self.run.now_ms))

    def request(self, request: bytes) -> None:
        if self.core is not None and request not in self.ordered and request not in self.pool:
            self.pool[request] = None
            self.step(RequestPending(request))

    def receive(self, sender: ReplicaId, packet: object) -> None:
        core = self.core
        if core is None:
            return
        match packet:
            case ("message", int(epoch), bytes(data)):
                message = decode_message(data)
                if isinstance(message, Hello) or epoch == core.epoch:
                    self.judge(core, sender, message)
            case _:
                self.exchange(core, sender, packet)

    def exchange(self, core: Core, sender: ReplicaId, packet: object) -> None:
        match packet:
            case ("ask batch", int(sequence), bytes(wanted)):
                batch = core.batch(Digest(wanted))
                if batch is not None:
                    self.run.send(self.me, sender, ("batch", sequence, batch))
            case ("batch", int(sequence), Batch() as batch):
                self.step(BatchFetched(SequenceNumber(sequence), batch))
            case ("ask blocks", int(first), int(last)):
                given = list(zip(self.blocks, self.certificates, strict=True))[first - 1 : last]
                self.run.send(self.me, sender, ("blocks", first, given))
            case ("blocks", int(first), list(given)):
                for height, (block, certificate) in enumerate(given, first):
                    self.take(height, block, certificate)

    def judge(self, core: Core, sender: ReplicaId, message: PeerMessage) -> None:
        if isinstance(message, Hello):
            self.step(message, sender)
            return
        members, base = core.replica_set, core.base
        refused = authenticate(message, sender, members, verify, WINDOW, base)
        if refused is None:
            self.step(message, sender)
        else:
            assert (
                sender in members.jailed
                or sender >= members.size
                or (members.members[sender].public_key not in self.run.nodes[sender].own_keys())
            ), f"a vote of member {sender} in its own epoch is refused: {refused.reason}"

    def own_keys(self) -> set[bytes]:
        return {key_of(self.me, generation) for generation in range(10)}

    def step(self, message: Message, sender: ReplicaId | None = None) -> None:
        core = self.core
        if core is None:
            return
        effects = core.step(self.me if sender is None else sender, message)
        self.perform(core, effects)
        if self.core is not core:
            return
        if core.ended and len(self.blocks) >= core.low_watermark:
            self.log = [EpochStarted(core.epoch + 1)]
            self.run.epochs_begun += 1
            self.open([])
            self.step(Tick(self.run.now_ms))
        elif core.may_propose:
            fresh = [each for each in self.pool if each not in self.proposed][:3]
            if fresh or core.heartbeat_due:
                self.proposed.update(fresh)
                time_ms = max(self.run.now_ms, core.block_time_min_ms)
                self.step(Propose(Batch(time_ms, tuple(fresh))))

    def perform(self, core: Core, effects: list[Effect]) -> None:
        for effect in effects:
            if self.core is not core:
                return
            if self.run.crashes():
                self.crash()
                return
            self.perform_one(core, effect)

    def perform_one(self, core: Core, effect: Effect) -> None:
        match effect:
            case Persist(record):
                self.log.append(record)
            case Broadcast(message):
                self.run.check_sent(core, self.me, message)
                for to in self.run.nodes:
                    self.run.send(self.me, to.me, ("message", core.epoch, encode_message(message)))
            case Send(to, message):
                self.run.send(self.me, to, ("message", core.epoch, encode_message(message)))
            case Execute(sequence, batch):
                self.busy_ms = max(self.busy_ms, self.run.now_ms) + self.run.random.randint(0, 5)
                self.later(self.busy_ms - self.run.now_ms, self.execute, sequence, batch)
            case Certified(sequence, certificate):
                self.store(sequence, self.chain[sequence - 1], certificate)
            case _:
                self.fetch(effect)

    def fetch(self, effect: Effect) -> None:
        match effect:
            case FetchBatch(sequence, wanted, holders):
                for holder in holders:
                    self.run.send(self.me, holder, ("ask batch", sequence, wanted))
            case FetchBlocks(first, last, source):
                self.run.send(self.me, source, ("ask blocks", first, last))
            case Halt() | Evidence():
                raise AssertionError(f"node {self.me}: {effect}")
            case _:
                pass

    def execute(self, sequence: int, batch: Batch) -> None:
        if self.core is not None and sequence == len(self.chain) + 1:
            self.append(batch)
            self.step(Executed(*self.told(sequence)))

    def append(self, batch: Batch) -> None:
        height = len(self.chain) + 1
        parent = self.chain[-1].header_hash if self.chain else GENESIS.header_hash
        header = digest("sim/header", parent, height.to_bytes(8, "big"), batch.digest())
        epoch = [each for each in epochs_of(self.chain) if each.first <= height][-1].members.epoch
        self.chain.append(Block(Digest(header), batch, epoch))
        self.ordered.update(batch.transactions)
        for request in batch.transactions:
            self.pool.pop(request, None)
            self.step(RequestGone(request))

    def told(self, height: int) -> tuple[SequenceNumber, Digest, SequenceNumber | None]:
        block = self.chain[height - 1]
        following = [e for e in epochs_of(self.chain) if e.members.epoch == block.epoch + 1]
        end = SequenceNumber(following[0].first - 1) if following else None
        return SequenceNumber(height), block.header_hash, end

    def store(self, height: int, block: Block, certificate: FinalityCertificate) -> None:
        assert height == len(self.blocks) + 1, "blocks become final in order"
        self.blocks.append(block)
        self.certificates.append(certificate)
        self.run.check_final(self, height, block, certificate)

    def take(self, height: int, block: Block, certificate: FinalityCertificate) -> None:
        """Catch-up: a block counts only under the set of its height."""
        if self.core is None or height != len(self.blocks) + 1:
            return
        if len(self.chain) < height:
            self.append(block.batch)
        if self.core is None:
            return
        own = self.chain[height - 1]
        assert own.header_hash == block.header_hash, f"S2: two blocks {height}"
        self.store(height, own, certificate)
        place, header, end = self.told(height)
        time_ms = own.batch.block_time_ms
        self.step(CertifiedElsewhere(place, header, time_ms, certificate, end))


class Run:
    """All nodes, the wire between them, and what must hold."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now_ms = 1_000_000
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.scheduled = 0
        self.stormy = True
        self.epochs_begun = 0
        self.said: dict[tuple[object, ...], bytes] = {}
        self.certified: dict[int, Digest] = {}
        self.requests: list[bytes] = []
        self.next_change = 0
        self.nodes = [Node(self, ReplicaId(number)) for number in range(NODES)]
        for node in self.nodes:
            node.start()

    def schedule(self, delay_ms: int, action: Callable[[], None]) -> None:
        self.scheduled += 1
        heapq.heappush(self.events, (self.now_ms + delay_ms, self.scheduled, action))

    def send(self, sender: int, to: int, packet: object) -> None:
        if sender == to:
            return
        copies = self.random.choices((0, 1, 2), (1, 18, 1))[0] if self.stormy else 1
        for _ in range(copies):
            delay_ms = self.random.randint(1, 60 if self.stormy else 8)
            node = self.nodes[to]
            self.schedule(delay_ms, lambda node=node: node.receive(ReplicaId(sender), packet))  # type: ignore[misc]

    def crashes(self) -> bool:
        return self.stormy and self.random.random() < 0.0004

    def advance(self, milliseconds: int) -> None:
        until = self.now_ms + milliseconds
        while self.events and self.events[0][0] <= until:
            self.now_ms, _, action = heapq.heappop(self.events)
            action()
        self.now_ms = until

    def check_sent(self, core: Core, me: ReplicaId, message: PeerMessage) -> None:
        """S6 over restarts and epochs; nothing is said in an epoch beyond its end."""
        if isinstance(message, Hello):
            return
        said = statement_of(message, core.replica_set)
        place = (me, core.epoch, said.vote_type, said.view)
        if said.vote_type not in (VoteType.VIEW_CHANGE, VoteType.NEW_VIEW):
            place = (*place, said.sequence)  # type: ignore[assignment]
            longest = max((node.chain for node in self.nodes), key=len)
            ends = [e.first for e in epochs_of(longest) if e.members.epoch == core.epoch + 1]
            assert not ends or said.sequence < ends[0], f"node {me} votes beyond its epoch"
        if not isinstance(message, PrePrepare) or said.replica == me:
            known = self.said.setdefault(place, said.digest)
            assert known == said.digest, f"S6: node {me} says two things in {place}"

    def check_final(
        self, node: Node, height: int, block: Block, certificate: FinalityCertificate
    ) -> None:
        """S1, S2, S3: one block a height, with a quorum of the set of that height."""
        known = self.certified.setdefault(height, block.header_hash)
        assert known == block.header_hash, f"S1: two blocks are final at {height}"
        members = [e for e in epochs_of(node.chain[:height]) if e.first <= height][-1].members
        place = (VoteType.CHECKPOINT, View(0), SequenceNumber(height))
        signed = vote_bytes(members, *place, block.header_hash)
        signers = {
            number
            for number, signature in certificate.signatures
            if number not in members.jailed
            and verify(members.members[number].public_key, signed, signature)
        }
        needed = -(-2 * members.size // 3)
        assert len(signers) >= needed, f"S3: block {height} on {len(signers)} votes of its set"

    # --- Clients and faults ---

    def submit(self) -> None:
        """Ordinary requests, and the next change once the one before is in force somewhere."""
        longest = max((node.blocks for node in self.nodes), key=len)
        in_force = epochs_of(longest)[-1].first <= len(longest) + 1
        ordered = {request for block in longest for request in block.batch.transactions}
        if (
            in_force
            and ordered.issuperset(CHANGES[: self.next_change])
            and (self.next_change < len(CHANGES))
        ):
            self.requests.append(CHANGES[self.next_change])
            self.next_change += 1
        if self.stormy:
            self.requests.append(b"request %d" % len(self.requests))
        for request in self.requests:
            for node in self.nodes:
                if self.random.random() < 0.9:
                    node.request(request)
        self.schedule(self.random.randint(100, 400), self.submit)

    def fault(self) -> None:
        """At most one of the present members is down at a time, and any learner."""
        if not self.stormy:
            return
        for node in self.nodes:
            if node.core is None and self.random.random() < 0.7:
                node.start()
        if all(node.core is not None for node in self.nodes):
            self.random.choice(self.nodes).crash()
        self.schedule(self.random.randint(200, 900), self.fault)

    def all_final(self) -> bool:
        wanted = set(self.requests)
        done = ({r for b in node.blocks for r in b.batch.transactions} for node in self.nodes)
        return self.next_change == len(CHANGES) and all(wanted <= each for each in done)

    def play(self) -> None:
        self.submit()
        self.fault()
        self.advance(STORM_MS)
        self.stormy = False
        for node in self.nodes:
            if node.core is None:
                node.start()
        limit = self.now_ms + CALM_MS
        while not self.all_final():
            assert self.now_ms < limit, f"L1: after {self.next_change} changes {self.standing()}"
            self.advance(100)

    def standing(self) -> list[str]:
        return [
            f"{n.me}: {type(n.core).__name__} epoch {n.core and n.core.epoch} at {len(n.blocks)}"
            for n in self.nodes
        ]


@pytest.mark.req("G2-07-1", "G2-10-3", "G2-16-4")
@pytest.mark.parametrize("seed", range(6))
def test_p04_row27_sets_change_under_faults_and_every_request_becomes_final_everywhere(
    seed: int,
) -> None:
    run = Run(seed)
    run.play()
    assert run.epochs_begun >= len(CHANGES)


def test_the_same_seed_gives_the_same_run() -> None:
    """H1."""
    ends = []
    for _ in range(2):
        run = Run(5)
        run.play()
        ends.append((run.now_ms, run.scheduled, sorted(run.certified.items())))
    assert ends[0] == ends[1]
