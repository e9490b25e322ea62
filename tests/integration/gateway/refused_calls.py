"""For each code with which a gateway's server refuses a call one call or more that it refuses so.

A case takes note of everything just before the call that is refused; what comes before that is
arrangement.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Final

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao.gateway.v1 import packet_pb2
from guqiao_sdk.client.keys import ChainKeyDirectory
from services.chassis.gm_tls import LinkBrokenError
from services.chassis.grpc_server import ServerLimits
from services.chassis.grpc_server.nonces_postgres import PostgresNonceStore
from services.chassis.grpc_server.ports import KeyRecord
from services.chassis.grpc_server.tunnel_peers import TunnelPeers
from services.chassis.postgres import open_pool
from services.consensus.domain.contracts.chain_registry.standing import Status
from services.gateway.api import POLICIES
from tests.integration.gateway.refusing_door import (
    FETCH,
    FETCH_ASKED,
    GET_LINK,
    LINK_ASKED,
    OPERATOR,
    SERVICE,
    Behind,
    Case,
    Door,
    Expected,
    KeysWith,
    Metadata,
    Options,
    Provoke,
    ended,
    proven,
    read,
    unproven,
)
from tests.integration.gateway.senders import pass_blocks
from tests.integration.gateway.test_fetching_by_the_register import Register
from tests.plugins.ledger_node import LedgerNode
from tests.plugins.link_lab import KEYS, OTHER_PEER, PEER, STRANGER, LinkLab
from tests.plugins.service_lab import refusal, wait_until

NOBODY: Final = "did:rem:csrc:91370000MA0000009X"
LATE_MS: Final = 301_000
UNKNOWN_FIELD: Final = b"\x98\x06\x01"
"""Field 99, a number: no message of ours has it."""

SHORT_SECONDS: Final = 0.05
"""A bound of the server that the call is sure to pass: nothing else ends it."""


class Silent:
    """The tunnel's lookup, which does not answer."""

    async def identity_of(self, port: int) -> str | None:
        raise LinkBrokenError("no answer")


class Away:
    """The keys of a chain whose node has gone."""

    def __init__(self, link: LinkLab) -> None:
        self._lab = link.regulator

    async def find(self, did: str, key_id: str) -> KeyRecord | None:
        node = LedgerNode(self._lab.node.chain)
        await node.start()
        await node.stop()
        async with node.client(KEYS.provider, self._lab.runtime.identity) as client:
            return await ChainKeyDirectory(client, KeyRecord).find(did, key_id)


async def without_database(link: LinkLab) -> PostgresNonceStore:
    """A store of nonces whose database has gone."""
    async with open_pool(link.regulator.runtime.settings.postgres) as pool:
        return PostgresNonceStore(pool)


def asking(
    expected: Expected,
    *,
    message: bytes | None = None,
    method: str = "",
    metadata: Callable[[Door], Metadata] | None = None,
) -> Provoke:
    """One call that is refused at once. `message` and `method` are what is sent where the trail
    knows it not.
    """

    async def provoke(door: Door) -> tuple[str, Expected]:
        called = method or expected.method
        sent = expected.message if message is None else message
        made = door.signed(called, sent, expected.did or OPERATOR)
        await door.note()
        return await door.ask(called, sent, made if metadata is None else metadata(door)), expected

    return provoke


def limits(**changes: Any) -> Callable[[LinkLab], Options]:
    return lambda _link: {"limits": ServerLimits(**changes)}


def keys(**changes: Any) -> Callable[[LinkLab], Options]:
    return lambda link: {"keys": KeysWith(link, **changes)}


def peers(organisation: str | None) -> Callable[[LinkLab], Options]:
    return lambda _link: {"peers": Behind(organisation)}


async def replayed(door: Door) -> tuple[str, Expected]:
    metadata = door.signed(GET_LINK, LINK_ASKED)
    await door.answered(GET_LINK, LINK_ASKED, metadata)
    await door.note()
    code = await door.ask(GET_LINK, LINK_ASKED, metadata)
    return code, unproven(GET_LINK, did=OPERATOR)


async def too_often(door: Door) -> tuple[str, Expected]:
    await door.answered(GET_LINK, LINK_ASKED, door.signed(GET_LINK, LINK_ASKED))
    await door.note()
    return await door.ask_as(GET_LINK, LINK_ASKED), proven(GET_LINK, LINK_ASKED, OPERATOR)


async def beside_a_stream(door: Door) -> tuple[str, Expected]:
    async with door.standing():
        await door.note()
        return await door.ask_as(FETCH, FETCH_ASKED, PEER), proven(FETCH, FETCH_ASKED, PEER)


async def more_in_hand(door: Door) -> tuple[str, Expected]:
    """The bytes in hand are counted before a signature is read."""
    async with door.standing():
        await door.note()
        return await door.ask_as(FETCH, FETCH_ASKED, PEER), unproven(FETCH, FETCH_ASKED)


async def without_a_message(door: Door) -> tuple[str, Expected]:
    await door.note()
    call = door.channel.stream_unary(GET_LINK)(metadata=door.signed(GET_LINK, LINK_ASKED))
    return (await refusal(call))[1], unproven(GET_LINK, b"")


async def ended_without_a_message(door: Door) -> tuple[str, Expected]:
    await door.note()
    call = door.channel.stream_unary(GET_LINK)(metadata=door.signed(GET_LINK, LINK_ASKED))
    await call.done_writing()
    return (await refusal(call))[1], unproven(GET_LINK, b"")


async def unrecorded(door: Door) -> tuple[str, Expected]:
    """What cannot be recorded is not done, and the metric alone tells of it."""
    door.audit.is_full = True
    await door.note()
    code = await door.ask_as(GET_LINK, LINK_ASKED)
    return code, replace(proven(GET_LINK, LINK_ASKED, OPERATOR), decision=None)


async def too_far_ahead(door: Door) -> tuple[str, Expected]:
    """Nobody reads what the server sends, until it has given up."""

    async def is_over() -> bool:
        return any(record.code for record in door.audit.records)

    await door.note()
    stream = door.channel.unary_stream(FETCH)(
        FETCH_ASKED, metadata=door.signed(FETCH, FETCH_ASKED, PEER)
    )
    await wait_until("the server gives up", is_over)
    return (await refusal(read(stream)))[1], ended(FETCH, FETCH_ASKED, PEER)


async def shut_out(door: Door) -> tuple[str, Expected]:
    register = Register(door.link, door.monkeypatch)
    pass_blocks(door.link.regulator, 1)
    register.write(Status.SUSPENDED)
    await door.note()
    return await door.ask_as(FETCH, FETCH_ASKED, PEER), ended(FETCH, FETCH_ASKED, PEER)


async def other_operator(door: Door) -> tuple[str, Expected]:
    register = Register(door.link, door.monkeypatch)
    pass_blocks(door.link.regulator, 1)
    register.write(Status.ACTIVE, OTHER_PEER)
    await door.note()
    return await door.ask_as(FETCH, FETCH_ASKED, PEER), ended(FETCH, FETCH_ASKED, PEER)


async def hang(request: Any, context: Any) -> Any:
    await asyncio.Event().wait()


async def fail(request: Any, context: Any) -> Any:
    raise KeyError("a mistake of ours")


async def send_on_and_on(request: Any, context: Any) -> AsyncIterator[pb.FetchCallsResponse]:
    while True:
        yield pb.FetchCallsResponse(call_id=bytes(1 << 20))


def in_time(_link: LinkLab) -> Options:
    row = replace(POLICIES[GET_LINK], deadline_seconds=SHORT_SECONDS)
    return {"policies": {**POLICIES, GET_LINK: row}, "behaviour": {"GetLink": hang}}


def idle(_link: LinkLab) -> Options:
    short = ServerLimits(stream_idle_seconds=SHORT_SECONDS)
    return {"limits": short, "behaviour": {"FetchCalls": send_on_and_on}}


async def without_nonces(link: LinkLab) -> Options:
    return {"nonces": await without_database(link)}


def asks(method: str, message: Any, did: str = OPERATOR) -> Provoke:
    """A call that is let through, and refused by the service."""
    return asking(ended(f"{SERVICE}/{method}", message.SerializeToString(), did))


UNREAD: Final = unproven(GET_LINK, b"")
"""Its message is not read where who it is from is not known."""

_GONE: Final = f"{SERVICE}/Gone"
_SPOILT: Final = LINK_ASKED + UNKNOWN_FIELD
_STATE_99: Final = pb.ListPacketsRequest(
    remote_chain_id="shandong", state=packet_pb2.PacketState.ValueType(99)
)
_BEIJING: Final = pb.GetLinkRequest(remote_chain_id="beijing")
_RECEIPTS: Final = pb.GetPacketReceiptsRequest(source="shandong", port="x", sequences=[1])
_ABSENCES: Final = pb.GetPacketAbsencesRequest(source="shandong", port="x", sequences=[1])
_RESUMED: Final = pb.ResumePacketRequest(remote_chain_id="shandong", port="x", sequence=1)
_STRAY: Final = pb.AnswerCallRequest(chain_id="shandong", call_id=bytes(16))

CASES: Final = (
    Case("PEER_UNKNOWN", "beside the tunnel", asking(UNREAD, message=LINK_ASKED), peers(None)),
    Case(
        "GM_TLS_LINK_BROKEN",
        "the tunnel does not say who it is",
        asking(UNREAD, message=LINK_ASKED),
        lambda _link: {"peers": TunnelPeers(Silent(), {PEER: PEER}.get)},
    ),
    Case(
        "FIRST_MESSAGE_LATE",
        "a call without its message",
        without_a_message,
        limits(first_message_seconds=SHORT_SECONDS),
    ),
    Case("REQUEST_MALFORMED", "a call that ends without a message", ended_without_a_message),
    Case(
        "REQUEST_TOO_LARGE",
        "a message above the limit",
        asking(unproven(GET_LINK)),
        limits(message_bytes_max=len(LINK_ASKED) - 1),
    ),
    Case("QUEUE_FULL", "more bytes", more_in_hand, limits(bytes_held_per_source_max=1)),
    Case(
        "REQUEST_UNSIGNED",
        "no signature",
        asking(unproven(GET_LINK), metadata=lambda _door: ()),
    ),
    Case(
        "REQUEST_EXPIRED",
        "a signature of long ago",
        asking(
            unproven(GET_LINK, did=OPERATOR),
            metadata=lambda door: door.signed(GET_LINK, LINK_ASKED, late_ms=LATE_MS),
        ),
    ),
    Case("KEY_UNKNOWN", "nobody's key", asking(unproven(GET_LINK, did=NOBODY))),
    Case("KEY_REVOKED", "", asking(unproven(GET_LINK, did=OPERATOR)), keys(revoked=True)),
    Case("KEY_EXPIRED", "", asking(unproven(GET_LINK, did=OPERATOR)), keys(not_after_ms=1)),
    Case(
        "CHAIN_UNAVAILABLE",
        "nobody says whose key it is",
        asking(unproven(GET_LINK, did=OPERATOR)),
        lambda link: {"keys": Away(link)},
    ),
    Case(
        "REQUEST_SIGNATURE_INVALID",
        "the signature of another message",
        asking(
            unproven(GET_LINK, did=OPERATOR),
            metadata=lambda door: door.signed(GET_LINK, _SPOILT),
        ),
    ),
    Case("REQUEST_REPLAYED", "the same call again", replayed),
    Case(
        "DATABASE_UNAVAILABLE",
        "no nonce can be remembered",
        asking(unproven(GET_LINK, did=OPERATOR)),
        without_nonces,
    ),
    Case(
        "ORGANISATION_MISMATCH",
        "behind another's certificate",
        asking(replace(proven(FETCH, FETCH_ASKED, PEER), counted_for=OTHER_PEER)),
        peers(OTHER_PEER),
    ),
    Case("RATE_LIMITED", "", too_often, limits(rate_per_second=1e-6, rate_burst=1)),
    Case("TOO_MANY_CALLS", "", beside_a_stream, limits(calls_per_identity_max=1)),
    Case("ROLE_MISSING", "", asking(proven(GET_LINK, LINK_ASKED, STRANGER))),
    Case("METHOD_UNKNOWN", "", asking(unproven("unknown", b""), message=LINK_ASKED, method=_GONE)),
    Case("AUDIT_UNAVAILABLE", "", unrecorded),
    Case("REQUEST_MALFORMED", "an unknown field", asking(ended(GET_LINK, _SPOILT))),
    Case(
        "REQUEST_MALFORMED",
        "a state that there is not",
        asks("ListPackets", _STATE_99),
    ),
    Case("CLIENT_UNKNOWN", "a link that there is not", asks("GetLink", _BEIJING)),
    Case(
        "CLIENT_UNKNOWN",
        "another market's call",
        asks("FetchCalls", pb.FetchCallsRequest(chain_id="beijing"), OTHER_PEER),
    ),
    Case(
        "ORGANISATION_MISMATCH",
        "receipts of another market",
        asks("GetPacketReceipts", _RECEIPTS, OTHER_PEER),
    ),
    Case(
        "ORGANISATION_MISMATCH",
        "absences of another market",
        asks("GetPacketAbsences", _ABSENCES, OTHER_PEER),
    ),
    Case("ORGANISATION_MISMATCH", "the stream of another market's operator", other_operator),
    Case("ORGANISATION_MISMATCH", "another's answer", asks("AnswerCall", _STRAY, OTHER_PEER)),
    Case("CALL_UNKNOWN", "an answer to no call", asks("AnswerCall", _STRAY, PEER)),
    Case("CHAIN_NOT_ADMITTED", "a suspended chain", shut_out),
    Case("PACKET_UNKNOWN", "", asks("GetPacket", pb.GetPacketRequest(transaction_id=bytes(32)))),
    Case("PACKET_UNKNOWN", "no receipt", asks("GetPacketReceipts", _RECEIPTS, PEER)),
    Case(
        "PACKET_NOT_PARKED",
        "",
        asks("ResumePacket", _RESUMED),
        keys(roles=frozenset({"market_admin"})),
    ),
    Case("OUTCOME_UNKNOWN", "no answer in time", asking(ended(GET_LINK, LINK_ASKED)), in_time),
    Case("STREAM_IDLE", "who listens does not read", too_far_ahead, idle),
    Case(
        "INTERNAL",
        "a mistake of ours, which is no refusal and has its line in the log",
        asking(ended(GET_LINK, LINK_ASKED, is_counted=False)),
        lambda _link: {"behaviour": {"GetLink": fail}},
    ),
)
