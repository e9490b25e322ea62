"""How packets, headers and proofs travel between gateways, and how what came is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from guqiao.consensus.v1 import ledger_pb2
from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.client.blocks import verify_header
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.followed_sets import FollowedSets
from guqiao_sdk.client.proven import ProvenState
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, Verify
from guqiao_sdk.proof.json_values import JsonError, parse_json_strict
from guqiao_sdk.proof.packet import Packet, receipt_key
from guqiao_sdk.proof.state_proof import StateProof, verify_state_proof
from services.gateway.domain.relay import ProvenAbsence, ProvenHeader, ProvenReceipt

RECEIPT_DEPTH_MAX: Final = 32
RECEIPT_BYTES_MAX: Final = 1024 * 1024


def encoded_changes(sets: FollowedSets, epoch: int) -> list[bytes]:
    """The own chain's set changes up to an epoch, as they travel."""
    return [change.encode() for change in sets.changes_to(epoch)]


def proven_header(client: ChainClient, state: ProvenState) -> ProvenHeader:
    """The own chain's header under which a state was proven, as it travels."""
    header = state.header
    return ProvenHeader(
        header.chain_id,
        header.height,
        header.encode(),
        state.certificate.encode(),
        tuple(encoded_changes(client.sets, header.epoch)),
    )


def decoded_header(certified: ledger_pb2.CertifiedHeader) -> BlockHeader:
    """The header of a message, unverified; raises `ProofError`."""
    try:
        return BlockHeader.decode(certified.header)
    except MalformedError as error:
        raise ProofError("certified header", str(error)) from error


def verified_header(
    sets: SetHistory,
    certified: ledger_pb2.CertifiedHeader,
    set_changes: Sequence[bytes],
    verify: Verify,
) -> BlockHeader:
    """A header of another chain, certified by the set of its epoch, which `sets` follows up to
    there; raises `ProofError`.
    """
    sets.learn(set_changes)
    header = decoded_header(certified)
    verify_header(certified, sets.set_of(header), verify)
    return header


def proven_remote(
    sets: SetHistory, certified: ledger_pb2.CertifiedHeader, header: BlockHeader
) -> ProvenHeader:
    """A header of another chain as its light client at home takes it."""
    return ProvenHeader(
        header.chain_id,
        header.height,
        certified.header,
        certified.certificate,
        tuple(change.encode() for change in sets.changes_to(header.epoch)),
    )


def header_to_message(header: ProvenHeader) -> ledger_pb2.CertifiedHeader:
    """A certified header as it travels."""
    return ledger_pb2.CertifiedHeader(header=header.header, certificate=header.certificate)


def checked_receipt(packet: Packet, row: pb.PacketReceipt, header: BlockHeader) -> ProvenReceipt:
    """A receipt that stands under a certified header, or `ProofError`."""
    piece = f"receipt of packet {packet.sequence}"
    try:
        proof = StateProof.decode(row.proof)
        receipt = parse_json_strict(
            row.receipt, depth_max=RECEIPT_DEPTH_MAX, size_max=RECEIPT_BYTES_MAX
        )
    except (MalformedError, JsonError) as error:
        raise ProofError(piece, str(error)) from error
    if not isinstance(receipt, dict) or "acknowledgement" not in receipt:
        raise ProofError(piece, "it holds no acknowledgement")
    verify_state_proof(
        piece=piece,
        root=header.state_root,
        key=receipt_key(packet.source, packet.port, packet.sequence).encode(),
        value=row.receipt,
        proof=proof,
    )
    return ProvenReceipt(packet.port, packet.sequence, receipt["acknowledgement"], row.proof)


def checked_absence(packet: Packet, row: pb.PacketAbsence, header: BlockHeader) -> ProvenAbsence:
    """That there is none under a certified header, or `ProofError`."""
    piece = f"absence of packet {packet.sequence}"
    try:
        proof = StateProof.decode(row.proof)
    except MalformedError as error:
        raise ProofError(piece, str(error)) from error
    key = receipt_key(packet.source, packet.port, packet.sequence).encode()
    verify_state_proof(piece=piece, root=header.state_root, key=key, value=None, proof=proof)
    return ProvenAbsence(packet.port, packet.sequence, row.proof)
