"""Anchors as they travel and are kept: what proves for ever that a chain recorded a packet.

A gateway judges an anchor before it keeps it and before it hands it out, a client before it puts it
into a proof bundle, all three as the offline verifier will.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from guqiao.consensus.v1 import ledger_pb2
from guqiao.gateway.v1 import packet_pb2
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.proof.bundle import Anchor, CertifiedHeader
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.merkle import MerklePath
from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.packet_events import arrivals_of, recorded_code, verify_receipt
from guqiao_sdk.proof.receipt import Receipt


def verify_anchor(
    message: packet_pb2.Anchor, packet: Packet, transaction_id: bytes, sets: SetHistory
) -> Anchor:
    """The anchor as a bundle carries it, or `ProofError`: a certified header of the destination,
    and under it the receipt of the transaction of that id, which recorded exactly this packet.

    `sets` learns the set changes that the message brings, and must know any others.
    """
    return AnchorVerifier(sets).verify(message, packet, transaction_id)


@dataclass(frozen=True, slots=True)
class _Record:
    """What a transaction recorded, by a header that is certified."""

    message: packet_pb2.Anchor
    header: BlockHeader
    arrivals: Sequence[Mapping[str, Json]]
    anchor: Anchor


@dataclass(slots=True)
class AnchorVerifier:
    """Judges anchors one after another as `verify_anchor` does. Packets that one transaction
    recorded have one and the same anchor: what does not depend on the packet is judged once.
    """

    sets: SetHistory
    _last: _Record | None = field(default=None, init=False)

    def verify(self, message: packet_pb2.Anchor, packet: Packet, transaction_id: bytes) -> Anchor:
        """As `verify_anchor`; the same object for the same anchor in succession."""
        record = self._last
        if record is None or record.message != message:
            record = self._last = self._record_of(message, packet)
        recorded_code(record.arrivals, record.header, packet)
        if record.anchor.receipt.transaction_id != transaction_id:
            where = f"receipt in {record.header.chain_id} height {record.header.height}"
            raise ProofError(where, "it is of another transaction")
        return record.anchor

    def _record_of(self, message: packet_pb2.Anchor, packet: Packet) -> _Record:
        sets, encoded, proof = self.sets, message.certified_header, message.receipt_proof
        sets.learn(message.set_changes)
        try:
            header = BlockHeader.decode(encoded.header)
            certificate = FinalityCertificate.decode(encoded.certificate)
            receipt = Receipt.decode(proof.leaf)
        except MalformedError as error:
            raise ProofError(f"anchor of packet {packet.sequence}", str(error)) from error
        sets.verify_header(header, certificate)
        path = MerklePath(proof.index, proof.count, tuple(proof.path))
        verify_receipt(receipt, path, header)
        changes = sets.changes_to(header.epoch)
        certified = CertifiedHeader.build(sets.first_set, header, certificate, changes)
        known = packet_pb2.Anchor()
        known.CopyFrom(message)
        return _Record(
            known, header, arrivals_of(receipt, header), Anchor(receipt, path, certified)
        )


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
