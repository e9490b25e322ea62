"""Data objects (JR/T 0314) as proofs name them."""

from __future__ import annotations

from typing import Final

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.json_values import (
    DEPTH_BOUND,
    Json,
    JsonError,
    canonical_json,
    parse_json_strict,
)
from guqiao_sdk.proof.receipt import Event

SENT: Final = "packet.sent"
RECORDED: Final = "object.recorded"


def data_object_digest(value: Json) -> bytes:
    """The digest of a data object: SM3 of its tagged canonical JSON, 32 bytes."""
    return digest("guqiao/data-object/1", canonical_json(value))


def object_named(event: Event) -> tuple[str, int] | None:
    """The id and version of the data object that an event of a receipt records, if it records one:
    a business chain sends objects in packets, the regulatory chain keeps them.
    """
    if event.topic not in (SENT, RECORDED):
        return None
    try:
        body = parse_json_strict(event.body, depth_max=DEPTH_BOUND, size_max=len(event.body))
    except JsonError:
        return None
    match body:
        case {"payload": {"header": {"content": {"object_id": str(name), "version": int(number)}}}}:
            return name, number
        case {"object_id": str(name), "version": int(number)}:
            return name, number
    return None
