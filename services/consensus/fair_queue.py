"""What peers sent and nobody looked at yet: a queue for each peer, taken in turn.

One peer's flood fills its own queue and delays nobody else's messages (reliability P23). Each queue
is bounded by count and bytes; its oldest entries give way, for PBFT repeats what matters.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _PeerQueue(Generic[T]):
    entries: deque[tuple[T, int]] = field(default_factory=deque)
    size: int = 0

    def pop(self) -> T:
        item, size = self.entries.popleft()
        self.size -= size
        return item


class FairQueue(Generic[T]):
    """`put` never blocks; one task calls `take`."""

    def __init__(self, *, count_max: int, bytes_max: int) -> None:
        assert count_max >= 1
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._peers: dict[int, _PeerQueue[T]] = {}
        self._filled = asyncio.Event()

    def put(self, sender: int, item: T, size: int) -> int:
        """Queue an item of `size` bytes; returns how many older ones of the sender gave way."""
        queue = self._peers.setdefault(sender, _PeerQueue())
        queue.entries.append((item, size))
        queue.size += size
        dropped = 0
        while len(queue.entries) > 1 and (
            len(queue.entries) > self._count_max or queue.size > self._bytes_max
        ):
            queue.pop()
            dropped += 1
        self._filled.set()
        return dropped

    async def take(
        self, each_max: int, *, slow: Container[int] = (), slow_max: int = 1
    ) -> list[tuple[int, T]]:
        """Wait for something; then at most `each_max` items of each peer, in order of arrival; of
        the peers in `slow` at most `slow_max`.
        """
        await self._filled.wait()
        taken = [
            (sender, queue.pop())
            for sender, queue in self._peers.items()
            for _ in range(min(slow_max if sender in slow else each_max, len(queue.entries)))
        ]
        if not any(queue.entries for queue in self._peers.values()):
            self._filled.clear()
        return taken
