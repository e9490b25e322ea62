"""What the driver's ledger task is asked to do, in order, and why a replica does not take part."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import structlog

from guqiao_sdk.proof.batch import Batch
from services.consensus.catch_up import CertifiedBatch
from services.consensus.divergence import FILE_NAME
from services.consensus.domain.messages import SequenceNumber
from services.consensus.ledger import Ledger
from services.consensus.store.state_intake import Snapshot

_log = structlog.get_logger(__name__)


class Pause(StrEnum):
    """Why the replica does not take part for now."""

    NONE = ""
    DISK_FULL = "DISK_FULL"
    HALTED = "HALTED"
    RESTORING = "RESTORING"


def first_pause(ledger: Ledger) -> Pause:
    """How a replica starts."""
    if ledger.divergence.is_there:
        _log.critical("replica.halted", reason=f"it diverged earlier: see {FILE_NAME}")
        return Pause.HALTED
    return Pause.RESTORING if ledger.must_restore else Pause.NONE


class DiskWatch:
    """Pauses a replica before its disk is full, whether it takes part or restores, and lets it go
    on as it was when there is room again.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._before = Pause.NONE

    def judge(self, pause: Pause) -> Pause:
        """What `pause` becomes now. A replica that halted writes nothing more."""
        if pause is Pause.HALTED:
            return pause
        is_full = self._ledger.disk_is_full()
        if is_full and pause is not Pause.DISK_FULL:
            _log.critical("replica.paused", code="DISK_FULL")
            self._before = pause
            return Pause.DISK_FULL
        if not is_full and pause is Pause.DISK_FULL:
            _log.info("replica.resumed")
            return self._before
        return pause

    def goes_on_as(self, pause: Pause) -> Pause:
        """`pause`, or what a full disk interrupted."""
        return self._before if pause is Pause.DISK_FULL else pause


@dataclass(frozen=True, slots=True)
class ExecuteJob:
    """Execute the batch that was decided for `sequence`."""

    sequence: SequenceNumber
    batch: Batch


@dataclass(frozen=True, slots=True)
class CatchUpJob:
    """Take blocks that others certified."""

    blocks: tuple[CertifiedBatch, ...]


@dataclass(frozen=True, slots=True)
class AdoptJob:
    """Go on from a state that was taken from peers, every part of it proven."""

    snapshot: Snapshot
