"""A gateway of the regulator that lies about anchors, and the lies that it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.merkle import merkle_root
from guqiao_sdk.proof.receipt import Receipt
from tests.plugins.flipping import flipped
from tests.plugins.link_lab import KEYS, LinkLab
from tests.unit.proof.proof_keys import Replicas
from tests.unit.xchain.ledger_chain import LedgerChain

Lie = Callable[[LinkLab, pb.PacketReceipt, pb.PacketReceipt], None]
"""Changes what is said of a packet (the last argument); before it, the truth about another one."""


@dataclass
class Liar:
    """The regulator's gateway, which lies about the anchors of some packets while it lies."""

    honest: Any
    link: LinkLab
    lie: Lie
    about: frozenset[int]
    lying: bool = True
    asked: list[list[int]] = field(default_factory=list)
    other: pb.PacketReceipt = field(default_factory=pb.PacketReceipt)

    async def DeliverPackets(self, request: Any, **options: Any) -> Any:
        return await self.honest.DeliverPackets(request, **options)

    async def GetPacketReceipts(self, request: Any, **options: Any) -> Any:
        self.asked.append(list(request.sequences))
        answer = await self.honest.GetPacketReceipts(request, **options)
        for row in answer.receipts:
            if row.sequence not in self.about:
                self.other = row
        for row in answer.receipts if self.lying else ():
            if row.sequence in self.about:
                self.lie(self.link, self.other, row)
        return answer


def lying(link: LinkLab, lie: Lie, *about: int) -> Liar:
    """The link's relay speaks to a liar from now on."""
    liar = Liar(link.called.stub, link, lie, frozenset(about))
    link.called.stub = liar  # type: ignore[assignment]
    return liar


def put(row: pb.PacketReceipt, chain: LedgerChain, height: int, index: int = 0) -> None:
    """The row's anchor is this receipt, with all that proves it."""
    block = chain.blocks[height]
    receipt, path = block.receipts[index], block.receipt_path(index)
    row.transaction_id = receipt.transaction_id
    row.anchor.certified_header.CopyFrom(chain.block_message(height).certified_header)
    proof = row.anchor.receipt_proof
    proof.leaf, proof.index, proof.count = receipt.encode(), path.index, path.count
    proof.path[:] = path.siblings


def changed_header(link: LinkLab, other: pb.PacketReceipt, row: pb.PacketReceipt) -> None:
    row.anchor.certified_header.header = flipped(row.anchor.certified_header.header)


def changed_certificate(link: LinkLab, other: pb.PacketReceipt, row: pb.PacketReceipt) -> None:
    encoded = row.anchor.certified_header.certificate
    row.anchor.certified_header.certificate = flipped(encoded)


def changed_receipt(link: LinkLab, other: pb.PacketReceipt, row: pb.PacketReceipt) -> None:
    row.anchor.receipt_proof.leaf = flipped(row.anchor.receipt_proof.leaf)


def changed_path(link: LinkLab, other: pb.PacketReceipt, row: pb.PacketReceipt) -> None:
    row.anchor.receipt_proof.path.append(bytes(32))


def of_another_packet(link: LinkLab, other: pb.PacketReceipt, row: pb.PacketReceipt) -> None:
    row.anchor.CopyFrom(other.anchor)
    row.transaction_id = other.transaction_id


def of_another_chain(link: LinkLab, other: pb.PacketReceipt, row: pb.PacketReceipt) -> None:
    """All true, of the block of the market's own chain that sent the packets."""
    chain = link.market.node.chain
    put(row, chain, chain.header.height)


def of_strangers(link: LinkLab, other: pb.PacketReceipt, row: pb.PacketReceipt) -> None:
    """The block that the liar would like to have, certified by a quorum of its own."""
    receipt = Receipt.decode(row.anchor.receipt_proof.leaf)
    forged = replace(receipt, transaction_id=b"\x01" * 32).encode()
    header = replace(
        BlockHeader.decode(row.anchor.certified_header.header), receipts_root=merkle_root([forged])
    )
    row.transaction_id = b"\x01" * 32
    row.anchor.receipt_proof.leaf = forged
    row.anchor.certified_header.header = header.encode()
    certificate = Replicas(KEYS, "csrc", epoch=7).certify(header)
    row.anchor.certified_header.certificate = certificate.encode()


def other_transaction(link: LinkLab, other: pb.PacketReceipt, row: pb.PacketReceipt) -> None:
    row.transaction_id = other.transaction_id


def of_an_attempt(link: LinkLab, other: pb.PacketReceipt, row: pb.PacketReceipt) -> None:
    """The recording transaction comes into a later block, too, as a duplicate of itself."""
    csrc, name = link.regulator.node.chain, row.transaction_id
    (encoded,) = next(
        block.transactions
        for block in csrc.blocks.values()
        if block.receipts and block.receipts[0].transaction_id == name
    )
    (receipt,) = csrc.execute(encoded).receipts
    assert (receipt.code, receipt.transaction_id) == ("TRANSACTION_DUPLICATE", name)
    put(row, csrc, csrc.header.height)


def of_a_refusal(link: LinkLab, other: pb.PacketReceipt, row: pb.PacketReceipt) -> None:
    csrc = link.regulator.node.chain
    assert csrc.call("packets", "receive", {}).code == "BODY_MALFORMED"
    put(row, csrc, csrc.header.height)


def with_set_changes(link: LinkLab, other: pb.PacketReceipt, row: pb.PacketReceipt) -> None:
    row.anchor.set_changes.append(b"\xff" * 40)


def none_at_all(link: LinkLab, other: pb.PacketReceipt, row: pb.PacketReceipt) -> None:
    row.ClearField("anchor")


ANOTHER_ROOT = "the Merkle path leads to another root"
NOT_ARRIVED = "the receipt does not say that the packet arrived"
LIES: dict[str, tuple[Lie, str]] = {
    "a changed header": (changed_header, "it certifies another header"),
    "a changed certificate": (changed_certificate, "the signature of replica 2 does not hold"),
    "a changed receipt": (changed_receipt, ANOTHER_ROOT),
    "a changed path": (changed_path, "a Merkle path of 1 siblings for leaf 0 of 1"),
    "of another packet": (of_another_packet, NOT_ARRIVED),
    "of another chain": (of_another_chain, "it is not of chain csrc"),
    "of strangers": (of_strangers, "the signature of replica 0 does not hold"),
    "another transaction id": (other_transaction, "it is of another transaction"),
    "of an attempt": (of_an_attempt, NOT_ARRIVED),
    "of a refusal": (of_a_refusal, NOT_ARRIVED),
    "set changes of its own": (with_set_changes, "set changes of csrc"),
    "no anchor": (none_at_all, "anchor of packet 2"),
}
