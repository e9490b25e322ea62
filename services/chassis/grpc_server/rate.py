"""A token bucket for each identity: one busy caller must not starve the others."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from services.chassis.errors import ExhaustedError

IDENTITIES_MAX: Final = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_ms: int


class RateLimiter:
    """Allows `rate_per_second` calls a second and bursts of `burst`, for each identity by itself.

    Beyond `IDENTITIES_MAX` the identity that called longest ago is forgotten; it starts with a
    full bucket again.
    """

    __slots__ = ("_buckets", "_burst", "_rate_per_second")

    def __init__(self, *, rate_per_second: float, burst: int) -> None:
        self._rate_per_second = rate_per_second
        self._burst = burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, identity: str, now_ms: int) -> None:
        """Count one call, or raise RATE_LIMITED."""
        bucket = self._buckets.setdefault(identity, _Bucket(float(self._burst), now_ms))
        self._buckets.move_to_end(identity)
        elapsed_seconds = max(0, now_ms - bucket.filled_ms) / 1_000
        bucket.filled_ms = now_ms
        bucket.tokens = min(
            float(self._burst), bucket.tokens + elapsed_seconds * self._rate_per_second
        )
        if len(self._buckets) > IDENTITIES_MAX:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1:
            raise ExhaustedError("RATE_LIMITED", rate_per_second=str(self._rate_per_second))
        bucket.tokens -= 1
