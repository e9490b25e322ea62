"""One PBFT replica: a pure, synchronous state machine over messages and effects.

It joins the parts: ordering in a view, checkpoints that certify what was executed, suspicion of the
primary, view changes. No I/O, clock or chance: the same state and message give the same effects,
always. Every vote is persisted in the list of effects before the effect that sends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, assert_never

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.checkpoint import Checkpoints
from services.consensus.domain.effects import (
    Broadcast,
    Effect,
    Evidence,
    InvalidBatch,
    InvalidNewView,
    Persist,
    Reject,
    ViewChanged,
)
from services.consensus.domain.fetching import Fetching
from services.consensus.domain.hearsay import Hearsay
from services.consensus.domain.held_votes import HeldVotes
from services.consensus.domain.later import Later, Ordered
from services.consensus.domain.messages import (
    BatchFetched,
    BatchRefused,
    CertifiedElsewhere,
    CertifiedHead,
    Checkpoint,
    Commit,
    Digest,
    Executed,
    Hello,
    LocalInput,
    Message,
    NewView,
    PeerHeight,
    PeerMessage,
    Prepare,
    PrePrepare,
    Propose,
    ProtocolParameters,
    Record,
    ReplicaId,
    RequestGone,
    RequestPending,
    SequenceNumber,
    Tick,
    View,
    ViewChange,
)
from services.consensus.domain.ordering import Ordering
from services.consensus.domain.said_before import SaidBefore, beside
from services.consensus.domain.signer import Sign, Signer
from services.consensus.domain.suspicion import Suspicion
from services.consensus.domain.view_change import (
    ViewChanges,
    base_of,
    chosen_batches,
    new_view_fault,
    second_new_view,
)

FIRST_VIEW: Final = View(0)
GENESIS: Final = SequenceNumber(0)


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
        epoch_end: SequenceNumber | None = None,
        base: SequenceNumber = GENESIS,
    ) -> None:
        assert 0 <= me < replica_set.size, "a replica is a member of its set"
        assert me not in replica_set.jailed, "a jailed replica does not vote"
        if head.sequence == base:
            head = replace(head, certificate=None)  # It is of another set; nobody asks for it.
        self.base = base
        self._signer = Signer(me, replica_set, sign)
        self.replica_set = replica_set
        self._parameters = parameters
        self._ordering = Ordering(self._signer, parameters, head, now_ms)
        self._checkpoints = Checkpoints(self._signer, parameters.window, head)
        self.held_votes = HeldVotes(self._ordering, self._checkpoints)
        self._view_changes = ViewChanges(me, replica_set)
        self._suspicion = Suspicion(parameters, now_ms)
        self._view = View(0)
        self._active = True
        self._suspects = False
        self._new_view: NewView | None = None
        self._refused_new_view: NewView | None = None
        self._hearsay = Hearsay(replica_set.epoch, parameters.resend_ms)
        self._later = Later(parameters.window, replica_set)
        self._said_before = SaidBefore(self._signer, self._ordering)
        self._resend_ms = now_ms
        self._low_at_resend = head.sequence
        self._fetching = Fetching(self._hearsay, head.sequence)
        self._end_epoch(epoch_end)

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
        view_floor: View = FIRST_VIEW,
        epoch_end: SequenceNumber | None = None,
        base: SequenceNumber = GENESIS,
    ) -> Replica:
        """The replica as it was when it wrote the last of `records`, all of this epoch; `head` is
        the last certified block that its store holds, `base` the height the epoch starts above.
        Where votes were lost it takes part in no view below `view_floor`, and in that one once it
        has its new-view.
        """
        replica = cls(
            me=me,
            replica_set=replica_set,
            parameters=parameters,
            sign=sign,
            head=head,
            now_ms=now_ms,
            epoch_end=epoch_end,
            base=base,
        )
        for record in records:
            replica._restore(record)
        if view_floor > replica._view:
            replica._view, replica._active = view_floor, False
            replica._ordering.voting = False
        return replica

    def step(self, sender: ReplicaId, message: Message) -> list[Effect]:
        """Advance by one authenticated message (local inputs come from the replica itself)."""
        if self._checkpoints.halted or self.ended:
            return []
        if isinstance(message, Tick):
            return self._on_tick(message.now_ms)
        if isinstance(message, PeerMessage):
            heard = self._said_before.hear(message, self._view)
            return beside(heard, self._on_peer(sender, message))
        assert sender == self._signer.me, "only its own driver gives a replica local inputs"
        if isinstance(message, Executed | CertifiedElsewhere) and message.sequence <= self.base:
            return []  # Of the epoch before, whose end is not this one's.
        return self._on_local(message)

    def batch(self, digest: Digest) -> Batch | None:
        """A batch that is not yet certified here, to answer a peer's `FetchBatch`."""
        held = (entry.batch(digest) for entry in self._ordering.entries.values())
        return next((batch for batch in held if batch is not None), None)

    def holds(self, view: View, sequence: SequenceNumber, signature: bytes) -> bool:
        """Whether it has accepted, with its batch, the proposal that bears this signature."""
        entry = self._ordering.entries.get(sequence)
        return view == self._ordering.view and entry is not None and entry.holds(signature)

    def records(self) -> list[Record]:
        """The records that still matter: what a compacted log must keep."""
        kept: list[Record] = [] if self._new_view is None else [self._new_view]
        kept += [*self._ordering.records(), *self._checkpoints.records()]
        own = self._view_changes.own
        return kept if own is None or self._active else [*kept, own]

    @property
    def view(self) -> View:
        """The view it is in, or waits for."""
        return self._view

    @property
    def active(self) -> bool:
        """Whether it takes part in `view`; False while it waits for the new-view."""
        return self._active

    @property
    def primary(self) -> ReplicaId:
        """The primary of `view`."""
        return self._signer.primary(self._view)

    @property
    def low_watermark(self) -> SequenceNumber:
        """The last certified height."""
        return self._checkpoints.head.sequence

    @property
    def executed(self) -> SequenceNumber:
        """The last executed height (certified or not)."""
        return self._checkpoints.executed

    @property
    def may_propose(self) -> bool:
        """Whether `Propose` is welcome now."""
        return not self.halted and self._ordering.may_propose()

    @property
    def heartbeat_due(self) -> bool:
        """Whether the driver should propose an empty batch, having nothing better."""
        quiet_ms = self._suspicion.now_ms - self._ordering.proposal_ms
        due = quiet_ms >= self._parameters.heartbeat_ms or self._ordering.nears_end
        return due and self.may_propose

    @property
    def block_time_min_ms(self) -> int:
        """The least block time that the next proposal may carry; only while `may_propose`."""
        floor = self._ordering.block_time_of(self._ordering.accepted_through)
        assert floor is not None, "asked only while the replica may propose"
        return floor

    @property
    def halted(self) -> bool:
        """Whether it stopped for good on a header that differs from a certified one."""
        return self._checkpoints.halted

    @property
    def epoch(self) -> int:
        """The epoch of its set."""
        return self.replica_set.epoch

    @property
    def ended(self) -> bool:
        """Whether the last height of its epoch is certified: the next set goes on from there."""
        end = self._ordering.epoch_end
        return end is not None and self.low_watermark >= end

    # --- Dispatch ---------------------------------------------------------------------------

    def _on_peer(self, sender: ReplicaId, message: PeerMessage) -> list[Effect]:
        match message:
            case PrePrepare() | Prepare() | Commit():
                return self._on_ordered(sender, message)
            case Checkpoint():
                return [*self._checkpoints.on_vote(message), *self._certify()]
            case ViewChange():
                return self._on_view_change(message)
            case NewView():
                return self._on_new_view(sender, message)
            case Hello():
                self._hearsay.hear(sender, message)
                # Votes of a peer beyond the window are of no use here, only its blocks are.
                catch_up = self._fetching.ask_at_once(self.low_watermark, self._ordering.high)
                new_view = self._new_view if self._active else None
                helped = self._hearsay.help(sender, new_view, self._suspicion.now_ms)
                return [*helped, *self._judge(), *catch_up]
            case _:
                assert_never(message)

    def _on_local(self, message: LocalInput) -> list[Effect]:
        match message:
            case Propose():
                return self._ordering.propose(message.batch)
            case Executed():
                self._end_epoch(message.epoch_end)
                voted = self._checkpoints.on_executed(message.sequence, message.header_hash)
                return [*voted, *self._certify()]
            case CertifiedElsewhere():
                return self._on_certified_elsewhere(message)
            case PeerHeight():
                self._hearsay.hear_height(message.peer, message.certified)
            case BatchFetched(sequence, batch):
                return self._ordering.on_batch(sequence, Digest(batch.digest()), batch)
            case BatchRefused():
                return self._on_batch_refused(message)
            case RequestPending() | RequestGone():
                self._suspicion.on_request(message)
        return []

    # --- Ordering and checkpoints -----------------------------------------------------------

    def _on_ordered(self, sender: ReplicaId, message: Ordered) -> list[Effect]:
        ordering = self._ordering
        if message.view > ordering.view:
            if not ordering.in_window(message.sequence):
                return []
            return self._later.keep(sender, message, self._view, self.low_watermark)
        match message:
            case PrePrepare():
                effects = ordering.on_pre_prepare(message)
                return effects if ordering.fault is None else effects + self._judge()
            case Prepare():
                return ordering.on_prepare(message)
            case Commit():
                return ordering.on_commit(message)

    def _certify(self) -> list[Effect]:
        """Certify as many heights as votes and execution allow, in order."""
        effects: list[Effect] = []
        for _ in range(self._parameters.window):
            entry = self._ordering.entries.get(SequenceNumber(self.low_watermark + 1))
            certified = self._checkpoints.certify_next(
                None if entry is None else entry.block_time_ms
            )
            effects += certified
            if not certified or self.halted or self.ended:
                break
            if self._active:
                self._suspicion.progress()
            effects += self._ordering.certified(self._checkpoints.head)
        return effects if self.halted or self.ended else effects + self._collect()

    def _on_certified_elsewhere(self, message: CertifiedElsewhere) -> list[Effect]:
        self._end_epoch(message.epoch_end)
        before = self.low_watermark
        effects = self._checkpoints.on_certified_elsewhere(message)
        if self.halted or self.ended or self.low_watermark == before:
            return effects
        effects += self._ordering.certified(self._checkpoints.head)
        effects += self._certify()
        # What was certified meanwhile nobody sends again: it has to be fetched, too.
        return effects + self._fetching.ask_at_once(self.low_watermark, self.low_watermark)

    def _end_epoch(self, end: SequenceNumber | None) -> None:
        """Learn where the epoch ends: nothing beyond is proposed or voted for in it.

        The block of a height h tells an end of at least h + window - 1, and whoever voted above
        that had executed the block of h: nobody voted beyond an end unawares (G5, R5).
        """
        if end is not None:
            assert end >= self._ordering.accepted_through, "nothing beyond it was accepted"
            self._ordering.epoch_end = self._checkpoints.epoch_end = end

    def _on_batch_refused(self, message: BatchRefused) -> list[Effect]:
        refused = message.pre_prepare
        primary = self._signer.primary(refused.view)
        heard = self._said_before.hear(refused, self._view)
        effects: list[Effect] = [
            *self._ordering.refuse(refused),
            Reject(primary, f"invalid batch: {message.reason}"),
            Evidence(primary, InvalidBatch(refused, message.reason, message.index)),
            *self._judge(),
        ]
        return beside(heard, effects)

    # --- Time -------------------------------------------------------------------------------

    def _on_tick(self, clock_ms: int) -> list[Effect]:
        under_way = self._ordering.accepted_through > self.low_watermark
        self._suspicion.tick(clock_ms, under_way=under_way)
        now_ms = self._ordering.now_ms = self._suspicion.now_ms
        self._ordering.clock_ms = clock_ms
        effects = self._judge()
        if now_ms >= self._resend_ms:
            self._resend_ms = now_ms + self._parameters.resend_ms
            effects += self._resend()
        return effects

    def _resend(self) -> list[Effect]:
        effects: list[Effect] = [Broadcast(self._hello())]
        if not self._active and self._view_changes.own is not None:
            effects.append(Broadcast(self._view_changes.own))
        effects += self._ordering.resend()
        effects += self._checkpoints.resend()
        low, before = self.low_watermark, self._low_at_resend
        self._low_at_resend = low
        return effects + self._fetching.ask(low, low if low == before else self._ordering.high)

    def _hello(self) -> Hello:
        return Hello(self._view, self._active, self._suspects, self.low_watermark, self.epoch)

    # --- View changes -----------------------------------------------------------------------

    def _judge(self) -> list[Effect]:
        """Suspect the primary if there is reason; leave the view once f + 1 replicas suspect."""
        effects: list[Effect] = []
        suspected, self._suspects = self._suspects, self._is_suspect()
        if self._suspects and not suspected:
            effects.append(Broadcast(self._hello()))
        agreed = self._suspects and self._suspecting() > self.replica_set.faulty_max
        if agreed or self._is_missed():
            effects += self._leave_for(View(self._view + 1))
        return effects

    def _is_missed(self) -> bool:
        """Whether f + 1 others wait in vain while this replica, at its floor, asked for no view."""
        mute = not self._active and not self._view_changes.asked(self._view)
        waiting = sum(map(self._hearsay.is_waiting, self._others())) if mute else 0
        return self._suspicion.others_wait_long(waiting > self.replica_set.faulty_max)

    def _is_suspect(self) -> bool:
        suspicion, ordering = self._suspicion, self._ordering
        if not self._active:
            refused = self._refused_new_view
            return suspicion.new_view_late() or bool(refused and refused.view == self._view)
        if ordering.fault is not None or suspicion.proposal_late(ordering.uncertified_since_ms()):
            return True
        if self._signer.is_primary(self._view):
            return False
        slow = suspicion.request_late() or suspicion.primary_slow()
        fills = ordering.empty_batches.too_many(suspicion.now_ms)
        return slow or fills or suspicion.heartbeats_missed(ordering.proposal_ms)

    def _suspecting(self) -> int:
        """How many replicas suspect this view or have left it, this one included."""
        return 1 + sum(map(self._has_left, self._others()))

    def _others(self) -> Iterator[ReplicaId]:
        absent = {self._signer.me, *self.replica_set.jailed}
        return (ReplicaId(each) for each in range(self.replica_set.size) if each not in absent)

    def _has_left(self, peer: ReplicaId) -> bool:
        asked = self._view_changes.view_of(peer) > self._view
        return asked or self._hearsay.has_left(peer, self._view)

    def _leave_for(self, view: View) -> list[Effect]:
        """From here on this replica takes no part in any view below `view`."""
        self._view, self._active, self._suspects = view, False, False
        self._ordering.voting = False
        self._suspicion.leave_view()
        head = self._checkpoints.head
        own = self._signer.view_change(
            view, head.sequence, head.certificate, self._ordering.prepared()
        )
        self._view_changes.add(own)
        return [Persist(own), Broadcast(own), *self._collect()]

    def _on_view_change(self, message: ViewChange) -> list[Effect]:
        effects = self._view_changes.add(message)
        joined = self._view_changes.joined_view(self._view)
        effects += self._collect() if joined is None else self._leave_for(joined)
        lacks = message.certified > self.low_watermark and self._signer.is_primary(message.view)
        source = (message.certified, message.replica)
        return effects + (self._fetching.fetch(self.low_watermark, *source) if lacks else [])

    def _collect(self) -> list[Effect]:
        """With a quorum of view-changes the new primary opens the view, the others' timer runs."""
        if self._active:
            return []
        supported = self._view_changes.support(self._view) >= self.replica_set.quorum
        if supported and self._suspicion.quorum_since_ms is None:
            self._suspicion.quorum_since_ms = self._suspicion.now_ms
        quorum = self._view_changes.quorum_for(self._view, self.low_watermark)
        if quorum is None or not self._signer.is_primary(self._view):
            return []
        message = self._signer.new_view(self._view, quorum, chosen_batches(quorum))
        return [Persist(message), Broadcast(message), *self._enter(message)]

    def _on_new_view(self, sender: ReplicaId, message: NewView) -> list[Effect]:
        if message.view == self._view and self._active:
            return second_new_view(self._new_view, message, self.replica_set)
        if message.view < self._view:
            return []
        second = second_new_view(self._refused_new_view, message, self.replica_set)
        fault = new_view_fault(message)
        if fault is not None:
            self._refused_new_view = message
            offence = InvalidNewView(message, fault)
            signer = self._signer.primary(message.view)
            return [Reject(sender, fault), Evidence(signer, offence), *second, *self._judge()]
        return [Persist(message), *self._enter(message), *second]

    def _enter(self, message: NewView) -> list[Effect]:
        self._adopt(message)
        self._suspicion.enter_view()
        effects: list[Effect] = [ViewChanged(message.view, self.primary)]
        effects += self._ordering.vote_reproposals()
        base = base_of(message.view_changes)
        if base.certified > self.low_watermark:
            effects += self._fetching.fetch(self.low_watermark, base.certified, base.replica)
        for sender, kept in self._later.take(self._view):
            effects += self._on_ordered(sender, kept)
        return effects

    def _adopt(self, message: NewView) -> None:
        self._view, self._active, self._suspects = message.view, True, False
        self._new_view = message
        self._ordering.enter_view(message, base_of(message.view_changes).certified)

    # --- Recovery ---------------------------------------------------------------------------

    def _restore(self, record: Record) -> None:
        match record:
            case NewView():
                self._adopt(record)
            case ViewChange():
                self._view, self._active = record.view, False
                self._ordering.voting = False
                self._view_changes.add(record)
            case Checkpoint():
                self._checkpoints.restore(record)
            case _:
                self._ordering.restore(record)
