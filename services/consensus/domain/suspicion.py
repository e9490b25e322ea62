"""When a replica asks to leave its view: timers of requests, proposals, heartbeats and new-views.

Suspicion is derived from the state on each Tick, never stored as a mode, and binds nobody by
itself. A primary whose blocks become final is slow at worst, and a view change would be slower
still. How long is too long, `Timeout` knows.
"""

from __future__ import annotations

from typing import Final

from services.consensus.domain.fairness import Fairness
from services.consensus.domain.messages import ProtocolParameters, RequestGone, RequestPending
from services.consensus.domain.timeout import Timeout

PENDING_REQUESTS_MAX: Final = 100_000
TICK_GAP_MAX_MS: Final = 250
"""The most that one Tick adds to the timers, however far the clock jumped."""


class Suspicion:
    """`now_ms` is the timers' time: it only grows, by what passes between ticks."""

    def __init__(self, parameters: ProtocolParameters, now_ms: int) -> None:
        self.now_ms = now_ms
        self.entered_ms = now_ms
        self.quorum_since_ms: int | None = None
        self._others_wait_since_ms: int | None = None
        self._progress_ms = now_ms
        self._idle_until_ms = now_ms
        self._timeout = Timeout(parameters, now_ms)
        self._parameters = parameters
        self._clock_ms: int | None = None
        self._pending: dict[bytes, int] = {}
        self._fairness = Fairness(now_ms)

    def tick(self, clock_ms: int, *, under_way: bool = False) -> None:
        """Let pass what the clock says has passed, within reason; `under_way` tells whether a
        proposal is accepted that is not certified yet.
        """
        if self._clock_ms is not None:
            self.now_ms += min(max(clock_ms - self._clock_ms, 0), TICK_GAP_MAX_MS)
        self._clock_ms = clock_ms
        if not under_way:
            self._idle_until_ms = self.now_ms
        self._timeout.waited(self.now_ms - max(self._progress_ms, self._idle_until_ms))
        self._timeout.waited(self._request_wait_ms())
        waits = bool(self._pending)
        self._fairness.observe(self.now_ms, self.timeout_ms, waits=waits, under_way=under_way)

    def on_request(self, message: RequestPending | RequestGone) -> None:
        """Start or end a request's timer; the oldest are kept when there are too many."""
        if isinstance(message, RequestGone):
            since_ms = self._pending.pop(message.request, None)
            if since_ms is not None and message.executed:
                self._fairness.ordered(since_ms, self.now_ms)
        elif len(self._pending) < PENDING_REQUESTS_MAX:
            self._pending.setdefault(message.request, self.now_ms)

    def leave_view(self) -> None:
        """A view-change was sent: wait longer than the last time, up to the bound."""
        self._timeout.leave_view()
        self.quorum_since_ms = None

    def enter_view(self) -> None:
        """A new view starts; requests get its primary's full time."""
        self.entered_ms = self._progress_ms = self.now_ms
        self.quorum_since_ms = None
        self._timeout.enter_view(self.now_ms)
        self._fairness.enter_view(self.now_ms)

    def progress(self) -> None:
        """A block became final in the view."""
        self._progress_ms = self.now_ms
        self._timeout.progress(self.now_ms)

    @property
    def timeout_ms(self) -> int:
        """How long a view may stand still now."""
        return self._timeout.value_ms

    def proposal_late(self, uncertified_since_ms: int | None) -> bool:
        """Whether an accepted proposal waits too long for its certificate, and nothing moves."""
        if uncertified_since_ms is None:
            return False
        return self.now_ms - uncertified_since_ms > self.timeout_ms

    def request_late(self) -> bool:
        """Whether the oldest pending request waits too long, and not for the chain's sake. A resend
        interval is excused always: what tells the primary of it may have got lost once.
        """
        if self._request_wait_ms() <= self.timeout_ms + self._parameters.resend_ms:
            return False
        oldest, patience_ms = next(iter(self._pending.values())), self._parameters.timeout_max_ms
        return not self._fairness.excuses(oldest, self.now_ms, self.timeout_ms, patience_ms)

    def primary_slow(self) -> bool:
        """Whether the primary leaves requests waiting for most of the time (reliability P16)."""
        return self._fairness.is_slow(self.timeout_ms)

    def heartbeats_missed(self, proposal_ms: int) -> bool:
        """Whether the primary missed two heartbeats."""
        return self.now_ms - proposal_ms > max(2 * self._parameters.heartbeat_ms, self.timeout_ms)

    def new_view_late(self) -> bool:
        """Whether a quorum asked for the view and its new-view does not come (PBFT 4.5.2)."""
        since = self.quorum_since_ms
        return since is not None and self.now_ms - since > self.timeout_ms

    def others_wait_long(self, others_wait: bool) -> bool:
        """Whether others have waited for a new-view for longer than a view may stand still."""
        if not others_wait:
            self._others_wait_since_ms = None
            return False
        if self._others_wait_since_ms is None:
            self._others_wait_since_ms = self.now_ms
        return self.now_ms - self._others_wait_since_ms > self.timeout_ms

    def _request_wait_ms(self) -> int:
        """How long the oldest pending request has waited in this view; 0 where none is pending."""
        oldest = next(iter(self._pending.values()), self.now_ms)
        return self.now_ms - max(oldest, self.entered_ms)
