"""Reporting's door from the bus: certified blocks become data objects with their provenance.

Beside a market's chain an object is known when it is sent and anchored when its acknowledgement is
back; beside the regulatory chain it is known when it is recorded there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.transaction import SignedTransaction, parse_payload
from services.chassis.postgres import Connection
from services.reporting import store
from services.reporting.domain.records import Recording, received_object, sent_object

DATA_OBJECT: Final = "data_object"
"""The port of data objects; other ports count sequences of their own."""


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
        if event.topic == "packet.sent" and body["port"] == DATA_OBJECT:
            await store.insert_object(connection, sent_object(body, recorded))
        elif event.topic == "packet.acknowledged" and body["port"] == DATA_OBJECT:
            if body["code"] == "":
                await store.mark_anchored(connection, recorded.chain, body["sequence"])
        elif event.topic == "object.recorded":
            payload = _packet_payload(transaction, body)
            await store.insert_object(connection, received_object(body, payload, recorded))


def _packet_payload(transaction: SignedTransaction, event: Mapping[str, Any]) -> Any:
    """The object as the packet carried it, out of the transaction that delivered it."""
    packets: Any = parse_payload(transaction.payload).body["packets"]
    for packet in packets:
        if packet["sequence"] == event["sequence"]:
            return json.loads(packet["payload"])
    raise AssertionError("the transaction carries no packet of this sequence")
