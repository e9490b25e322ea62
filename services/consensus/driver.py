"""The loop around the core: inbox -> `Replica.step` -> perform the effects, in order.

One task owns the replica and the mempool. A turn takes everything that waits, steps each, writes
all records with one fsync, and only then sends; execution runs beside it, strictly in order. A
failed write stops the process; a header that contradicts a certified one halts the replica.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.batch import Batch
from services.consensus import wire
from services.consensus.batches import BatchTracker, is_told_enough
from services.consensus.compaction import Compaction
from services.consensus.divergence import Divergence, divergence_of
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
from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.messages import (
    BatchFetched,
    CertifiedElsewhere,
    Digest,
    Executed,
    Hello,
    Message,
    NewView,
    PeerMessage,
    PrePrepare,
    Record,
    ReplicaId,
    RequestGone,
    RequestPending,
    SequenceNumber,
    Tick,
)
from services.consensus.domain.replica import Replica
from services.consensus.epochs import Epochs
from services.consensus.evidence import EvidenceFolder
from services.consensus.finality import FinalityBoard
from services.consensus.gate import useless_now
from services.consensus.jobs import DiskWatch, Pause, first_pause
from services.consensus.ledger import Ledger
from services.consensus.ledger_work import LedgerWork, without_effect
from services.consensus.mempool import Addition, Mempool
from services.consensus.metrics import ReplicaMetrics
from services.consensus.pacing import AdmissionLimit
from services.consensus.passing_on import knows_signers, pass_on, peer_share
from services.consensus.peers import Links
from services.consensus.proposer import Proposer, is_owed
from services.consensus.refusals import Reason
from services.consensus.store.state_intake import Snapshot
from services.consensus.timers import RequestTimers

INBOX_MAX: Final = 20_000
TURN_INPUTS_MAX: Final = 500
TICK_SECONDS: Final = 0.05
TICKS_A_REVIEW: Final = 10
EVIDENCE_CHARACTERS_MAX: Final = 4_000

LEDGER_INPUTS: Final = (Executed, CertifiedElsewhere, RequestGone, RequestPending)

_log = structlog.get_logger(__name__)


class Driver:
    """One replica at work. `run` lasts until it is cancelled or something fatal happens."""

    def __init__(
        self,
        *,
        epochs: Epochs,
        ledger: Ledger,
        evidence: EvidenceFolder,
        links: Links,
        mempool: Mempool,
        finality: FinalityBoard,
        metrics: ReplicaMetrics,
        now_ms: Callable[[], int],
    ) -> None:
        records = epochs.records()
        self.replica = epochs.open(records)
        self.me = epochs.me
        self.mempool = mempool
        self.finality = finality
        self.pause = first_pause(ledger)
        self._disk = DiskWatch(ledger)
        self._epochs = epochs
        self._evidence = evidence
        self._ledger = ledger
        self._links = links
        self._metrics = metrics
        self._now_ms = now_ms
        self._parameters = ledger.genesis.parameters
        self._tracker = BatchTracker()
        self._inbox: deque[tuple[ReplicaId, Message]] = deque()
        self._wake = asyncio.Event()
        self.peer_heights: dict[ReplicaId, int] = {}
        self.admission_limit = AdmissionLimit()
        self._hellos: dict[ReplicaId, Hello] = {}
        self._proposer = Proposer(
            self.replica, self.me, mempool, self._tracker, self._parameters, now_ms, self._wake
        )
        self._timers = RequestTimers(
            mempool,
            self.put_own,
            self._is_owed,
            pass_on=self._pass_on,
            clock_ms=lambda: int(asyncio.get_running_loop().time() * 1_000),
            resend_ms=epochs.parameters.resend_ms,
        )
        self._ledger_work = LedgerWork(
            ledger=ledger,
            tracker=self._tracker,
            mempool=mempool,
            timers=self._timers,
            finality=finality,
            metrics=metrics,
            tell=self.put_own,
            on_executed=self._after_execution,
            on_halt=self.halt,
        )
        self._compaction = Compaction(ledger)
        self._compaction.start(self.replica)
        self._recover_tracker(records)

    # --- What the intake and the API call ----------------------------------------------------

    def put(self, sender: ReplicaId, message: PeerMessage | BatchFetched) -> bool:
        """An authenticated message; False where a full inbox drops it."""
        if len(self._inbox) >= INBOX_MAX:
            self._metrics.refusals.count(sender, Reason.UNREADY)
            return False
        self._inbox.append((sender, message))
        self._wake.set()
        return True

    def waiting(self) -> Iterator[tuple[ReplicaId, Message]]:
        """What was put and the core has not stepped on yet, in the order in which it will."""
        return iter(self._inbox)

    def put_hello(self, sender: ReplicaId, message: Hello) -> None:
        """Where a peer says it stands: unsigned, so only a hint, and only the latest counts."""
        self.peer_heights[sender] = message.certified
        self._hellos[sender] = message
        self._wake.set()

    def put_own(self, message: Message) -> None:
        """A local input. Never dropped: their number is bounded by what they answer."""
        self._inbox.append((self.me, message))
        self._wake.set()

    def put_pre_prepare(
        self,
        sender: ReplicaId,
        message: PrePrepare,
        transactions: Sequence[AdmittedTransaction],
    ) -> None:
        """An authenticated pre-prepare whose batch passed admission. Only the first for its place
        is tracked: others hold up neither memory nor transactions.
        """
        waiting = (each for _, each in self._inbox)
        if not self.could_accept(message) or is_told_enough(message, waiting):
            self._metrics.refusals.count(sender, Reason.UNASKED)
            return
        place = (message.view, message.sequence, message.digest)
        fresh = self.put(sender, message) and message.sequence > self.replica.executed
        if fresh and self._tracker.add(*place, transactions):
            self.mempool.mark_proposed(each.id for each in transactions)

    def put_fetched(self, message: BatchFetched, held: Sequence[AdmittedTransaction]) -> None:
        """A batch that peers were asked for, and the transactions in it."""
        self._tracker.note_read(message, held)
        self.put(self.me, message)

    def could_accept(self, message: PrePrepare) -> bool:
        """Whether the core would look at this pre-prepare now: of its view, within its window."""
        low = self.replica.low_watermark
        in_window = low < message.sequence <= low + self._parameters.window
        return in_window and message.view == self.replica.view

    def wanted_batch(self, sequence: SequenceNumber) -> Digest | None:
        """The digest of the batch that peers were asked for at `sequence`, if they were."""
        return self._tracker.wanted(sequence)

    def offer(self, offers: Sequence[tuple[AdmittedTransaction, int | None]]) -> list[Addition]:
        """Admitted transactions, for ordering, each with its source: a peer, or None."""
        share = peer_share(self.admission_limit.value, self.replica.replica_set.size)
        additions = [
            self.mempool.add(each, self._now_ms(), source, None if source is None else share)
            for each, source in offers
        ]
        self.mempool.mark_proposed(each.id for each, _ in offers if each.id in self._tracker)
        self._start_timers()
        return additions

    def offer_blocks(self, blocks: Sequence[VerifiedBlock]) -> bool:
        """Verified blocks from a peer, in order. False when enough of them wait already."""
        return self._ledger_work.offer_blocks(blocks)

    @property
    def due_block(self) -> int | None:
        """The height of the first block that is not offered yet; None: none may be taken now."""
        work = self._ledger_work
        if not work.takes_blocks or self.pause in (Pause.DISK_FULL, Pause.HALTED):
            return None
        return max(self._ledger.store.last_certified, work.offered_to) + 1

    def adopt_state(self, snapshot: Snapshot) -> None:
        """Go on from a state that was taken, before the replica takes part."""
        assert self.pause is Pause.RESTORING, "a core that votes goes on from its own head"
        self._ledger_work.adopt(snapshot)

    def note_restored(self, height: int, batch: Batch) -> None:
        """The block came back from the replica's own segments."""
        self._ledger_work.note_restored(height, batch)

    def stop_to_restore(self) -> None:
        """Nobody gives the blocks that are missed: take no part until what is missing is here."""
        if self.pause is Pause.NONE:
            self.pause = Pause.RESTORING

    def resume(self) -> bool:
        """What was missing is back: take part, from what is stored now. False where the replica
        does not wait for that alone: it was halted meanwhile, or the disk is full.
        """
        if self.pause is not Pause.RESTORING:
            return False
        self._take_over()
        self.pause = Pause.NONE
        return True

    def compact_soon(self) -> None:
        """Write the records that matter again: some of the old ones are damaged."""
        self._compaction.ask()

    @property
    def votes(self) -> bool:
        """Whether the replica takes part in consensus."""
        return self.pause is Pause.NONE

    @property
    def restores(self) -> bool:
        """Whether something is missing, also while the disk has no room for it."""
        return self._disk.goes_on_as(self.pause) is Pause.RESTORING

    @property
    def catching_up(self) -> bool:
        """Whether f + 1 others, so at least one honest one, are more than a window ahead of us; or
        so few have said where they stand that it is not known.
        """
        present = self.replica.replica_set
        heights = [said for peer, said in self.peer_heights.items() if peer < present.size]
        heights.sort(reverse=True)
        faulty_max = present.faulty_max
        if len(heights) <= faulty_max:
            return True
        return heights[faulty_max] > self._ledger.store.last_certified + self._parameters.window

    # --- Tasks -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Step, execute and tick until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._step_loop())
            tasks.create_task(self._ledger_work.run())
            tasks.create_task(self._tick_loop())

    async def _step_loop(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            effects: list[Effect] = []
            inputs = deque(self._take_inputs())
            while inputs and not self.replica.ended:
                effects += self._step(*inputs.popleft())
            self._inbox.extendleft(reversed(inputs))
            if self.votes:
                effects += self._proposer.propose()
            if self._inbox and self.votes:
                self._wake.set()
            await self._perform(effects)
            if self.replica.ended and self.votes:
                await self._start_epoch()
            await self._compact_records()
            # A turn without records never waits; the other tasks must get theirs.
            await asyncio.sleep(0)

    def _take_inputs(self) -> list[tuple[ReplicaId, Message]]:
        """The inputs of the next turn. While the disk is full, what the ledger did is kept (the
        core must hear of every block, in order) and everything else is dropped.
        """
        hellos, self._hellos = self._hellos, {}
        if self.votes:
            count = min(len(self._inbox), TURN_INPUTS_MAX)
            return [*hellos.items(), *(self._inbox.popleft() for _ in range(count))]
        kept = [entry for entry in self._inbox if isinstance(entry[1], LEDGER_INPUTS)]
        self._inbox.clear()
        if self.pause is Pause.DISK_FULL:
            self._inbox.extend(kept)
        return []

    async def _tick_loop(self) -> None:
        for number in itertools.count():
            now_ms = self._now_ms()
            self._ledger.store.check_index()
            self.pause = self._disk.judge(self.pause)
            self.put_own(Tick(now_ms))
            if self.mempool.stop_waiting(now_ms):
                self._start_timers()
            self._timers.resend()
            if number % TICKS_A_REVIEW == 0:
                self._timers.review()
                self._metrics.observe(self.replica, self.mempool, self._links, self.pause)
                self._metrics.index_bytes.set(self._ledger.store.index_bytes)
            await asyncio.sleep(TICK_SECONDS)

    # --- The core ----------------------------------------------------------------------------

    def _step(self, sender: ReplicaId, message: Message) -> list[Effect]:
        if isinstance(message, NewView):
            self._tracker.note_new_view(message)
        if isinstance(message, BatchFetched):
            fetched = self._tracker.take_missing(message, self.replica.view)
            self.mempool.mark_proposed(each.id for each in fetched)
        if sender != self.me and isinstance(message, PeerMessage):
            useless = useless_now(self.replica, message, window=self._parameters.window)
            if useless is not None:
                self._metrics.refusals.count(sender, useless)
        return self.replica.step(sender, message)

    # --- Effects -----------------------------------------------------------------------------

    async def _perform(self, effects: Sequence[Effect]) -> None:
        records = [effect.record for effect in effects if isinstance(effect, Persist)]
        certified = [effect for effect in effects if isinstance(effect, Certified)]
        new: list[int] = []
        if records or certified:
            new = await self._ledger.append(self.replica.epoch, records, certified)
        for effect in effects:
            self._perform_one(effect)
        for height in new:
            self._ledger_work.announce(height)

    async def _compact_records(self) -> None:
        if self.votes and self._compaction.is_due(self.replica):
            await self._compaction.write(self.replica)

    async def _start_epoch(self) -> None:
        """The last height of an epoch is certified: go on with the next set, from its first view.
        Votes that came meanwhile are sent again.
        """
        await self._ledger_work.settled()
        self._take_over()
        self._inbox = deque(entry for entry in self._inbox if isinstance(entry[1], LEDGER_INPUTS))
        self._inbox.appendleft((self.me, Tick(self._now_ms())))
        core = self.replica
        _log.warning(
            "epoch.started",
            epoch=core.epoch,
            first_height=core.low_watermark + 1,
            replicas=core.replica_set.size,
            votes=isinstance(core, Replica),
            jailed=list(core.replica_set.jailed),
        )

    def _take_over(self) -> None:
        """Another core goes on from what is stored now; it was told nothing yet."""
        records = self._epochs.records()
        self.replica = self._epochs.open(records)
        self._compaction.start(self.replica)
        self._proposer.start_epoch(self.replica)
        self._tracker.start_epoch()
        self._offer_again(self._recover_tracker(records))
        self._timers.restart()

    def _perform_one(self, effect: Effect) -> None:
        match effect:
            case Persist() | Certified():
                pass
            case Broadcast(message):
                if isinstance(message, NewView):
                    self._tracker.note_new_view(message)
                frame = wire.message_frame(message, self.replica.epoch)
                self._links.broadcast(frame, latest=isinstance(message, Hello))
            case Send(to, message):
                self._links.send(to, wire.message_frame(message, self.replica.epoch))
            case Execute(sequence, batch):
                self._ledger_work.execute(sequence, batch)
            case _:
                self._perform_rare(effect)

    def _perform_rare(self, effect: Effect) -> None:
        match effect:
            case FetchBatch(sequence, digest, holders):
                self._tracker.want(sequence, digest)
                frame = wire.batch_request_frame(sequence, digest)
                for holder in holders:
                    if holder != self.me:
                        self._links.send(holder, frame)
            case FetchBlocks(first, last, source):
                self._links.send(source, wire.block_request_frame(first, last))
            case ViewChanged():
                self._enter_view(effect)
            case _:
                self._report(effect)

    def _enter_view(self, effect: ViewChanged) -> None:
        """What the new view dropped is offered again, what it carries on is not."""
        _log.info("view.changed", view=effect.view, primary=effect.primary)
        self._metrics.view_changes.inc()
        self._offer_again(self._tracker.enter_view(effect.view, self.replica.executed))
        self._timers.enter_view()

    def _offer_again(self, carried: set[bytes]) -> None:
        self.mempool.return_proposed(carried)
        self.mempool.mark_proposed(carried)
        self._wake.set()

    def _report(self, effect: Effect) -> None:
        match effect:
            case Reject(sender, why, certain):
                reason = Reason.PROTOCOL if certain else Reason.CLOCK
                self._metrics.refusals.count(sender, reason, why)
            case Evidence(culprit, offence):
                replica_set = self.replica.replica_set
                if self._evidence.keep(replica_set, effect):
                    _log.error(
                        "evidence.found",
                        replica=culprit,
                        entity=replica_set.members[culprit].entity_id,
                        offence=type(offence).__name__,
                        proof=repr(offence)[:EVIDENCE_CHARACTERS_MAX],
                    )
                self._metrics.evidence.labels(replica=str(culprit)).inc()
            case Halt():
                self.halt(divergence_of(effect, self._ledger.store.get_header(effect.sequence)))
            case _:
                raise AssertionError(f"an effect that nobody performs: {effect!r}")

    def halt(self, divergence: Divergence) -> None:
        """Vote no more, not after a restart either. What is stored stays readable; both headers
        are kept; people must look.
        """
        self.pause = Pause.HALTED
        self._ledger.divergence.keep(divergence)
        _log.critical("replica.halted", reason=str(divergence))

    def _after_execution(self, sequence: int, ids: Sequence[bytes]) -> None:
        """The transactions of this block need no ordering any more."""
        self._tracker.forget_executed(SequenceNumber(sequence))
        self._proposer.note_executed(sequence)
        back = without_effect(self._ledger, self.mempool, sequence)
        if back:
            self.mempool.give_back(back)
        done = self.mempool.remove([each for each in ids if each not in back])
        self._timers.stop(done, executed=True)
        backlog, now = self.mempool.ready_count > 0, asyncio.get_running_loop().time()
        self.admission_limit.note_executed(len(ids), backlog=backlog, now=now)
        self._start_timers()

    def _start_timers(self) -> None:
        self._timers.start()
        self._wake.set()

    def _is_owed(self, transaction: AdmittedTransaction) -> bool:
        low_watermark, now_ms = self.replica.low_watermark, self._now_ms()
        owed = is_owed(transaction, self._parameters, low_watermark, now_ms)
        return owed and knows_signers(self._ledger, transaction)

    def _pass_on(self, transactions: Sequence[AdmittedTransaction]) -> None:
        core, primary = self.replica, self.replica.primary
        passes = isinstance(core, Replica) and primary != self.me
        pass_on(self._links, self.mempool, transactions, primary=primary if passes else None)

    def _recover_tracker(self, records: Sequence[Record]) -> set[bytes]:
        core = self.replica
        return self._tracker.recover(records, core.view, core.executed)
