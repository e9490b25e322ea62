"""Whom a core asks for certified blocks that it lacks, and when (C4 to C6)."""

from __future__ import annotations

from typing import Final

from services.consensus.domain.effects import Effect, FetchBlocks
from services.consensus.domain.hearsay import Hearsay
from services.consensus.domain.messages import ReplicaId, SequenceNumber

FETCH_BLOCKS_MAX: Final = 64
"""Blocks asked for at once."""


class Fetching:
    """`low` is the last certified height of whoever asks."""

    def __init__(self, hearsay: Hearsay, low: SequenceNumber) -> None:
        self._hearsay = hearsay
        self._to = low

    def ask(self, low: SequenceNumber, beyond: SequenceNumber) -> list[Effect]:
        """Ask one of the peers that say to be further than `beyond`, each in turn."""
        asked = self._hearsay.ask_first(beyond)
        return [] if asked is None else self.fetch(low, *asked)

    def ask_at_once(self, low: SequenceNumber, beyond: SequenceNumber) -> list[Effect]:
        """The same, unless blocks were asked for that did not come: another peer is asked once the
        resend interval has passed.
        """
        return [] if low < self._to else self.ask(low, beyond)

    def fetch(self, low: SequenceNumber, known: SequenceNumber, source: ReplicaId) -> list[Effect]:
        """Ask `source`, which has blocks up to `known`."""
        self._to = SequenceNumber(min(known, low + FETCH_BLOCKS_MAX))
        return [FetchBlocks(SequenceNumber(low + 1), self._to, source)]
