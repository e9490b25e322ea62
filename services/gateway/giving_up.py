"""Ends what was sent to a chain that is not admitted any more: nothing it proves is believed, so
neither a receipt nor an absence can come home. The own chain judges, and tells the sender.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.client.chain import ChainClient
from services.chassis.postgres import Pool
from services.gateway import overdue
from services.gateway.admission import SHUT_OUT, registered
from services.gateway.domain.relay import GRACE_MS, PACKETS_MAX, give_up_body
from services.gateway.handlers import submit_relay

PAUSE_SECONDS: Final = 10.0
"""Between looks: what is looked for is minutes late already."""


@dataclass(frozen=True, slots=True)
class GivingUp:
    """For the packets of one direction of one link."""

    pool: Pool
    client: ChainClient
    remote: str
    now_ms: Callable[[], int]

    async def look(self) -> int:
        """Give up the next packets whose deadline passed long ago; returns how many. Raises the own
        chain's refusal.
        """
        async with self.pool.acquire() as connection:
            packets = await overdue.list_unanswered(
                connection, self.remote, before_ms=self.now_ms() - GRACE_MS, limit=PACKETS_MAX
            )
        if not packets or not await self._is_shut_out():
            await asyncio.sleep(PAUSE_SECONDS)
            return 0
        body = give_up_body(self.remote, packets, "the chain is not admitted")
        await submit_relay(self.client, "packets", "give_up", body)
        async with self.pool.acquire() as connection, connection.transaction():
            await overdue.mark_given_up(connection, self.remote, packets)
        return len(packets)

    async def _is_shut_out(self) -> bool:
        """By the own chain's register; a chain that keeps none shuts nobody out."""
        found = await registered(self.client, self.remote)
        return found is not None and found.status in SHUT_OUT
