"""A block is taken as final only with a quorum of its own set's signatures and its own content."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.client.blocks import check_link, verify_block
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, checkpoint_sign_bytes
from guqiao_sdk.proof.merkle import merkle_root
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from guqiao_sdk.proof.receipt import Outcome, Receipt
from tests.unit.node.test_mempool import transaction

KEYS = [b"\x04" + bytes([number]) * 64 for number in range(4)]
SET = ReplicaSet(
    "shandong",
    0,
    tuple(Member(number, key, f"entity{number}", "机构") for number, key in enumerate(KEYS)),
)
ENTRY = transaction("one")
BATCH = Batch(1_000, (ENTRY.encoded,))
RECEIPT = Receipt(ENTRY.id, Outcome.APPLIED, "", b"{}", b"", ()).encode()


def sign(key: bytes, message: bytes) -> bytes:
    """Stands for SM2 here: what is judged is which bytes are signed by whom."""
    return (key[-1:] + message)[-64:].rjust(64, key[-1:])


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    return signature == sign(key, message)


def header(height: int = 1, parent: bytes = bytes(32)) -> BlockHeader:
    return BlockHeader(
        chain_id="shandong",
        epoch=0,
        height=height,
        parent=parent,
        batch_digest=BATCH.digest(),
        block_time_ms=BATCH.block_time_ms,
        transactions_root=BATCH.transactions_root(),
        receipts_root=merkle_root((RECEIPT,)),
        state_root=bytes([7]) * 32,
        next_set_hash=SET.hash(),
    )


def block(
    signed: BlockHeader | None = None, signers: tuple[int, ...] = (0, 1, 2)
) -> ledger_pb2.Block:
    signed = signed if signed is not None else header()
    message = checkpoint_sign_bytes(signed)
    signatures = tuple((number, sign(KEYS[number], message)) for number in signers)
    certificate = FinalityCertificate(signed.hash(), signatures)
    return ledger_pb2.Block(
        certified_header=ledger_pb2.CertifiedHeader(
            header=signed.encode(), certificate=certificate.encode()
        ),
        batch=BATCH.encode(),
        receipts=[RECEIPT],
    )


@pytest.mark.req("G2-07-3", "G2-09-3")
def test_a_block_with_a_quorum_and_its_own_content_is_final() -> None:
    verified = verify_block(block(), SET, verify)
    assert verified.height == 1
    assert [entry.id() for entry in verified.transactions] == [ENTRY.id]
    assert verified.receipts[0].outcome is Outcome.APPLIED


def without_a_signature(message: ledger_pb2.Block) -> None:
    message.CopyFrom(block(signers=(0, 1)))


def with_other_batch(message: ledger_pb2.Block) -> None:
    message.batch = Batch(1_001, BATCH.transactions).encode()


def with_cut_batch(message: ledger_pb2.Block) -> None:
    message.batch = message.batch[:-1]


def with_another_receipt(message: ledger_pb2.Block) -> None:
    message.receipts[0] = Receipt(ENTRY.id, Outcome.REFUSED, "X", b"{}", b"", ()).encode()


def without_receipts(message: ledger_pb2.Block) -> None:
    del message.receipts[:]


def with_a_doubled_receipt(message: ledger_pb2.Block) -> None:
    message.receipts.append(RECEIPT)


def with_another_header(message: ledger_pb2.Block) -> None:
    other = replace(header(), state_root=bytes([8]) * 32)
    message.certified_header.header = other.encode()


def of_another_epoch(message: ledger_pb2.Block) -> None:
    message.CopyFrom(block(replace(header(), epoch=1)))


def without_a_certificate(message: ledger_pb2.Block) -> None:
    message.certified_header.certificate = b""


@pytest.mark.req("G2-07-3", "G2-09-3")
@pytest.mark.parametrize(
    "spoil",
    [
        without_a_signature,
        with_other_batch,
        with_cut_batch,
        with_another_receipt,
        without_receipts,
        with_a_doubled_receipt,
        with_another_header,
        of_another_epoch,
        without_a_certificate,
    ],
)
def test_p22_row09_a_block_that_is_spoiled_in_one_way_is_refused(spoil: object) -> None:
    message = block()
    assert callable(spoil)
    spoil(message)
    with pytest.raises(ProofError):
        verify_block(message, SET, verify)


def test_blocks_are_linked_by_height_and_parent() -> None:
    first = header()
    check_link(first, header(2, first.hash()))
    with pytest.raises(ProofError, match="height 2 was due"):
        check_link(first, header(3, first.hash()))
    with pytest.raises(ProofError, match="parent"):
        check_link(first, header(2, bytes([1]) * 32))
