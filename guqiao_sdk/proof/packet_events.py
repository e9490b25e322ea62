"""What certified receipts say of packets: that a transaction sent one, that another recorded it.

The offline verifier and whoever keeps an anchor for it judge by these functions alone, so nothing
is kept that is refused later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.json_values import Json, JsonError, parse_json_strict
from guqiao_sdk.proof.merkle import MerklePath, verify_merkle_path
from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.receipt import Outcome, Receipt

PACKET_SENT: Final = "packet.sent"
PACKET_RECEIVED: Final = "packet.received"

_EVENT_BYTES_MAX: Final = 16 * 1024 * 1024
_EVENT_DEPTH_MAX: Final = 64


def verify_receipt(receipt: Receipt, path: MerklePath, header: BlockHeader) -> None:
    """Raise `ProofError` unless the receipt is one of the header's block."""
    verify_merkle_path(
        piece=f"receipt in {header.chain_id} height {header.height}",
        root=header.receipts_root,
        leaf=receipt.encode(),
        index=path.index,
        count=path.count,
        path=path.siblings,
    )


def verify_arrival(receipt: Receipt, path: MerklePath, header: BlockHeader, packet: Packet) -> str:
    """Return the code with which the destination took exactly this packet, empty where it took it
    well; `header` is certified, that is the caller's to judge.

    Raises `ProofError` unless the receipt is that of the transaction that recorded the packet: a
    refusal, an attempt, and the delivery of what is recorded already are not.
    """
    verify_receipt(receipt, path, header)
    return recorded_code(arrivals_of(receipt, header), header, packet)


def arrivals_of(receipt: Receipt, header: BlockHeader) -> list[Mapping[str, Json]]:
    """What the receipt of a block says of packets that arrived: the events of one that was applied.
    Raises `ProofError` where one is no event.
    """
    if receipt.outcome is not Outcome.APPLIED:
        return []
    piece = _anchor_in(header)
    return [
        event_body(piece, event.body) for event in receipt.events if event.topic == PACKET_RECEIVED
    ]


def recorded_code(
    arrivals: Iterable[Mapping[str, Json]], header: BlockHeader, packet: Packet
) -> str:
    """The code with which a transaction, of which these are the `arrivals_of`, took exactly this
    packet; raises `ProofError` where it did not.
    """
    piece = _anchor_in(header)
    if packet.destination != header.chain_id:
        raise ProofError(piece, f"the packet was sent to {packet.destination}")
    event = next((event for event in arrivals if is_about(event, packet)), None)
    if event is None:
        raise ProofError(piece, "the receipt does not say that the packet arrived")
    acknowledgement = event.get("acknowledgement")
    code = acknowledgement.get("code") if isinstance(acknowledgement, dict) else None
    if not isinstance(code, str):
        raise ProofError(piece, "the receipt has no acknowledgement of the packet")
    return code


def is_about(event: Mapping[str, Json], packet: Packet) -> bool:
    """Whether an event's body names this very packet, its content included."""
    wanted: dict[str, Json] = {
        "source": packet.source,
        "destination": packet.destination,
        "port": packet.port,
        "sequence": packet.sequence,
    }
    names_it = all(event.get(name) == value for name, value in wanted.items())
    return names_it and event.get("commitment") == packet.commitment().hex()


def event_body(piece: str, data: bytes) -> Mapping[str, Json]:
    """An event's body, or `ProofError` about `piece`."""
    try:
        body = parse_json_strict(data, depth_max=_EVENT_DEPTH_MAX, size_max=_EVENT_BYTES_MAX)
    except JsonError as error:
        raise ProofError(piece, f"an event that is not strict JSON: {error}") from error
    if not isinstance(body, dict):
        raise ProofError(piece, "an event that is not an object")
    return body


def _anchor_in(header: BlockHeader) -> str:
    return f"regulatory anchor in {header.chain_id} height {header.height}"
