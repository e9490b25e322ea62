"""The newest revocation list of each authority on the own chain, and the alarm before it ends.

Seals are judged by these lists where a chain keeps them. Once one has ended, deliveries wait until
the next one is published, so people are told while there is time. A list that was published before
this was kept is seen when the next one is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from services.chassis.bus.transient import is_transient
from services.chassis.postgres import Connection, Pool
from services.gateway.metrics import GatewayMetrics

ENDS_SOON: Final = "CRL_ENDS_SOON"
LEFT_MS_MIN: Final = 48 * 3_600_000
"""Two working days to find out why nobody published, or half of a list's period if that is less."""
LOOK_SECONDS: Final = 60.0
LISTS_MAX: Final = 1_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PublishedList:
    """One authority's; times are in milliseconds since 1970, `authority` is its fingerprint."""

    authority: str
    number: str
    this_update_ms: int
    next_update_ms: int

    def ends_soon(self, now_ms: int) -> bool:
        """Whether it is time to publish the next one, or past it."""
        half = (self.next_update_ms - self.this_update_ms) // 2
        return self.next_update_ms - now_ms <= min(LEFT_MS_MIN, half)


async def note_published(connection: Connection, height: int, body: dict[str, Any]) -> None:
    """Keep a list that the chain took, which is newer than the one before."""
    await connection.execute(
        """
        INSERT INTO revocation_lists (authority, number, this_update_ms, next_update_ms, height)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (authority) DO UPDATE
        SET number = $2, this_update_ms = $3, next_update_ms = $4, height = $5
        """,
        body["authority"],
        body["number"],
        body["this_update_ms"],
        body["next_update_ms"],
        height,
    )


async def forget_authority(connection: Connection, fingerprint: str) -> None:
    """An authority that counts no more needs no list."""
    await connection.execute("DELETE FROM revocation_lists WHERE authority = $1", fingerprint)


async def published_lists(connection: Connection) -> Sequence[PublishedList]:
    """All of them, those that end first before."""
    rows = await connection.fetch(
        """
        SELECT authority, number, this_update_ms, next_update_ms FROM revocation_lists
        ORDER BY next_update_ms, authority LIMIT $1
        """,
        LISTS_MAX,
    )
    return [PublishedList(**row) for row in rows]


def look_at(
    lists: Sequence[PublishedList], chain: str, metrics: GatewayMetrics, now_ms: int
) -> None:
    """Show when each ends, and raise the alarm for those that end soon or have ended."""
    metrics.list_ends.clear()
    for each in lists:
        metrics.list_ends.labels(each.authority).set(each.next_update_ms / 1_000)
        if each.ends_soon(now_ms):
            metrics.alarms.labels(chain, ENDS_SOON).inc()
            log.error(
                "gateway.crl_ends_soon",
                code=ENDS_SOON,
                authority=each.authority,
                number=each.number,
                left_seconds=(each.next_update_ms - now_ms) // 1_000,
            )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def watch_lists(
    pool: Pool, chain: str, metrics: GatewayMetrics, now_ms: Callable[[], int] = _now_ms
) -> None:
    """Look at them every minute, through whatever PostgreSQL is away."""
    while True:
        try:
            async with pool.acquire() as connection:
                lists = await published_lists(connection)
            look_at(lists, chain, metrics, now_ms())
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("gateway.crl_look_failed", error=type(error).__name__)
        await asyncio.sleep(LOOK_SECONDS)
