"""View-changes, and what a new view must propose again.

What is proposed again follows from the signed view-changes alone, so every backup derives it and
refuses a new-view that differs (PBFT 4.4). A replica joins others only when f + 1 of them moved,
and then to the (f + 1)-th largest of their views: liars cannot drag it to an absurd one.
"""

from __future__ import annotations

from collections.abc import Sequence

from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.effects import Effect, Equivocation, Evidence, Reject
from services.consensus.domain.messages import (
    NULL_DIGEST,
    Digest,
    NewView,
    PreparedCertificate,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.statements import statement_of


def base_of(view_changes: Sequence[ViewChange]) -> ViewChange:
    """The view-change with the highest certified height: the new view starts above it."""
    return max(view_changes, key=lambda each: each.certified)


def chosen_batches(
    view_changes: Sequence[ViewChange],
) -> tuple[tuple[SequenceNumber, Digest], ...]:
    """O of the paper, as (sequence number, digest): for each sequence number above the highest
    certified one, the digest prepared in the latest view, or the null batch for a gap.
    """
    base = base_of(view_changes).certified
    latest: dict[SequenceNumber, PreparedCertificate] = {}
    for view_change in view_changes:
        for each in view_change.prepared:
            known = latest.get(each.sequence)
            if each.sequence > base and (known is None or each.view > known.view):
                latest[each.sequence] = each
    last = max(latest, default=base)
    numbers = (SequenceNumber(number) for number in range(base + 1, last + 1))
    return tuple((n, latest[n].digest if n in latest else NULL_DIGEST) for n in numbers)


def new_view_fault(message: NewView) -> str | None:
    """Why an authenticated new-view does not follow from its view-changes, or None."""
    stated = tuple((each.sequence, each.digest) for each in message.reproposals)
    if stated != chosen_batches(message.view_changes):
        return "a new-view whose proposals do not follow from its view-changes"
    return None


def second_new_view(
    known: NewView | None, message: NewView, replica_set: ReplicaSet
) -> list[Effect]:
    """The evidence in another new-view of the view of the `known` one, if it differs."""
    if known is None or known.view != message.view or message == known:
        return []
    first, second = (statement_of(each, replica_set) for each in (known, message))
    if first.digest == second.digest:
        return []
    return [
        Reject(first.replica, "two new-views of one view"),
        Evidence(first.replica, Equivocation(first, second)),
    ]


class ViewChanges:
    """The latest view-change of each replica, and our own last one."""

    def __init__(self, me: ReplicaId, replica_set: ReplicaSet) -> None:
        self.own: ViewChange | None = None
        self._me = me
        self._set = replica_set
        self._latest: dict[ReplicaId, ViewChange] = {}

    def add(self, message: ViewChange) -> list[Effect]:
        """Keep `message` if it goes further than what its replica said before."""
        known = self._latest.get(message.replica)
        if known is None or message.view > known.view:
            self._latest[message.replica] = message
            if message.replica == self._me:
                self.own = message
            return []
        if message.view < known.view:
            return []
        statements = (statement_of(known, self._set), statement_of(message, self._set))
        if statements[0].sequence == statements[1].sequence and (
            statements[0].digest == statements[1].digest
        ):
            return []
        return [
            Reject(message.replica, "two view-changes to one view"),
            Evidence(message.replica, Equivocation(*statements)),
        ]

    def asked(self, view: View) -> bool:
        """Whether this replica asked for `view` or a later one, as far as it knows."""
        return self.own is not None and self.own.view >= view

    def view_of(self, replica: ReplicaId) -> View:
        """The view that `replica` last asked for."""
        known = self._latest.get(replica)
        return View(0) if known is None else known.view

    def joined_view(self, view: View) -> View | None:
        """The (f + 1)-th largest view above `view` that others moved to, if f + 1 did."""
        ahead = sorted(each.view for each in self._latest.values() if each.view > view)
        needed = self._set.faulty_max + 1
        return ahead[-needed] if len(ahead) >= needed else None

    def support(self, view: View) -> int:
        """How many replicas asked for `view` or a later one."""
        return sum(each.view >= view for each in self._latest.values())

    def quorum_for(self, view: View, low: SequenceNumber) -> tuple[ViewChange, ...] | None:
        """A quorum of view-changes to exactly `view`, ascending by replica, ours among them, and
        none above `low`, our certified height: whoever certified more may give its blocks to
        nobody, and a view that starts above them could decide nothing.
        """
        own = self.own
        if own is None or own.view != view:
            return None
        asked = [
            each
            for _, each in sorted(self._latest.items())
            if each.view == view and each.certified <= low and each.replica != self._me
        ]
        if len(asked) + 1 < self._set.quorum:
            return None
        quorum = [own, *asked[: self._set.quorum - 1]]
        return tuple(sorted(quorum, key=lambda each: each.replica))
