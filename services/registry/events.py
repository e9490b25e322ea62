"""What the registry announces: an operation was handed to the chain.

Consumers learn from it which trace an operation belongs to, so that one trace leads from the
caller's request over both chains and back.
"""

from __future__ import annotations

from typing import Final

from services.chassis.bus.port import BusEvent, new_event

OPERATION_TOPIC: Final = "registry.operation.v1"


def operation_submitted(transaction_id: bytes) -> BusEvent:
    """The event of one operation; it carries the current trace. The same operation again has the
    same event id, so its first trace stays.
    """
    name = transaction_id.hex()
    return new_event(OPERATION_TOPIC, name, transaction_id, event_id=name)
