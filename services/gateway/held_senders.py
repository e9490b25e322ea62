"""Senders whose breaker is open at the destination: what is theirs waits, and what is of others
goes on. The regulatory chain sends the messages of many markets to one.

The destination only says so, and is asked again after a while; nothing is set aside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.packet import Packet, PacketClass, sender_of

HOLD_MS: Final = 5_000


@dataclass(slots=True)
class HeldSenders:
    """Of one direction of one link. Only unordered packets that the own chain sends on for another
    are held: where all of a port are of one sender, or take their turn, the port waits as a whole.
    """

    now_ms: Callable[[], int]
    _until_ms: dict[tuple[str, str], int] = field(default_factory=dict)

    def of(self, port: str) -> list[str]:
        """The senders whose packets to a port wait now."""
        return sorted(sender for held, sender in self._until_ms if held == port)

    def hold(self, packets: Sequence[Packet], error: GuqiaoError) -> list[Packet]:
        """Hold the sender that a refusal names; returns which of the packets are its."""
        if error.code != "BREAKER_OPEN":
            return []
        named = error.fields.get("port"), error.fields.get("source")
        held = [
            packet
            for packet in packets
            if packet.packet_class is PacketClass.UNORDERED
            and sender_of(packet) != packet.source
            and named == (packet.port, sender_of(packet))
        ]
        for packet in held[:1]:
            self._until_ms[packet.port, sender_of(packet)] = self.now_ms() + HOLD_MS
        return held

    def let_go(self) -> list[tuple[str, str]]:
        """Ports and senders that were held long enough: their packets are tried again."""
        over = [held for held, until_ms in self._until_ms.items() if until_ms <= self.now_ms()]
        for held in over:
            del self._until_ms[held]
        return over
