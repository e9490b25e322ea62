"""How many bytes of messages are in hand at once, of whom: their memory has a bound, and no source
takes all of it.

A message counts from the moment when it is here until its call is over, or the handler of a stream
asks for the next one. A source is a connection, or the organisation behind the tunnel.
"""

from __future__ import annotations

from collections import Counter

from services.chassis.errors import ExhaustedError
from services.chassis.grpc_server.limits import ServerLimits


class BytesHeld:
    """The messages in hand of one server."""

    __slots__ = ("_held", "_limits", "_total")

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._held: Counter[str] = Counter()
        self._total = 0

    def __len__(self) -> int:
        """How many bytes are held of all sources together."""
        return self._total

    def take(self, source: str, size: int) -> None:
        """Hold a message of `size` bytes, or raise QUEUE_FULL. `give_back` it when it is done.

        One message has room in any case, so that no bound keeps out what a method allows.
        """
        limits = self._limits
        bounds = (
            (self._held[source], limits.bytes_held_per_source_max),
            (self._total, limits.bytes_held_max),
        )
        for held, bytes_max in bounds:
            if held and held + size > bytes_max:
                raise ExhaustedError("QUEUE_FULL", bytes=size, bytes_held=held, bytes_max=bytes_max)
        self._held[source] += size
        self._total += size

    def give_back(self, source: str, size: int) -> None:
        """A message that was taken is done."""
        self._held[source] -= size
        self._total -= size
        if not self._held[source]:
            del self._held[source]
