"""Packets between chains and the state keys under which they are proven (IBC ICS-004's terms).

The source chain keeps a commitment per (destination, port, sequence); the destination keeps a
receipt with the same commitment and an acknowledgement. Each is proven by a state proof against a
certified header of the chain that holds it. A packet of format 1 has no terms; one of format 2
says in what order packets of its port are taken and until when it may have an effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer, digest
from guqiao_sdk.proof.json_values import Json

PACKET_PAYLOAD_BYTES_MAX: Final = 240_000
"""What a chain may send, and so what its destination must be able to keep: both use this."""

NUMBER_BOUND: Final = 1 << 53
"""Heights and times above it do not fit JSON state."""

_FORMAT_2: Final = 2
"""The first byte of format 2. In format 1 it is that of the length of a short text: zero."""

_NAME_BYTES_MAX: Final = 64


class PacketClass(StrEnum):
    """In what order the packets of one source and port are taken."""

    ORDERED = "ordered"
    """One after the other without gap: what expired in its turn is answered and passed over."""

    UNORDERED = "unordered"
    """Each by itself, once."""


_CLASSES: Final = (PacketClass.ORDERED, PacketClass.UNORDERED)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The last block of the destination in which a packet may have an effect: at most of `height`,
    and of a block time of at most `time_ms` (milliseconds since 1970). Zero: no such limit.
    """

    height: int = 0
    time_ms: int = 0

    def __bool__(self) -> bool:
        return bool(self.height or self.time_ms)

    def has_passed(self, height: int, block_time_ms: int) -> bool:
        """Whether a block of the destination is too late for the packet."""
        return (0 < self.height < height) or (0 < self.time_ms < block_time_ms)

    def excludes_later(self, height: int, block_time_ms: int) -> bool:
        """Whether every block behind this one of the destination is too late. The block time may
        stand still: a later block may have the same.
        """
        return (0 < self.height <= height) or (0 < self.time_ms < block_time_ms)

    def to_json(self) -> dict[str, Json]:
        """As events and state hold it."""
        return {"height": self.height, "time_ms": self.time_ms}


@dataclass(frozen=True, slots=True)
class Terms:
    """What format 2 says beyond format 1."""

    packet_class: PacketClass
    deadline: Deadline = Deadline()

    def to_json(self) -> dict[str, Json]:
        """The members that stand beside those of format 1."""
        return {"class": self.packet_class.value, "deadline": self.deadline.to_json()}

    @staticmethod
    def from_json(value: Mapping[str, Json]) -> Terms | None:
        """Read `to_json`'s members among others; None where both are absent (format 1).

        Raises `MalformedError` where one is there and not of this form.
        """
        if "class" not in value and "deadline" not in value:
            return None
        match value:
            case {
                "class": "ordered" | "unordered" as name,
                "deadline": {"height": int(height), "time_ms": int(time_ms), **rest},
            } if not rest and _is_number(height) and _is_number(time_ms):
                return Terms(PacketClass(name), Deadline(height, time_ms))
        raise MalformedError("a packet's class and deadline are not of their form")


@dataclass(frozen=True, slots=True)
class Packet:
    """`payload` is canonical JSON;

    sequences count from 1 without gap per (source, destination, port). `terms` are those of format
    2; without them the packet is of format 1: ordered, without deadline.
    """

    source: str
    destination: str
    port: str
    sequence: int
    payload: bytes
    terms: Terms | None = None

    @property
    def packet_class(self) -> PacketClass:
        """In what order it is taken."""
        return PacketClass.ORDERED if self.terms is None else self.terms.packet_class

    @property
    def deadline(self) -> Deadline:
        """Until when it may have an effect; false where there is no limit."""
        return Deadline() if self.terms is None else self.terms.deadline

    def encode(self) -> bytes:
        """The canonical encoding of its format."""
        writer = Writer()
        if self.terms is not None:
            writer.u8(_FORMAT_2)
        writer.text(self.source).text(self.destination).text(self.port).u64(self.sequence)
        if self.terms is not None:
            writer.u8(_CLASSES.index(self.terms.packet_class) + 1)
            writer.u64(self.deadline.height).u64(self.deadline.time_ms)
        return bytes(writer.blob(self.payload))

    @staticmethod
    def decode(data: bytes) -> Packet:
        """Read `encode`'s bytes of either format; raises `MalformedError`."""
        reader = Reader(data)
        has_terms = data[:1] == bytes([_FORMAT_2])
        if has_terms:
            reader.u8()
        names = [reader.text(_NAME_BYTES_MAX) for _ in range(3)]
        sequence = reader.u64()
        terms = _read_terms(reader) if has_terms else None
        packet = Packet(names[0], names[1], names[2], sequence, reader.blob(), terms)
        reader.end()
        return packet

    def commitment(self) -> bytes:
        """What the source chain's state says of the packet, 32 bytes."""
        number = 1 if self.terms is None else _FORMAT_2
        return digest(f"guqiao/packet/{number}", self.encode())


def _read_terms(reader: Reader) -> Terms:
    number = reader.u8()
    if not 1 <= number <= len(_CLASSES):
        raise MalformedError(f"a packet's class of {number}")
    height, time_ms = reader.u64(), reader.u64()
    if not (_is_number(height) and _is_number(time_ms)):
        raise MalformedError("a deadline that JSON state cannot carry")
    return Terms(_CLASSES[number - 1], Deadline(height, time_ms))


def _is_number(value: int) -> bool:
    return type(value) is int and 0 <= value < NUMBER_BOUND


DELIVERY_PORT: Final = "market_delivery"
"""The port of messages that the regulatory chain sends, or sends on for a market."""

_ORIGIN: Final = re.compile(rb'^\{"from":\{"chain":"([A-Za-z0-9._-]{1,64})"[,}]')
"""How the canonical JSON of such a message begins, with the chain as its group."""


def sender_of(packet: Packet) -> str:
    """Whose packet it is: the source's, or of a message that it sends on the other chain's. It is
    what the source says, and decides nothing but whose volume a packet counts to.
    """
    found = _ORIGIN.match(packet.payload) if packet.port == DELIVERY_PORT else None
    return packet.source if found is None else found[1].decode()


def commitment_key(destination: str, port: str, sequence: int) -> str:
    """State key on the source chain; its value is the commitment in hex (a JSON string)."""
    return f"packets/commitment/{destination}/{port}/{sequence:020d}"


def terms_key(destination: str, port: str, sequence: int) -> str:
    """State key on the source chain of the terms of a packet of format 2 (`Terms.to_json`)."""
    return f"packets/terms/{destination}/{port}/{sequence:020d}"


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


def time_out_key(destination: str, port: str, sequence: int) -> str:
    """State key on the source chain of a packet that had no effect in time, once that is proven;

    its value is `{"commitment": hex, "destination_height": n, "shown_by": "absence" | "receipt"}`.
    """
    return f"packets/timed_out/{destination}/{port}/{sequence:020d}"
