"""How much of this machine each of those who send may take.

Each has a credit of time at work. What it spends comes back at a tenth of the time, so whoever
makes work without end gets a tenth of one core, and waits in proportion to what the last work cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

SHARE: Final = 0.1
"""Of one core, for each of those who send."""

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Account:
    credit: float
    since: float


class Credits(Generic[K]):
    """`credit_seconds` may be spent at once by who has not for long. All times are in seconds:
    `now` is a clock.
    """

    def __init__(self, credit_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._credit_seconds = credit_seconds
        self._now = now
        self._accounts: dict[K, _Account] = {}

    def charge(self, who: K, seconds: float) -> None:
        """What `who` sent took so long."""
        self._account(who).credit -= seconds

    def rest(self, who: K) -> float:
        """How long until the next of what `who` sent is looked at; at most 0: now."""
        return -self._account(who).credit / SHARE

    def _account(self, who: K) -> _Account:
        """As it is now."""
        now = self._now()
        account = self._accounts.get(who)
        if account is None:
            account = self._accounts[who] = _Account(self._credit_seconds, now)
        credit = account.credit + SHARE * (now - account.since)
        account.credit, account.since = min(self._credit_seconds, credit), now
        return account
