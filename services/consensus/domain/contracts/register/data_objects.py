"""The data object that each accepted operation sends to the regulatory chain: header and parts.

Header and body have the shape of JR/T 0314 and of the public data model; the official JSON schema
is not available, so the model version is the project's own. The rules make the body
(`guqiao_sdk/register_rules/5_objects.star`). One operation makes one object, whose id follows from
the transaction; what does not fit a packet goes in parts (`object_parts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.object_parts import Part, body_digest, split_body
from guqiao_sdk.proof.packet import PACKET_PAYLOAD_BYTES_MAX
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register import long_text
from services.consensus.domain.contracts.source_mark import source_mark

PORT: Final = "data_object"
PROTOCOL: Final = "区域性股权市场跨链业务数据模型"
MODEL_VERSION: Final = "guqiao-1"
OBJECT_ID_LENGTH_MAX: Final = 128
FIRST_VERSION: Final = 0

TEXT_BYTES_MAX: Final = 4_096
"""A longer text is named by its digest: the operation that people signed holds it whole."""

HEADER_BYTES_MAX: Final = 3_072
"""A header with two seals and the facts of a part."""

MARK_BYTES_MAX: Final = 1_024
"""What the mark of its source adds to a header."""

BODY_BYTES_MAX: Final = PACKET_PAYLOAD_BYTES_MAX - HEADER_BYTES_MAX
"""A larger body goes in parts of at most this size, or of so much less as the mark takes."""


@dataclass(frozen=True, slots=True)
class _Object:
    """What the rules say of an object; `timestamp` in Unix seconds."""

    type: str
    object_id: str
    event: str
    business_time: str
    timestamp: int
    body: dict[str, Json]


def send(host: Host, announced: Json, *, marked_as: int | None) -> None:
    """Send an object that the rules announced, whole or in parts; the host adds the seals. With the
    version of the register it bears the mark of its source (G2-19-4).
    """
    told = _read(announced)
    whole, encoded = told.body, canonical_json(told.body)
    if _may_have_long_text(encoded):
        whole = {name: _without_long_texts(value) for name, value in whole.items()}
        encoded = canonical_json(whole)
    mark = _mark(host, told, marked_as)
    bytes_max = BODY_BYTES_MAX - (MARK_BYTES_MAX if mark else 0)
    if len(encoded) <= bytes_max:
        host.send_packet(PORT, {"header": mark | _header(told), "body": whole})
        return
    hashed, bodies = body_digest(whole), split_body(whole, bytes_max=bytes_max)
    for number, part_body in enumerate(bodies, start=1):
        part = Part(told.object_id, number, len(bodies), hashed)
        host.send_packet(PORT, {"header": mark | _header(told, part), "body": part_body})


def _mark(host: Host, told: _Object, version: int | None) -> dict[str, Json]:
    if version is None:
        return {}
    chain = told.object_id.split(":")[0]
    return {"source": source_mark(host, chain=chain, contract="register", version=version)}


def _read(announced: Json) -> _Object:
    match announced:
        case {
            "type": str(content_type),
            "object_id": str(object_id),
            "event": str(event),
            "business_time": str(business_time),
            "timestamp": int(timestamp),
            "body": dict(body),
        } if len(object_id) <= OBJECT_ID_LENGTH_MAX:
            return _Object(content_type, object_id, event, business_time, timestamp, body)
    raise AssertionError("the rules announced an object of another shape")


def _header(told: _Object, part: Part | None = None) -> dict[str, Json]:
    """Make the header of an object; the parts after the first have ids that follow from its id."""
    identifier = told.object_id
    metadata: dict[str, Json] = {"event": told.event, "business_time": told.business_time}
    if part is not None:
        metadata["part"] = part.to_json()
        if part.number > 1:
            identifier = f"{identifier}:{part.number}"
    return {
        "model": {"protocol": PROTOCOL, "version": MODEL_VERSION},
        "content": {
            "type": told.type,
            "object_id": identifier,
            "version": FIRST_VERSION,
            "operation": "create",
            "timestamp": told.timestamp,
        },
        "remark": "",
        "seal": [],
        "metadata": metadata,
    }


def _may_have_long_text(encoded: bytes) -> bool:
    """Whether there may be something to replace in canonical JSON: where nothing is escaped, what
    stands between two quotation marks is the whole of a text. Most objects have no long text.
    """
    return b"\\" in encoded or max(map(len, encoded.split(b'"'))) > TEXT_BYTES_MAX


def _without_long_texts(value: Json) -> Json:
    if isinstance(value, str):
        is_long = len(value.encode()) > TEXT_BYTES_MAX
        return f"sm3:{long_text.digest_of(value)}" if is_long else value
    if isinstance(value, list):
        return [_without_long_texts(element) for element in value]
    if isinstance(value, dict):
        return {name: _without_long_texts(member) for name, member in value.items()}
    return value
