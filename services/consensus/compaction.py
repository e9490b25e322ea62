"""When the records of the core are written anew, so that the log is short when it is read again.

Whichever comes first: so many heights, or so many bytes. Where nothing is certified for long much
is kept (pbft.md, V7); then as much again must have come, lest it be written over and over.
"""

from __future__ import annotations

from typing import Final

from services.consensus.domain.epochs import Core
from services.consensus.domain.messages import EpochStarted, SequenceNumber
from services.consensus.ledger import Ledger

COMPACT_EVERY: Final = 500
"""Heights between two compactions."""
COMPACT_BYTES: Final = 64 * 1024 * 1024
"""Bytes of records between two compactions."""


class Compaction:
    """Of one replica's records."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._compacted_at = SequenceNumber(0)
        self._asked = False

    def start(self, core: Core) -> None:
        """Another core goes on."""
        self._compacted_at = core.low_watermark

    def ask(self) -> None:
        """Write the records anew at the next occasion."""
        self._asked = True

    def is_due(self, core: Core) -> bool:
        """Whether the log has grown enough."""
        log = self._ledger.store.core_log
        many = core.low_watermark >= self._compacted_at + COMPACT_EVERY
        return self._asked or many or log.appended_bytes >= max(COMPACT_BYTES, log.kept_bytes)

    async def write(self, core: Core) -> None:
        """Keep only the records that still matter; none waits to be written now."""
        self._compacted_at, self._asked = core.low_watermark, False
        started = EpochStarted(core.epoch, self._ledger.view_floor(core.epoch))
        await self._ledger.compact([started, *core.records()])
