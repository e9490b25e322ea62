"""Anchors as they travel and are kept: what proves for ever that a chain recorded a packet.

A gateway judges an anchor before it keeps it and before it hands it out, a client before it puts it
into a proof bundle, all three as the offline verifier will.
"""

from __future__ import annotations

from guqiao.consensus.v1 import ledger_pb2
from guqiao.gateway.v1 import packet_pb2
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.proof.bundle import Anchor, CertifiedHeader
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.merkle import MerklePath
from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.packet_events import verify_arrival
from guqiao_sdk.proof.receipt import Receipt


def verify_anchor(
    message: packet_pb2.Anchor, packet: Packet, transaction_id: bytes, sets: SetHistory
) -> Anchor:
    """The anchor as a bundle carries it, or `ProofError`: a certified header of the destination,
    and under it the receipt of the transaction of that id, which recorded exactly this packet.

    `sets` learns the set changes that the message brings, and must know any others.
    """
    sets.learn(message.set_changes)
    encoded, proof = message.certified_header, message.receipt_proof
    try:
        header = BlockHeader.decode(encoded.header)
        certificate = FinalityCertificate.decode(encoded.certificate)
        receipt = Receipt.decode(proof.leaf)
    except MalformedError as error:
        raise ProofError(f"anchor of packet {packet.sequence}", str(error)) from error
    sets.verify_header(header, certificate)
    path = MerklePath(proof.index, proof.count, tuple(proof.path))
    verify_arrival(receipt, path, header, packet)
    if receipt.transaction_id != transaction_id:
        raise ProofError(
            f"receipt in {header.chain_id} height {header.height}", "it is of another transaction"
        )
    changes = sets.changes_to(header.epoch)
    certified = CertifiedHeader.build(sets.first_set, header, certificate, changes)
    return Anchor(receipt, path, certified)


def anchor_to_message(anchor: Anchor) -> packet_pb2.Anchor:
    """An anchor as it travels: made of what was verified, and of nothing else that came with it."""
    certified, path = anchor.certified, anchor.receipt_path
    return packet_pb2.Anchor(
        certified_header=ledger_pb2.CertifiedHeader(
            header=certified.header.encode(), certificate=certified.certificate.encode()
        ),
        receipt_proof=ledger_pb2.ListProof(
            leaf=anchor.receipt.encode(), index=path.index, count=path.count, path=path.siblings
        ),
        set_changes=[change.encode() for change in certified.set_changes],
    )
