"""The proof bundle: one file that proves one transaction offline, years later.

It holds the transaction, its receipt and their paths to a certified header, the data object that
was sent (each packet of it, where it was sent in parts), and the regulatory anchor of each: the
certified receipt of its arrival. Framing is binary with a magic at both ends and an SM3 checksum;
the checksum finds accidents, the cryptography finds forgers. Only one sequence of sections and one
encoding of each is a bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer
from guqiao_sdk.proof.errors import ProofError
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
CHECKSUM_BYTES: Final = 32
BUNDLE_BYTES_MAX: Final = 32 * 1024 * 1024

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

_FRAMING: Final = "framing"
_Value = TypeVar("_Value")


class NotABundleError(ValueError):
    """The file begins and ends like something else: the wrong file, not a broken proof."""


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
            *_certified_sections(self.certified),
        ]
        assert len(self.anchors) in (0, len(self.packets))
        sections += [packet.encode() for packet in self.packets]
        for anchor in self.anchors:
            sections += [anchor.receipt.encode(), anchor.receipt_path.encode()]
            sections += _certified_sections(anchor.certified)
        names = _section_names(len(self.packets), len(self.anchors))
        return frame(list(zip(names, sections, strict=True)))

    @staticmethod
    def decode(data: bytes) -> Bundle:
        """Read a file's bytes; raises `NotABundleError`, or `ProofError` naming the section.

        The checksum is not asked: `check_checksum` comes after the proofs, which say more.
        """
        sections = _unframe(data)
        names = tuple(name for name, _ in sections)
        packets = sum(name.partition(".")[0] == PACKET_SECTION for name in names)
        anchors = packets if len(names) > len(BUSINESS_SECTIONS) + packets else 0
        if names != _section_names(packets, anchors):
            raise _framing(f"its sections are {', '.join(names)[:300]}")
        content = dict(sections)
        return Bundle(
            transaction=_section(content, "transaction", SignedTransaction.decode),
            transaction_path=_section(content, "transaction_path", MerklePath.decode),
            receipt=_section(content, "receipt", Receipt.decode),
            receipt_path=_section(content, "receipt_path", MerklePath.decode),
            certified=_read_certified(content, *BUSINESS_SECTIONS[4:]),
            packets=tuple(
                _section(content, _numbered(PACKET_SECTION, number), Packet.decode)
                for number in range(1, packets + 1)
            ),
            anchors=tuple(_read_anchor(content, number) for number in range(1, anchors + 1)),
        )


def frame(sections: Sequence[tuple[str, bytes]]) -> bytes:
    """Magic, section count, sections, checksum, magic."""
    writer = Writer().raw(START_MAGIC).u32(len(sections))
    for name, content in sections:
        writer.text(name).blob(content)
    framed = bytes(writer)
    return framed + sm3(framed) + END_MAGIC


def check_checksum(data: bytes) -> None:
    """Raise `ProofError` unless the checksum is that of the bytes before it."""
    end = len(data) - len(END_MAGIC) - CHECKSUM_BYTES
    if end < 0 or sm3(data[:end]) != data[end : end + CHECKSUM_BYTES]:
        raise _framing("the checksum is not that of the content")


def _unframe(data: bytes) -> list[tuple[str, bytes]]:
    starts, ends = data.startswith(START_MAGIC), data.endswith(END_MAGIC)
    if not starts and not ends:
        raise NotABundleError("neither the start nor the end of a proof bundle is there")
    if len(data) > BUNDLE_BYTES_MAX:
        raise _framing(f"{len(data)} bytes, at most {BUNDLE_BYTES_MAX} allowed")
    if not starts:
        raise _framing("the start magic is damaged or missing")
    if not ends:
        raise _framing("the end magic is damaged or missing: the file is cut off or changed")
    reader = Reader(data[len(START_MAGIC) : -len(END_MAGIC)])
    try:
        count = reader.count(SECTIONS_MAX)
        sections = [(reader.text(64), reader.blob(BUNDLE_BYTES_MAX)) for _ in range(count)]
        reader.raw(CHECKSUM_BYTES)
        reader.end()
    except MalformedError as error:
        raise _framing(str(error)) from error
    return sections


def _certified_sections(certified: CertifiedHeader) -> list[bytes]:
    return [
        certified.header.encode(),
        certified.certificate.encode(),
        encode_set_changes(certified.set_changes),
    ]


def _section_names(packets: int, anchors: int) -> tuple[str, ...]:
    """The only sequence of sections with so many packets and anchors."""
    return (
        *BUSINESS_SECTIONS,
        *(_numbered(PACKET_SECTION, number) for number in range(1, packets + 1)),
        *(_numbered(name, number) for number in range(1, anchors + 1) for name in ANCHOR_SECTIONS),
    )


def _numbered(name: str, number: int) -> str:
    """The first has no number: most objects are sent whole."""
    return name if number == 1 else f"{name}.{number}"


def _read_certified(
    content: dict[str, bytes], header: str, certificate: str, set_changes: str
) -> CertifiedHeader:
    return CertifiedHeader(
        header=_section(content, header, BlockHeader.decode),
        certificate=_section(content, certificate, FinalityCertificate.decode),
        set_changes=_section(content, set_changes, decode_set_changes),
    )


def _read_anchor(content: dict[str, bytes], number: int) -> Anchor:
    receipt, path, *certified = (_numbered(name, number) for name in ANCHOR_SECTIONS)
    return Anchor(
        receipt=_section(content, receipt, Receipt.decode),
        receipt_path=_section(content, path, MerklePath.decode),
        certified=_read_certified(content, *certified),
    )


def _section(content: dict[str, bytes], name: str, decode: Callable[[bytes], _Value]) -> _Value:
    try:
        return decode(content[name])
    except MalformedError as error:
        raise ProofError(f"section {name}", str(error), "BUNDLE_MALFORMED") from error


def _trim(certificate: FinalityCertificate, replica_set: ReplicaSet) -> FinalityCertificate:
    return FinalityCertificate(
        certificate.header_hash, certificate.signatures[: replica_set.quorum]
    )


def _framing(detail: str) -> ProofError:
    return ProofError(_FRAMING, detail, "BUNDLE_MALFORMED")
