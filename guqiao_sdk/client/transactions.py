"""Making and signing transactions, and reading what became of them.

The maker, and the checker where one signs, sign the same payload bytes; these bytes reach the chain
unchanged, so a transaction is built once and may be submitted any number of times.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.gm.provider import GmProvider, PrivateKey
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.merkle import MerklePath, merkle_paths, merkle_root
from guqiao_sdk.proof.receipt import DETAIL_DEPTH_MAX, Outcome
from guqiao_sdk.proof.transaction import (
    ENVELOPE_TRANSACTIONS_MAX,
    SIGNATURES_MAX,
    Payload,
    SignedTransaction,
    envelope_sign_bytes,
    transaction_id,
    transaction_sign_bytes,
)

EXPIRES_AFTER_HEIGHTS: Final = 500
EXPIRES_AFTER_MS: Final = 300_000
_DETAIL_BYTES_MAX: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Identity:
    """Who acts: a DID, one of its keys, and the organisation it belongs to."""

    did: str
    key_id: str
    organisation: str
    private_key: PrivateKey


@dataclass(frozen=True, slots=True)
class ChainPosition:
    """Where a chain stands: the latest certified height, its header hash and its block time."""

    chain_id: str
    height: int
    header_hash: bytes
    block_time_ms: int


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """What a transaction did, and where. `code` is empty when it was accepted."""

    transaction_id: bytes
    outcome: Outcome
    code: str
    detail: Mapping[str, Json]
    replay_of: bytes
    height: int
    index: int
    header_hash: bytes

    @property
    def accepted(self) -> bool:
        """Whether the operation stands (now, or since it was first executed)."""
        return self.code == ""


@dataclass(frozen=True, slots=True)
class Call:
    """What a transaction asks for; a request id of its own is made where none is given."""

    contract: str
    method: str
    body: Mapping[str, Json]
    business_time: str | None = None
    request_id: str | None = None


def build_transaction(
    provider: GmProvider,
    maker: Identity,
    position: ChainPosition,
    *,
    contract: str,
    method: str,
    body: Mapping[str, Json],
    checker: Identity | None = None,
    request_id: str | None = None,
    business_time: str | None = None,
    after: bytes | None = None,
    expires_after_heights: int = EXPIRES_AFTER_HEIGHTS,
    expires_after_ms: int = EXPIRES_AFTER_MS,
) -> SignedTransaction:
    """Make and sign a transaction that expires relative to `position` (`ChainClient.latest`)."""
    expiring = _expiry(position, expires_after_heights, expires_after_ms)
    call = Call(contract, method, body, business_time, request_id)
    payload = _payload(call, maker, checker, position.chain_id, expiring, after)
    signers = [maker] if checker is None else [maker, checker]
    return sign_payload(provider, payload.to_bytes(), signers)


def build_envelope(
    provider: GmProvider,
    maker: Identity,
    position: ChainPosition,
    calls: Sequence[Call],
    *,
    checker: Identity | None = None,
    after: bytes | None = None,
    expires_after_heights: int = EXPIRES_AFTER_HEIGHTS,
    expires_after_ms: int = EXPIRES_AFTER_MS,
) -> list[SignedTransaction]:
    """Make 1 to 1,000 transactions of one sender under one signature of each signer.

    Each names the one before it, so that they execute in this order; the first follows `after`.
    """
    expiring = _expiry(position, expires_after_heights, expires_after_ms)
    payloads: list[bytes] = []
    for call in calls:
        payload = _payload(call, maker, checker, position.chain_id, expiring, after)
        payloads.append(payload.to_bytes())
        after = transaction_id(payloads[-1])
    return sign_envelope(provider, payloads, [maker] if checker is None else [maker, checker])


def _expiry(position: ChainPosition, heights: int, milliseconds: int) -> tuple[int, int]:
    return position.height + heights, position.block_time_ms + milliseconds


def _payload(
    call: Call,
    maker: Identity,
    checker: Identity | None,
    chain_id: str,
    expiring: tuple[int, int],
    after: bytes | None,
) -> Payload:
    own_id = call.request_id
    return Payload(
        chain=chain_id,
        maker=(maker.did, maker.key_id),
        checker=None if checker is None else (checker.did, checker.key_id),
        organisation=maker.organisation,
        request_id=str(uuid.uuid4()) if own_id is None else own_id,
        expires_height=expiring[0],
        expires_time_ms=expiring[1],
        after=after,
        contract=call.contract,
        method=call.method,
        business_time=call.business_time,
        body=call.body,
    )


def sign_payload(
    provider: GmProvider, payload: bytes, signers: Sequence[Identity]
) -> SignedTransaction:
    """Sign payload bytes with the maker's key and, where there is one, the checker's."""
    return SignedTransaction(payload, _sign(provider, transaction_sign_bytes(payload), signers))


def sign_envelope(
    provider: GmProvider, payloads: Sequence[bytes], signers: Sequence[Identity]
) -> list[SignedTransaction]:
    """Sign 1 to 1,000 payloads at once with the maker's key and, where there is one, the checker's;
    raises `ValueError` for any other number.
    """
    if not 1 <= len(payloads) <= ENVELOPE_TRANSACTIONS_MAX:
        raise ValueError(
            f"an envelope of {len(payloads)} transactions, 1 to {ENVELOPE_TRANSACTIONS_MAX} allowed"
        )
    ids = [transaction_id(payload) for payload in payloads]
    signatures = _sign(provider, envelope_sign_bytes(merkle_root(ids)), signers)
    return [
        SignedTransaction(payload, signatures, path)
        for payload, path in zip(payloads, merkle_paths(ids), strict=True)
    ]


def _sign(
    provider: GmProvider, message: bytes, signers: Sequence[Identity]
) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(
        (signer.private_key.public_key, provider.sign(signer.private_key, message))
        for signer in signers
    )


def transaction_to_message(transaction: SignedTransaction) -> ledger_pb2.Transaction:
    """The transaction as it travels over gRPC."""
    path = transaction.envelope
    return ledger_pb2.Transaction(
        payload=transaction.payload,
        signatures=[
            ledger_pb2.TransactionSignature(public_key=public_key, signature=signature)
            for public_key, signature in transaction.signatures
        ],
        envelope=None if path is None else _path_to_message(path),
    )


def _path_to_message(path: MerklePath) -> ledger_pb2.EnvelopePath:
    return ledger_pb2.EnvelopePath(index=path.index, count=path.count, siblings=path.siblings)


def result_from_message(message: ledger_pb2.TransactionResult) -> TransactionResult:
    """Read a replica's answer, or raise `ProofError`."""
    piece = f"result of transaction {message.transaction_id.hex()}"
    try:
        outcome = Outcome(message.outcome)
        detail = parse_detail(message.detail)
    except (ValueError, MalformedError) as error:
        raise ProofError(piece, str(error)) from error
    return TransactionResult(
        transaction_id=message.transaction_id,
        outcome=outcome,
        code=message.code,
        detail=detail,
        replay_of=message.replay_of,
        height=message.height,
        index=message.index,
        header_hash=message.header_hash,
    )


def parse_detail(data: bytes) -> Mapping[str, Json]:
    """The facts of a receipt; raises `MalformedError` when they are not a JSON object."""
    try:
        value = parse_json_strict(
            data or b"{}", depth_max=DETAIL_DEPTH_MAX, size_max=_DETAIL_BYTES_MAX
        )
    except JsonError as error:
        raise MalformedError(str(error)) from error
    if not isinstance(value, dict):
        raise MalformedError("the detail of a receipt is not a JSON object")
    return value


def transaction_from_message(message: ledger_pb2.Transaction) -> SignedTransaction:
    """The transaction as it came over gRPC, or `MalformedError`; what it says is not judged."""
    signatures = tuple((row.public_key, row.signature) for row in message.signatures)
    envelope = None
    if message.HasField("envelope"):
        path = message.envelope
        envelope = MerklePath(path.index, path.count, tuple(path.siblings))
    transaction = SignedTransaction(message.payload, signatures, envelope)
    if len(signatures) > SIGNATURES_MAX or SignedTransaction.decode(transaction.encode()) != (
        transaction
    ):
        raise MalformedError("a key, a signature, or a path of another length than it must have")
    return transaction


def result_to_message(result: TransactionResult) -> ledger_pb2.TransactionResult:
    """A final outcome as it travels."""
    return ledger_pb2.TransactionResult(
        transaction_id=result.transaction_id,
        outcome=ledger_pb2.Outcome.ValueType(int(result.outcome)),
        code=result.code,
        detail=canonical_json(dict(result.detail)),
        replay_of=result.replay_of,
        height=result.height,
        index=result.index,
        header_hash=result.header_hash,
    )
