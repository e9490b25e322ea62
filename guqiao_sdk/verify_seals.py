"""The seals of the data objects in a proof bundle, judged offline by authorities that the verifier
believes: each is a signature under the operation, of a key with a certificate for it (G2-19-5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from guqiao_sdk.proof.bundle import Bundle
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.packet_events import event_body
from guqiao_sdk.proof.seals import Authorities, SealError
from guqiao_sdk.verify import OnCheck, Verdict


@dataclass(frozen=True, slots=True)
class Sealed:
    """One seal that holds: of which object, and whose certificate stands for it."""

    object_id: str
    organisation: str
    serial: int


def verify_seals(
    data: bytes, verdict: Verdict, authorities: Authorities, verify: Verify, on_check: OnCheck
) -> tuple[Sealed, ...]:
    """The seals of a bundle that `verify_bundle` found to hold, at the time of the operation's
    block. Raises `ProofError` for the first that does not hold, with the rule's code; none at all
    is such a fault where the operation sent an object.
    """
    bundle, found = Bundle.decode(data), list[Sealed]()
    for packet in bundle.packets:
        for number, public_key in enumerate(_keys(packet, bundle), start=1):
            piece = f"seal {number} of packet {packet.sequence}"
            try:
                certificate = authorities.certificate_of(
                    public_key, verdict.block.block_time_ms, verify
                )
            except SealError as error:
                raise ProofError(piece, "no certificate stands for it", error.code) from error
            on_check(piece)
            name = verdict.object_id or ""
            found.append(Sealed(name, certificate.organisation, certificate.serial))
    return tuple(found)


def _keys(packet: Packet, bundle: Bundle) -> list[bytes]:
    """The keys of a packet's seals, each a signature of the operation."""
    piece = f"packet {packet.sequence} of {packet.source} port {packet.port}"
    seals = _seals(event_body(piece, packet.payload))
    if not seals:
        raise ProofError(piece, "it carries no sealed object", "SOURCE_MISSING")
    signed = {(key.hex(), signature.hex()): key for key, signature in bundle.transaction.signatures}
    found: list[bytes] = []
    for number, seal in enumerate(seals, start=1):
        match seal:
            case {"pub_key": {"value": str(key)}, "signature": str(signature)} if (
                key,
                signature,
            ) in signed:
                found.append(signed[key, signature])
            case _:
                piece = f"seal {number} of packet {packet.sequence}"
                raise ProofError(piece, "it is no signature of the operation")
    return found


def _seals(payload: Any) -> list[Any]:
    """Of a data object, or of a message, which holds one."""
    match payload:
        case {"header": {"seal": list(seals)}} | {"object": {"header": {"seal": list(seals)}}}:
            return seals
    return []
