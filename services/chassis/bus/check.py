"""What /readyz says of the bus.

A service that has never reached its bus is not ready: its settings may be wrong. One that has lost
it serves on: submissions do not need the bus, and what it projects is told with its height.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from guqiao_sdk.rules import messages
from services.chassis.bus.port import Bus
from services.chassis.bus.positions import count_parked
from services.chassis.bus.transient import is_transient
from services.chassis.postgres.pool import Pool

CODE: Final = "BUS_UNAVAILABLE"
PARKED: Final = "EVENTS_PARKED"
REACH_SECONDS_MAX: Final = 1.5
ASK_AGAIN_SECONDS: Final = 1.0
WHY_LENGTH_MAX: Final = 200


@dataclass(slots=True)
class BusCheck:
    """Asks the bus, at most once a second however often it is asked itself."""

    bus: Bus
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _asked_at: float | None = None
    _is_known: bool = False
    _why: str | None = None

    async def never_reached(self) -> str | None:
        """Why the bus has not been reached since the start; None once it has."""
        if not self._is_known:
            await self._ask()
        return None if self._is_known else self._why

    async def away(self) -> str | None:
        """Why the bus is not reached now, if it was before."""
        await self._ask()
        return self._why if self._is_known else None

    async def _ask(self) -> None:
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._asked_at is not None and now - self._asked_at < ASK_AGAIN_SECONDS:
                return
            self._why = await self._reached()
            self._is_known = self._is_known or self._why is None
            self._asked_at = asyncio.get_running_loop().time()

    async def _reached(self) -> str | None:
        try:
            async with asyncio.timeout(REACH_SECONDS_MAX):
                await self.bus.reach()
        except Exception as error:
            if not is_transient(error):
                raise
            why = str(error)[:WHY_LENGTH_MAX] or type(error).__name__
            return f"{CODE}: {messages(CODE).en} ({why})"
        return None


@dataclass(frozen=True, slots=True)
class ParkedCheck:
    """Tells how many events the service has set aside. Their causes are for `parked` to list."""

    pool: Pool

    async def check(self) -> str | None:
        """None where there are none, or the database, which has a check of its own, is away."""
        try:
            async with asyncio.timeout(REACH_SECONDS_MAX), self.pool.acquire() as connection:
                count = await count_parked(connection)
        except Exception as error:
            if not is_transient(error):
                raise
            return None
        return f"{PARKED}: {messages(PARKED).en} ({count})" if count else None
