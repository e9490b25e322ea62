"""A data object with its provenance (G2-19-3, G2-19-4), from what a chain's receipts say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from guqiao_sdk.proof.data_object import data_object_digest
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.object_parts import part_of

REFUSED: Final = "REFUSED"
RESUBMITTED: Final = "RESUBMITTED"
ACCEPTED: Final = "ACCEPTED"
"""How a refusal stands beside a market's chain; the regulatory chain says what failed as well."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Where this service's chain recorded the object."""

    chain: str
    height: int
    transaction_id: bytes


@dataclass(frozen=True, slots=True)
class DataObject:
    """One version of an object. `object` is canonical JSON; digests and ids are 32 bytes.

    `whole_id` names the first part of the object, which has `part_count` of them.
    """

    object_id: str
    version: int
    content_type: str
    object: bytes
    digest: bytes
    source_chain: str
    source_height: int
    source_transaction_id: bytes
    packet_sequence: int
    recorded: Recording
    whole_id: str
    part_count: int
    anchored: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """An object that the regulatory chain did not take. `detail` is canonical JSON; `resubmits` and
    `resubmitted_as` are sequences of packets, where it was sent again.
    """

    source_chain: str
    packet_sequence: int
    object_id: str | None
    version: int | None
    code: str
    detail: bytes
    state: str
    resubmits: int | None
    resubmitted_as: int | None
    recorded_height: int


def acknowledged_refusal(
    event: Mapping[str, Any], detail: Any, resubmits: int | None, recorded: Recording
) -> Refusal:
    """What a market learns by `packet.acknowledged`; `detail` comes with the acknowledgement."""
    return Refusal(
        source_chain=recorded.chain,
        packet_sequence=event["sequence"],
        object_id=None,
        version=None,
        code=event["code"],
        detail=canonical_json(detail),
        state=REFUSED,
        resubmits=resubmits,
        resubmitted_as=None,
        recorded_height=recorded.height,
    )


def logged_refusal(event: Mapping[str, Any], recorded: Recording) -> Refusal:
    """What the regulatory chain says by `object.refused`; version 1 of `objects` said less."""
    return Refusal(
        source_chain=event["source"],
        packet_sequence=event["sequence"],
        object_id=event.get("object_id"),
        version=event.get("version"),
        code=event["code"],
        detail=canonical_json(event["detail"]),
        state=event.get("state", REFUSED),
        resubmits=event.get("resubmits"),
        resubmitted_as=None,
        recorded_height=recorded.height,
    )


def sent_object(body: Mapping[str, Any], recorded: Recording) -> DataObject:
    """The object of a `packet.sent` event: recorded where the business happened."""
    return _object(body["payload"], body["sequence"], recorded, recorded, anchored=False)


def received_object(event: Mapping[str, Any], payload: Any, recorded: Recording) -> DataObject:
    """The object of an `object.recorded` event of the regulatory chain; `payload` is the object."""
    source = Recording(
        event["source"], event["source_height"], bytes.fromhex(event["transaction_id"])
    )
    found = _object(payload, event["sequence"], source, recorded, anchored=True)
    assert found.digest.hex() == event["digest"], "the payload is another object than was recorded"
    return found


def _object(
    value: Any, sequence: int, source: Recording, recorded: Recording, *, anchored: bool
) -> DataObject:
    content, part = value["header"]["content"], part_of(value)
    return DataObject(
        object_id=content["object_id"],
        version=content["version"],
        content_type=content["type"],
        object=canonical_json(value),
        digest=data_object_digest(value),
        source_chain=source.chain,
        source_height=source.height,
        source_transaction_id=source.transaction_id,
        packet_sequence=sequence,
        recorded=recorded,
        whole_id=content["object_id"] if part is None else part.of,
        part_count=1 if part is None else part.count,
        anchored=anchored,
    )
