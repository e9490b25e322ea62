"""S8: what a replica's core holds is bounded, whatever its peers send."""

from __future__ import annotations

from typing import Final

from services.consensus.domain.later import (
    LATER_BATCHES_BYTES_MAX,
    LATER_VOTES_PER_WINDOW,
    Later,
)
from services.consensus.domain.log import SPARE_BATCHES_MAX, VOTED_BATCHES_MAX, Entry
from services.consensus.domain.replica import Replica
from services.consensus.domain.said_before import VIEWS_MAX as SAID_VIEWS_MAX
from services.consensus.domain.suspicion import PENDING_REQUESTS_MAX

VIEWS_MAX: Final = 1_000
"""No honest run of this length sees more views."""
NEEDED_BATCHES_MAX: Final = 2
"""Of one height: what is about to be decided, and what was prepared."""


def room_fault(core: Replica, window: int) -> str | None:
    """What there is more of than may be, or None."""
    ordering = core._ordering
    if core.view >= VIEWS_MAX:
        return f"was dragged to view {core.view}"
    if len(ordering.entries) > 2 * window or len(ordering._waiting) > window:
        return "has more entries, or more waiting, than the window"
    if len(core._checkpoints._votes) > 2 * window:
        return "has too many tallies"
    if len(core._suspicion._pending) > PENDING_REQUESTS_MAX:
        return "has too many pending requests"
    for entry in ordering.entries.values():
        many = max(len(entry._pre_prepares), len(entry._fetched)) > SPARE_BATCHES_MAX
        if many and _holds_too_many(entry):
            return f"holds too many batches for {entry.sequence}"
    later = core._later
    return _later_fault(later, window) if later.votes or later.proposals else None


def said_fault(core: Replica, window: int) -> str | None:
    """What there is too much of among the statements of others (N12), or None."""
    said = core._said_before
    members = len(core._signer.replica_set.members)
    kept = [views for of_height in said._votes.values() for views in of_height.values()]
    kept += said._view_changes.values()
    if max(map(len, kept), default=0) > SAID_VIEWS_MAX:
        return "keeps statements of too many views"
    if sum(map(len, kept)) > SAID_VIEWS_MAX * members * (2 * window + 1) + members * window:
        return "keeps too many statements"
    return None


def _holds_too_many(entry: Entry) -> bool:
    """Of one height's batches: those that it voted for, few others, and what it needs (V7)."""
    for held in (entry._pre_prepares, entry._fetched):
        if len(held) <= SPARE_BATCHES_MAX:
            continue
        others = sum(digest not in entry.voted for digest in held)
        voted = len(held) - others
        if others > NEEDED_BATCHES_MAX + SPARE_BATCHES_MAX:
            return True
        if voted > NEEDED_BATCHES_MAX + VOTED_BATCHES_MAX:
            return True
    return False


def _later_fault(later: Later, window: int) -> str | None:
    """Of views that are still to come (V10)."""
    most = max(map(len, later.votes.values()), default=0)
    if most > LATER_VOTES_PER_WINDOW * window or len(later.proposals) > window:
        return "has too many messages of later views"
    if not later.proposals:
        return None
    batches = (kept.batch for _, kept in later.proposals.values())
    if sum(len(each) for batch in batches for each in batch.transactions) > LATER_BATCHES_BYTES_MAX:
        return "has too large batches of later views"
    return None
