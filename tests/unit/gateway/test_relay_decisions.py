"""What the relay decides by itself, without a chain: remedies, request ids, bodies."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk import rules
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.light_client import SetChange
from guqiao_sdk.proof.packet import Deadline, Packet, PacketClass, Terms
from services.consensus.domain.contracts import light_client_form
from services.gateway.domain.relay import (
    ALARMS,
    NEVER_TAKEN_CODES,
    SET_CHANGES_A_STEP,
    UNPROVEN_MAX,
    ProvenAbsence,
    ProvenHeader,
    ProvenPacket,
    ProvenReceipt,
    Remedy,
    acknowledge_body,
    late_packets,
    receive_body,
    remedy_for,
    request_id_of,
    time_out_body,
    update_bodies,
)
from tests.unit.proof.proof_keys import FakeKeys, Replicas

HEADER = ProvenHeader("shandong", 7, b"header", b"certificate")
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
BODIES = st.dictionaries(TEXTS, st.integers(0, 2**53 - 1) | TEXTS)


@pytest.mark.parametrize("code", sorted(rules.catalogue()))
def test_every_code_has_its_remedy(code: str) -> None:
    """A conflict is set aside, disorder mended by delivering again, what has expired given up;
    everything else is tried again. A form that the destination does not know is set aside where
    others can go on without it.
    """
    wanted = {
        "PACKET_CONFLICT": Remedy.PARK,
        "PACKET_EXPIRED": Remedy.TIME_OUT,
        "PACKET_OUT_OF_ORDER": Remedy.DELIVER_AGAIN,
    }
    assert remedy_for(code, 0) is wanted.get(code, Remedy.NONE)
    of_a_form = {code: Remedy.PARK for code in NEVER_TAKEN_CODES}
    assert remedy_for(code, 0, in_order=False) is (wanted | of_a_form).get(code, Remedy.NONE)
    patient = remedy_for(code, UNPROVEN_MAX)
    if code == "PACKET_UNKNOWN":
        assert remedy_for(code, UNPROVEN_MAX - 1) is Remedy.NONE
        assert patient is Remedy.DELIVER_AGAIN
    else:
        assert patient is remedy_for(code, 0)


def test_alarms_are_codes_of_the_catalogue() -> None:
    assert set(rules.catalogue()) >= ALARMS | NEVER_TAKEN_CODES
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


def changed(count: int) -> tuple[ProvenHeader, list[SetChange]]:
    """A header of epoch `count` with all set changes before it."""
    replicas, changes = Replicas(FakeKeys()), []
    for epoch in range(count):
        following = replicas.next_epoch()
        end = replicas.header(10 * (epoch + 1), next_set=following.set)
        changes.append(SetChange(end, replicas.certify(end), following.set))
        replicas = following
    encoded = tuple(change.encode() for change in changes)
    return ProvenHeader("shandong", 1_000, b"header", b"certificate", encoded), changes


@pytest.mark.req("G2-10-3")
@pytest.mark.parametrize(("count", "followed"), [(0, 0), (1, 0), (3, 2), (3, 3), (8, None)])
def test_a_header_goes_with_the_set_changes_that_the_light_client_lacks(
    count: int, followed: int | None
) -> None:
    header, changes = changed(count)
    [body] = update_bodies(header, followed)
    assert body["header"] == header.header.hex()
    assert [row["header"] for row in rows_of(body)] == [
        change.header.encode().hex() for change in changes[followed or 0 :]
    ]


def test_more_set_changes_than_one_step_takes_go_by_the_ends_of_their_epochs() -> None:
    header, changes = changed(20)
    bodies = update_bodies(header, 1)
    assert [len(rows_of(body)) for body in bodies] == [8, 8, 3]
    assert SET_CHANGES_A_STEP == light_client_form.SET_CHANGES_MAX
    ends = [changes[9].header, changes[17].header]
    assert [body["header"] for body in bodies[:-1]] == [end.encode().hex() for end in ends]
    assert [end.epoch for end in ends] == [9, 17]
    assert bodies[-1]["header"] == header.header.hex()


def test_set_changes_that_are_none_are_malformed() -> None:
    header, _ = changed(1)
    with pytest.raises(MalformedError):
        update_bodies(replace(header, set_changes=(b"\xff",)), 0)


def rows_of(body: dict[str, Json]) -> list[dict[str, str]]:
    rows: Any = body["set_changes"]
    return list(rows)


NAMED: dict[str, object] = {"port": "market_message", "sequence": "3"}


def sent(sequence: int, deadline: Deadline, packet_class: PacketClass) -> Packet:
    terms = Terms(packet_class, deadline)
    return Packet("shandong", "csrc", "market_message", sequence, b"{}", terms)


@pytest.mark.parametrize(
    ("facts", "late"),
    [
        (
            {"port": "market_message", "sequence": "3", "height": "10", "block_time_ms": "50"},
            [1, 3],
        ),
        (NAMED | {"height": "9", "block_time_ms": "51"}, [2, 3]),
        (NAMED, [3]),
        (NAMED | {"sequence": "5", "height": str(2**53), "block_time_ms": str(2**53)}, [1, 2, 3]),
        ({"port": "data_object", "sequence": "3", "height": "-1", "block_time_ms": "9" * 40}, []),
        ({}, []),
    ],
)
def test_one_refusal_tells_of_all_that_are_as_late_and_unordered(
    facts: dict[str, object], late: list[int]
) -> None:
    packets = [
        sent(1, Deadline(height=9), PacketClass.UNORDERED),
        sent(2, Deadline(time_ms=50), PacketClass.UNORDERED),
        sent(3, Deadline(height=99), PacketClass.UNORDERED),
        sent(4, Deadline(height=9, time_ms=50), PacketClass.ORDERED),
        sent(5, Deadline(), PacketClass.UNORDERED),
    ]
    assert [packet.sequence for packet in late_packets(packets, facts)] == late


def test_what_is_submitted_of_absences_has_one_entry_each() -> None:
    body = time_out_body(HEADER, [ProvenAbsence("notice", 7, b"\x0a\xff")])
    entry = {"port": "notice", "sequence": 7, "proof": "0aff"}
    assert body == {
        "destination": HEADER.chain_id,
        "height": HEADER.height,
        "packets": [entry],
    }


@pytest.mark.parametrize(
    ("acknowledgement", "is_expired"),
    [({"code": "PACKET_EXPIRED"}, True), ({"code": ""}, False), ("PACKET_EXPIRED", False)],
)
def test_a_receipt_says_whether_its_packet_came_too_late(
    acknowledgement: Json, is_expired: bool
) -> None:
    receipt = ProvenReceipt("data_object", 1, acknowledgement, b"")
    assert receipt.is_expired is is_expired
