"""What peers sent in vain, counted by peer and reason, and logged at most once a second for each.

Two kinds of reasons: what an honest replica never sends, which accuses its sender, and what every
replica sends now and then, because votes are late, sets change and this one has bounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog
from prometheus_client import Counter

LOG_AGAIN_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class Reason(StrEnum):
    """Why something that a peer sent was not used. The values are labels of metrics."""

    MALFORMED = "malformed"
    """No frame, or one with two readings, or larger than a frame may be."""
    UNAUTHENTIC = "unauthentic"
    """A signature that does not hold, or under a name or in a role that is not the sender's."""
    NOT_MEMBER = "not_member"
    """A vote for this epoch of a replica that has no vote in it: removed, jailed or never in it."""
    STALE = "stale"
    """A vote for a height that the sender itself said before to have certified."""
    PROTOCOL = "protocol"
    """Authentic, and against the protocol: two votes in one phase, an invalid batch."""
    INADMISSIBLE = "inadmissible"
    """A transaction passed on that no honest replica admits."""
    UNPROVEN = "unproven"
    """A block or state that does not hold against its certificate."""

    LATE = "late"
    """A vote for a height that is certified here, or for a view that was left; a transaction that
    is expired, or whose signers the state does not know, or no more.
    """
    FUTURE = "future"
    """A vote beyond this replica's window, or for a view a whole round of primaries ahead."""
    OTHER_VIEW = "other_view"
    """A proposal for a view other than this replica's."""
    REPEATED = "repeated"
    """A proposal that is held here already: its primary sends it until it is decided."""
    OTHER_EPOCH = "other_epoch"
    """A vote or proposal of another epoch."""
    UNASKED = "unasked"
    """An answer to nothing that is, or is still, asked."""
    CLOCK = "clock"
    """A time too far from this replica's clock: either of the two may be wrong."""
    FLOOD = "flood"
    """What was beyond the sender's own queue or share: more came than this replica took."""
    UNREADY = "unready"
    """This replica takes no votes, or its queues are full, whoever filled them."""


NEVER_HONEST: Final = frozenset(
    {
        Reason.MALFORMED,
        Reason.UNAUTHENTIC,
        Reason.NOT_MEMBER,
        Reason.STALE,
        Reason.PROTOCOL,
        Reason.INADMISSIBLE,
        Reason.UNPROVEN,
    }
)
"""These accuse whoever sent it."""

Later = Callable[[float, Callable[[int], None], int], object]
"""(seconds, function, its argument): call the function after so long."""


@dataclass(slots=True)
class _Unlogged:
    """What a peer's next line will say."""

    count: int = 0
    reason: str = ""
    why: str = ""


def _call_later(seconds: float, function: Callable[[int], None], argument: int) -> object:
    return asyncio.get_running_loop().call_later(seconds, function, argument)


class Refusals:
    """Counts in `rejected` what an honest replica never sends, in `ignored` the rest; both have
    the labels `replica` and `reason`. Senders are those whose links are authenticated, so bounded.
    """

    def __init__(self, rejected: Counter, ignored: Counter, later: Later = _call_later) -> None:
        self._rejected = rejected
        self._ignored = ignored
        self._later = later
        self._counters: dict[tuple[int, Reason], Counter] = {}
        self._unlogged: dict[int, _Unlogged] = {}

    def count(self, sender: int, reason: Reason, why: str = "", *, times: int = 1) -> None:
        """`sender` sent something in vain, `times` times (0: nothing happened); `why` is for the
        log, which only hears of what no honest replica sends.
        """
        if times == 0:
            return
        counter = self._counters.get((sender, reason))
        if counter is None:
            counter = self._counters[sender, reason] = self._counter(sender, reason)
        counter.inc(times)
        if reason in NEVER_HONEST:
            self._note(sender, reason, why)

    def _counter(self, sender: int, reason: Reason) -> Counter:
        """Kept: to find it among the labels costs more than to count."""
        metric = self._rejected if reason in NEVER_HONEST else self._ignored
        return metric.labels(replica=str(sender), reason=reason.value)

    def _note(self, sender: int, reason: Reason, why: str) -> None:
        """The first at once; what follows within a second together, in one line."""
        waiting = self._unlogged.get(sender)
        if waiting is not None:
            waiting.count, waiting.reason, waiting.why = waiting.count + 1, reason.value, why
            return
        _log.warning("message.rejected", sender=sender, reason=reason.value, why=why, count=1)
        self._unlogged[sender] = _Unlogged()
        self._later(LOG_AGAIN_SECONDS, self._log_rest, sender)

    def _log_rest(self, sender: int) -> None:
        rest = self._unlogged.pop(sender)
        if rest.count == 0:
            return
        _log.warning(
            "message.rejected", sender=sender, reason=rest.reason, why=rest.why, count=rest.count
        )
        self._unlogged[sender] = _Unlogged()
        self._later(LOG_AGAIN_SECONDS, self._log_rest, sender)
