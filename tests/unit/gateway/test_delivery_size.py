"""What a relayer puts into one transaction fits into a payload, whatever the packets hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.transaction import PAYLOAD_BYTES_MAX, Payload
from services.consensus.domain.contracts.objects import OBJECT_BYTES_MAX
from services.consensus.domain.contracts.packets import PROOF_BYTES_MAX
from services.gateway.domain.relay import (
    PACKETS_MAX,
    ProvenHeader,
    ProvenPacket,
    count_fitting,
    receive_body,
)

HEADER = ProvenHeader("shandong", 7, bytes(600), bytes(7_000))
DID = "did:rem:csrc:" + "9" * 64


def packet(sequence: int, payload_bytes: int, proof_bytes: int) -> ProvenPacket:
    payload = b'"' * payload_bytes  # The worst case: as a JSON string it takes twice the bytes.
    return ProvenPacket(
        Packet("shandong", "csrc", "data_object", sequence, payload), bytes(proof_bytes)
    )


def transaction_bytes(packets: list[ProvenPacket]) -> int:
    return len(
        Payload(
            chain="csrc",
            maker=(DID, "k" * 32),
            checker=None,
            organisation=DID,
            request_id="0" * 36,
            expires_height=1 << 53,
            expires_time_ms=1 << 53,
            after=bytes(32),
            contract="packets",
            method="receive",
            business_time=None,
            body=receive_body(HEADER, packets),
        ).to_bytes()
    )


@given(
    st.lists(
        st.tuples(st.integers(1, OBJECT_BYTES_MAX), st.integers(40, PROOF_BYTES_MAX)),
        min_size=1,
        max_size=PACKETS_MAX,
    )
)
def test_what_is_delivered_at_once_fits_into_a_transaction(sizes: list[tuple[int, int]]) -> None:
    packets = [packet(number, *size) for number, size in enumerate(sizes, start=1)]
    count = count_fitting(packets)
    assert 1 <= count <= len(packets)
    assert transaction_bytes(packets[:count]) <= PAYLOAD_BYTES_MAX


def test_small_packets_all_go_at_once() -> None:
    packets = [packet(number, 2_000, 700) for number in range(1, PACKETS_MAX + 1)]
    assert count_fitting(packets) == PACKETS_MAX


def test_fifty_rosters_of_two_hundred_holders_go_in_parts() -> None:
    packets = [packet(number, 65_000, 700) for number in range(1, PACKETS_MAX + 1)]
    assert 1 < count_fitting(packets) < PACKETS_MAX
