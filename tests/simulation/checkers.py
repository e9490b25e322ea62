"""What must hold after every step, judged from outside the replicas.

The checkers know the quorum from the paper's formula and derive new-views themselves, not by the
code under test, and only judge correct replicas. Letters and digits name the invariants of the
reliability plan.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import Outcome
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.effects import (
    Broadcast,
    Certified,
    Effect,
    Equivocation,
    Evidence,
    Execute,
    Persist,
    Send,
)
from services.consensus.domain.epochs import Core
from services.consensus.domain.messages import (
    BatchRefused,
    Checkpoint,
    Commit,
    Digest,
    Hello,
    Message,
    NewView,
    PeerMessage,
    Prepare,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    Statement,
    Tick,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.statements import statement_of
from tests.simulation import statements
from tests.simulation.authorship import Authorship
from tests.simulation.forensics import Forensics
from tests.simulation.membership import Sets, sets_of
from tests.simulation.nested import Place
from tests.simulation.once import bytes_of
from tests.simulation.patience import Patience
from tests.simulation.proofs import Proofs
from tests.simulation.room import room_fault
from tests.simulation.seen import SIGNED, SeenStatements, Signed
from tests.simulation.watch import Watch
from tests.simulation.workload import ExecutedBlock, forgery, read

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.machine import Machine


class ViolationError(AssertionError):
    """An invariant does not hold."""


class Checkers:
    """All invariants of one run."""

    def __init__(self, cluster: Cluster, forensics: Forensics) -> None:
        planned = sets_of(cluster.scheme, cluster.size, cluster.scenario.changes)
        self.sets = Sets(planned, cluster.parameters.window)
        self.proofs = Proofs(self.sets, cluster.scheme.verify)
        self.authorship = Authorship()
        self._began: set[int] = {0}
        self._over = 0
        """A restart ended all epochs below this one."""
        self._window = cluster.parameters.window
        self._cluster = cluster
        self._forensics = forensics
        self.forked = False
        self._commits: dict[int, dict[Digest, dict[int, set[int]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(set))
        )
        self._said: dict[tuple[ReplicaId, int, VoteType, int, int], Digest] = {}
        self._reach: dict[ReplicaId, tuple[tuple[int, int], int]] = defaultdict(lambda: ((0, 0), 0))
        self._left: dict[ReplicaId, tuple[int, int]] = {}
        self._forgotten: dict[ReplicaId, tuple[tuple[int, int], int]] = {}
        self._given_back: dict[ReplicaId, set[bytes]] = defaultdict(set)
        """The new-views of its own that others gave a replica which had forgotten them."""
        self._executed: dict[int, Digest] = {}
        self._certified: dict[int, bytes] = {}
        self._applied: dict[str, int] = {}
        self._checked: set[bytes] = set()
        self._judged: set[int] = set()
        self._held: dict[int, int] = {}
        """Machine -> the last height that it had, where a client was shown what it has (S7)."""
        parameters = cluster.parameters
        self._patience: dict[tuple[int, int], Patience] = defaultdict(
            lambda: Patience(parameters.block_time_bound_ms, parameters.timeout_ms)
        )
        self._watched: dict[tuple[int, int, int], Watch] = {}
        self._due: list[Place] = []
        self._stated: dict[int, tuple[Signed, ReplicaSet, Statement]] = {}
        """By its identity, a message that a correct replica said, as a member of a set: its
        signature covers this statement.
        """

    def violate(self, text: str, *, fork: bool = False) -> None:
        """An invariant does not hold. With more than f traitors a `fork` is no violation: the run
        goes on, and the evidence rule judges at its end (B28).
        """
        if not (fork and self._cluster.scenario.traitors):
            raise ViolationError(text)
        self.forked = True

    def begin_epoch(self, replica_set: ReplicaSet, base: int) -> None:
        """The chain was restarted behind `base`. What stood at and below it must stand as it was;
        what was executed or certified above is void, and nothing that was said counts any more.
        """
        self.sets.restart(replica_set, base)
        self._over = replica_set.epoch
        self._began.add(self._over)
        for by_height in (self._executed, self._certified):
            for height in [each for each in by_height if each > base]:
                del by_height[height]
        self._applied = {each: at for each, at in self._applied.items() if at <= base}
        self._judged = {height for height in self._judged if height <= base}
        for kept in (self._commits, self._said, self._reach, self._forgotten, self._checked):
            kept.clear()
        self._given_back.clear()
        self._left.clear()
        self._held.clear()

    def on_epoch(self, machine: Machine, core: Core) -> None:
        """A correct replica goes on with the set that follows from the chain, above the same
        height as everybody.
        """
        epoch, cluster = core.epoch, self._cluster
        held = core.replica_set == self.sets.planned[epoch] and core.base == self.sets.base(epoch)
        self._require(held, f"S2: replica {machine.me} begins epoch {epoch} with another set")
        if epoch not in self._began:
            self._began.add(epoch)
            cluster.on_set_changed(cluster.scenario.changes[epoch - 1])

    def on_sent(self, sender: ReplicaId, message: PeerMessage, epoch: int) -> None:
        """Every message that anyone puts on the wire; a commit counts in its height's epoch only,
        and where a member really signed it.
        """
        if isinstance(message, Commit) and message.replica == sender:
            voters = self._commits[message.sequence][message.digest][message.view]
            if sender in voters or epoch != self.sets.epoch_at(message.sequence):
                return
            present = self.sets.planned[epoch]
            signed = statements.signed_bytes(message, present)
            if self.proofs.holds(present, sender, signed, message.signature):
                voters.add(sender)

    def on_authentic(self, message: PeerMessage, core: Core) -> None:
        """P12: what passes as said by a correct replica was said by it, and here."""
        fault = self.authorship.fault(message, core.replica_set)
        self._require(fault is None, f"P12: {fault}")

    def on_votes_lost(self, replica: ReplicaId) -> None:
        """What it said until now, it has forgotten: it must say nothing more about that."""
        self._forgotten[replica] = self._reach[replica]

    def before_step(self, machine: Machine, core: Replica, message: Message) -> None:
        """S10: does this message, with an earlier one that counted here, prove an equivocation?"""
        self._due = []
        if core.ended:
            return  # It takes nothing more; the core of the next epoch is about to be opened.
        if isinstance(message, SIGNED):
            watch = self._watch(machine, core)
            if isinstance(message, ViewChange):
                watch.ask(message, core.replica_set.faulty_max)
            if isinstance(message, NewView) and machine.me in self._forgotten:
                self._given_back[machine.me].add(bytes_of(message))
            self._due = watch.seen.conflicts(core, message)
        elif isinstance(message, Tick):
            self._watch(machine, core).patience.hear(message)

    def _watch(self, machine: Machine, core: Replica) -> Watch:
        place = machine.number, machine.life, core.replica_set.epoch
        watch = self._watched.get(place)
        if watch is None:
            seen = SeenStatements(self.sets.planned[core.epoch])
            watch = Watch(machine.me, self._patience[place[:2]], seen)
            self._watched[place] = watch
        return watch

    def after_step(
        self, machine: Machine, core: Replica, message: Message, effects: list[Effect]
    ) -> None:
        """S10: every equivocation that a correct replica sees gives evidence; of what one message
        shows of a signer, once.
        """
        if not effects and not self._due and not isinstance(message, BatchRefused):
            return
        found = [each for each in effects if isinstance(each, Evidence)]
        if isinstance(message, BatchRefused):
            self._require(bool(found), f"S10: replica {machine.me} keeps no proof of a bad batch")
        expected = self._watch(machine, core).seen
        convicted = set()
        for each in found:
            if isinstance(each.offence, Equivocation):
                expected.prove(each.offence)
                convicted.add(each.replica)
        for place in self._due:
            *_, signer = place
            text = f"S10: replica {machine.me} saw a second statement in vain: {place}"
            self._require(signer in convicted or expected.is_proven(place), text)

    def on_effect(self, machine: Machine, core: Core, effect: Effect) -> None:
        """One effect of a correct replica, just before it is performed."""
        if isinstance(effect, Evidence):
            self._accuses(effect, core)
        elif not self.forked:
            self._acts(machine, core, effect)

    def _acts(self, machine: Machine, core: Core, effect: Effect) -> None:
        match effect:
            case Broadcast(message) | Send(_, message):
                self._sends(machine, core, message)
            case Persist() | Execute() | Certified():
                assert isinstance(core, Replica), "a learner signs and certifies nothing"
                self._decides(machine, core, effect)

    def _decides(
        self, machine: Machine, core: Replica, effect: Persist | Execute | Certified
    ) -> None:
        match effect:
            case Persist(Commit() as commit):
                self.on_sent(machine.me, commit, core.epoch)  # It counts its own vote from here on.
            case Persist(Prepare() as prepare):
                fault = self._watch(machine, core).patience.vote_fault(machine, core, prepare)
                self._require(fault is None, f"S3: replica {machine.me} {fault}")
            case Persist(NewView() as new_view):
                self._derives(machine.me, new_view, core.epoch)
                self._watch(machine, core).seen.enter(new_view)
            case Execute(sequence, batch):
                digest = Digest(batch.digest())
                empty = not batch.transactions  # A batch that came too late executes as null.
                self._has_quorum(machine.me, sequence, None if empty else digest)
                known = self._executed.setdefault(sequence, digest)
                if known != digest:
                    text = f"S1: replica {machine.me} executes another batch {sequence}"
                    self.violate(text, fork=True)
            case Certified(sequence, certificate):
                fault = self._watch(machine, core).patience.block_fault(core)
                self._require(fault is None, f"P7: replica {machine.me} {fault}")
                self._certifies(machine.me, sequence, certificate)

    def _accuses(self, evidence: Evidence, core: Core) -> None:
        offender = evidence.replica
        self._require(
            offender not in self._cluster.correct, f"S10: evidence names correct {offender}"
        )
        self._require(
            self._forensics.proves(evidence, core.replica_set, core.base),
            f"S10: evidence against {offender} is no proof",
        )

    def on_stored(self, machine: Machine, height: int) -> None:
        """A correct replica has a certified block."""
        if self.forked:
            return
        block, ledger = machine.ledger.block(height), machine.ledger
        before = ledger.header(height - 1)
        held = block.header.block_time_ms >= before.block_time_ms
        self._require(held, f"S3: block time decreases at {height} of replica {machine.me}")
        self._require(
            block.header.parent == before.hash(), f"S2: block {height} has another parent"
        )
        certificate = ledger.certificate(height)
        assert certificate is not None, "it is announced as certified"
        header_hash = block.header.hash()
        known = self._certified.setdefault(height, header_hash)
        if known != header_hash:
            self.violate(f"S2: replica {machine.me} has another block {height}", fork=True)
            return
        self._certifies(machine.me, SequenceNumber(height), certificate)
        if height not in self._judged:
            self._judged.add(height)
            self._is_valid(block)
        self._certifies(machine.me, SequenceNumber(height), certificate)
        self._keeps(machine, height - 1)
        self._keeps(machine, height)
        self._held[machine.number] = max(height, self._held.get(machine.number, 0))

    def on_started(self, machine: Machine) -> None:
        """S7: after a kill a replica has all that it had when it showed it."""
        for height in range(1, self._held.get(machine.number, 0) + 1):
            self._keeps(machine, height)

    def on_forgotten(self, number: int) -> None:
        """Its folder is gone, or the power was: certificates are not made durable before they are
        shown, since others have them, too; it asks these for what it lacks.
        """
        self._held.pop(number, None)

    def on_adopted(self, machine: Machine, height: int) -> None:
        """S2 and S3: a state that a correct replica takes is that of the certified block."""
        header, certificate = machine.ledger.header(height), machine.ledger.certificate(height)
        assert certificate is not None, "it came with the state"
        held = self._certified.get(height) == header.hash()
        self._require(held, f"S2: replica {machine.me} takes another state of {height}")
        self._certifies(machine.me, SequenceNumber(height), certificate)

    def on_step(self, machine: Machine, core: Replica) -> None:
        """After each step of a correct replica: it is where f + 1 others went, its timers follow no
        clock, and everything is bounded (S8).
        """
        watch = self._watch(machine, core)
        if core.view < watch.due_view:
            raise ViolationError(f"P6: replica {machine.me} does not join f + 1 others")
        fault = watch.time_fault(core, self._window)
        if fault is not None:
            raise ViolationError(fault)
        fault = watch.patience.step_fault(machine, core)
        if fault is not None:
            raise ViolationError(f"P16: replica {machine.me} {fault}")
        if core.halted:
            self.violate(f"S5: correct replica {machine.me} halted", fork=True)
        fault = room_fault(core, self._window)
        if fault is not None:
            raise ViolationError(f"S8: replica {machine.me} {fault}")

    def at_the_end(self) -> None:
        """S7: what a client was shown is on every correct chain, at its place."""
        for number in sorted(self._cluster.required):
            for height in self._cluster.clients.shown:
                self._keeps(self._cluster.machines[number], height)

    def _keeps(self, machine: Machine, height: int) -> None:
        """S7: what a client was shown of a height, if anything, is here, where it was."""
        shown = self._cluster.clients.shown.get(height)
        if machine.number not in self._cluster.required or shown is None:
            return
        ledger = machine.ledger
        below = height <= ledger.history_from
        is_here = not below and height <= ledger.last_certified
        held = below or (is_here and ledger.header(height).hash() == shown)
        self._require(held, f"S7: replica {machine.number} lost acknowledged block {height}")

    def _require(self, held: bool, text: str) -> None:
        if not held:
            raise ViolationError(text)

    def _is_valid(self, block: ExecutedBlock) -> None:
        """S3 and S4: only clients' own requests, each applied once; S2: the set that is due."""
        fault = self.sets.fault(block)
        self._require(fault is None, f"S2: {fault}")
        for encoded, receipt in zip(block.batch.transactions, block.result.receipts, strict=True):
            transaction = read(encoded)
            height = block.header.height
            reason = forgery(encoded)
            self._require(reason is None, f"S3: block {height} holds {reason}")
            if receipt.outcome is Outcome.APPLIED:
                payload = transaction.payload
                held = payload.request_id not in self._applied
                self._require(held, f"S4: {payload.request_id} is applied again at {height}")
                self._applied[payload.request_id] = height
                live = payload.expires_height >= height
                live = live and payload.expires_time_ms >= block.header.block_time_ms
                self._require(live, f"S3: an expired transaction is applied at {height}")

    def _sends(self, machine: Machine, core: Core, message: PeerMessage) -> None:
        if isinstance(message, Hello):
            return
        assert isinstance(core, Replica), "a learner signs nothing"
        is_over = core.epoch < self._over
        self._require(not is_over, f"Q6: replica {machine.me} votes in an epoch that is over")
        kind = type(message).__name__
        held = bytes_of(message) in machine.known
        self._require(held, f"P14: replica {machine.me} sends {kind} before it is durable")
        full = machine.disk.was_full(machine.ticked_ms)
        self._require(not full, f"S8: replica {machine.me} votes on a full disk")
        if isinstance(message, PrePrepare | Prepare | Commit | Checkpoint):
            high = core.low_watermark + self._window
            self._require(
                message.sequence <= high, f"S8: replica {machine.me} votes beyond its window"
            )
        if isinstance(message, Prepare):
            self._follows(machine.me, core, message)
        self._says(machine.me, message, core.epoch)

    def _follows(self, replica: ReplicaId, core: Replica, message: Prepare) -> None:
        """P11: a first proposal gets a vote only when the one before it is accepted too."""
        entries, before = core._ordering.entries, SequenceNumber(message.sequence - 1)
        entry = entries.get(message.sequence)  # None where the same step certified it.
        proposal = None if entry is None else entry.proposal
        new_view = core._new_view
        base = max([0, *(each.certified for each in new_view.view_changes)] if new_view else [0])
        if proposal is None or proposal.again or before <= max(core.low_watermark, base):
            return
        earlier = entries.get(before)
        held = earlier is not None and earlier.wanted() is not None
        self._require(held, f"P11: replica {replica} votes for {message.sequence} after a gap")

    def _says(self, replica: ReplicaId, message: PeerMessage, epoch: int) -> None:
        assert not isinstance(message, Hello)
        present = self.sets.planned[epoch]
        before = self._stated.get(id(message))
        is_known = before is not None and before[1] is present
        statement = before[2] if before and is_known else statement_of(message, present)
        if statement.replica != replica:
            return  # Another primary's new-view, passed on to a peer that missed it.
        if not is_known:
            self._signs(message, present, epoch, statement)
        view, sequence = 0, statement.sequence
        if isinstance(message, ViewChange | NewView):
            view, sequence = message.view, SequenceNumber(0)
        if bytes_of(message) not in self._given_back[replica]:
            self._remembers(replica, (epoch, view), sequence)
        said = [(statement.vote_type, statement.view, sequence, statement.digest)]
        if isinstance(message, NewView):
            for each in message.reproposals:
                said.append((VoteType.PRE_PREPARE, message.view, each.sequence, each.digest))
        for vote_type, view, number, digest in said:
            known = self._said.setdefault((replica, epoch, vote_type, view, number), digest)
            self._require(
                known == digest,
                f"S6: correct replica {replica} equivocates in {vote_type.name} {view}/{number}",
            )

    def _signs(
        self, message: Signed, present: ReplicaSet, epoch: int, statement: Statement
    ) -> None:
        """What is said for the first time: repeated later it is the same, signed by the same."""
        replica = statement.replica
        is_new = not self.authorship.has_signed(message.signature)
        self.authorship.note(message, present)
        if is_new:
            self._keeps_out(replica, epoch, message)
        covered = statements.signed_bytes(message, present)
        self._require(
            self.proofs.holds(present, replica, covered, message.signature),
            f"S9: the signature of replica {replica} does not cover its {type(message).__name__}",
        )
        self._stated[id(message)] = message, present, statement

    def _remembers(self, replica: ReplicaId, view: tuple[int, int], sequence: int) -> None:
        """P14: no vote, nor view-change, that could contradict one that was lost. Its own new-view,
        given back by others (V9) and passed on with the same signature, is nothing new.
        """
        lost_view, lost_sequence = self._forgotten.get(replica, ((-1, -1), -1))
        held = sequence > lost_sequence if sequence else view > lost_view
        self._require(held, f"P14: replica {replica} votes where it has forgotten its votes")
        reach = self._reach[replica]
        self._reach[replica] = max(reach[0], view), max(reach[1], sequence)

    def _keeps_out(self, replica: ReplicaId, epoch: int, message: PeerMessage) -> None:
        """V3: who asked for a view votes in no lower one, whatever it forgot since."""
        if isinstance(message, ViewChange | PrePrepare | Prepare | Commit):
            view = epoch, message.view
            left = self._left.get(replica, view)
            text = f"V3: replica {replica} votes in view {view}, it left for {left}"
            self._require(view >= left, text)
            if isinstance(message, ViewChange):
                self._left[replica] = view

    def _has_quorum(
        self, replica: ReplicaId, sequence: SequenceNumber, digest: Digest | None
    ) -> None:
        by_digest = self._commits[sequence]
        digests = by_digest if digest is None else [digest]
        votes = max(
            (len(voters) for each in digests for voters in by_digest[each].values()), default=0
        )
        quorum = self.proofs.quorum(sequence)
        text = f"S3: replica {replica} executes {sequence} on {votes} commits of {quorum}"
        self._require(votes >= quorum, text)

    def _certifies(
        self, replica: ReplicaId, sequence: SequenceNumber, certificate: FinalityCertificate
    ) -> None:
        signers = self.proofs.signers(sequence, certificate)
        text = f"S3: replica {replica} certifies {sequence} on {len(signers)} signatures"
        self._require(len(signers) >= self.proofs.quorum(sequence), text)

    def _derives(self, replica: ReplicaId, message: NewView, epoch: int) -> None:
        """S9: the new-view that a correct replica enters follows from its signed parts."""
        if message.signature in self._checked:
            return
        self._checked.add(message.signature)
        fault = self.proofs.new_view_fault(message, epoch)
        self._require(fault is None, f"S9: replica {replica} enters view {message.view} {fault}")
