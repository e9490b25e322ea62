"""What a receipt says of a packet that was sent: canonical JSON, put together from its parts."""

from __future__ import annotations

import json

import pytest

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.packet import Deadline, Packet, PacketClass, Terms
from services.consensus.domain.ledger.host import packet_sent


@pytest.mark.parametrize("terms", [None, Terms(PacketClass.UNORDERED, Deadline(7, 9))])
@pytest.mark.parametrize("payload", [{"b": ["股", {"a": None}], "a": -1}, [], "text", 0])
def test_a_packet_is_announced_as_the_canonical_json_of_its_members(
    payload: Json, terms: Terms | None
) -> None:
    packet = Packet("shandong", "csrc", "data_object", 3, canonical_json(payload), terms)
    told = packet_sent(packet, "ab" * 32)
    assert told == canonical_json(json.loads(told))
    assert json.loads(told) == {
        "source": "shandong",
        "destination": "csrc",
        "port": "data_object",
        "sequence": 3,
        "payload": payload,
        "commitment": "ab" * 32,
        **({} if terms is None else terms.to_json()),
    }
