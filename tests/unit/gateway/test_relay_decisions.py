"""What the relay decides by itself, without a chain: remedies, request ids, bodies."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk import rules
from guqiao_sdk.proof.packet import Packet
from services.gateway.domain.relay import (
    ALARMS,
    UNPROVEN_MAX,
    ProvenHeader,
    ProvenPacket,
    ProvenReceipt,
    Remedy,
    acknowledge_body,
    receive_body,
    remedy_for,
    request_id_of,
    update_body,
)

HEADER = ProvenHeader("shandong", 7, b"header", b"certificate")
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
BODIES = st.dictionaries(TEXTS, st.integers(0, 2**53 - 1) | TEXTS)


@pytest.mark.parametrize("code", sorted(rules.catalogue()))
def test_every_code_has_its_remedy(code: str) -> None:
    """A conflict is set aside, disorder mended by delivering again, everything else tried again."""
    wanted = {"PACKET_CONFLICT": Remedy.PARK, "PACKET_OUT_OF_ORDER": Remedy.DELIVER_AGAIN}
    assert remedy_for(code, 0) is wanted.get(code, Remedy.NONE)
    patient = remedy_for(code, UNPROVEN_MAX)
    if code == "PACKET_UNKNOWN":
        assert remedy_for(code, UNPROVEN_MAX - 1) is Remedy.NONE
        assert patient is Remedy.DELIVER_AGAIN
    else:
        assert patient is remedy_for(code, 0)


def test_alarms_are_codes_of_the_catalogue() -> None:
    assert set(rules.catalogue()) >= ALARMS
    assert "PACKET_CONFLICT" in ALARMS


@given(BODIES, BODIES)
def test_a_request_id_follows_from_the_content_alone(
    first: dict[str, int | str], second: dict[str, int | str]
) -> None:
    ids = [request_id_of("packets.receive", dict(body)) for body in (first, second)]
    assert (ids[0] == ids[1]) == (first == second)
    assert ids[0] != request_id_of("packets.acknowledge", dict(first))
    assert uuid.UUID(ids[0]).version == 8
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", ids[0])


def test_bodies_name_the_other_chain_and_carry_every_proof() -> None:
    packet = Packet("shandong", "csrc", "data_object", 3, '{"甲":1}'.encode())
    received = receive_body(HEADER, [ProvenPacket(packet, b"\x01")])
    assert received == {
        "source": "shandong",
        "height": 7,
        "packets": [
            {
                "destination": "csrc",
                "port": "data_object",
                "sequence": 3,
                "payload": '{"甲":1}',
                "proof": "01",
            }
        ],
    }
    receipt = ProvenReceipt("data_object", 3, {"code": ""}, b"\x02")
    acknowledged = acknowledge_body(HEADER, [receipt])
    assert acknowledged["destination"] == "shandong"
    assert acknowledged["packets"] == [
        {"port": "data_object", "sequence": 3, "acknowledgement": {"code": ""}, "proof": "02"}
    ]
    assert update_body(HEADER)["set_changes"] == []
