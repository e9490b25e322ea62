"""What one replica was shown of others' statements inside certificates, view-changes and new-views,
and what that proves with what it was told directly (S10).

It takes messages apart by itself and not with the code under test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.messages import (
    Checkpoint,
    NewView,
    PeerMessage,
    Prepare,
    PrePrepare,
    SequenceNumber,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from tests.simulation.statements import content_digest

Place = tuple[VoteType, int, int, int]
"""Type, view, sequence number, signer. Of a view-change the view alone is the place."""

Said = tuple[Place, bytes]
"""A place, and what is said there."""

CARRYING: Final = (ViewChange, NewView)
VIEWS_MAX: Final = 4
"""Of one type, sequence number and signer a replica remembers the views nearest its own (pbft.md,
N12).
"""


class NestedStatements:
    """The first statement for each place, and whether it was nested; of one core."""

    def __init__(self, replica_set: ReplicaSet, core: Replica) -> None:
        self.core = core
        self._set = replica_set
        self._first: dict[tuple[VoteType, int, int], dict[int, tuple[bytes, bool]]] = {}
        self._low: int = core._ordering.low

    def conflicts(self, message: PeerMessage) -> list[Place]:
        """Where an authentic message, that the core is about to take, excludes what was said
        before, one of both being nested.
        """
        low = self.core._ordering.low
        if low != self._low:
            self._forget_through(low)
        direct = self._direct(message)
        found = [] if direct is None else [self._meet(direct, nested=False)]
        if isinstance(message, CARRYING):
            found += [self._meet(each, nested=True) for each in self._nested(message)]
        return [each for each in found if each is not None]

    def _forget_through(self, low: int) -> None:
        self._low = low
        self._first = {
            place: views
            for place, views in self._first.items()
            if place[0] is VoteType.VIEW_CHANGE or place[1] > low
        }

    def _meet(self, said: Said, *, nested: bool) -> Place | None:
        place, content = said
        kind, view, sequence, signer = place
        if signer == self.core._signer.me:
            return None
        if kind is not VoteType.VIEW_CHANGE and not self.core._ordering.in_window(
            SequenceNumber(sequence)
        ):
            return None
        views = self._first.setdefault((kind, sequence, signer), {})
        known, was_nested = views.setdefault(view, (content, nested))
        if len(views) > VIEWS_MAX:
            own = self.core.view
            farthest = max(abs(each - own) for each in views)
            del views[min(each for each in views if abs(each - own) == farthest)]
        return place if known != content and (nested or was_nested) else None

    def _direct(self, message: PeerMessage) -> Said | None:
        match message:
            case Prepare():
                place = (VoteType.PREPARE, message.view, message.sequence, message.replica)
                return place, message.digest
            case Checkpoint():
                return (
                    VoteType.CHECKPOINT,
                    0,
                    message.sequence,
                    message.replica,
                ), message.header_hash
            case PrePrepare():
                return self._proposed(message.view, message.sequence, message.batch.digest())
            case ViewChange():
                return _left(message)
            case _:
                return None

    def _nested(self, message: PeerMessage) -> Iterator[Said]:
        if isinstance(message, ViewChange):
            yield from self._shown(message)
        if isinstance(message, NewView):
            for again in message.reproposals:
                yield self._proposed(message.view, again.sequence, again.digest)
            for each in message.view_changes:
                yield _left(each)
                yield from self._shown(each)

    def _shown(self, message: ViewChange) -> Iterator[Said]:
        certificate = message.certificate
        if certificate is not None:
            for replica, _ in certificate.signatures:
                place = (VoteType.CHECKPOINT, 0, message.certified, replica)
                yield place, certificate.header_hash
        for each in message.prepared:
            yield self._proposed(each.view, each.sequence, each.digest)
            for replica, _ in each.prepares:
                yield (VoteType.PREPARE, each.view, each.sequence, replica), each.digest

    def _proposed(self, view: int, sequence: int, digest: bytes) -> Said:
        return (VoteType.PRE_PREPARE, view, sequence, self._set.primary(view)), digest


def _left(message: ViewChange) -> Said:
    return (VoteType.VIEW_CHANGE, message.view, 0, message.replica), content_digest(message)
