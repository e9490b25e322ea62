"""Transactions signed before anything is measured, on all cores, as the bytes that gRPC sends."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.transactions import (
    Call,
    Identity,
    sign_envelope,
    sign_payload,
    transaction_to_message,
)
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.proof.transaction import (
    ENVELOPE_TRANSACTIONS_MAX,
    EXPIRY_HEIGHTS_MAX,
    EXPIRY_MS_MAX,
    Payload,
    SignedTransaction,
    transaction_id,
)

CHUNK: Final = 500
EXPIRY_MARGIN_HEIGHTS: Final = 20
EXPIRY_MARGIN_MS: Final = 15_000


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction's id and the request that submits it."""

    id: bytes
    request: bytes


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs, in a form that another process can be given, and when it expires."""

    did: str
    key_id: str
    organisation: str
    scalar: bytes
    chain_id: str
    height: int
    time_ms: int


def signer_of(identity: Identity, chain_id: str, height: int, time_ms: int) -> Signer:
    """A signer whose transactions live as long as any may after this position."""
    return Signer(
        did=identity.did,
        key_id=identity.key_id,
        organisation=identity.organisation,
        scalar=identity.private_key.export_scalar(),
        chain_id=chain_id,
        height=height + EXPIRY_HEIGHTS_MAX - EXPIRY_MARGIN_HEIGHTS,
        time_ms=time_ms + EXPIRY_MS_MAX - EXPIRY_MARGIN_MS,
    )


def sign_all(
    pool: ProcessPoolExecutor, signer: Signer, calls: Sequence[Call], *, in_envelopes: bool = False
) -> list[Signed]:
    """Sign them all, in order: each by itself, or as many as an envelope takes at once."""
    sign, size = (_sign_together, ENVELOPE_TRANSACTIONS_MAX) if in_envelopes else (_sign, CHUNK)
    chunks = [calls[start : start + size] for start in range(0, len(calls), size)]
    signed = pool.map(sign, [signer] * len(chunks), chunks)
    return [Signed(*each) for chunk in signed for each in chunk]


def overwrite_rows(count: int, keys: int, seed: int) -> Iterator[Call]:
    """W0: each transaction overwrites two rows that exist."""
    chance = random.Random(seed)
    for number in range(count):
        pair = chance.sample(range(keys), 2)
        yield Call("table", "set", {f"row/{key}": number for key in pair})


def _sign(signer: Signer, calls: Sequence[Call]) -> list[tuple[bytes, bytes]]:
    provider = open_provider()
    identity = _identity(provider, signer)
    return [
        _request(sign_payload(provider, _payload(signer, call, None).to_bytes(), [identity]))
        for call in calls
    ]


def _sign_together(signer: Signer, calls: Sequence[Call]) -> list[tuple[bytes, bytes]]:
    provider = open_provider()
    payloads: list[bytes] = []
    for call in calls:
        after = transaction_id(payloads[-1]) if payloads else None
        payloads.append(_payload(signer, call, after).to_bytes())
    identity = _identity(provider, signer)
    return [_request(each) for each in sign_envelope(provider, payloads, [identity])]


def _identity(provider: GmProvider, signer: Signer) -> Identity:
    key = provider.load_private_key(signer.scalar)
    return Identity(signer.did, signer.key_id, signer.organisation, key)


def _payload(signer: Signer, call: Call, after: bytes | None) -> Payload:
    return Payload(
        chain=signer.chain_id,
        maker=(signer.did, signer.key_id),
        checker=None,
        organisation=signer.organisation,
        request_id=str(uuid.uuid4()),
        expires_height=signer.height,
        expires_time_ms=signer.time_ms,
        after=after,
        contract=call.contract,
        method=call.method,
        business_time=call.business_time,
        body=call.body,
    )


def _request(transaction: SignedTransaction) -> tuple[bytes, bytes]:
    message = node.SubmitTransactionsRequest(transaction=transaction_to_message(transaction))
    return transaction.id(), message.SerializeToString()
