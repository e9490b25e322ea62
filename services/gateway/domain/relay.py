"""What a relayer submits: a header with its certificate, and packets or receipts with their proofs.

Request ids follow from the content, so that a repetition after a failure is the same request to the
chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.light_client import SetChange
from guqiao_sdk.proof.packet import Packet, PacketClass

PACKETS_MAX: Final = 50
"""Packets in one transaction, as the packet contract takes them."""

SET_CHANGES_A_STEP: Final = 8
"""What the light client's contract takes in one update."""

DELIVERY_BYTES_MAX: Final = 900_000
"""Packets and proofs in one transaction: what a payload may hold, less header and envelope."""

PACKET_FRAME_BYTES: Final = 512
"""What the body says of a packet besides payload and proof, at most."""

GRACE_MS: Final = 660_000
"""So long after its deadline a packet is given up that nothing can be proven of: the 10 minutes
that the packet contract asks for, and what the chain's clock may be behind."""

UNPROVEN_MAX: Final = 5
"""So often in a row the destination may fail to prove what it said it had recorded."""

ALARMS: Final = frozenset(
    {"PACKET_CONFLICT", "CLIENT_FROZEN", "BREAKER_OPEN", "CRL_MISSING", "CRL_STALE"}
)
"""Refusals that never happen in ordinary times between honest chains: people must look."""


IS_PARKED_CODES: Final = frozenset({"PACKET_CONFLICT"})
"""Refusals after which the packet that they name is set aside, whatever its class."""

NEVER_TAKEN_CODES: Final = frozenset(
    {"BODY_MALFORMED", "PACKET_CLASS_WRONG", "PACKET_PORT_FORBIDDEN", "REQUEST_MALFORMED"}
)
"""Refusals of a form, class or port that the destination's version does not know. A port that takes
packets in any order goes on without them; one in order could not, so it tries them again."""


OUT_OF_ORDER: Final = "PACKET_OUT_OF_ORDER"
"""Refusal of a packet that is not the next one of its port."""


TOO_MUCH_CODES: Final = frozenset(
    {"TRANSACTION_TOO_LARGE", "REQUEST_TOO_LARGE", "LIMIT_EXCEEDED", "BLOCK_FULL"}
)
"""Refusals after which fewer packets at a time may pass."""


class Remedy(StrEnum):
    """What a relay does after a refusal, besides trying again."""

    NONE = "none"
    PARK = "park"
    DELIVER_AGAIN = "deliver_again"
    TIME_OUT = "time_out"


def remedy_for(code: str, unproven: int, *, in_order: bool = True) -> Remedy:
    """The remedy for a refusal; `unproven` counts receipts in a row that could not be had,
    `in_order` says how the port takes packets.

    A frozen client refuses everything and is replaced by people, after which all goes on: nothing
    is parked for it, as for an open breaker and a paused link. What has expired is not delivered
    again: its absence is proven. A read model that lags cannot prove what was delivered a moment
    ago, so only the repeated lack of a receipt is a reason to deliver again.
    """
    match code:
        case _ if code in IS_PARKED_CODES or (code in NEVER_TAKEN_CODES and not in_order):
            return Remedy.PARK
        case _ if code == OUT_OF_ORDER:
            return Remedy.DELIVER_AGAIN
        case "PACKET_EXPIRED":
            return Remedy.TIME_OUT
        case "PACKET_UNKNOWN" if unproven >= UNPROVEN_MAX:
            return Remedy.DELIVER_AGAIN
    return Remedy.NONE


def late_packets(packets: Sequence[Packet], facts: Mapping[str, object]) -> list[Packet]:
    """Of those in one delivery, the unordered packets that a refusal as expired is about: the one
    that it names, and all that are too late for the height and block time that it states. What has
    no deadline is never late, whatever is said of it.
    """
    named = facts.get("port"), str(facts.get("sequence"))
    height, time_ms = (_number(facts.get(name)) for name in ("height", "block_time_ms"))
    return [
        packet
        for packet in packets
        if packet.packet_class is PacketClass.UNORDERED
        and packet.deadline
        and (
            named == (packet.port, str(packet.sequence))
            or packet.deadline.has_passed(height, time_ms)
        )
    ]


def _number(value: object) -> int:
    """A number as an error carries it; 0, which is late for nothing, where it is none."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 16 else 0


class PacketState(IntEnum):
    """Where a packet stands."""

    SENT = 1
    RECEIVED = 2
    ACKNOWLEDGED = 3
    TIMED_OUT = 4


@dataclass(frozen=True, slots=True)
class ProvenHeader:
    """A header and its certificate, canonical bytes, of one chain at one height, and the set
    changes up to its epoch, from any earlier one on.
    """

    chain_id: str
    height: int
    header: bytes
    certificate: bytes
    set_changes: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class ProvenPacket:
    """A packet and the canonical state proof of its commitment."""

    packet: Packet
    proof: bytes


@dataclass(frozen=True, slots=True)
class ProvenReceipt:
    """What the destination did with a packet, and the canonical state proof of it."""

    port: str
    sequence: int
    acknowledgement: Json
    proof: bytes

    @property
    def is_expired(self) -> bool:
        """Whether the destination took the packet in its turn, and too late."""
        match self.acknowledgement:
            case {"code": "PACKET_EXPIRED"}:
                return True
        return False


@dataclass(frozen=True, slots=True)
class ProvenAbsence:
    """That the destination has no receipt of a packet: the canonical state proof."""

    port: str
    sequence: int
    proof: bytes


def update_bodies(header: ProvenHeader, followed: int | None = None) -> list[dict[str, Json]]:
    """The bodies of `light_client.update`, in order, for a client that has followed the chain up to
    epoch `followed`. One, unless so many sets changed that they take several steps; those before
    the last end with the last header of the epoch that they reach.

    Raises `MalformedError` where the set changes are none.
    """
    due = [SetChange.decode(each) for each in header.set_changes]
    due = [change for change in due if change.replica_set.epoch > (followed or 0)]
    bodies = []
    while len(due) > SET_CHANGES_A_STEP:
        step, due = due[:SET_CHANGES_A_STEP], due[SET_CHANGES_A_STEP:]
        end = due[0]
        bodies.append(
            _update_body(header.chain_id, end.header.encode(), end.certificate.encode(), step)
        )
    return [*bodies, _update_body(header.chain_id, header.header, header.certificate, due)]


def _update_body(
    chain_id: str, header: bytes, certificate: bytes, changes: Sequence[SetChange]
) -> dict[str, Json]:
    return {
        "chain": chain_id,
        "header": header.hex(),
        "certificate": certificate.hex(),
        "set_changes": [_change_row(change) for change in changes],
    }


def _change_row(change: SetChange) -> Json:
    if change.restart is not None:
        return {"restart": change.restart.encode().hex()}
    return {
        "header": change.header.encode().hex(),
        "certificate": change.certificate.encode().hex(),
        "replica_set": change.replica_set.encode().hex(),
    }


def receive_body(header: ProvenHeader, packets: Sequence[ProvenPacket]) -> dict[str, Json]:
    """The body of `packets.receive` at the destination."""
    return {
        "source": header.chain_id,
        "height": header.height,
        "packets": [
            {
                "destination": proven.packet.destination,
                "port": proven.packet.port,
                "sequence": proven.packet.sequence,
                "payload": proven.packet.payload.decode(),
                "proof": proven.proof.hex(),
                **({} if proven.packet.terms is None else proven.packet.terms.to_json()),
            }
            for proven in packets
        ],
    }


def count_fitting(packets: Sequence[ProvenPacket]) -> int:
    """How many of the packets, from the first on, go into one transaction; at least one.

    A single packet always fits: its payload is bounded where it is sent, and as a JSON string it
    takes at most twice its size.
    """
    total = 0
    for count, proven in enumerate(packets):
        payload = canonical_json(proven.packet.payload.decode())
        total += len(payload) + 2 * len(proven.proof) + PACKET_FRAME_BYTES
        if total > DELIVERY_BYTES_MAX and count:
            return count
    return len(packets)


def acknowledge_body(header: ProvenHeader, receipts: Sequence[ProvenReceipt]) -> dict[str, Json]:
    """The body of `packets.acknowledge` at the source."""
    return {
        "destination": header.chain_id,
        "height": header.height,
        "packets": [
            {
                "port": receipt.port,
                "sequence": receipt.sequence,
                "acknowledgement": receipt.acknowledgement,
                "proof": receipt.proof.hex(),
            }
            for receipt in receipts
        ],
    }


def time_out_body(header: ProvenHeader, absences: Sequence[ProvenAbsence]) -> dict[str, Json]:
    """The body of `packets.time_out` at the source."""
    return {
        "destination": header.chain_id,
        "height": header.height,
        "packets": [
            {
                "port": absence.port,
                "sequence": absence.sequence,
                "proof": absence.proof.hex(),
            }
            for absence in absences
        ],
    }


def give_up_body(
    destination: str, packets: Sequence[tuple[str, int]], reason: str
) -> dict[str, Json]:
    """The body of `packets.give_up` at the source, for ports and sequences."""
    rows: list[Json] = [{"port": port, "sequence": sequence} for port, sequence in packets]
    return {"destination": destination, "packets": rows, "reason": reason}


def request_id_of(method: str, body: dict[str, Json]) -> str:
    """A UUID (version 8, RFC 9562) that follows from the content."""
    hashed = bytearray(digest("guqiao/relay-request/1", method.encode(), canonical_json(body))[:16])
    hashed[6] = hashed[6] & 0x0F | 0x80
    hashed[8] = hashed[8] & 0x3F | 0x80
    text = hashed.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
