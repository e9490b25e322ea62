"""What services and clients are sent besides consensus: metadata, links, the bus, answers."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from guqiao.consensus.v1 import ledger_pb2
from guqiao.gateway.v1 import gateway_service_pb2, packet_pb2
from guqiao.registry.v1 import registry_service_pb2
from guqiao_sdk.client import operations
from guqiao_sdk.client.anchors import anchor_to_message, verify_anchor
from guqiao_sdk.client.events import block_certified
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.errors import STATUS_METADATA_KEY, GuqiaoError, error_from_bytes, error_from_rpc
from guqiao_sdk.market_shapes import ShapeError
from guqiao_sdk.market_text import parse_json
from guqiao_sdk.proof.bundle import Anchor
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json
from guqiao_sdk.proof.packet import receipt_key
from guqiao_sdk.proof.packet_events import PACKET_RECEIVED, event_body
from guqiao_sdk.signing import DID_KEY, KEY_ID_KEY, NONCE_KEY, SIGNATURE_KEY, TIME_KEY
from services.chassis.block_feed import follower
from services.chassis.bus.port import PoisonError, new_event
from services.chassis.errors import UnauthenticatedError
from services.chassis.gm_tls.errors import GmTlsError
from services.chassis.gm_tls.frames import read_frame
from services.chassis.gm_tls.stream import GmStream
from services.chassis.grpc_server.request_signature import RequestSignature, read_signature
from services.consensus.domain.ledger.state_tree import apply, changes_of, prove
from services.gateway.travel import checked_receipt
from services.registry.domain.errors import PageTokenInvalidError
from services.registry.domain.page_tokens import read_page_token
from tests.fuzz import corpus, mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import MALFORMED, any_signature, json_value
from tests.unit.proof.proof_keys import FakeKeys, Replicas


def targets() -> tuple[Target, ...]:
    """Every decoder of this kind with its samples."""
    return (*_links(), *_events(), *_packets(), *_answers())


# --- Links and metadata -------------------------------------------------------------------------


def _links() -> list[Target]:
    metadata = {
        DID_KEY: "did:rem:shandong:0a",
        KEY_ID_KEY: "k1",
        TIME_KEY: "1756000000000",
        NONCE_KEY: "0a" * 16,
        SIGNATURE_KEY: "0b" * 64,
    }
    named = list(metadata.items()) + [("user-agent", "grpc")] * 3
    pairs: list[Json] = [[key, value] for key, value in named]
    frame = (3).to_bytes(4, "big") + b"abc"
    tokens = [b'[7,"","Q000000001","SD900001","51"]', b'[7,"","pledge","P1"]', b'[7,"",5,0,1]']
    return [
        Target(
            "signature in metadata", _signature, (UnauthenticatedError, JsonError),
            [canonical_json(pairs)], mutations.of_json,
        ),
        Target(
            "frames of a link", lambda data: asyncio.run(_frames(data)), (GmTlsError,),
            [frame, frame * 3, b""], mutations.of_bytes,
            lambda v: b"".join(len(each).to_bytes(4, "big") + each for each in v),
        ),
        Target(
            "page token", lambda data: _place(base64.urlsafe_b64encode(data).decode()),
            (PageTokenInvalidError,), tokens, mutations.of_json,
        ),
        Target(
            "page token as text", lambda data: _place(data.decode(errors="replace")),
            (PageTokenInvalidError,), [*map(base64.urlsafe_b64encode, tokens)], mutations.of_bytes,
        ),
    ]  # fmt: skip


def _signature(data: bytes) -> RequestSignature:
    """Metadata as gRPC gives it: the values of keys that end in -bin are bytes."""
    pairs: list[tuple[str, str | bytes]] = []
    for pair in json_value(data) if data.startswith(b"[") else []:
        match pair:
            case [str(key), str(value)]:
                is_binary = key.endswith("-bin") and len(value) % 2 == 0 and value.isalnum()
                pairs.append((key, _bytes(value) if is_binary else value))
    return read_signature(pairs)


def _bytes(value: str) -> bytes | str:
    try:
        return bytes.fromhex(value)
    except ValueError:
        return value


async def _frames(data: bytes) -> list[bytes]:
    """All frames of a link that carries these bytes and ends."""
    stream = asyncio.StreamReader()
    stream.feed_data(data)
    stream.feed_eof()
    found = []
    while (frame := await read_frame(cast(GmStream, stream))) is not None:
        found.append(frame)
    return found


def _place(token: str) -> Any:
    for first in ((0, 0, 0), ("", "")):
        with suppress(PageTokenInvalidError):
            return read_page_token(token, "", first)
    return read_page_token(token, "", ("", "", ""))


# --- The bus ------------------------------------------------------------------------------------


class _EmptyProjection:
    """A database that follows no block yet."""

    async def fetchval(self, query: str, *arguments: object) -> None:
        return None

    async def fetchrow(self, query: str, *arguments: object) -> None:
        return None


def _events() -> list[Target]:
    chain = corpus.replica_set()
    samples = []
    for each in corpus.blocks():
        block = ledger_pb2.Block.FromString(each)
        header = BlockHeader.decode(block.certified_header.header)
        samples.append(block_certified(chain.chain_id, header.height, block).payload)
    return [
        Target("block on the bus", _followed, (PoisonError,), samples[:3], mutations.of_wire),
    ]


def _followed(payload: bytes) -> Any:
    chain = corpus.replica_set()
    event = new_event("consensus.blocks.v1", chain.chain_id, payload, event_id="1")
    message = follower._parsed(event, chain.chain_id)
    if message is None:
        raise PoisonError("another chain")
    trust = ChainTrust(chain.chain_id, b"g" * 32, chain)
    verified = follower._verified(_EmptyProjection(), message, trust, any_signature)  # type: ignore[arg-type]
    return asyncio.run(verified)


# --- Packets ------------------------------------------------------------------------------------


def _packets() -> list[Target]:
    case = corpus.journey()
    anchor = case.bundle.anchors[0]
    event = next(each for each in anchor.receipt.events if each.topic == PACKET_RECEIVED)
    return [
        Target(
            "anchor of a packet", _anchor, (ProofError, DecodeError),
            [anchor_to_message(anchor).SerializeToString()], mutations.of_wire,
        ),
        Target(
            "event of a receipt", lambda data: event_body("event", data), (ProofError,),
            [event.body], mutations.of_json,
        ),
        Target(
            "receipt of a packet", _receipt, (ProofError,),
            [canonical_json({"acknowledgement": {"code": ""}})], mutations.of_json,
        ),
    ]  # fmt: skip


def _anchor(data: bytes) -> Anchor:
    case = corpus.journey()
    keys = FakeKeys()
    trust = ChainTrust("csrc", case.csrc.genesis.hash(), Replicas(keys, "csrc").set)
    name = case.bundle.anchors[0].receipt.transaction_id
    message = packet_pb2.Anchor.FromString(data)
    return verify_anchor(message, case.bundle.packets[0], name, SetHistory(trust, any_signature))


def _receipt(receipt: bytes) -> Any:
    """Under a state that holds the receipt, whatever it says."""
    packet = corpus.journey().bundle.packets[0]
    key = receipt_key(packet.source, packet.port, packet.sequence).encode()
    pages: dict[bytes, bytes] = {}
    update = apply(pages.__getitem__, None, changes_of({key: receipt}), 7)
    pages.update(update.pages)
    proof = prove(pages.__getitem__, update.version, key).encode()
    header = replace(Replicas(FakeKeys()).header(7), state_root=update.root)
    row = gateway_service_pb2.PacketReceipt(receipt=receipt, proof=proof)
    return checked_receipt(packet, row, header)


# --- Answers ------------------------------------------------------------------------------------


def _answers() -> list[Target]:
    status = status_pb2.Status(code=9, message="no")
    for detail in (
        error_details_pb2.ErrorInfo(reason="ACCOUNT_UNKNOWN", domain="guqiao"),
        error_details_pb2.LocalizedMessage(locale="en", message="no"),
        error_details_pb2.RequestInfo(request_id="1"),
        error_details_pb2.RetryInfo(),
    ):
        status.details.add().Pack(detail)
    encoded = status.SerializeToString()
    result = ledger_pb2.TransactionResult(
        transaction_id=b"t" * 32, outcome=ledger_pb2.Outcome.ValueType(1), detail=b"{}"
    )
    answered = registry_service_pb2.SubmitOperationsResponse(item=1, result=result)
    unsupported = status_pb2.Status(code=grpc.StatusCode.UNIMPLEMENTED.value[0])
    unsupported.details.extend(status.details)
    refusals = (operations.OperationError, operations._RetryError)
    return [
        Target("trailer of a failed call", _trailer, MALFORMED, [encoded], mutations.of_wire),
        Target("status of an item", _status, MALFORMED, [encoded], mutations.of_wire),
        Target(
            "answer about an operation", _answer, (*refusals, DecodeError),
            [answered.SerializeToString()], mutations.of_wire,
        ),
        Target(
            "refusal of an operation", _refusal, refusals, [unsupported.SerializeToString()],
            mutations.of_wire,
        ),
        Target(
            "JSON of a dataset", lambda data: parse_json(data.decode(errors="surrogateescape")),
            (ShapeError,), [canonical_json({"a": [1, "二", None, {"b": True}]})],
            mutations.of_json,
        ),
    ]  # fmt: skip


def _status(data: bytes) -> GuqiaoError:
    """The error of a refusal that says which; a status that cannot be read has no code."""
    return _with_code(error_from_bytes(data))


def _trailer(data: bytes) -> GuqiaoError:
    """The same in the metadata that a failed call ends with."""
    trailer = grpc.aio.Metadata((STATUS_METADATA_KEY, data))
    code = grpc.StatusCode.FAILED_PRECONDITION
    return _with_code(error_from_rpc(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailer)))


def _with_code(error: GuqiaoError) -> GuqiaoError:
    if not error.code:
        raise MalformedError("no code")
    return error


def _answer(data: bytes) -> operations.Answer:
    return operations._answer(registry_service_pb2.SubmitOperationsResponse.FromString(data))


def _refusal(status: bytes) -> operations.Answer:
    response = registry_service_pb2.SubmitOperationsResponse(item=1, error=status)
    return operations._answer(response)
