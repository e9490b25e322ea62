"""One replica's surroundings: what driver, intake, ledger and the pool of requests are elsewhere.

Bytes that arrive go through production's frame reader, codec, authentication, admission and block
verification. Effects are in order; a machine can die between any two, what it wrote remains then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import MalformedError
from services.consensus import wire
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
    Reject,
    Send,
    ViewChanged,
)
from services.consensus.domain.epochs import Core, voting_key
from services.consensus.domain.messages import (
    BatchFetched,
    CertifiedElsewhere,
    Digest,
    EpochStarted,
    Executed,
    Hello,
    Message,
    PeerMessage,
    PrePrepare,
    Propose,
    Record,
    ReplicaId,
    RequestGone,
    RequestPending,
    SequenceNumber,
    Tick,
)
from services.consensus.domain.replica import Replica
from services.consensus.epochs import Epochs
from services.consensus.gate import useless_now
from services.consensus.store import FatalStorageError
from tests.simulation.byzantine.liar import Framed, Late, Liar, Out, Raw, round_of
from tests.simulation.disk import Disk
from tests.simulation.durable import Durable
from tests.simulation.fetching import Fetching
from tests.simulation.once import bytes_of, frame_of
from tests.simulation.requests import Requests
from tests.simulation.restoring import Restoring
from tests.simulation.stored import StoredLedger

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

TICK_MS: Final = 50
COMPACT_AT_RECORDS: Final = 200
HELD_MAX: Final = 3_000
LEDGER_INPUTS: Final = (Executed, CertifiedElsewhere, RequestGone, RequestPending)


class Machine:
    """A replica with its disk; `core` is None while it is down. `number` tells copies of one
    replica apart (B2), `me` is what they all sign as.
    """

    def __init__(self, cluster: Cluster, number: int, me: ReplicaId, liar: Liar | None) -> None:
        self.cluster = cluster
        self.number = number
        self.me = me
        self.liar = liar
        self.core: Core | None = None
        self.clock = cluster.new_clock()
        self.disk = Disk(cluster.fired)
        self.paused = self.lost = False
        self.held: list[tuple[ReplicaId, bytes]] = []
        self.stopped: list[Callable[[], None]] = []
        self.known: set[bytes] = set()
        self.life = 0
        self.restoring: Restoring | None = None
        self.fetching = Fetching(self)
        self.ledger: Durable
        self.start()

    # --- Life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Recover from what was written and begin to tick."""
        cluster = self.cluster
        if self.core is not None or self.lost or cluster.refuses_to_start(self.number):
            return
        self.life += 1
        try:
            self.ledger = cluster.open_ledger(self.number)
        except FatalStorageError as error:
            self.disk.stopped_by(error)
            return
        cluster.checkers.on_started(self)
        self.requests = Requests(self)
        self.wanted: dict[SequenceNumber, Digest] = {}
        self.deferred: list[Message] = []
        self.peer_heights: dict[ReplicaId, int] = {}
        self.busy_until_ms = self.ticked_ms = 0
        self.disk.is_paused = False
        self.restoring = self._restoring()
        self._recover()
        self._later(cluster.random.randint(1, TICK_MS), self._tick)

    def take_part(self) -> None:
        """What was missing is back: go on from what is stored now."""
        self.restoring = None
        self._recover()

    def _restoring(self) -> Restoring | None:
        if not (isinstance(self.ledger, StoredLedger) and self.ledger.must_restore):
            return None
        if self.liar is None:
            return Restoring(self, self.ledger)
        self.ledger.end_silence()  # A liar that forgot its votes does not keep silent.
        return None

    def _recover(self) -> None:
        cluster = self.cluster
        signers, parameters = cluster.config_of(self.number)
        epochs = Epochs(self.me, self.ledger, signers, parameters, self.clock.read)
        records = epochs.records()
        self.appended = len(records)
        self.known.update(map(bytes_of, records))  # What is read back is durable.
        self.core = core = epochs.open(records)
        if self.liar is not None:
            key = voting_key(core.replica_set, self.me)
            self.liar.enter(core.replica_set, None if key is None else signers.get(key))
        if cluster.judges(self):
            cluster.checkers.on_epoch(self, core)

    def _start_epoch(self) -> None:
        """The last height of an epoch is certified: go on with the next set, as the driver does."""
        if self.disk.is_paused:
            self._later(TICK_MS, self._start_epoch)
        elif self.restoring is None and self.core is not None and self.core.ended:
            self._recover()
            self.wanted.clear()
            self.step(Tick(self.clock.read()))
            self.requests.restart()

    def crash(self, *, power_cut: bool = False, torn: bool = False) -> None:
        """Lose what is in memory, and with the power also what was not made durable."""
        if self.core is not None:
            self.core = None
            self.held.clear()
            self.stopped.clear()
            self.life += 1
            self.cluster.torn = torn
            if power_cut:
                self.cluster.checkers.on_forgotten(self.number)
            self.ledger.close(power_cut=power_cut)

    def resume(self) -> None:
        """Go on after a pause: what came meanwhile is read now (SIGCONT)."""
        self.paused = False
        stopped, self.stopped = self.stopped, []
        for act in stopped:
            act()
        held, self.held = self.held, []
        for sender, data in held:
            self.receive(sender, data)

    def _later(self, delay_ms: int, action: Callable[..., None], *arguments: object) -> None:
        life = self.life

        def act() -> None:
            if self.life == life and self.core is not None:
                if self.paused:
                    self.stopped.append(act)
                else:
                    self._guarded(action, *arguments)

        self.cluster.schedule(delay_ms, act)

    def _guarded(self, action: Callable[..., None], *arguments: object) -> None:
        """Do it; a failed write or fsync stops the process."""
        try:
            action(*arguments)
        except FatalStorageError as error:
            torn = self.disk.stopped_by(error) == "torn_write"
            self.crash(power_cut=True, torn=torn)

    def _tick(self) -> None:
        core = self.core
        assert core is not None
        self.ticked_ms = self.cluster.now_ms
        self._later(TICK_MS, self._tick)
        if self.liar is not None:
            if self.liar.forgets(core):
                self.crash()
                self.cluster.wipe(self.number)
                self.start()
                return
            self.fetching.drip(self.liar)
            for out in self.liar.idle(core):
                for to in range(self.cluster.nodes):
                    self._put_out(ReplicaId(to), out)
        if not self.disk.look():
            if self.restoring is not None:
                self.restoring.turn()
            self.step(Tick(self.clock.read()))
            self.requests.resend()

    # --- What comes in ------------------------------------------------------------------------

    def receive(self, sender: ReplicaId, data: bytes) -> None:
        """A frame that the network delivers; `sender` is who the link says it is."""
        core = self.core
        if core is None:
            return
        if self.paused:
            if len(self.held) < HELD_MAX:
                self.held.append((sender, data))
            return
        self.cluster.trace_frame(data)
        try:
            frame = self.cluster.read_frame(data, core.epoch)
        except MalformedError as error:
            return self.cluster.refuse(self, sender, repr(error), data)
        except wire.OtherEpochError:
            return self.cluster.refuse_epoch(self, sender, data)
        if isinstance(frame, peer_pb2.TransactionGossip):
            self._guarded(self.requests.receive, sender, frame.transactions)
        elif isinstance(frame, PeerMessage):
            self._guarded(self._receive_message, core, sender, frame, data)
        else:
            self._guarded(self._receive_other, core, sender, frame, data)

    def _receive_other(self, core: Core, sender: ReplicaId, frame: wire.Frame, data: bytes) -> None:
        match frame:
            case peer_pb2.BatchRequest():
                batch = core.batch(Digest(frame.digest))
                if batch is not None:
                    self.send_frame(sender, wire.batch_response_frame(frame.sequence, batch))
            case BatchFetched():
                if self.wanted.get(frame.sequence) == frame.batch.digest():
                    self.step(frame)
            case peer_pb2.BlockRequest():
                self.fetching.answer_blocks(sender, frame)
            case peer_pb2.BlockResponse():
                self.fetching.take_blocks(sender, frame, data)
            case peer_pb2.StateRequest() | peer_pb2.StateResponse():
                self.fetching.on_state_frame(sender, frame, data)

    def request(self, encoded: bytes, source: ReplicaId | None = None) -> None:
        """A client's transaction arrives, from himself or passed on by a peer."""
        if self.core is None or self.restoring is not None or self.paused:
            return
        if self.disk.is_paused or self.requests.pool.knows(encoded):
            return
        last = self.ledger.header(self.ledger.last_height)
        time_ms = max(self.clock.read(), last.block_time_ms)
        admitted = self.cluster.admission.admit(encoded, self.ledger.last_height, time_ms)
        if admitted is not None:
            self._guarded(self.requests.add, admitted, source)

    def _receive_message(
        self, core: Core, sender: ReplicaId, message: PeerMessage, data: bytes
    ) -> None:
        if self.liar is not None:
            self._put_out(sender, *self.liar.hear(message, core))
        if isinstance(message, Hello):
            self.peer_heights[sender] = message.certified
            self.step(message, sender)
            return
        reject = self.cluster.authenticate(self, core, message, sender, data)
        if reject is not None:
            self.cluster.refuse(self, sender, reject.reason, data)
            return
        if isinstance(message, PrePrepare):
            window = self.cluster.parameters.window
            if useless_now(core, message, window=window) is not None:
                return  # As the intake: its batch is not judged.
            refused = self.cluster.admission.refusal_of(message)
            if refused is not None:
                self.step(refused)
                return
        self.step(message, sender)

    # --- Steps and effects --------------------------------------------------------------------

    def step(self, message: Message, sender: ReplicaId | None = None) -> None:
        """One step of the core, its effects, and what the driver offers after it."""
        if self.core is None or self.restoring is not None:
            return
        if self.disk.is_paused:
            # The core must hear of every block, in order; all else is dropped meanwhile.
            if isinstance(message, LEDGER_INPUTS):
                self.deferred.append(message)
            return
        deferred, self.deferred = self.deferred, []
        for earlier in deferred:
            self._step(earlier, self.me)
        self._step(message, self.me if sender is None else sender)

    def _step(self, message: Message, sender: ReplicaId) -> None:
        core, cluster = self.core, self.cluster
        if core is None:
            return
        cluster.trace(self.number, message)
        judged = core if isinstance(core, Replica) and cluster.judges(self) else None
        if judged is not None:
            cluster.checkers.before_step(self, judged, message)
        effects = core.step(sender, message)
        if judged is not None:
            cluster.checkers.after_step(self, judged, message, effects)
        if effects:
            self._perform(core, effects)
        if self.core is core:
            self._after(core, judged)

    def _after(self, core: Core, judged: Replica | None) -> None:
        """The core that stepped is still the machine's."""
        if judged is not None:
            self.cluster.checkers.on_step(self, judged)
        if core.ended:
            self._later(0, self._start_epoch)  # After all that this step led to.
        elif core.may_propose and not self.disk.is_paused:
            self._propose(core)

    def _propose(self, core: Core) -> None:
        time_ms = max(self.clock.read(), core.block_time_min_ms)
        high = core.low_watermark + self.cluster.parameters.window
        most = self.cluster.scenario.batch_max
        fresh = self.requests.pool.take(most, high, time_ms)
        self.cluster.fired[f"full batch of {most}"] += len(fresh) == most
        fills = self.liar is not None and self.liar.fills(core)
        if not fresh and not core.heartbeat_due and not fills:
            return
        batch = Batch(time_ms, tuple(fresh))
        if self.liar is not None:
            batch = self.liar.proposal(batch, core)
        if batch.transactions or core.heartbeat_due or fills:
            self.step(Propose(batch))

    def _perform(self, core: Core, effects: list[Effect]) -> None:
        """In order; records that follow one another become durable together."""
        pending: list[Record] = []
        for effect in effects:
            if self.cluster.crashes_now():
                self.crash()
            if self.core is not core:
                return
            if isinstance(effect, Persist):
                self._check(core, effect)
                pending.append(effect.record)
                continue
            self._write(core, pending)
            pending = []
            self._check(core, effect)
            self._perform_one(core, effect)
        if self.core is core:
            self._write(core, pending)

    def _check(self, core: Core, effect: Effect) -> None:
        if self.cluster.judges(self):
            self.cluster.checkers.on_effect(self, core, effect)

    def _write(self, core: Core, records: list[Record]) -> None:
        """Make records durable, and every so often keep only those that still matter."""
        if not records:
            return
        self.cluster.fail_if_told(self)
        self.ledger.append(core.epoch, records)
        self.known.update(map(bytes_of, records))
        self.appended += len(records)
        if self.appended > COMPACT_AT_RECORDS and self.cluster.scenario.compacts:
            needed, epoch = core.records(), core.epoch
            self.ledger.compact([EpochStarted(epoch, self.ledger.view_floor(epoch)), *needed])
            self.appended = len(needed)

    def _perform_one(self, core: Core, effect: Effect) -> None:
        match effect:
            case Broadcast(message):
                self.broadcast(message)
            case Send(to, message):
                self._put_message(to, message)
            case Execute(sequence, batch):
                now_ms = self.cluster.now_ms
                done_ms = max(self.busy_until_ms, now_ms) + self.cluster.random.randint(0, 5)
                done_ms += self.cluster.disk_delay_ms(self.number)
                self.busy_until_ms = done_ms
                self._later(done_ms - now_ms, self._executed, sequence, batch)
            case Certified(sequence, certificate):
                if sequence > self.ledger.last_certified:
                    self.ledger.certify(sequence, certificate)
                    self.announce(sequence)
            case _:
                self._perform_rare(effect)

    def _perform_rare(self, effect: Effect) -> None:
        cluster = self.cluster
        match effect:
            case FetchBatch(sequence, digest, holders):
                cluster.counts["batches_fetched"] += 1
                self.wanted[sequence] = digest
                self.fetching.ask_for_batch(sequence, digest, holders)
            case FetchBlocks(first, last, source):
                self.send_frame(source, wire.block_request_frame(first, last))
            case ViewChanged():
                cluster.counts["view_changes"] += 1
                self.requests.enter_view()
            case Evidence():
                cluster.on_evidence(self, effect)
            case Reject():
                cluster.counts["rejects"] += 1
            case Halt(_, reason):
                cluster.on_halt(self, reason)
            case _:
                raise AssertionError(f"an effect that nobody performs: {effect!r}")

    # --- What goes out ------------------------------------------------------------------------

    def broadcast(self, message: PeerMessage) -> None:
        frame: bytes | None = None
        for number in range(self.cluster.nodes):
            to = ReplicaId(number)
            if to == self.me:
                continue
            if self.liar is not None:
                self._put_message(to, message)
            else:
                frame = self._frame(message) if frame is None else frame
                self.cluster.send(self, to, frame, round_of(message))

    def _put_message(self, to: ReplicaId, message: PeerMessage) -> None:
        self._put_out(to, *([message] if self.liar is None else self.liar.outgoing(to, message)))

    def _put_out(self, to: ReplicaId, *outs: Out) -> None:
        for out in outs:
            match out:
                case Raw(data, keep_from):
                    if to != keep_from:
                        self.send_frame(to, data)
                case Framed(message, epoch):
                    self.send_frame(to, self._frame(message, epoch))
                case Late(delay_ms, message):
                    self._later(delay_ms, self._put_out, to, message)
                case _:
                    self.cluster.send(self, to, self._frame(out), round_of(out))

    def _frame(self, message: PeerMessage, epoch: int | None = None) -> bytes:
        """The message in a frame of its core's epoch, where no other is given."""
        if epoch is None:
            assert self.core is not None, "whoever speaks is up"
            epoch = self.core.epoch
        if not isinstance(message, Hello):
            self.cluster.checkers.on_sent(self.me, message, epoch)
        return frame_of(message, epoch)

    def send_frame(self, to: ReplicaId, frame: bytes) -> None:
        self.cluster.send(self, to, frame)

    # --- The ledger ---------------------------------------------------------------------------

    def _executed(self, sequence: SequenceNumber, batch: Batch) -> None:
        ledger = self.ledger
        if sequence > ledger.last_height:
            assert sequence == ledger.last_height + 1, "batches are executed in order"
            ledger.execute(batch)
            self.after_execution(sequence)
        header = ledger.header(sequence)
        if header.batch_digest != batch.digest():
            self.cluster.on_halt(self, f"block {sequence} was executed from another batch")
            return
        self.step(Executed(sequence, Digest(header.hash()), ledger.epoch_end(header.epoch)))

    def after_execution(self, height: int) -> None:
        """Requests of the block are pending no longer."""
        done = self.requests.pool.executed(self.ledger.block(height))
        self.requests.gone(done, executed=True)

    def on_adopted(self, height: int) -> None:
        """A state came instead of the blocks up to here."""
        self.cluster.on_adopted(self, height)
        self.requests = Requests(self)

    def announce(self, height: int) -> None:
        """A certificate is kept: clients hear of the block."""
        self.cluster.on_final(self, height)
        header = self.ledger.header(height)
        expired = self.requests.pool.expired(height, header.block_time_ms)
        self.requests.gone(expired, executed=False)
