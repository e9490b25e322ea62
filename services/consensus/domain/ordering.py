"""The three phases: pre-prepare, prepare, commit, and the order in which batches are executed.

A backup accepts proposals without gaps, so a primary cannot jump ahead; it votes only inside the
window and only while it takes part in the view. A quorum of commits decides a sequence number
whether or not this replica voted for it (PBFT 4.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.effects import (
    Broadcast,
    Effect,
    Equivocation,
    Evidence,
    Execute,
    FetchBatch,
    Persist,
    Reject,
)
from services.consensus.domain.empty_batches import EmptyBatches
from services.consensus.domain.log import Entry, Proposal
from services.consensus.domain.messages import (
    NULL_DIGEST,
    CertifiedHead,
    Commit,
    Digest,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ProtocolParameters,
    ReplicaId,
    Reproposal,
    SequenceNumber,
    Statement,
    View,
)
from services.consensus.domain.signer import Signer
from services.consensus.domain.statements import statement_of


class Ordering:
    """The log of one view after another. `view` is the view whose votes it counts; `voting` is
    False while the replica waits for a later one.
    """

    def __init__(
        self, signer: Signer, parameters: ProtocolParameters, head: CertifiedHead, now_ms: int
    ) -> None:
        self.view = View(0)
        self.voting = True
        self.low = head.sequence
        self.accepted_through = head.sequence
        self.executing_through = head.sequence
        self.entries: dict[SequenceNumber, Entry] = {}
        self.epoch_end: SequenceNumber | None = None
        self.now_ms = now_ms
        self.clock_ms: int | None = None
        self.progress_ms = now_ms
        self.proposal_ms = now_ms
        self.fault: str | None = None
        self.empty_batches = EmptyBatches(parameters, now_ms)
        self._low_time_ms = head.block_time_ms
        self._executing_time_ms = head.block_time_ms
        self._waiting: dict[SequenceNumber, PrePrepare] = {}
        self._refused: dict[SequenceNumber, Statement] = {}
        """Proposals of this view that did not hold; they stand all the same."""
        self._reproposals: dict[SequenceNumber, Reproposal] = {}
        self._holders: dict[Digest, tuple[ReplicaId, ...]] = {}
        self._signer = signer
        self._parameters = parameters
        self._set = signer.replica_set

    # --- What the driver and the replica ask ----------------------------------------------

    @property
    def high(self) -> SequenceNumber:
        """The high watermark: nobody proposes or votes beyond it, nor beyond the epoch's end."""
        high = SequenceNumber(self.low + self._parameters.window)
        return high if self.epoch_end is None else min(high, self.epoch_end)

    @property
    def nears_end(self) -> bool:
        """Whether the rest of the epoch fits the window: an idle chain fills it up at once."""
        end = self.epoch_end
        return end is not None and end - self.accepted_through <= self._parameters.window

    def in_window(self, sequence: SequenceNumber) -> bool:
        """Whether votes for `sequence` matter now."""
        return self.low < sequence <= self.high

    def counts(self, view: View, sequence: SequenceNumber) -> bool:
        """Whether a vote of `view` for `sequence` is counted now."""
        return view == self.view and self.in_window(sequence)

    def may_propose(self) -> bool:
        """Whether this replica, as the primary, has room and knows the predecessor's time."""
        return (
            self.voting
            and self._signer.is_primary(self.view)
            and self.accepted_through < self.high
            and self.block_time_of(self.accepted_through) is not None
        )

    def block_time_of(self, sequence: SequenceNumber) -> int | None:
        """The block time of `sequence`, or None while a batch up to it is not known here."""
        time_ms = self._low_time_ms
        for number in range(self.low + 1, sequence + 1):
            entry = self.entries.get(SequenceNumber(number))
            digest = None if entry is None else entry.wanted()
            if entry is None or digest is None:
                return None
            if digest != NULL_DIGEST:
                batch = entry.batch(digest)
                if batch is None:
                    return None
                time_ms = max(time_ms, batch.block_time_ms)
        return time_ms

    def uncertified_since_ms(self) -> int | None:
        """Since when what is proposed or decided has waited, and no height was certified: a primary
        that helps to decide may still keep back what makes it final.
        """
        for sequence in range(self.low + 1, self.high + 1):
            entry = self.entries.get(SequenceNumber(sequence))
            if entry is None:
                return None
            if entry.proposal is not None:
                return max(entry.proposal.since_ms, self.progress_ms)
            if entry.committed is not None:
                return max(entry.decided_ms, self.progress_ms)
        return None

    def prepared(self) -> tuple[PreparedCertificate, ...]:
        """P of a view-change: the latest prepared certificate of each sequence number."""
        held = (self.entries[sequence].prepared for sequence in sorted(self.entries))
        return tuple(certificate for certificate in held if certificate is not None)

    # --- Normal case ----------------------------------------------------------------------

    def propose(self, batch: Batch) -> list[Effect]:
        """The primary's turn: the next sequence number is this batch."""
        assert self.may_propose(), "the driver proposes only while it may"
        floor = self.block_time_of(self.accepted_through)
        assert floor is not None
        assert batch.block_time_ms >= floor, "block time never decreases"
        sequence = SequenceNumber(self.accepted_through + 1)
        message = self._signer.pre_prepare(self.view, sequence, batch)
        self._adopt(message)
        return [Persist(message), Broadcast(message), *self._advance_entry(sequence)]

    def on_pre_prepare(self, message: PrePrepare) -> list[Effect]:
        """Accept the primary's proposal, once everything before it is accepted."""
        if not self.counts(message.view, message.sequence) or not self.voting:
            return []
        earlier = self._earlier_proposal(self._entry(message.sequence))
        if earlier is not None and earlier.digest != message.digest:
            return self._equivocated(earlier, message)
        if earlier is not None:
            return self.on_batch(message.sequence, message.digest, message.batch)
        if message.sequence > self.accepted_through:
            self._waiting[message.sequence] = message
        return self._accept_waiting()

    def refuse(self, message: PrePrepare) -> list[Effect]:
        """The batch of this proposal is invalid: no other one is accepted in its place."""
        if not self.counts(message.view, message.sequence) or not self.voting:
            return []
        self.fault = "the primary proposed an invalid batch"
        earlier = self._earlier_proposal(self._entry(message.sequence))
        if earlier is not None and earlier.digest != message.digest:
            return self._equivocated(earlier, message)
        self._refused[message.sequence] = statement_of(message, self._set)
        return []

    def on_prepare(self, message: Prepare) -> list[Effect]:
        """Count a prepare; a quorum with the primary's pre-prepare makes it prepared."""
        if not self.counts(message.view, message.sequence):
            return []
        entry = self._entry(message.sequence)
        earlier = entry.prepares.add(message, message.digest)
        if earlier is not None:
            return self._conflict(earlier, message)
        return self._try_prepared(entry)

    def on_commit(self, message: Commit) -> list[Effect]:
        """Count a commit; a quorum decides the sequence number."""
        if not self.counts(message.view, message.sequence):
            return []
        entry = self._entry(message.sequence)
        earlier = entry.commits.add(message, message.digest)
        if earlier is not None:
            return self._conflict(earlier, message)
        return self._try_committed(entry, message.digest)

    def on_batch(self, sequence: SequenceNumber, digest: Digest, batch: Batch) -> list[Effect]:
        """Keep a batch that a decided or repeated proposal named and that was missing here."""
        entry = self.entries.get(sequence)
        if entry is None or entry.wanted() != digest or entry.batch(digest) is not None:
            return []
        entry.keep_fetched(digest, batch)
        return [*self.execute_ready(), *self._accept_waiting()]

    def execute_ready(self) -> list[Effect]:
        """Ask for execution of what is decided, strictly in order."""
        effects: list[Effect] = []
        while (batch := self._next_decided()) is not None:
            self.executing_through = SequenceNumber(self.executing_through + 1)
            self.entries[self.executing_through].block_time_ms = batch.block_time_ms
            self._executing_time_ms = batch.block_time_ms
            effects.append(Execute(self.executing_through, batch))
        return effects

    # --- Views, watermarks, time ----------------------------------------------------------

    def enter_view(self, new_view: NewView, base: SequenceNumber) -> None:
        """Start `new_view.view` above `base`: old votes are void, its proposals are adopted."""
        self.view = new_view.view
        self.voting = True
        self.fault = None
        self.proposal_ms = self.progress_ms = self.now_ms
        self.empty_batches.enter_view(self.now_ms)
        self._waiting.clear()
        self._refused.clear()
        for entry in self.entries.values():
            entry.enter_view()
        self._reproposals = {each.sequence: each for each in new_view.reproposals}
        self._holders = _holders(new_view)
        self.accepted_through = SequenceNumber(max(self.low, base + len(new_view.reproposals)))
        self._adopt_reproposals()

    def vote_reproposals(self) -> list[Effect]:
        """Prepare what the new-view proposes; ask for batches that are missing."""
        effects: list[Effect] = []
        for sequence in sorted(self._reproposals):
            if sequence in self.entries:
                effects += self._advance_entry(sequence)
                effects += self._fetch(self.entries[sequence])
        return effects

    def certified(self, head: CertifiedHead) -> list[Effect]:
        """Move the low watermark: drop what is final, take up what now fits the window."""
        self.low, self._low_time_ms = head.sequence, head.block_time_ms
        for sequence in [each for each in self.entries if each <= self.low]:
            del self.entries[sequence]
        for sequence in [each for each in self._waiting if each <= self.low]:
            del self._waiting[sequence]
        for sequence in [each for each in self._refused if each <= self.low]:
            del self._refused[sequence]
        self.accepted_through = max(self.accepted_through, self.low)
        self.progress_ms = self.now_ms
        if self.executing_through < self.low:
            self.executing_through, self._executing_time_ms = self.low, head.block_time_ms
            self.proposal_ms = self.now_ms  # Others make progress.
        if not self._reproposals:
            return [*self._accept_waiting(), *self.execute_ready()]
        fresh = self._adopt_reproposals()
        effects = [effect for each in fresh for effect in self._advance_entry(each)]
        return [*effects, *self._accept_waiting(), *self.execute_ready()]

    def resend(self) -> list[Effect]:
        """Say again what others may have missed; vote where it could not be done before."""
        effects: list[Effect] = []
        for entry in list(self.entries.values()):
            effects += self._advance_entry(entry.sequence) + self._fetch(entry)
            if self.now_ms - entry.sent_ms >= self._parameters.resend_ms:
                entry.sent_ms = self.now_ms
                effects += [Broadcast(message) for message in self._own(entry)]
        return effects

    # --- Recovery -------------------------------------------------------------------------

    def restore(self, record: PrePrepare | Prepare | PreparedCertificate | Commit) -> None:
        """Take back what was written down, in the order of writing. Records above the window stay:
        they were written when the window was higher, and forgetting them would be amnesia.
        """
        if record.sequence <= self.low:
            return
        entry = self._entry(record.sequence)
        if isinstance(record, PreparedCertificate):
            entry.prepared = record
        elif isinstance(record, PrePrepare):
            entry.keep(record, voted=True)  # Most likely; a compacted log has no older votes.
        if record.view != self.view:
            return
        if isinstance(record, PrePrepare) and entry.proposal is None:
            self._adopt(record)
        elif not isinstance(record, PrePrepare):
            entry.restore(record)

    def records(self) -> Iterator[PrePrepare | Prepare | PreparedCertificate | Commit]:
        """What must survive of the log, in an order that `restore` understands."""
        for sequence in sorted(self.entries):
            entry = self.entries[sequence]
            yield from sorted(entry.pre_prepares(), key=lambda each: each.view)
            for record in (entry.prepare, entry.prepared, entry.commit):
                if record is not None:
                    yield record

    # --- Inside ---------------------------------------------------------------------------

    def _entry(self, sequence: SequenceNumber) -> Entry:
        entry = self.entries.get(sequence)
        if entry is None:
            entry = self.entries[sequence] = Entry(sequence)
        return entry

    def _equivocated(self, earlier: Statement, message: PrePrepare) -> list[Effect]:
        self.fault = "the primary equivocated"
        statement = statement_of(message, self._set)
        return [
            Reject(statement.replica, "two pre-prepares for one sequence number"),
            Evidence(statement.replica, Equivocation(earlier, statement)),
        ]

    def _earlier_proposal(self, entry: Entry) -> Statement | None:
        waiting = self._waiting.get(entry.sequence)
        if waiting is not None:
            return statement_of(waiting, self._set)
        if entry.sequence in self._refused:
            return self._refused[entry.sequence]
        proposal = entry.proposal
        if proposal is None:
            return None
        return Statement(
            VoteType.PRE_PREPARE,
            self.view,
            entry.sequence,
            proposal.digest,
            self._signer.primary(self.view),
            proposal.signature,
        )

    def _accept_waiting(self) -> list[Effect]:
        """Accept what waits, in order, as far as each predecessor's block time is known."""
        effects: list[Effect] = []
        while self._waiting:
            message = self._waiting.get(SequenceNumber(self.accepted_through + 1))
            floor = self.block_time_of(self.accepted_through)
            if message is None or floor is None:
                break
            del self._waiting[message.sequence]
            if message.batch.block_time_ms < floor:
                self.fault = "block time decreases"
                self._refused[message.sequence] = statement_of(message, self._set)
                primary = self._signer.primary(self.view)
                effects.append(Reject(primary, "a batch older than its predecessor"))
                break
            self._adopt(message)
            if not message.batch.transactions and not self.nears_end:
                self.empty_batches.accepted(self.now_ms)
            effects.append(Persist(message))
            effects += self._advance_entry(message.sequence)
            if self.entries[message.sequence].prepare is None:
                reason = "block time outside the bound of this replica's clock"
                primary = self._signer.primary(self.view)
                effects.append(Reject(primary, reason, certain=False))
        return effects

    def _adopt(self, message: PrePrepare) -> None:
        entry = self._entry(message.sequence)
        entry.proposal = Proposal(message.digest, message.signature, self.now_ms, again=False)
        entry.keep(message, voted=self._signer.is_primary(self.view))
        entry.sent_ms = self.now_ms
        self.accepted_through = max(self.accepted_through, message.sequence)
        self.proposal_ms = self.now_ms

    def _adopt_reproposals(self) -> list[SequenceNumber]:
        fresh: list[SequenceNumber] = []
        for sequence, each in self._reproposals.items():
            if self.in_window(sequence) and self._entry(sequence).proposal is None:
                entry = self._entry(sequence)
                entry.proposal = Proposal(each.digest, each.signature, self.now_ms, again=True)
                entry.sent_ms = self.now_ms
                fresh.append(sequence)
        return fresh

    def _advance_entry(self, sequence: SequenceNumber) -> list[Effect]:
        """Vote for the proposal if nothing speaks against it, then see how far it got."""
        entry = self.entries[sequence]
        proposal = entry.proposal
        if proposal is None or not self.voting:
            return []
        effects: list[Effect] = []
        if self._may_prepare(entry, proposal):
            vote = self._signer.prepare(self.view, sequence, proposal.digest)
            entry.vote(vote)
            effects += [Persist(vote), Broadcast(vote)]
        return effects + self._try_prepared(entry)

    def _may_prepare(self, entry: Entry, proposal: Proposal) -> bool:
        """Only a first proposal is held against the clock; repeated ones are bound by digest.

        A time that merely repeats the predecessor's is never too late: clocks that were once set
        ahead must not stop the chain until the others have caught up.
        """
        if entry.prepare is not None or self._signer.is_primary(self.view):
            return False
        if proposal.again:
            return True
        batch = entry.batch(proposal.digest)
        assert batch is not None, "a first proposal carries its batch"
        if self.clock_ms is None:
            return False
        bound_ms = self._parameters.block_time_bound_ms
        predecessor_ms = self.block_time_of(SequenceNumber(entry.sequence - 1)) or 0
        latest_ms = max(self.clock_ms + bound_ms, predecessor_ms)
        return self.clock_ms - bound_ms <= batch.block_time_ms <= latest_ms

    def _try_prepared(self, entry: Entry) -> list[Effect]:
        proposal = entry.proposal
        if proposal is None or not self.voting or entry.commit is not None:
            return []
        if entry.prepares.count(proposal.digest) + 1 < self._set.quorum:
            return []
        certificate = self._certificate(entry, proposal)
        entry.prepared = certificate
        entry.commit = self._signer.commit(self.view, entry.sequence, proposal.digest)
        entry.commits.add(entry.commit, proposal.digest)
        entry.sent_ms = self.now_ms
        votes: list[Effect] = [Persist(certificate), Persist(entry.commit), Broadcast(entry.commit)]
        return votes + self._try_committed(entry, proposal.digest)

    def _certificate(self, entry: Entry, proposal: Proposal) -> PreparedCertificate:
        matching = sorted(
            (vote.replica, vote.signature)
            for vote in entry.prepares.votes.values()
            if vote.digest == proposal.digest
        )
        return PreparedCertificate(
            self.view, entry.sequence, proposal.digest, proposal.signature, tuple(matching)
        )

    def _try_committed(self, entry: Entry, digest: Digest) -> list[Effect]:
        if entry.committed is not None or entry.commits.count(digest) < self._set.quorum:
            return []
        entry.committed, entry.decided_ms = digest, self.now_ms
        return [*self.execute_ready(), *self._accept_waiting()]

    def _next_decided(self) -> Batch | None:
        """What the next decided sequence number executes as.

        A batch that a view change brought back from an older view, behind newer ones, may be older
        than its predecessor: it executes as a null batch, and its requests come again.
        """
        entry = self.entries.get(SequenceNumber(self.executing_through + 1))
        if entry is None or entry.committed is None:
            return None
        null = Batch(self._executing_time_ms, ())
        if entry.committed == NULL_DIGEST:
            return null
        batch = entry.batch(entry.committed)
        return null if batch is not None and batch.block_time_ms < null.block_time_ms else batch

    def _fetch(self, entry: Entry) -> list[Effect]:
        digest = entry.wanted()
        if digest is None or digest == NULL_DIGEST or entry.batch(digest) is not None:
            return []
        voters = (vote.replica for vote in entry.commits.votes.values() if vote.digest == digest)
        holders = {*self._holders.get(digest, ()), *voters} - {self._signer.me}
        return [FetchBatch(entry.sequence, digest, tuple(sorted(holders)))]

    def _own(self, entry: Entry) -> Iterator[PrePrepare | Prepare | Commit]:
        pre_prepare = entry.pre_prepare()
        if pre_prepare is not None and self._signer.is_primary(self.view) and not entry.committed:
            yield pre_prepare
        if entry.prepare is not None:
            yield entry.prepare
        if entry.commit is not None:
            yield entry.commit

    def _conflict(self, earlier: Prepare | Commit, later: Prepare | Commit) -> list[Effect]:
        if earlier.digest == later.digest:
            return []
        statements = (statement_of(earlier, self._set), statement_of(later, self._set))
        return [
            Reject(later.replica, "two votes in one phase for one sequence number"),
            Evidence(later.replica, Equivocation(*statements)),
        ]


def _holders(new_view: NewView) -> dict[Digest, tuple[ReplicaId, ...]]:
    """Who says to have prepared each digest: the first to ask for its batch."""
    holders: dict[Digest, set[ReplicaId]] = {}
    for view_change in new_view.view_changes:
        for each in view_change.prepared:
            signers: Iterable[ReplicaId] = (replica for replica, _ in each.prepares)
            holders.setdefault(each.digest, set()).update(signers, [view_change.replica])
    return {digest: tuple(sorted(replicas)) for digest, replicas in holders.items()}
