"""Data objects (JR/T 0314) as the node RPC lists and returns them.

A business chain sends objects in packets, whose events carry them whole; the regulatory chain keeps
each version in the state of its `objects` contract. Both are found here by object id and version.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.proof.data_object import object_named
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.store import ChainStore

OBJECT_ID_BYTES_MAX: Final = 128


def objects_of_block(receipts: Sequence[Receipt], height: int) -> list[node.ObjectReference]:
    """References of the objects that the transactions of a block recorded, in order."""
    found = []
    for receipt in receipts:
        for event in receipt.events:
            named = object_named(event)
            if named is not None:
                found.append(_reference(*named, receipt.transaction_id, height))
    return found


def find_object(store: ChainStore, object_id: str, version: int) -> node.GetObjectResponse | None:
    """The object's record and place, or None."""
    if not 0 < len(object_id.encode()) <= OBJECT_ID_BYTES_MAX:
        return None
    return _kept_object(store, object_id, version) or _sent_object(store, object_id, version)


def _kept_object(store: ChainStore, object_id: str, version: int) -> node.GetObjectResponse | None:
    """What the `objects` contract keeps, once the block that recorded it is certified."""
    with store.state_reader() as state:
        value = state.get(f"objects/{object_id}/{version}".encode())
    if value is None:
        return None
    match json.loads(value):
        case {"received_height": int(height)} if height > store.last_certified:
            return None
        case {"received_transaction_id": str(transaction), "received_height": int(height)}:
            reference = _reference(object_id, version, bytes.fromhex(transaction), height)
            return node.GetObjectResponse(reference=reference, record=value)
    raise AssertionError("an object record of another shape")


def _sent_object(store: ChainStore, object_id: str, version: int) -> node.GetObjectResponse | None:
    """What a transaction of this chain sent; the last version is the one that is indexed."""
    place = store.find_object(object_id)
    if place is None or place.height > store.last_certified:
        return None
    for event in place.receipt.events:
        if object_named(event) == (object_id, version):
            reference = _reference(object_id, version, place.receipt.transaction_id, place.height)
            return node.GetObjectResponse(reference=reference, record=event.body)
    return None


def _reference(
    object_id: str, version: int, transaction_id: bytes, height: int
) -> node.ObjectReference:
    return node.ObjectReference(
        object_id=object_id, version=version, transaction_id=transaction_id, height=height
    )
