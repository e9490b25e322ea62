"""The stateless part of admission: one function, at submission and for every proposed batch.

It judges form, size, chain id, number and validity of the signatures and the expiry range, from the
bytes and the arguments alone. What depends on the state is `authorisation`, and binds at execution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.transaction import (
    EXPIRY_HEIGHTS_MAX,
    EXPIRY_MS_MAX,
    PAYLOAD_BYTES_MAX,
    Payload,
    SignedTransaction,
    parse_payload,
)

TRANSACTION_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + 1_024
"""A payload, its length, two signatures with their keys and the path of an envelope."""
PAYLOAD_VALUES_MAX: Final = 200_000
"""Twice what the longest roster that fits a payload has: to read more takes too long to do it for
strangers.
"""

VerifyMany = Callable[[Sequence[tuple[bytes, bytes, bytes]]], Sequence[bool]]
"""[(public key, message, signature)] -> whether each SM2 signature holds, in order."""


@dataclass(frozen=True, slots=True)
class AdmittedTransaction:
    """A transaction that is well formed. Its signatures held when it came through admission."""

    id: bytes
    payload: Payload
    signed: SignedTransaction
    encoded: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a transaction may not enter a batch: a code of the rule catalogue and the facts."""

    code: str
    fields: dict[str, Json]


def check_stateless(
    encoded: bytes, *, chain_id: str, now_height: int, block_time_ms: int, verify_many: VerifyMany
) -> AdmittedTransaction | Refused:
    """Judge one transaction; see `check_stateless_many`."""
    return check_stateless_many(
        [encoded],
        chain_id=chain_id,
        now_height=now_height,
        block_time_ms=block_time_ms,
        verify_many=verify_many,
    )[0]


def check_stateless_many(
    encoded: Sequence[bytes],
    *,
    chain_id: str,
    now_height: int,
    block_time_ms: int,
    verify_many: VerifyMany,
    values_max: int | None = None,
) -> list[AdmittedTransaction | Refused]:
    """Judge transactions, their signatures together in one call of `verify_many`, which is asked
    once about a signature that several of them share.

    For a batch proposed at sequence number s, `now_height` is s - 1 and `block_time_ms` the batch's
    own, so that every replica judges alike. At submission they are the last executed height and the
    present time, or the last block time where that is later.

    A payload of more than `values_max` values is not read. What is final or judged in execution
    knows no such bound, so that a chain is read as it was written (None).
    """
    verdicts = [
        _check_form(data, chain_id, now_height, block_time_ms, values_max) for data in encoded
    ]
    nodes: dict[bytes, bytes] = {}
    asked = [
        _signed_triples(verdict.signed, nodes) if isinstance(verdict, AdmittedTransaction) else ()
        for verdict in verdicts
    ]
    distinct = list(dict.fromkeys(triple for triples in asked for triple in triples))
    held = dict(zip(distinct, verify_many(distinct) if distinct else (), strict=True))
    return [
        _check_signatures(verdict, [held[triple] for triple in triples])
        if isinstance(verdict, AdmittedTransaction)
        else verdict
        for verdict, triples in zip(verdicts, asked, strict=True)
    ]


def _signed_triples(
    signed: SignedTransaction, nodes: dict[bytes, bytes]
) -> Sequence[tuple[bytes, bytes, bytes]]:
    """[(public key, message, signature)] of one transaction."""
    message = signed.sign_bytes(nodes)
    return [(public_key, message, signature) for public_key, signature in signed.signatures]


def refused_transaction(
    encoded: Sequence[bytes], verdicts: Sequence[AdmittedTransaction | Refused]
) -> tuple[int, Refused] | None:
    """The shortest transaction that is refused, by its place: it makes the smallest proof. One that
    was not read only where all others hold: it proves nothing.
    """
    refused = [(n, each) for n, each in enumerate(verdicts) if isinstance(each, Refused)]
    return min(
        refused, key=lambda each: (was_not_read(each[1]), len(encoded[each[0]])), default=None
    )


def was_not_read(refused: Refused) -> bool:
    """Whether it was refused for its many values, which execution does not ask."""
    return "values" in refused.fields


def values_at_most(payload: bytes) -> int:
    """How many JSON values these bytes can have, counted without reading them: each value but the
    first stands behind a comma or inside a bracket. Those inside texts are counted, too.
    """
    return 1 + payload.count(b",") + payload.count(b"[") + payload.count(b"{")


def read_transaction(encoded: bytes) -> AdmittedTransaction:
    """Read a transaction of a batch whose digest a quorum vouches for; raises `MalformedError`.

    Neither clock, expiry nor signatures are asked again: such a batch is bound by its digest.
    """
    signed = SignedTransaction.decode(encoded)
    payload = parse_payload(signed.payload)
    wanted = 1 if payload.checker is None else 2
    if len(signed.signatures) != wanted:
        raise MalformedError(f"{len(signed.signatures)} signatures, its signers number {wanted}")
    return AdmittedTransaction(signed.id(), payload, signed, encoded)


def _check_form(
    encoded: bytes, chain_id: str, now_height: int, block_time_ms: int, values_max: int | None
) -> AdmittedTransaction | Refused:
    if len(encoded) > TRANSACTION_BYTES_MAX:
        return Refused(
            "TRANSACTION_TOO_LARGE", {"bytes": len(encoded), "maximum": TRANSACTION_BYTES_MAX}
        )
    # Of the whole: its keys and signatures have few bytes, and fewer that look like these.
    values = 0 if values_max is None else values_at_most(encoded)
    if values_max is not None and values > values_max:
        return Refused("TRANSACTION_TOO_LARGE", {"values": values, "maximum": values_max})
    try:
        transaction = read_transaction(encoded)
    except MalformedError as error:
        return Refused("TRANSACTION_MALFORMED", {"detail": str(error)[:500]})
    payload = transaction.payload
    if payload.chain != chain_id:
        return Refused("CHAIN_MISMATCH", {"chain": payload.chain, "expected": chain_id})
    if payload.checker is not None and payload.checker[0] == payload.maker[0]:
        return Refused("CHECKER_IS_MAKER", {"did": payload.maker[0]})
    return check_expiry(payload, now_height, block_time_ms) or transaction


def check_expiry(payload: Payload, now_height: int, block_time_ms: int) -> Refused | None:
    """The one rule of the stateless part that the bytes alone do not settle."""
    if payload.expires_height <= now_height or payload.expires_time_ms < block_time_ms:
        return Refused(
            "TRANSACTION_EXPIRED",
            {
                "expires_height": payload.expires_height,
                "height": now_height,
                "expires_time_ms": payload.expires_time_ms,
                "block_time_ms": block_time_ms,
            },
        )
    height_max, time_max = now_height + EXPIRY_HEIGHTS_MAX, block_time_ms + EXPIRY_MS_MAX
    if payload.expires_height > height_max or payload.expires_time_ms > time_max:
        return Refused(
            "TRANSACTION_EXPIRY_TOO_FAR",
            {
                "expires_height": payload.expires_height,
                "height_maximum": height_max,
                "expires_time_ms": payload.expires_time_ms,
                "time_ms_maximum": time_max,
            },
        )
    return None


def _check_signatures(
    transaction: AdmittedTransaction, held: Sequence[bool]
) -> AdmittedTransaction | Refused:
    signers = (transaction.payload.maker, transaction.payload.checker)
    for signer, (public_key, _), holds in zip(
        signers, transaction.signed.signatures, held, strict=False
    ):
        assert signer is not None, "there are as many signatures as signers"
        if not holds:
            code = "TRANSACTION_SIGNATURE_INVALID" if is_sm2_point(public_key) else "ALG_NOT_GM"
            return Refused(code, {"did": signer[0], "key": signer[1]})
    return transaction


_P: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
_B: Final = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93


def is_sm2_point(public_key: bytes) -> bool:
    """Return whether 65 bytes are an uncompressed point of the SM2 curve (GB/T 32918.5).

    A key of another curve of that size, such as P-256, is not: the transaction was signed with
    cryptography that is not national (G2-09-2).
    """
    if len(public_key) != 65 or public_key[0] != 4:
        return False
    x, y = int.from_bytes(public_key[1:33], "big"), int.from_bytes(public_key[33:], "big")
    return x < _P and y < _P and (y * y - (x * x * x - 3 * x + _B)) % _P == 0
