"""Packets as protocol buffers carry them between gateways and to clients, of both formats."""

from __future__ import annotations

from typing import Final

from guqiao.gateway.v1 import packet_pb2
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.packet import NUMBER_BOUND, Deadline, Packet, PacketClass, Terms

PIECE: Final = "terms of a packet"
_CLASSES: Final = {
    packet_pb2.PACKET_CLASS_ORDERED: PacketClass.ORDERED,
    packet_pb2.PACKET_CLASS_UNORDERED: PacketClass.UNORDERED,
}
_MESSAGES: Final = {packet_class: number for number, packet_class in _CLASSES.items()}


def packet_to_message(packet: Packet) -> packet_pb2.Packet:
    """A packet as it travels."""
    return packet_pb2.Packet(
        source=packet.source,
        destination=packet.destination,
        port=packet.port,
        sequence=packet.sequence,
        payload=packet.payload,
        terms=terms_to_message(packet.terms),
    )


def terms_to_message(terms: Terms | None) -> packet_pb2.PacketTerms | None:
    """Class and deadline as they travel; None in format 1."""
    if terms is None:
        return None
    return packet_pb2.PacketTerms(
        packet_class=_MESSAGES[terms.packet_class],
        deadline_height=terms.deadline.height,
        deadline_time_ms=terms.deadline.time_ms,
    )


def packet_of_message(message: packet_pb2.Packet) -> Packet:
    """The packet that a message carries; raises `ProofError` where its terms are none."""
    return Packet(
        message.source,
        message.destination,
        message.port,
        message.sequence,
        message.payload,
        _terms_of(message.terms) if message.HasField("terms") else None,
    )


def _terms_of(terms: packet_pb2.PacketTerms) -> Terms:
    packet_class = _CLASSES.get(terms.packet_class)
    if packet_class is None:
        raise ProofError(PIECE, f"a class of {terms.packet_class}")
    if max(terms.deadline_height, terms.deadline_time_ms) >= NUMBER_BOUND:
        raise ProofError(PIECE, "a deadline that JSON state cannot carry")
    return Terms(packet_class, Deadline(terms.deadline_height, terms.deadline_time_ms))
