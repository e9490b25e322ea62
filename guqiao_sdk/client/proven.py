"""What a replica's answer proves: transactions and state under certified headers.

Nothing that comes with an answer is believed; the replica set is the verifier's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.blocks import verify_header
from guqiao_sdk.client.transactions import TransactionResult, parse_detail, result_from_message
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, Verify
from guqiao_sdk.proof.merkle import verify_merkle_path
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.state_proof import StateProof, verify_state_proof
from guqiao_sdk.proof.transaction import SignedTransaction

STATE_KEYS_MAX: Final = 64
"""Keys in one question for state proofs, as a node takes them."""


@dataclass(frozen=True, slots=True)
class ProvenTransaction:
    """A final transaction with its receipt, both placed under the header's roots."""

    result: TransactionResult
    transaction: SignedTransaction
    receipt: Receipt
    header: BlockHeader
    certificate: FinalityCertificate
    message: node.GetTransactionResponse


@dataclass(frozen=True, slots=True)
class ProvenState:
    """What stood under a key at a height; `value` is None where the key's absence was proven."""

    key: bytes
    value: bytes | None
    header: BlockHeader
    certificate: FinalityCertificate
    message: node.GetStateProofResponse


def verify_transaction(
    response: node.GetTransactionResponse, replica_set: ReplicaSet, verify: Verify
) -> ProvenTransaction:
    """The transaction with receipt, header and certificate, or `ProofError`."""
    header, certificate = verify_header(response.certified_header, replica_set, verify)
    result = result_from_message(response.result)
    piece = f"transaction {result.transaction_id.hex()}"
    for root, proof in (
        (header.transactions_root, response.transaction_proof),
        (header.receipts_root, response.receipt_proof),
    ):
        verify_merkle_path(
            piece=piece,
            root=root,
            leaf=proof.leaf,
            index=proof.index,
            count=proof.count,
            path=list(proof.path),
        )
    if (proof.index, header.height, header.hash()) != (
        result.index,
        result.height,
        result.header_hash,
    ) or response.transaction_proof.index != proof.index:
        raise ProofError(piece, "its proofs are for another place than the result names")
    try:
        transaction = SignedTransaction.decode(response.transaction_proof.leaf)
        receipt = Receipt.decode(response.receipt_proof.leaf)
    except MalformedError as error:
        raise ProofError(piece, str(error)) from error
    check_receipt(piece, transaction.id(), result, receipt)
    return ProvenTransaction(result, transaction, receipt, header, certificate, response)


def verify_state(
    response: node.GetStateProofResponse,
    key: bytes,
    height: int,
    replica_set: ReplicaSet,
    verify: Verify,
) -> ProvenState:
    """What stands under the key at the height (0: at any), or `ProofError`."""
    header, certificate = verify_header(response.certified_header, replica_set, verify)
    check_height(f"state of {key.decode()}", header, height)
    return _state_under(header, certificate, key, response)


def verify_states(
    response: node.GetStateProofsResponse,
    keys: Sequence[bytes],
    height: int,
    replica_set: ReplicaSet,
    verify: Verify,
) -> list[ProvenState]:
    """What stands under the first of the keys at the height (0: at any one), or `ProofError`: one
    of them at least, and as many as the node answered for. The certificate is judged once.
    """
    if not 1 <= len(response.values) <= len(keys):
        came = f"{len(response.values)} values came for {len(keys)} keys"
        raise ProofError("state of several keys", came)
    header, certificate = verify_header(response.certified_header, replica_set, verify)
    check_height("state of several keys", header, height)
    answers = [
        node.GetStateProofResponse(
            certified_header=response.certified_header,
            present=found.present,
            value=found.value,
            proof=found.proof,
        )
        for found in response.values
    ]
    pairs = zip(keys, answers, strict=False)
    return [_state_under(header, certificate, key, answer) for key, answer in pairs]


def _state_under(
    header: BlockHeader,
    certificate: FinalityCertificate,
    key: bytes,
    response: node.GetStateProofResponse,
) -> ProvenState:
    """What stands under the key by a header that is certified, or `ProofError`."""
    piece = f"state of {key.decode()}"
    value = response.value if response.present else None
    try:
        proof = StateProof.decode(response.proof)
    except MalformedError as error:
        raise ProofError(piece, str(error)) from error
    verify_state_proof(piece=piece, root=header.state_root, key=key, value=value, proof=proof)
    return ProvenState(key, value, header, certificate, response)


def check_height(piece: str, header: BlockHeader, height: int) -> None:
    """Raise `ProofError` when another height than the one asked for was answered."""
    if height not in (0, header.height):
        raise ProofError(piece, f"height {height} was asked for, {header.height} came")


def check_receipt(
    piece: str, transaction_id: bytes, result: TransactionResult, receipt: Receipt
) -> None:
    """Raise `ProofError` unless the certified receipt says what the replica told."""
    try:
        detail = parse_detail(receipt.detail)
    except MalformedError as error:
        raise ProofError(piece, str(error)) from error
    proven = (receipt.transaction_id, receipt.outcome, receipt.code, detail, receipt.replay_of)
    told = (result.transaction_id, result.outcome, result.code, result.detail, result.replay_of)
    if proven != told or receipt.transaction_id != transaction_id:
        raise ProofError(piece, "the certified receipt says something else")
