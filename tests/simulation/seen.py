"""What one replica was told in one life, as far as it counted there: which message, with an earlier
one, proves that its signer equivocates (S10).

It is kept beside the core and not read from its log, so a core that forgets is found out.
"""

from __future__ import annotations

from typing import Final

from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.effects import Equivocation
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    Digest,
    NewView,
    Prepare,
    PrePrepare,
    ReplicaId,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.statements import statement_of
from tests.simulation.nested import NestedStatements, Place

Signed = PrePrepare | Prepare | Commit | Checkpoint | ViewChange | NewView
SIGNED: Final = (PrePrepare, Prepare, Commit, Checkpoint, ViewChange, NewView)
VOTES: Final = {Prepare: VoteType.PREPARE, Commit: VoteType.COMMIT}


class SeenStatements:
    """The first statement for each place, the last view-change of each replica, the new-view, and
    what was nested in others' messages.
    """

    def __init__(self, replica_set: ReplicaSet) -> None:
        self._set = replica_set
        self._first: dict[Place, Digest] = {}
        self._view_changes: dict[ReplicaId, ViewChange] = {}
        self._entered: NewView | None = None
        self._proven: set[Place] = set()
        self._nested: NestedStatements | None = None

    def enter(self, new_view: NewView) -> None:
        """The replica enters a view: what its primary proposes again is proposed by it."""
        self._entered = new_view
        primary = self._set.primary(new_view.view)
        for each in new_view.reproposals:
            place = (VoteType.PRE_PREPARE, new_view.view, each.sequence, primary)
            self._first.setdefault(place, each.digest)

    def prove(self, offence: Equivocation) -> None:
        """The replica keeps evidence of this equivocation."""
        said = offence.first
        of_view = said.vote_type in (VoteType.VIEW_CHANGE, VoteType.NEW_VIEW)
        sequence = 0 if of_view else said.sequence
        self._proven.add((said.vote_type, said.view, sequence, said.replica))

    def is_proven(self, place: Place) -> bool:
        """Whether it keeps evidence of an equivocation there. Once is enough: which statement was
        the first may look different to the core, which was told some before it entered the view.
        """
        return place in self._proven

    def conflicts(self, core: Replica, message: Signed) -> list[Place]:
        """Where an authentic message, that the core is about to take, proves an equivocation, by
        itself or by what it carries: nowhere if all is the first of its place, or says the same
        again, or means nothing there.
        """
        if self._nested is None or self._nested.core is not core:
            self._nested = NestedStatements(self._set, core)
        direct, nested = self._conflict(core, message), self._nested.conflicts(message)
        return nested if direct is None else [direct, *nested]

    def _conflict(self, core: Replica, message: Signed) -> Place | None:
        match message:
            case PrePrepare():
                return self._proposed_otherwise(core, message)
            case Prepare() | Commit():
                if not _counts(core, message):
                    return None
                place: Place = (
                    VOTES[type(message)],
                    message.view,
                    message.sequence,
                    message.replica,
                )
                return self._differs(place, message.digest)
            case Checkpoint():
                if not core._ordering.in_window(message.sequence):
                    return None
                place = (VoteType.CHECKPOINT, 0, message.sequence, message.replica)
                return self._differs(place, message.header_hash)
            case ViewChange():
                return self._left_otherwise(message)
            case NewView():
                return self._opened_otherwise(core, message)

    def _proposed_otherwise(self, core: Replica, message: PrePrepare) -> Place | None:
        """A backup that has left the view accepts nothing in it."""
        if not (_counts(core, message) and core._ordering.voting):
            return None
        primary = self._set.primary(message.view)
        place = (VoteType.PRE_PREPARE, message.view, message.sequence, primary)
        return self._differs(place, message.digest)

    def _left_otherwise(self, message: ViewChange) -> Place | None:
        known = self._view_changes.get(message.replica)
        if known is None or message.view > known.view:
            self._view_changes[message.replica] = message
            return None
        if message.view < known.view or not self._says_otherwise(known, message):
            return None
        return VoteType.VIEW_CHANGE, message.view, 0, message.replica

    def _opened_otherwise(self, core: Replica, message: NewView) -> Place | None:
        known, in_it = self._entered, core.active and core.view == message.view
        if not in_it or known is None or known.view != message.view:
            return None
        if not self._says_otherwise(known, message):
            return None
        return VoteType.NEW_VIEW, message.view, 0, self._set.primary(message.view)

    def _says_otherwise(self, known: ViewChange | NewView, message: ViewChange | NewView) -> bool:
        if known == message:
            return False
        first, second = (statement_of(each, self._set) for each in (known, message))
        return (first.sequence, first.digest) != (second.sequence, second.digest)

    def _differs(self, place: Place, digest: Digest) -> Place | None:
        return place if self._first.setdefault(place, digest) != digest else None


def _counts(core: Replica, message: PrePrepare | Prepare | Commit) -> bool:
    ordering = core._ordering
    return message.view == ordering.view and ordering.in_window(message.sequence)
