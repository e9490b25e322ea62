"""Messages of views that are not entered yet: votes may overtake the new-view they belong to.

A bounded number is kept of each peer, the oldest go; pre-prepares, which carry whole batches, only
of the one view that the replica waits for.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from services.consensus.domain.messages import Commit, Prepare, PrePrepare, ReplicaId, View

LATER_MESSAGES_PER_WINDOW: Final = 4
"""Messages of later views kept of one peer, for each sequence number of the window."""

Ordered = PrePrepare | Prepare | Commit


class Later:
    """What each peer said about views that are still to come."""

    def __init__(self, window: int) -> None:
        self.kept: dict[ReplicaId, deque[Ordered]] = {}
        self._count_max = LATER_MESSAGES_PER_WINDOW * window

    def keep(self, sender: ReplicaId, message: Ordered, awaited: View) -> None:
        """Keep a message of a later view; `awaited` is the view this replica waits for."""
        if not isinstance(message, PrePrepare) or message.view == awaited:
            held = self.kept.setdefault(sender, deque(maxlen=self._count_max))
            held.append(message)

    def take(self, view: View) -> list[tuple[ReplicaId, Ordered]]:
        """The messages of `view`, which is entered now; those of earlier views are forgotten."""
        taken: list[tuple[ReplicaId, Ordered]] = []
        for sender, held in self.kept.items():
            taken += [(sender, each) for each in held if each.view == view]
            ahead = [each for each in held if each.view > view]
            held.clear()
            held.extend(ahead)
        return taken
