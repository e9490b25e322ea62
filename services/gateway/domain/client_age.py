"""How old is what a chain's light client holds of another chain, and what is due at which age.

Both times are block times: of the own chain, and of the newest header that its client holds. No
machine's clock decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

AGES: Final = "CLIENT_AGES"
STALE: Final = "CLIENT_STALE"
FROZEN: Final = "CLIENT_FROZEN"

REFRESH_SECONDS_MAX: Final = 12 * 3_600
"""A newer header is due after half a day at the latest, whatever the period: a changed set is to be
known within a working day (G2-10-3), and a failure leaves the other half to be found."""


@dataclass(frozen=True, slots=True)
class ClientPeriod:
    """How long a chain may be believed by a header that it certified, in seconds."""

    seconds: int

    @property
    def refresh_seconds(self) -> int:
        """The age from which on a newer header is due."""
        return min(self.seconds // 4, REFRESH_SECONDS_MAX)


@dataclass(frozen=True, slots=True)
class FollowedClient:
    """What the own chain's light client holds of another chain, in the own chain's block of
    `read_at_ms`. `header` is the newest one, canonical bytes; before the first one it is empty and
    `height` and `block_time_ms` are 0. Times are milliseconds since 1970.
    """

    height: int
    header: bytes
    block_time_ms: int
    is_frozen: bool
    read_at_ms: int
    period: ClientPeriod

    @property
    def age_seconds(self) -> int:
        """0 also where there is no header, which has no age, and where its chain is ahead."""
        return max(self.read_at_ms - self.block_time_ms, 0) // 1_000 if self.header else 0

    @property
    def is_due(self) -> bool:
        """Whether it is to be brought a newer header."""
        return not self.header or self.age_seconds >= self.period.refresh_seconds

    @property
    def code(self) -> str:
        """What people must know of it; empty where all is well."""
        if self.is_frozen:
            return FROZEN
        if self.age_seconds > self.period.seconds:
            return STALE
        return AGES if 2 * self.age_seconds > self.period.seconds else ""
