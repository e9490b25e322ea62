"""How many calls are open, of whom: nobody closes the server to the others by keeping calls open.

A call without its message has proven nothing, so it may not keep out one that would: it has little
time, and beyond a bound the oldest of whoever has most gives way. A call of a proven caller counts
for its identity and for its organisation, and beyond their bounds that caller alone is refused.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import grpc.aio

from services.chassis.errors import ExhaustedError, InvalidError
from services.chassis.grpc_server.identity import Caller
from services.chassis.grpc_server.limits import ServerLimits
from services.chassis.newcomers import Newcomers


class OpenCalls:
    """The open calls of one server."""

    __slots__ = ("_counts", "_limits", "_waiting")

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._waiting: Newcomers[asyncio.Timeout] = Newcomers(
            count_max=limits.calls_without_message_max,
            source_max=limits.calls_without_message_per_source_max,
        )
        self._counts: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        """How many calls count for a caller; each does so twice."""
        return sum(self._counts.values()) // 2

    async def first_message(self, reading: Awaitable[Any], source: str) -> bytes:
        """The message of a call that `source` opened: a connection, or the organisation behind it.

        Raises FIRST_MESSAGE_LATE when it does not come in time, or so many others wait that this
        call gives way to them; REQUEST_MALFORMED when the caller ends without one.
        """
        seconds = self._limits.first_message_seconds
        try:
            async with asyncio.timeout(seconds) as waiting:
                gone = self._waiting.enter(waiting, source)
                if gone is not None and not gone.expired():
                    gone.reschedule(asyncio.get_running_loop().time())
                try:
                    message = await reading
                finally:
                    self._waiting.leave(waiting)
        except TimeoutError:
            if not waiting.expired():
                raise
            raise ExhaustedError("FIRST_MESSAGE_LATE", seconds=str(seconds)) from None
        if message is grpc.aio.EOF:
            raise InvalidError("REQUEST_MALFORMED", detail="the call ended without a message")
        assert isinstance(message, bytes), "nothing is parsed before the guard"
        return message

    def take(self, caller: Caller) -> None:
        """Count an open call of `caller`, or raise TOO_MANY_CALLS. `give_back` it when it ends."""
        limits = self._limits
        bounds = (limits.calls_per_identity_max, limits.calls_per_organisation_max)
        for who, calls_max in zip(_names(caller), bounds, strict=True):
            if self._counts[who] >= calls_max:
                raise ExhaustedError("TOO_MANY_CALLS", who=who[1], calls_max=calls_max)
        self._counts.update(_names(caller))

    def give_back(self, caller: Caller) -> None:
        """A call that was taken has ended."""
        for who in _names(caller):
            self._counts[who] -= 1
            if not self._counts[who]:
                del self._counts[who]


def _names(caller: Caller) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("identity", caller.did), ("organisation", caller.organisation)
