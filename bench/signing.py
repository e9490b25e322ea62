"""Transactions signed before anything is measured, on all cores, as the bytes that gRPC sends."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.transactions import (
    Call,
    ChainPosition,
    Identity,
    build_envelope,
    build_transaction,
    transaction_to_message,
)
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.proof.transaction import (
    ENVELOPE_TRANSACTIONS_MAX,
    EXPIRY_HEIGHTS_MAX,
    EXPIRY_MS_MAX,
    SignedTransaction,
)

CHUNK: Final = 500
EXPIRY_MARGIN_HEIGHTS: Final = 20
EXPIRY_MARGIN_MS: Final = 15_000


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction's id and the request that submits it; requests one behind the other are one."""

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
    identity, until = _identity(provider, signer), _until(signer)
    return [
        _request(
            build_transaction(
                provider,
                identity,
                until,
                contract=call.contract,
                method=call.method,
                body=call.body,
                business_time=call.business_time,
                expires_after_heights=0,
                expires_after_ms=0,
            )
        )
        for call in calls
    ]


def _sign_together(signer: Signer, calls: Sequence[Call]) -> list[tuple[bytes, bytes]]:
    provider = open_provider()
    made = build_envelope(
        provider,
        _identity(provider, signer),
        _until(signer),
        calls,
        expires_after_heights=0,
        expires_after_ms=0,
    )
    return [_request(each) for each in made]


def _identity(provider: GmProvider, signer: Signer) -> Identity:
    key = provider.load_private_key(signer.scalar)
    return Identity(signer.did, signer.key_id, signer.organisation, key)


def _until(signer: Signer) -> ChainPosition:
    """The position at which they expire."""
    return ChainPosition(signer.chain_id, signer.height, bytes(32), signer.time_ms)


def _request(transaction: SignedTransaction) -> tuple[bytes, bytes]:
    message = node.SubmitTransactionsRequest(transactions=[transaction_to_message(transaction)])
    return transaction.id(), message.SerializeToString()
