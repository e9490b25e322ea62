"""What nodes of a chain of another kind answer, and the file with which its trust begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.checkpoint import (
    checkpoint_value,
    encode_checkpoint,
    parse_checkpoint,
)
from guqiao_sdk.proof.fisco.execution import FiscoExecution, verify_execution
from guqiao_sdk.proof.fisco.genesis import verify_genesis
from guqiao_sdk.proof.fisco.header import FiscoHeader, header_value, parse_header
from guqiao_sdk.proof.fisco.merkle import parse_path
from guqiao_sdk.proof.fisco.receipt import parse_receipt
from guqiao_sdk.proof.fisco.transaction import parse_transaction
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.framing import NotABundleError
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json
from guqiao_sdk.proof.observed_bundle import ObservedBundle
from guqiao_sdk.proof.observed_state import read_client
from guqiao_sdk.proof.observed_trust import ObservedTrust
from guqiao_sdk.proof.trust import encode_trust, parse_trust
from services.chassis.errors import ServiceError
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.observed_client.form import (
    read_checkpoint,
    read_headers,
)
from services.gateway.observed.fisco import _told
from services.gateway.observed.http import HEAD_BYTES_MAX, Endpoint, read_response
from services.gateway.observed.json_rpc import parse_answer
from tests.fuzz import corpus, mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import any_signature, json_object, json_value
from tests.plugins.fisco_chain import FiscoChain, Row, hexed, node_id, recorded, unhexed
from tests.plugins.fisco_node import http_answer, in_chunks

_REFUSED: Final = (ProofError, JsonError)
_NOT_ANSWERED: Final = (ServiceError, asyncio.IncompleteReadError)


def targets() -> tuple[Target, ...]:
    """Every decoder of this kind with its samples. What is accepted is what the sample was."""
    block, sent, done = (recorded(f"sm_{name}") for name in ("block_2", "transaction", "receipt"))
    nonce_in_hex = {**sent, "nonce": sent["nonce"].encode().hex()}
    _, transaction, receipt = _executed()
    return (
        _of_json(
            "header of another chain",
            lambda value: _same(parse_header(value).header.hash(), block),
            [block],
        ),
        _of_json(
            "transaction of another chain",
            lambda value: _same(parse_transaction(value, any_signature).hash(), sent),
            [sent, nonce_in_hex],
        ),
        _of_json(
            "receipt of another chain",
            lambda value: _same(parse_receipt(value).hash(), done),
            [done, _with_hash(receipt)],
        ),
        _of_json(
            "proof of another chain",
            lambda value: parse_path("proof", value if isinstance(value, list) else [value]),
            [recorded("ecdsa_transaction")["txProof"], done["txReceiptProof"]],
        ),
        _of_json(
            "genesis block of another chain",
            lambda value: verify_genesis(_trusted(), value),
            [FiscoChain().genesis],
        ),
        _of_json(
            "execution on another chain",
            _execution,
            [{"transaction": transaction, "receipt": receipt}],
        ),
        Target(
            "checkpoint of another chain", parse_checkpoint, (ProofError,),
            [encode_checkpoint(_trusted())], mutations.of_json,
        ),
        Target(
            "trust in another chain", lambda data: parse_trust(data, any_signature), (ProofError,),
            [_trust()], mutations.of_json,
        ),
        Target(
            "bundle of another chain", ObservedBundle.decode, (ProofError, NotABundleError),
            [_bundle()], mutations.of_fields,
        ),
        *_recorded_targets(),
        Target(
            "answer of a node over HTTP", lambda data: asyncio.run(_over_http(data)), _NOT_ANSWERED,
            [http_answer(b'{"a":1}'), in_chunks(b"x" * 60)], mutations.of_bytes,
        ),
        Target(
            "answer of JSON-RPC", lambda data: parse_answer(data, 7), _NOT_ANSWERED,
            [b'{"id":7,"jsonrpc":"2.0","result":{"number":1}}'], mutations.of_json,
        ),
        Target(
            "status of a node", _status, (ProofError, ServiceError),
            [recorded("sm_status")[name].encode() for name in ("sync", "consensus")],
            mutations.of_json,
        ),
        Target(
            "address of a node", lambda data: Endpoint.parse(data.decode("latin-1")), (ValueError,),
            [b"http://127.0.0.1:20200", b"https://node.example:443/rpc"], mutations.of_bytes,
        ),
    )  # fmt: skip


def _recorded_targets() -> tuple[Target, ...]:
    """What the contract that records such a chain is told, and what it keeps."""
    block = recorded("sm_block_2")
    return (
        Target(
            "headers for the contract observed", _brought, (Refusal, JsonError),
            [canonical_json([header_value(parse_header(block))])], mutations.of_json,
        ),
        Target(
            "checkpoint for the contract observed",
            lambda data: read_checkpoint(json_object(data), "csrc"), (Refusal, JsonError),
            [canonical_json({"chain": "shandong", "checkpoint": checkpoint_value(_trusted())})],
            mutations.of_json,
        ),
        Target(
            "record of an observed chain", lambda data: read_client("shandong", json_value(data)),
            _REFUSED, [canonical_json(_record())], mutations.of_json,
        ),
    )  # fmt: skip


def _of_json(name: str, decode: Callable[[Any], Any], samples: list[Any]) -> Target:
    return Target(
        name,
        lambda data: decode(json_value(data)),
        _REFUSED,
        [canonical_json(each) for each in samples],
        mutations.of_json,
    )


def _record() -> Json:
    """What the contract keeps of a chain."""
    return {
        "status": "ACTIVE",
        "generation": 0,
        "checkpoint": checkpoint_value(_trusted()),
        "sealers_height": 0,
        "recorded_height": 7,
    }


def _brought(data: bytes) -> bytes:
    """Headers as they are kept: whatever is taken says nothing but what the verifier reads."""
    value = json_value(data)
    kept = canonical_json([header_value(each) for each in read_headers(value)])
    assert kept == canonical_json(value), "more is kept than is read"
    return kept


def _same(found: bytes, row: Row) -> bytes:
    assert found in _KNOWN or found == unhexed(row["hash"]), "another one was believed"
    return found


_KNOWN: Final[set[bytes]] = set()


def _with_hash(row: Row) -> Row:
    _KNOWN.add(unhexed(row["hash"]))
    return row


def _trust() -> bytes:
    believed = ObservedTrust("2026-12-31T23:59:59+08:00", (_trusted(),))
    issued_at = "2026-01-05T09:30:00+08:00"
    trust = replace(corpus.journey().trust, issued_at=issued_at, observed=(believed,))
    return encode_trust(trust, lambda message: bytes(64))


def _bundle() -> bytes:
    known, (_, sent, done) = _trusted(), _executed()
    header = recorded("sm_block_2")
    return ObservedBundle(
        known.chain_id, known.group_id, known.genesis_hash, header, sent, done
    ).encode()


async def _over_http(data: bytes) -> bytes:
    stream = asyncio.StreamReader(limit=HEAD_BYTES_MAX)
    stream.feed_data(data)
    stream.feed_eof()
    return await read_response(stream, bytes_max=len(data) + 1)


def _status(data: bytes) -> Any:
    return _told("status", data.decode(errors="replace"))


@cache
def _trusted() -> TrustedFisco:
    return FiscoChain().trusted()


@cache
def _executed() -> tuple[FiscoHeader, Row, Row]:
    """A header, and one of its transactions with its receipt; without a signature, which would be
    another one each time.
    """
    chain = FiscoChain()
    header = parse_header(chain.add_block(5)).header
    name = chain.block(1)["transactions"][2]
    unsigned = hexed(b"\x11" * 64 + node_id("company"))
    return header, {**chain.transactions[name], "signature": unsigned}, chain.receipts[name]


def _execution(value: Json) -> FiscoExecution:
    header, transaction, receipt = _executed()
    both = value if isinstance(value, dict) else {}
    one, other = both.get("transaction"), both.get("receipt")
    proven = verify_execution(_trusted(), header, one, other, any_signature)
    assert proven.transaction.hash() == unhexed(transaction["hash"]), "another one was believed"
    assert proven.receipt.hash() == unhexed(receipt["hash"]), "another one was believed"
    return proven
