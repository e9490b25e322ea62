"""The order in which deliveries that arrive at once are submitted: those of one port of one chain
one behind the other, as they came, so that each finds what the one before it brought.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Place:
    """One delivery's place behind the one that came before it."""

    _before: asyncio.Future[bytes] | None
    _own: asyncio.Future[bytes]

    async def predecessor(self) -> bytes | None:
        """The id of the last transaction of the delivery before, once that is made; None where
        there is none under way, or it ended before it made one.
        """
        if self._before is None:
            return None
        await asyncio.wait([self._before])
        return None if self._before.cancelled() else self._before.result()

    def note_made(self, transaction_id: bytes) -> None:
        """This delivery's last transaction is made: the next delivery goes behind it."""
        self._own.set_result(transaction_id)


@dataclass(slots=True)
class Lanes:
    """Of one gateway. What several gateways of one chain submit at once is ordered by nobody: the
    packet contract refuses what comes too early, and the relay sends it again.
    """

    _last: dict[tuple[str, str], asyncio.Future[bytes]] = field(default_factory=dict, init=False)

    @contextmanager
    def place(self, source: str, port: str) -> Iterator[Place]:
        """Be the last delivery of a port of `source` until the block is left."""
        lane = source, port
        own: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        before, self._last[lane] = self._last.get(lane), own
        try:
            yield Place(before, own)
        finally:
            own.cancel()  # Nothing, where it is made.
            if self._last.get(lane) is own:
                del self._last[lane]
