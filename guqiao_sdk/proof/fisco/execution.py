"""A transaction and its receipt under one believed header: who sent what, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.fields import Fields
from guqiao_sdk.proof.fisco.header import FiscoHeader
from guqiao_sdk.proof.fisco.merkle import (
    ITEMS_MAX,
    FiscoPath,
    check_path_at,
    list_root,
    parse_path,
    path_index,
)
from guqiao_sdk.proof.fisco.receipt import FiscoReceipt, parse_receipt
from guqiao_sdk.proof.fisco.transaction import FiscoTransaction, parse_transaction
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.json_values import Json

TRANSACTIONS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class FiscoExecution:
    """A transaction, its receipt, and the place of both in their block."""

    transaction: FiscoTransaction
    receipt: FiscoReceipt
    index: int


def verify_execution(
    trusted: TrustedFisco, header: FiscoHeader, transaction: Json, receipt: Json, verify: Verify
) -> FiscoExecution:
    """The results of `getTransaction` and `getTransactionReceipt`, both with proof, under a header
    that was checked; raises `ProofError`.
    """
    sent = parse_transaction(transaction, verify)
    piece = f"transaction {sent.hash().hex()}"
    if (sent.chain_id, sent.group_id) != (trusted.chain_id, trusted.group_id):
        raise ProofError(piece, f"it is not of {trusted.name}", "CHAIN_MISMATCH")
    path = _path(piece, transaction, "txProof")
    index = path_index(piece, header.transactions_root, sent.hash(), path)
    done = parse_receipt(receipt)
    piece = f"receipt of transaction {sent.hash().hex()}"
    if done.number != header.number:
        raise ProofError(piece, f"it is not of height {header.number}")
    done_path = _path(piece, receipt, "txReceiptProof")
    if done_path.widths != path.widths:
        raise ProofError(piece, "its tree has another shape than that of the transactions")
    check_path_at(piece, header.receipts_root, done.hash(), done_path, index)
    return FiscoExecution(sent, done, index)


def verify_transaction_list(header: FiscoHeader, block: Json) -> tuple[bytes, ...]:
    """The ids of all transactions of a block, in order, from the result of `getBlockByNumber` with
    hashes only; raises `ProofError` unless they are exactly those under the header's root.
    """
    piece = f"transactions of height {header.number}"
    rows = Fields.of(piece, block).rows("transactions", TRANSACTIONS_MAX)
    hashes = tuple(Fields(piece, {"transactions": row}).hashed("transactions") for row in rows)
    if list_root(hashes) != header.transactions_root:
        raise ProofError(piece, "they are not those under the root of its header")
    return hashes


def _path(piece: str, value: Json, name: str) -> FiscoPath:
    return parse_path(piece, Fields.of(piece, value).rows(name, ITEMS_MAX))
