"""The platform's door from the bus: registrations on the regulatory chain become rows."""

from __future__ import annotations

import json
from typing import Any, Final

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.transaction import parse_payload
from services.chassis.block_feed.rebuild import ReadModel
from services.chassis.postgres import Connection
from services.enablement import store
from services.enablement.domain.service import REGISTERED, Service


async def apply_block(connection: Connection, block: VerifiedBlock) -> None:
    """Project one block; the caller's transaction also records the position."""
    for transaction, receipt in zip(block.transactions, block.receipts, strict=True):
        for event in receipt.events:
            if event.topic == "service.registered":
                descriptor: Any = parse_payload(transaction.payload).body
                facts = json.loads(event.body)
                service = Service(
                    name=descriptor["name"],
                    description=descriptor["description"],
                    interface=_text(descriptor["interface"]),
                    permission=_text(descriptor["permission"]),
                    endpoint=descriptor["endpoint"],
                    publisher=facts["publisher"],
                    state=REGISTERED,
                    height=block.height,
                    transaction_id=receipt.transaction_id,
                )
                await store.insert_service(connection, service)


def _text(value: Any) -> str:
    """A field as text: structured fields as their JSON."""
    return (
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    )


READ_MODEL: Final = ReadModel(apply_block, ("services",))
