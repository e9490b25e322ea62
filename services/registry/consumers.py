"""The registry's door from the bus: certified blocks become rows of the read model.

Rows are made from receipts alone, so the read model is a function of the chain. Transactions that
were not executed (duplicates, missing predecessors, unknown senders) bind no request id and leave
no row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.client.transactions import TransactionResult, parse_detail
from guqiao_sdk.proof.receipt import Outcome, Receipt
from guqiao_sdk.proof.transaction import Payload, parse_payload
from services.chassis.postgres import Connection
from services.registry import store

POSITION_CHANGED: Final = "register.position_changed"
PACKET_SENT: Final = "packet.sent"
PACKET_ACKNOWLEDGED: Final = "packet.acknowledged"
UNBOUND_CODES: Final = frozenset(
    {
        "TRANSACTION_DUPLICATE",
        "TRANSACTION_EXPIRED",
        "PREDECESSOR_MISSING",
        "BLOCK_FULL",
        "REQUEST_ID_REUSED",
        "SENDER_UNKNOWN",
        "IDENTITY_DEACTIVATED",
        "KEY_UNKNOWN",
        "KEY_MISMATCH",
        "KEY_REVOKED",
        "KEY_NOT_VALID",
        "ORGANISATION_MISMATCH",
    }
)
"""Outcomes that the host does not bind to the request id: the same request may be sent again."""


async def apply_block(connection: Connection, block: VerifiedBlock) -> None:
    """Project one block; the caller's transaction also records the position."""
    for index, (transaction, receipt) in enumerate(
        zip(block.transactions, block.receipts, strict=True)
    ):
        payload = parse_payload(transaction.payload)
        events = [(event.topic, json.loads(event.body)) for event in receipt.events]
        if payload.contract == "register" and receipt.outcome is not Outcome.REPLAYED:
            await _apply_operation(connection, block, index, payload, receipt, events)
        changed = [body for topic, body in events if topic == POSITION_CHANGED]
        if changed:
            await _apply_positions(connection, block.height, changed)
        for topic, body in events:
            if topic == PACKET_ACKNOWLEDGED and body["code"] == "":
                await store.mark_anchored(connection, body["sequence"], block.height)


async def _apply_operation(
    connection: Connection,
    block: VerifiedBlock,
    index: int,
    payload: Payload,
    receipt: Receipt,
    events: list[tuple[str, dict[str, Any]]],
) -> None:
    if receipt.code in UNBOUND_CODES:
        return
    packets = [body for topic, body in events if topic == PACKET_SENT]
    packet = packets[0] if packets else None
    result = TransactionResult(
        transaction_id=receipt.transaction_id,
        outcome=receipt.outcome,
        code=receipt.code,
        detail=parse_detail(receipt.detail),
        replay_of=receipt.replay_of,
        height=block.height,
        index=index,
        header_hash=block.header.hash(),
    )
    row = store.OperationRow(
        organisation=payload.organisation,
        request_id=payload.request_id,
        contract=payload.contract,
        method=payload.method,
        result=result,
        detail=receipt.detail,
        object_id="" if packet is None else packet["payload"]["header"]["content"]["object_id"],
        packet_sequence=None if packet is None else packet["sequence"],
        packet_count=max(len(packets), 1),
        anchored=False,
    )
    await store.insert_operation(connection, row)


async def _apply_positions(
    connection: Connection, height: int, bodies: Sequence[dict[str, Any]]
) -> None:
    """Apply what one operation changed; it announces each position once."""
    keys = [(body["account"], body["product_code"], body["nature"]) for body in bodies]
    await store.end_positions(connection, keys, height)
    rows = [_position(height, body) for body in bodies if body["total"] != 0]
    await store.insert_positions(connection, rows)


def _position(height: int, body: dict[str, Any]) -> store.PositionRow:
    until = body["restricted_until"]
    return store.PositionRow(
        body["account"],
        body["product_code"],
        body["nature"],
        from_height=height,
        total=body["total"],
        available=body["available"],
        pledged=body["pledged"],
        frozen=body["frozen"],
        pledged_and_frozen=body["pledged_and_frozen"],
        confirmed=body["confirmed"],
        restricted_until=None if until is None else date.fromisoformat(until),
    )
