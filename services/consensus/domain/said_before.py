"""What replicas said before, nested statements included: certificates, view-changes and new-views
carry what others signed, and what they carry may exclude what its signer said here.

Two messages of one replica meet where they are counted (N3, N9, V6); here each nested statement
meets what its signer said in messages of its own, and what others showed of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.effects import Effect, Equivocation, Evidence, Reject
from services.consensus.domain.messages import (
    Checkpoint,
    Digest,
    NewView,
    PeerMessage,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    Statement,
    View,
    ViewChange,
)
from services.consensus.domain.ordering import Ordering
from services.consensus.domain.signer import Signer
from services.consensus.domain.statements import exclude_each_other, primary_of, statement_of

VIEWS_MAX: Final = 4
"""Views of which a replica's statements of one type, on one sequence number, are kept."""

_SAID_ALONE: Final = (PrePrepare, Prepare, Checkpoint, ViewChange)
_CARRYING: Final = (ViewChange, NewView)

_Views = dict[View, tuple[Statement, bool]]


class SaidBefore:
    """The first statement of each replica for each type, view and sequence number of the window.

    Of one replica, type and sequence number (of view-changes: of one replica) at most `VIEWS_MAX`
    views are kept, those nearest the awaited one: whatever a liar sends, what it said in that view
    and its two neighbours stays. With n replicas and a window of w there are at most
    `VIEWS_MAX * n * (2 * w + 1) + n * w` statements.
    """

    def __init__(self, signer: Signer, ordering: Ordering) -> None:
        self._me = signer.me
        self._set = signer.replica_set
        self._ordering = ordering
        self._low = ordering.low
        self._votes: dict[SequenceNumber, dict[tuple[VoteType, ReplicaId], _Views]] = {}
        self._view_changes: dict[ReplicaId, _Views] = {}

    def hear(self, message: PeerMessage, awaited: View) -> list[Evidence]:
        """Keep what an authenticated message says and carries; the evidence in that, at most one
        of each replica. `awaited` is the view that this replica is in or waits for. Commits are
        nested nowhere, nor is a new-view, only its parts.
        """
        if self._low != self._ordering.low:
            self._let_go_through(self._ordering.low)
        proven: dict[ReplicaId, Equivocation] = {}
        if isinstance(message, _SAID_ALONE):
            own = statement_of(message, self._set)
            self._meet(own, awaited, proven, nested=False)
        if isinstance(message, _CARRYING):
            for each in nested_statements(message, self._set):
                self._meet(each, awaited, proven, nested=True)
        return [Evidence(culprit, offence) for culprit, offence in proven.items()]

    def _let_go_through(self, low: SequenceNumber) -> None:
        self._low = low
        for sequence in [each for each in self._votes if each <= low]:
            del self._votes[sequence]

    def _meet(
        self,
        statement: Statement,
        awaited: View,
        proven: dict[ReplicaId, Equivocation],
        *,
        nested: bool,
    ) -> None:
        views = self._place(statement)
        if views is None:
            return
        if statement.view not in views:
            views[statement.view] = (statement, nested)
            if len(views) > VIEWS_MAX:
                del views[max(views, key=lambda view: (abs(view - awaited), -view))]
            return
        earlier, was_nested = views[statement.view]
        if (nested or was_nested) and exclude_each_other(earlier, statement):
            proven.setdefault(statement.replica, Equivocation(earlier, statement))

    def _place(self, statement: Statement) -> _Views | None:
        """Where it is kept; None for what does not count now, and for one's own."""
        if statement.replica == self._me:
            return None
        if statement.vote_type is VoteType.VIEW_CHANGE:
            return self._view_changes.setdefault(statement.replica, {})
        if not self._ordering.in_window(statement.sequence):
            return None
        of_height = self._votes.setdefault(statement.sequence, {})
        return of_height.setdefault((statement.vote_type, statement.replica), {})


def beside(heard: Sequence[Evidence], effects: list[Effect]) -> list[Effect]:
    """What was heard in front of the `effects` of the same message; what these prove once stays
    once.
    """
    if not heard:
        return effects
    proven = {
        each.replica
        for each in effects
        if isinstance(each, Evidence) and isinstance(each.offence, Equivocation)
    }
    found: list[Effect] = []
    for each in heard:
        if each.replica not in proven:
            found += [Reject(each.replica, "a statement that excludes an earlier one"), each]
    return [*found, *effects]


def nested_statements(message: PeerMessage, replica_set: ReplicaSet) -> Iterator[Statement]:
    """What others signed inside `message`: of a new-view what its primary proposes again and the
    view-changes, of each view-change its certificates.
    """
    match message:
        case NewView():
            primary = primary_of(replica_set, message.view)
            for each in message.reproposals:
                yield Statement(
                    VoteType.PRE_PREPARE,
                    message.view,
                    each.sequence,
                    each.digest,
                    primary,
                    each.signature,
                )
            for view_change in message.view_changes:
                yield statement_of(view_change, replica_set)
                yield from _certified_statements(view_change, replica_set)
        case ViewChange():
            yield from _certified_statements(message, replica_set)
        case _:
            return


def _certified_statements(message: ViewChange, replica_set: ReplicaSet) -> Iterator[Statement]:
    """The checkpoint votes and the prepared certificates in a view-change."""
    certificate = message.certificate
    if certificate is not None:
        header_hash = Digest(certificate.header_hash)
        for replica, signature in certificate.signatures:
            vote = Checkpoint(message.certified, header_hash, ReplicaId(replica), signature)
            yield statement_of(vote, replica_set)
    for prepared in message.prepared:
        yield _proposed(prepared, replica_set)
        yield from (statement_of(each, replica_set) for each in prepared.votes())


def _proposed(prepared: PreparedCertificate, replica_set: ReplicaSet) -> Statement:
    return Statement(
        VoteType.PRE_PREPARE,
        prepared.view,
        prepared.sequence,
        prepared.digest,
        primary_of(replica_set, prepared.view),
        prepared.pre_prepare_signature,
    )
