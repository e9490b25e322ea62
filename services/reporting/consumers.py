"""Reporting's door from the bus: certified blocks become data objects with their provenance.

Beside a market's chain an object is known when it is sent and anchored when its acknowledgement is
back; beside the regulatory chain it is known when it is recorded there. What the regulatory chain
does not take is kept on both sides with its code, and what became of it.
"""

from __future__ import annotations

import json
from typing import Any, Final

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.transaction import SignedTransaction, parse_payload
from services.chassis.block_feed.rebuild import ReadModel
from services.chassis.postgres import Connection
from services.reporting import store
from services.reporting.domain.records import (
    RESUBMITTED,
    DataObject,
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
    """Objects of one receipt are written together, and all that it anchors after them."""
    rows = _Rows(transaction)
    objects: list[DataObject] = []
    accepted: list[int] = []
    for event in receipt.events:
        body = json.loads(event.body)
        match event.topic, body:
            case "packet.sent", {"port": "data_object"}:
                objects.append(sent_object(body, recorded))
            case "object.recorded", {"sequence": int(sequence)}:
                payload = json.loads(rows.of(sequence)["payload"])
                objects.append(received_object(body, payload, recorded))
            case "packet.acknowledged", {"port": "data_object", "code": "", "sequence": int(last)}:
                accepted.append(last)
            case topic, _:
                await _apply_refusal(connection, topic, body, rows, recorded)
    if objects:
        await store.insert_objects(connection, objects)
    if accepted:
        await store.mark_anchored(connection, recorded.chain, accepted)
        await store.accept_resubmitted(connection, recorded.chain, accepted)


async def _apply_refusal(
    connection: Connection, topic: str, body: Any, rows: _Rows, recorded: Recording
) -> None:
    match topic, body:
        case "packet.acknowledged", {"port": "data_object", "sequence": int(sequence)}:
            detail = rows.of(sequence)["acknowledgement"].get("detail", {})
            first = await store.first_refusal(connection, recorded.chain, sequence)
            item = acknowledged_refusal(body, detail, first, recorded)
            await store.insert_refusal(connection, item)
        case "object.resubmitted", {"sequence": int(first), "resubmitted_as": int(last)}:
            await store.change_refusal(connection, recorded.chain, first, RESUBMITTED, last)
        case "object.refused", _:
            await store.insert_refusal(connection, logged_refusal(body, recorded))
        case "object.exception_changed", {"sequence": int(first), "resubmitted_as": int(last)}:
            await store.change_refusal(connection, body["source"], first, body["state"], last)


class _Rows:
    """What a transaction says of each data object's packet, read once, where an event asks."""

    def __init__(self, transaction: SignedTransaction) -> None:
        self._transaction = transaction
        self._rows: dict[int, Any] | None = None

    def of(self, sequence: int) -> Any:
        """Of the packet of an event that the transaction caused."""
        if self._rows is None:
            packets: Any = parse_payload(self._transaction.payload).body["packets"]
            ours = (each for each in packets if each["port"] == "data_object")
            self._rows = {each["sequence"]: each for each in ours}
        return self._rows[sequence]


READ_MODEL: Final = ReadModel(apply_block, ("data_objects", "refusals"))
