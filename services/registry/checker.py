"""Keeps the register recounted: all of it at the start and every 1,000 blocks, and what blocks
change as they come (design, section 8). It raises an alarm and decides nothing.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from prometheus_client import Gauge

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.rules import messages
from services.chassis.block_feed import projected_height
from services.chassis.bus.transient import Backoff, is_transient
from services.chassis.postgres import Pool
from services.chassis.telemetry import Metrics
from services.registry.recount import Recount, Violation, recount

LOOK_SECONDS: Final = 1.0
STANDING_SECONDS: Final = 10.0
"""How long until all is counted again while it does not add up."""

WAIT_SECONDS_MAX: Final = 30.0
FULL_EVERY_HEIGHTS: Final = 1_000
VIOLATIONS_TOLD_MAX: Final = 100
DIFFERS: Final = "REGISTER_DIFFERS"
log = structlog.get_logger(__name__)


class RegisterChecker:
    """Recounts while it runs. `violations` are those that stand, as last found."""

    def __init__(self, pool: Pool, client: ChainClient, metrics: Metrics) -> None:
        self._pool = pool
        self._client = client
        self._full_at: int | None = None
        self.height = 0
        self.violations: tuple[Violation, ...] = ()
        self._found: Gauge = metrics.gauge(
            "guqiao_registry_violations", "Invariants of the register that a recount found broken"
        )
        self._at: Gauge = metrics.gauge(
            "guqiao_registry_recounted_height", "The height up to which the register was recounted"
        )

    async def run(self) -> None:
        """Recount until cancelled; what is away for a while is waited for."""
        backoff = Backoff(LOOK_SECONDS, WAIT_SECONDS_MAX)
        while True:
            try:
                await self.step()
            except Exception as error:
                if not (isinstance(error, GuqiaoError | ProofError) or is_transient(error)):
                    raise
                log.warning("register.recount_waits", error=repr(error))
                await asyncio.sleep(backoff.next_seconds())
            else:
                backoff = Backoff(LOOK_SECONDS, WAIT_SECONDS_MAX)
                await asyncio.sleep(STANDING_SECONDS if self.violations else LOOK_SECONDS)

    async def step(self) -> None:
        """Recount what changed since the last time, or everything when that is due. While one
        violation stands everything is counted, so that it is told when it is gone.
        """
        async with self._pool.acquire() as connection:
            height = await projected_height(connection, self._client.chain_id)
        full_at = self._full_at
        if full_at is None or height >= full_at + FULL_EVERY_HEIGHTS or self.violations:
            self._take(found := await recount(self._pool, self._client))
            self._full_at = found.height
        elif height > self.height:
            self._take(await recount(self._pool, self._client, self.height))

    async def check(self) -> str | None:
        """What /readyz says of it."""
        if not self.violations:
            return None
        first, count = self.violations[0], len(self.violations)
        return f"{DIFFERS}: {messages(DIFFERS).en} ({count}, the first: {first})"

    def _take(self, found: Recount) -> None:
        new = [violation for violation in found.violations if violation not in self.violations]
        for violation in new[:VIOLATIONS_TOLD_MAX]:
            log.error("register.differs", code=DIFFERS, height=found.height, found=str(violation))
        if self.violations and not found.violations:
            log.info("register.adds_up_again", height=found.height)
        self.height, self.violations = found.height, found.violations
        self._found.set(len(found.violations))
        self._at.set(found.height)
