"""The gateway's doors from the bus: what its own chain sent, received and acknowledged, the
revocation lists that it keeps, and the traces of operations.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.packet import Packet, Terms
from services.chassis.bus.port import BusEvent
from services.chassis.postgres import Connection
from services.gateway import overdue, revocation_lists, store
from services.gateway.domain.relay import PacketState

OPERATION_TOPIC: Final = "registry.operation.v1"


async def apply_block(connection: Connection, block: VerifiedBlock) -> None:
    """Note the packets of one block of the own chain."""
    for receipt in block.receipts:
        for event in receipt.events:
            apply = _EVENTS.get(event.topic)
            if apply is not None:
                await apply(connection, block, receipt.transaction_id, json.loads(event.body))


async def note_trace(connection: Connection, event: BusEvent) -> None:
    """Remember the trace of a submitted operation; the payload is the transaction id."""
    traceparent = event.headers.get("traceparent", "")
    if traceparent:
        await store.insert_trace(connection, event.payload, traceparent)


async def _sent(
    connection: Connection, block: VerifiedBlock, transaction_id: bytes, body: dict[str, Any]
) -> None:
    payload = canonical_json(body["payload"])
    packet = Packet(
        body["source"],
        body["destination"],
        body["port"],
        body["sequence"],
        payload,
        Terms.from_json(body),
    )
    assert packet.commitment().hex() == body["commitment"], "the event names another commitment"
    await store.insert_sent(
        connection,
        store.SentPacket(packet, transaction_id, block.height, PacketState.SENT, b"", b"", b""),
    )


async def _received(
    connection: Connection, block: VerifiedBlock, transaction_id: bytes, body: dict[str, Any]
) -> None:
    await store.insert_received(
        connection,
        source=body["source"],
        port=body["port"],
        sequence=body["sequence"],
        transaction_id=transaction_id,
        height=block.height,
    )


async def _acknowledged(
    connection: Connection, block: VerifiedBlock, transaction_id: bytes, body: dict[str, Any]
) -> None:
    await store.set_acknowledgement(
        connection,
        body["destination"],
        body["port"],
        body["sequence"],
        transaction_id,
        body.get("code") or "",
    )


async def _timed_out(
    connection: Connection, block: VerifiedBlock, transaction_id: bytes, body: dict[str, Any]
) -> None:
    await overdue.set_time_out(
        connection,
        body["destination"],
        body["port"],
        body["sequence"],
        transaction_id,
        by_absence=body["shown_by"] == "absence",
    )


async def _list_published(
    connection: Connection, block: VerifiedBlock, transaction_id: bytes, body: dict[str, Any]
) -> None:
    await revocation_lists.note_published(connection, block.height, body)


async def _root_distrusted(
    connection: Connection, block: VerifiedBlock, transaction_id: bytes, body: dict[str, Any]
) -> None:
    await revocation_lists.forget_authority(connection, body["fingerprint"])


_EVENTS: Final[
    dict[str, Callable[[Connection, VerifiedBlock, bytes, dict[str, Any]], Awaitable[None]]]
] = {
    "packet.sent": _sent,
    "packet.received": _received,
    "packet.acknowledged": _acknowledged,
    "packet.timed_out": _timed_out,
    "chain.crl_published": _list_published,
    "chain.root_distrusted": _root_distrusted,
}
