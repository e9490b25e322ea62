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
from services.chassis.block_feed.rebuild import ReadModel
from services.chassis.postgres import Connection
from services.registry import register_store, store

POSITION_CHANGED: Final = "register.position_changed"
ENCUMBRANCES_CHANGED: Final = "register.encumbrances_changed"
DIVIDEND_RECORDED: Final = "register.dividend_recorded"
ACCOUNT_OPENED: Final = "register.account_opened"
PRODUCT_REGISTERED: Final = "register.product_registered"
ROUNDING: Final = "ROUNDING"
"""The status of the row that carries what rounding leaves of a declared amount."""

PACKET_SENT: Final = "packet.sent"
PACKET_ACKNOWLEDGED: Final = "packet.acknowledged"
OBJECT_RESUBMITTED: Final = "object.resubmitted"
DATA_OBJECT: Final = "data_object"
"""The port of what operations send; other ports count sequences of their own."""
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
            await _apply_event(connection, block.height, index, topic, body)


async def _apply_event(
    connection: Connection, height: int, index: int, topic: str, body: dict[str, Any]
) -> None:
    """Apply one event of the transaction at `index`, other than changes of positions."""
    if topic == ENCUMBRANCES_CHANGED:
        await _apply_encumbrances(connection, height, body["encumbrances"])
    elif topic == DIVIDEND_RECORDED:
        await register_store.insert_dividend(connection, _dividend_rows(height, index, body))
    elif topic == ACCOUNT_OPENED:
        await register_store.put_account(connection, body["account"], body["counted_holders"])
    elif topic == PRODUCT_REGISTERED:
        await register_store.insert_product(connection, body["product_code"])
    else:
        await _apply_report(connection, height, topic, body)


async def _apply_report(
    connection: Connection, height: int, topic: str, body: dict[str, Any]
) -> None:
    """Whether the regulatory chain holds what an operation sent, or why not."""
    if topic == OBJECT_RESUBMITTED:
        last, first = body["resubmitted_as"], body["sequence"]
        await store.insert_resubmission(connection, last, first)
    if topic != PACKET_ACKNOWLEDGED or body["port"] != DATA_OBJECT:
        return
    sequence = await store.first_sequence(connection, body["sequence"])
    if body["code"] == "":
        await store.mark_anchored(connection, sequence, height)
    else:
        await store.mark_refused(connection, sequence, body["code"])


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
        report_code="",
    )
    await store.insert_operation(connection, row)


async def _apply_positions(
    connection: Connection, height: int, bodies: Sequence[dict[str, Any]]
) -> None:
    """Apply what one operation changed; it announces each position once."""
    keys = [(body["account"], body["product_code"], body["nature"]) for body in bodies]
    await register_store.end_positions(connection, keys, height)
    rows = [_position(height, body) for body in bodies if body["total"] != 0]
    await register_store.insert_positions(connection, rows)


def _position(height: int, body: dict[str, Any]) -> register_store.PositionRow:
    until = body["restricted_until"]
    return register_store.PositionRow(
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


async def _apply_encumbrances(
    connection: Connection, height: int, records: Sequence[dict[str, Any]]
) -> None:
    """Apply what one operation changed; it announces each encumbrance once."""
    rows = [_encumbrance(height, record) for record in records]
    await register_store.end_encumbrances(connection, [row.key for row in rows], height)
    await register_store.insert_encumbrances(connection, rows)


def _encumbrance(height: int, record: dict[str, Any]) -> register_store.EncumbranceRow:
    """A pledge binds what is outstanding of it; only freezes wait."""
    is_freeze = record["kind"] == "freeze"
    return register_store.EncumbranceRow(
        kind=record["kind"],
        number=record["number"],
        from_height=height,
        account=record["account"],
        product_code=record["product_code"],
        nature=record["nature"],
        registered=record["registered"],
        effective=record["effective"] if is_freeze else record["outstanding"],
        waiting=record["waiting"] if is_freeze else 0,
    )


def _dividend_rows(
    height: int, position: int, body: dict[str, Any]
) -> list[register_store.DividendRow]:
    """The payable list, and what rounding leaves as its last row."""
    rest = {"account": "", "nature": "", "shares": None, "amount_fen": body["rounding_fen"]}
    return [
        register_store.DividendRow(
            height=height,
            position=position,
            line=number,
            dividend_no=body["dividend_no"],
            product_code=body["product_code"],
            account=line["account"],
            nature=line["nature"],
            shares=line["shares"],
            amount_fen=line["amount_fen"],
            status=line["status"],
        )
        for number, line in enumerate([*body["lines"], {**rest, "status": ROUNDING}], start=1)
    ]


READ_MODEL: Final = ReadModel(
    apply_block,
    (
        *("operations", "resubmissions", "accounts", "products", "positions", "encumbrances"),
        *("dividends", "dividend_rows"),
    ),
)
