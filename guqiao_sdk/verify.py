"""Offline verification: a proof bundle, a TRUST file and nothing else.

Pure apart from the signature function: no network, no clock, no store. Every byte of the file is
judged by a signature, a hash path or the checksum; the refusal names the piece that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from guqiao_sdk.proof.bundle import Anchor, Bundle, CertifiedHeader
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.framing import FRAMING, NotABundleError, check_checksum
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, Verify
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.light_client import TrustedChain, advance
from guqiao_sdk.proof.merkle import MerklePath, verify_merkle_path
from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.packet_events import (
    PACKET_SENT,
    event_body,
    is_about,
    verify_arrival,
    verify_receipt,
)
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import Outcome, Receipt, is_final
from guqiao_sdk.proof.transaction import (
    Payload,
    SignedTransaction,
    Signer,
    parse_payload,
)
from guqiao_sdk.proof.trust import Checkpoint, Trust

EXIT_NOT_A_BUNDLE: Final = 2
EXIT_VERIFICATION_FAILED: Final = 7

DATA_OBJECT_PORT: Final = "data_object"

OnCheck = Callable[[str], object]
"""Is told each piece that holds, in the words of `ProofError`."""


@dataclass(frozen=True, slots=True)
class CertifiedBlock:
    """A block that was proven final: by whose signatures, and from which checkpoint of trust."""

    chain_id: str
    epoch: int
    height: int
    block_time_ms: int
    header_hash: bytes
    signers: tuple[str, ...]
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class AnchorVerdict:
    """That the regulatory chain holds a packet; `code` is empty unless its content was refused.

    `age_ms` counts from the anchor's block time to the caller's now; negative says that one of the
    two clocks is wrong.
    """

    block: CertifiedBlock
    transaction_id: bytes
    code: str
    age_ms: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a bundle proves. `accepted` is whether the operation stands; `code` says why not.

    `packets` are none or all that it sent, and `anchors` none or one of each.
    """

    block: CertifiedBlock
    transaction_id: bytes
    maker: Signer
    checker: Signer | None
    organisation: str
    request_id: str
    contract: str
    method: str
    business_time: str | None
    body: Mapping[str, Json]
    outcome: Outcome
    accepted: bool
    code: str
    object_id: str | None
    packets: tuple[Packet, ...]
    anchors: tuple[AnchorVerdict, ...]

    @property
    def anchor(self) -> AnchorVerdict | None:
        """The anchor that counts: a refused part's, where there is one, or the last to arrive."""
        refused = [anchor for anchor in self.anchors if anchor.code]
        return max(refused or self.anchors, key=lambda anchor: -anchor.age_ms, default=None)


def verify_bundle(
    data: bytes,
    trust: Trust,
    verify: Verify,
    *,
    now_ms: int,
    on_check: OnCheck = lambda piece: None,
) -> Verdict:
    """Return what the bundle proves.

    Raises `NotABundleError` for another kind of file and `ProofError` for a bundle that does not
    hold, naming the piece; `exit_code_of` gives the command's exit code for either.
    """
    bundle = Bundle.decode(data)
    block = verify_certified(trust, bundle.certified, verify, on_check)
    payload = _verify_transaction(bundle, block, verify)
    on_check(f"transaction in {_place(block)}")
    verify_receipt(bundle.receipt, bundle.receipt_path, bundle.certified.header)
    if bundle.receipt.transaction_id != bundle.transaction.id():
        raise ProofError(f"receipt in {_place(block)}", "it is of another transaction")
    if not is_final(bundle.receipt):
        raise ProofError(f"receipt in {_place(block)}", "it is of an attempt, not of the outcome")
    on_check(f"receipt in {_place(block)}")
    if bundle.packets:
        _verify_packets(bundle.packets, bundle.receipt, block, on_check)
    anchors = tuple(
        _verify_anchor(anchor, packet, trust, verify, now_ms, on_check)
        for anchor, packet in zip(bundle.anchors, bundle.packets, strict=False)
    )
    check_checksum(data)
    on_check(FRAMING)
    return Verdict(
        block=block,
        transaction_id=bundle.transaction.id(),
        maker=payload.maker,
        checker=payload.checker,
        organisation=payload.organisation,
        request_id=payload.request_id,
        contract=payload.contract,
        method=payload.method,
        business_time=payload.business_time,
        body=payload.body,
        outcome=bundle.receipt.outcome,
        accepted=bundle.receipt.accepted,
        code=bundle.receipt.code,
        object_id=_object_id(bundle.packets[0]) if bundle.packets else None,
        packets=bundle.packets,
        anchors=anchors,
    )


def exit_code_of(error: ProofError | NotABundleError) -> int:
    """The exit code of `guqiao verify` for a refusal."""
    return EXIT_NOT_A_BUNDLE if isinstance(error, NotABundleError) else EXIT_VERIFICATION_FAILED


def verify_certified(
    trust: Trust, certified: CertifiedHeader, verify: Verify, on_check: OnCheck
) -> CertifiedBlock:
    """The block of a header that a chain of `trust` certified; raises `ProofError`."""
    header, changes = certified.header, certified.set_changes
    chain = trust.chain(header.chain_id)
    first = changes[0].header if changes else header
    checkpoint = chain.checkpoint_of_epoch(first.epoch, first.height)
    start = TrustedChain.from_checkpoint(
        chain.genesis_hash, checkpoint.replica_set, 0, None, chain.authorities
    )
    after = advance(start, header, certified.certificate, verify, changes)
    sets = [checkpoint.replica_set, *(change.replica_set for change in changes)]
    certificates = [*(change.certificate for change in changes), certified.certificate]
    headers = [*(change.header for change in changes), header]
    for replica_set, certificate, judged in zip(sets, certificates, headers, strict=True):
        if judged.epoch != replica_set.epoch:
            continue  # A restart right behind a set change: that change was judged with the header.
        _check_exact_quorum(judged, certificate, replica_set)
        chain.check_header(judged, replica_set)
    members = after.replica_set.members
    on_check(f"finality certificate of {header.chain_id} height {header.height}")
    return CertifiedBlock(
        chain_id=header.chain_id,
        epoch=header.epoch,
        height=header.height,
        block_time_ms=header.block_time_ms,
        header_hash=header.hash(),
        signers=tuple(members[at].entity_name for at, _ in certified.certificate.signatures),
        checkpoint=checkpoint,
    )


def _check_exact_quorum(
    header: BlockHeader, certificate: FinalityCertificate, replica_set: ReplicaSet
) -> None:
    count = len(certificate.signatures)
    if count != replica_set.quorum:
        raise ProofError(
            f"finality certificate of {header.chain_id} height {header.height}",
            f"{count} signatures, a bundle carries exactly the quorum of {replica_set.quorum}",
        )


def _verify_transaction(bundle: Bundle, block: CertifiedBlock, verify: Verify) -> Payload:
    transaction, header = bundle.transaction, bundle.certified.header
    piece = f"transaction in {_place(block)}"
    _verify_signers(piece, transaction, verify)
    _verify_path(piece, header.transactions_root, transaction.encode(), bundle.transaction_path)
    try:
        payload = parse_payload(transaction.payload)
    except MalformedError as error:
        raise ProofError(piece, str(error)) from error
    if payload.chain != block.chain_id:
        raise ProofError(piece, f"it was signed for the chain {payload.chain}")
    if len(transaction.signatures) != (1 if payload.checker is None else 2):
        raise ProofError(piece, "its signatures are not those of the signers it names")
    return payload


def _verify_signers(piece: str, transaction: SignedTransaction, verify: Verify) -> None:
    message = transaction.sign_bytes()
    for name, (key, signature) in zip(("maker", "checker"), transaction.signatures, strict=False):
        if not verify(key, message, signature):
            raise ProofError(piece, f"the {name}'s signature does not hold")


def _verify_path(piece: str, root: bytes, leaf: bytes, path: MerklePath) -> None:
    verify_merkle_path(
        piece=piece, root=root, leaf=leaf, index=path.index, count=path.count, path=path.siblings
    )


def _verify_packets(
    packets: Sequence[Packet], receipt: Receipt, block: CertifiedBlock, on_check: OnCheck
) -> None:
    """The receipt names each packet's commitment, so they are those that the transaction sent; and
    they are all: an object in parts is shown whole or not at all.
    """
    piece = f"receipt in {_place(block)}"
    sent = [event_body(piece, event.body) for event in receipt.events if event.topic == PACKET_SENT]
    for packet, event in zip_longest(packets, sent):
        if packet is None:
            raise ProofError(piece, f"the transaction sent {len(sent)} packets, not all are here")
        piece = f"packet {packet.sequence} of {packet.source} port {packet.port}"
        if packet.source != block.chain_id:
            raise ProofError(piece, f"its source is not {block.chain_id}")
        if event is None or not is_about(event, packet):
            raise ProofError(piece, "the receipt does not say that the transaction sent it")
        on_check(piece)


def _verify_anchor(
    anchor: Anchor,
    packet: Packet,
    trust: Trust,
    verify: Verify,
    now_ms: int,
    on_check: OnCheck,
) -> AnchorVerdict:
    block = verify_certified(trust, anchor.certified, verify, on_check)
    header = anchor.certified.header
    code = verify_arrival(anchor.receipt, anchor.receipt_path, header, packet)
    on_check(f"anchor of packet {packet.sequence}")
    return AnchorVerdict(
        block=block,
        transaction_id=anchor.receipt.transaction_id,
        code=code,
        age_ms=now_ms - block.block_time_ms,
    )


def _object_id(packet: Packet) -> str | None:
    """The data object's id as the source named it, where the packet carries a data object."""
    if packet.port != DATA_OBJECT_PORT:
        return None
    value: Json = dict(event_body(f"packet {packet.sequence} of {packet.source}", packet.payload))
    for name in ("header", "content", "object_id"):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def _place(block: CertifiedBlock) -> str:
    return f"{block.chain_id} height {block.height}"
