"""Packets between chains and the state keys under which they are proven (IBC ICS-004's terms).

The source chain keeps a commitment per (destination, port, sequence); the destination keeps a
receipt with the same commitment and an acknowledgement. Each is proven by a state proof against a
certified header of the chain that holds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.canonical import Reader, Writer, digest

PACKET_PAYLOAD_BYTES_MAX: Final = 240_000
"""What a chain may send, and so what its destination must be able to keep: both use this."""


@dataclass(frozen=True, slots=True)
class Packet:
    """`payload` is canonical JSON;

    sequences count from 1 without gap per (source, destination, port).
    """

    source: str
    destination: str
    port: str
    sequence: int
    payload: bytes

    def encode(self) -> bytes:
        """The canonical encoding."""
        writer = Writer().text(self.source).text(self.destination).text(self.port)
        return bytes(writer.u64(self.sequence).blob(self.payload))

    @staticmethod
    def decode(data: bytes) -> Packet:
        """Read `encode`'s bytes; raises `MalformedError`."""
        reader = Reader(data)
        packet = Packet(
            reader.text(64), reader.text(64), reader.text(64), reader.u64(), reader.blob()
        )
        reader.end()
        return packet

    def commitment(self) -> bytes:
        """What the source chain's state says of the packet, 32 bytes."""
        return digest("guqiao/packet/1", self.encode())


def commitment_key(destination: str, port: str, sequence: int) -> str:
    """State key on the source chain; its value is the commitment in hex (a JSON string)."""
    return f"packets/commitment/{destination}/{port}/{sequence:020d}"


def receipt_key(source: str, port: str, sequence: int) -> str:
    """State key on the destination chain;

    its value is `{"commitment": hex, "acknowledgement": {...}}`.
    """
    return f"packets/receipt/{source}/{port}/{sequence:020d}"


def acknowledgement_key(destination: str, port: str, sequence: int) -> str:
    """State key on the source chain of what the destination did, once it is proven there;

    its value is `{"commitment": hex, "acknowledgement": {...}, "destination_height": n}`.
    """
    return f"packets/acknowledged/{destination}/{port}/{sequence:020d}"
