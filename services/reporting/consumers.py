"""Reporting's door from the bus: certified blocks become data objects with their provenance.

Beside a market's chain an object is known when it is sent and anchored when its acknowledgement is
back; beside the regulatory chain it is known when it is recorded there. What the regulatory chain
does not take is kept on both sides with its code, and what became of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.transaction import SignedTransaction, parse_payload
from services.chassis.postgres import Connection
from services.reporting import store
from services.reporting.domain.records import (
    ACCEPTED,
    RESUBMITTED,
    Recording,
    acknowledged_refusal,
    logged_refusal,
    received_object,
    sent_object,
)


async def apply_block(connection: Connection, block: VerifiedBlock) -> None:
    """Project one block; the caller's transaction also records the position."""
    for transaction, receipt in zip(block.transactions, block.receipts, strict=True):
        recorded = Recording(block.header.chain_id, block.height, receipt.transaction_id)
        await _apply_receipt(connection, transaction, receipt, recorded)


async def _apply_receipt(
    connection: Connection, transaction: SignedTransaction, receipt: Receipt, recorded: Recording
) -> None:
    for event in receipt.events:
        body = json.loads(event.body)
        match event.topic, body:
            case "packet.sent", {"port": "data_object"}:
                await store.insert_object(connection, sent_object(body, recorded))
            case "packet.acknowledged", {"port": "data_object", "sequence": int(sequence)}:
                told = _row_of(transaction, sequence)["acknowledgement"]
                await _apply_acknowledgement(connection, body, told, recorded)
            case "object.resubmitted", {"sequence": int(first), "resubmitted_as": int(last)}:
                await store.change_refusal(connection, recorded.chain, first, RESUBMITTED, last)
            case "object.recorded", {"sequence": int(sequence)}:
                payload = json.loads(_row_of(transaction, sequence)["payload"])
                await store.insert_object(connection, received_object(body, payload, recorded))
            case "object.refused", _:
                await store.insert_refusal(connection, logged_refusal(body, recorded))
            case "object.exception_changed", {"sequence": int(first), "resubmitted_as": int(last)}:
                await store.change_refusal(connection, body["source"], first, body["state"], last)


async def _apply_acknowledgement(
    connection: Connection, event: Mapping[str, Any], told: Mapping[str, Any], recorded: Recording
) -> None:
    """What a market learns of an object that it sent, for the first time or once more."""
    sequence = event["sequence"]
    first = await store.first_refusal(connection, recorded.chain, sequence)
    if event["code"]:
        detail = told.get("detail", {})
        item = acknowledged_refusal(event, detail, first, recorded)
        await store.insert_refusal(connection, item)
        return
    await store.mark_anchored(connection, recorded.chain, sequence)
    if first is not None:
        await store.change_refusal(connection, recorded.chain, first, ACCEPTED, sequence)


def _row_of(transaction: SignedTransaction, sequence: int) -> Any:
    """What the transaction says of the packet of an event that it caused."""
    packets: Any = parse_payload(transaction.payload).body["packets"]
    for packet in packets:
        if packet["sequence"] == sequence:
            return packet
    raise AssertionError("the transaction carries no packet of this sequence")
