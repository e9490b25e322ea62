"""What the others say of themselves: unsigned, so it decides nothing but whom to ask and to help.

Views belong to an epoch; what is said of views in another epoch says nothing here. The certified
height means the same in all of them.
"""

from __future__ import annotations

from services.consensus.domain.effects import Effect, Send
from services.consensus.domain.messages import Hello, NewView, ReplicaId, SequenceNumber, View


class Hearsay:
    """The latest `Hello` of each peer, learners included, and how far it said last to be;
    `ask_first` takes turns.
    """

    def __init__(self, epoch: int, resend_ms: int) -> None:
        self._epoch = epoch
        self._resend_ms = resend_ms
        self._latest: dict[ReplicaId, Hello] = {}
        self._heights: dict[ReplicaId, SequenceNumber] = {}
        self._helped_ms: dict[ReplicaId, int] = {}
        self._turn = 0

    def hear(self, sender: ReplicaId, said: Hello) -> None:
        """Keep what `sender` says; only the latest counts."""
        self._latest[sender] = said
        self._heights[sender] = said.certified

    def hear_height(self, peer: ReplicaId, certified: SequenceNumber) -> None:
        """With blocks `peer` says up to where it holds them."""
        self._heights[peer] = certified

    def ask_first(self, beyond: SequenceNumber) -> tuple[SequenceNumber, ReplicaId] | None:
        """One of the peers that say to have certified more than `beyond`, and how much."""
        ahead = sorted(peer for peer, height in self._heights.items() if height > beyond)
        if not ahead:
            return None
        self._turn += 1
        source = ahead[self._turn % len(ahead)]
        return self._heights[source], source

    def has_left(self, peer: ReplicaId, view: View) -> bool:
        """Whether `peer` says to suspect `view` or to have left it."""
        said = self._of_epoch(peer)
        return said is not None and (said.view > view or (said.view == view and said.suspects))

    def is_waiting(self, peer: ReplicaId) -> bool:
        """Whether `peer` says to wait for a new-view."""
        said = self._of_epoch(peer)
        return said is not None and not said.active

    def help(self, peer: ReplicaId, new_view: NewView | None, now_ms: int) -> list[Effect]:
        """The new-view of the view we are in, for a peer that says that it is not there."""
        if new_view is None or not self._wants_help(peer, new_view.view, now_ms):
            return []
        return [Send(peer, new_view)]

    def _wants_help(self, peer: ReplicaId, view: View, now_ms: int) -> bool:
        """Whether `peer` is not in `view`, and was not helped within the resend interval."""
        said = self._of_epoch(peer)
        if said is None or said.view > view or (said.view == view and said.active):
            return False
        helped_ms = self._helped_ms.get(peer)
        if helped_ms is not None and now_ms - helped_ms < self._resend_ms:
            return False
        self._helped_ms[peer] = now_ms
        return True

    def _of_epoch(self, peer: ReplicaId) -> Hello | None:
        said = self._latest.get(peer)
        return said if said is not None and said.epoch == self._epoch else None
