"""The proof bundle: one file that proves one transaction offline, years later.

It holds the transaction, its receipt and their paths to a certified header, the data object that
was sent (each packet of it, where it was sent in parts), and the regulatory anchor of each: the
certified receipt of its arrival. `framing` holds the sections together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.framing import (
    FILE_BYTES_MAX,
    Container,
    malformed,
    numbered,
    read_section,
)
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.light_client import SetChange, decode_set_changes, encode_set_changes
from guqiao_sdk.proof.merkle import MerklePath
from guqiao_sdk.proof.object_parts import PARTS_MAX
from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.transaction import SignedTransaction

START_MAGIC: Final = b"GUQIAOB1"
END_MAGIC: Final = b"1BOAIQUG"
BUNDLE_BYTES_MAX: Final = FILE_BYTES_MAX

BUSINESS_SECTIONS: Final = (
    "transaction",
    "transaction_path",
    "receipt",
    "receipt_path",
    "header",
    "certificate",
    "set_changes",
)
PACKET_SECTION: Final = "packet"
ANCHOR_SECTIONS: Final = (
    "anchor_receipt",
    "anchor_receipt_path",
    "anchor_header",
    "anchor_certificate",
    "anchor_set_changes",
)
PACKETS_MAX: Final = PARTS_MAX
SECTIONS_MAX: Final = len(BUSINESS_SECTIONS) + PACKETS_MAX * (1 + len(ANCHOR_SECTIONS))

CONTAINER: Final = Container(START_MAGIC, END_MAGIC, SECTIONS_MAX)


@dataclass(frozen=True, slots=True)
class CertifiedHeader:
    """A header, its certificate, and the set changes that lead to its epoch from a checkpoint.

    Every certificate carries exactly a quorum of signatures, so that none can be left away unseen.
    """

    header: BlockHeader
    certificate: FinalityCertificate
    set_changes: tuple[SetChange, ...]

    @staticmethod
    def build(
        checkpoint_set: ReplicaSet,
        header: BlockHeader,
        certificate: FinalityCertificate,
        set_changes: Sequence[SetChange] = (),
    ) -> CertifiedHeader:
        """Cut each certificate to its quorum; `checkpoint_set` is the set before all changes."""
        current, cut = checkpoint_set, []
        for change in set_changes:
            if change.restart is None:
                trimmed = _trim(change.certificate, current)
                change = SetChange(change.header, trimmed, change.replica_set)
            cut.append(change)  # That of a restart is exact, and signed as it is.
            current = change.replica_set
        return CertifiedHeader(header, _trim(certificate, current), tuple(cut))


@dataclass(frozen=True, slots=True)
class Anchor:
    """The destination chain's certified receipt of the transaction that recorded the packet."""

    receipt: Receipt
    receipt_path: MerklePath
    certified: CertifiedHeader


@dataclass(frozen=True, slots=True)
class Bundle:
    """What proves one transaction. `packets` are all that it sent, in order, or none where they are
    not shown; `anchors` show the arrival of each, in the same order, or are none.
    """

    transaction: SignedTransaction
    transaction_path: MerklePath
    receipt: Receipt
    receipt_path: MerklePath
    certified: CertifiedHeader
    packets: tuple[Packet, ...]
    anchors: tuple[Anchor, ...]

    def encode(self) -> bytes:
        """The file's bytes."""
        sections = [
            self.transaction.encode(),
            self.transaction_path.encode(),
            self.receipt.encode(),
            self.receipt_path.encode(),
            *certified_sections(self.certified),
        ]
        assert len(self.anchors) in (0, len(self.packets))
        sections += [packet.encode() for packet in self.packets]
        for anchor in self.anchors:
            sections += [anchor.receipt.encode(), anchor.receipt_path.encode()]
            sections += certified_sections(anchor.certified)
        names = _section_names(len(self.packets), len(self.anchors))
        return CONTAINER.pack(list(zip(names, sections, strict=True)))

    @staticmethod
    def decode(data: bytes) -> Bundle:
        """Read a file's bytes, without the checksum; raises `NotABundleError`, or `ProofError` that
        names the section.
        """
        sections = CONTAINER.unpack(data)
        names = tuple(name for name, _ in sections)
        packets = sum(name.partition(".")[0] == PACKET_SECTION for name in names)
        anchors = packets if len(names) > len(BUSINESS_SECTIONS) + packets else 0
        if names != _section_names(packets, anchors):
            raise malformed(f"its sections are {', '.join(names)[:300]}")
        content = dict(sections)
        return Bundle(
            transaction=read_section(content, "transaction", SignedTransaction.decode),
            transaction_path=read_section(content, "transaction_path", MerklePath.decode),
            receipt=read_section(content, "receipt", Receipt.decode),
            receipt_path=read_section(content, "receipt_path", MerklePath.decode),
            certified=read_certified(content, *BUSINESS_SECTIONS[4:]),
            packets=tuple(
                read_section(content, numbered(PACKET_SECTION, number), Packet.decode)
                for number in range(1, packets + 1)
            ),
            anchors=tuple(_read_anchor(content, number) for number in range(1, anchors + 1)),
        )


def certified_sections(certified: CertifiedHeader) -> list[bytes]:
    """The contents of its three sections."""
    return [
        certified.header.encode(),
        certified.certificate.encode(),
        encode_set_changes(certified.set_changes),
    ]


def _section_names(packets: int, anchors: int) -> tuple[str, ...]:
    """The only sequence of sections with so many packets and anchors."""
    return (
        *BUSINESS_SECTIONS,
        *(numbered(PACKET_SECTION, number) for number in range(1, packets + 1)),
        *(numbered(name, number) for number in range(1, anchors + 1) for name in ANCHOR_SECTIONS),
    )


def read_certified(
    content: dict[str, bytes], header: str, certificate: str, set_changes: str
) -> CertifiedHeader:
    """What stands in the sections of these names; raises `ProofError`."""
    return CertifiedHeader(
        header=read_section(content, header, BlockHeader.decode),
        certificate=read_section(content, certificate, FinalityCertificate.decode),
        set_changes=read_section(content, set_changes, decode_set_changes),
    )


def _read_anchor(content: dict[str, bytes], number: int) -> Anchor:
    receipt, path, *certified = (numbered(name, number) for name in ANCHOR_SECTIONS)
    return Anchor(
        receipt=read_section(content, receipt, Receipt.decode),
        receipt_path=read_section(content, path, MerklePath.decode),
        certified=read_certified(content, *certified),
    )


def _trim(certificate: FinalityCertificate, replica_set: ReplicaSet) -> FinalityCertificate:
    return FinalityCertificate(
        certificate.header_hash, certificate.signatures[: replica_set.quorum]
    )
