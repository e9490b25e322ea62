"""Packets as protocol buffers carry them: both formats there and back, other terms refused."""

from __future__ import annotations

import pytest

from guqiao.gateway.v1 import packet_pb2
from guqiao_sdk.client.packet_messages import packet_of_message, packet_to_message
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.packet import NUMBER_BOUND, Deadline, Packet, PacketClass, Terms

TERMS = [
    None,
    Terms(PacketClass.ORDERED),
    Terms(PacketClass.UNORDERED, Deadline(height=7)),
    Terms(PacketClass.UNORDERED, Deadline(NUMBER_BOUND - 1, NUMBER_BOUND - 1)),
]


@pytest.mark.parametrize("terms", TERMS)
def test_a_packet_comes_back_as_it_was_with_the_same_commitment(terms: Terms | None) -> None:
    packet = Packet("shandong", "csrc", "market_message", 3, b"{}", terms)
    wire = packet_to_message(packet).SerializeToString()
    found = packet_of_message(packet_pb2.Packet.FromString(wire))
    assert found == packet
    assert found.commitment() == packet.commitment()


def test_terms_make_another_packet_even_where_they_say_what_format_1_means() -> None:
    plain = Packet("shandong", "csrc", "data_object", 3, b"{}")
    ordered = Packet("shandong", "csrc", "data_object", 3, b"{}", Terms(PacketClass.ORDERED))
    assert plain.encode()[0] == 0
    assert ordered.encode()[0] == 2
    assert plain.commitment() != ordered.commitment()


@pytest.mark.parametrize(
    "terms",
    [
        packet_pb2.PacketTerms(),
        packet_pb2.PacketTerms(deadline_height=7),
        packet_pb2.PacketTerms(
            packet_class=packet_pb2.PACKET_CLASS_ORDERED, deadline_height=NUMBER_BOUND
        ),
        packet_pb2.PacketTerms(
            packet_class=packet_pb2.PACKET_CLASS_UNORDERED, deadline_time_ms=2**64 - 1
        ),
    ],
)
def test_terms_that_no_chain_can_hold_are_refused(terms: packet_pb2.PacketTerms) -> None:
    message = packet_to_message(Packet("shandong", "csrc", "market_message", 3, b"{}"))
    message.terms.CopyFrom(terms)
    with pytest.raises(ProofError):
        packet_of_message(message)
