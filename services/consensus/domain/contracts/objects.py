"""Data objects of the markets on the regulatory chain (JR/T 0314), with their life cycle.

Objects arrive in proven packets only: the contract has no method. In version 1 the life cycle is:
version 0 is created, the next version updates or deletes, and nothing follows a deletion. What
breaks the form or the life cycle, or is of a format that no notice permits now (G2-14-6), is kept
as an exception, and the source chain learns why. Version 2 is in `object_life`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from guqiao_sdk.personal_data import Search, find_personal_data
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.data_object import data_object_digest
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.object_parts import Part, part_of
from guqiao_sdk.proof.packet import PACKET_PAYLOAD_BYTES_MAX, Packet
from services.consensus.domain.contracts.chain_registry.sealing import require_certified_seals
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.light_client import consensus_state
from services.consensus.domain.contracts.notice.formats import FormatHost, require_format
from services.consensus.domain.contracts.objects_form import ObjectHeader, read_object
from services.consensus.domain.contracts.packets_host import SystemHost, error_acknowledgement

NAME: Final = "objects"
LIFE_CYCLE_FROM: Final = 2
"""Needs version 5 of `packets`, which writes what the contract keeps."""

OBJECT_BYTES_MAX: Final = PACKET_PAYLOAD_BYTES_MAX
"""An object and what is kept beside it stay below the chain's limit of one value."""

OBJECT_DEPTH_MAX: Final = 32
PART: Final = "header.metadata.part"
ID_SEPARATORS: Final = 2
DELETED: Final = "DELETED"
CURRENT: Final = "CURRENT"

_OBJECT_ID = re.compile(
    r"([a-z][a-z0-9_-]{0,31}):[a-z][a-z0-9_]{0,31}:([0-9a-f]{64})(?::[1-9][0-9]{0,2})?"
)
"""Source chain, type, transaction, and the number of a part after the first."""


class ObjectsHost(Host, FormatHost, Protocol):
    """The host, and what other contracts keep."""


@dataclass(frozen=True, slots=True)
class ObjectsContract:
    """`objects`: state that only packets write. In version 2 (`packets` from version 5 on) objects
    can be overwritten, bear marks of their source, are judged by the interface in force, and what
    was refused can be sent again.
    """

    version: int = 1
    name: str = NAME

    def methods(self) -> Mapping[str, Method]:
        """None: no transaction reaches an object but through a proven packet (reliability G28)."""
        return {}


def record_object(host: ObjectsHost, packet: Packet, source_height: int) -> dict[str, Json]:
    """Keep the packet's object and return its acknowledgement, or refuse."""
    value = parse(packet.payload)
    return _record(host, packet, source_height, value, read_object(value))


def record_screened(
    host: ObjectsHost, packet: Packet, source_height: int, *, search: Search
) -> dict[str, Json]:
    """The same, and refuse an object with a number of a person in the clear (G2-17-7, reliability
    G33). What is kept and told of the refusal is its kind and place, never the number.
    """
    value = parse(packet.payload)
    require_clear(value, search)
    return _record(host, packet, source_height, value, read_object(value))


def record_certified(
    host: SystemHost, packet: Packet, source_height: int, *, search: Search
) -> dict[str, Json]:
    """The same, of a registered chain only if each of its seals is of a key with a certificate that
    stood for it when the chain's block at `source_height` was made (G2-19-5, reliability G31).
    """
    value = parse(packet.payload)
    require_clear(value, search)
    header = read_object(value)
    require_seals_of(host, packet.source, source_height, value)
    return _record(host, packet, source_height, value, header)


def require_seals_of(host: SystemHost, chain: str, height: int, value: Mapping[str, Json]) -> None:
    """Refuse an object of the form of `read_object` with a seal that no certificate stands for, at
    the time of the block of `chain` that proves it: whoever sealed it did so before.
    """
    header = value["header"]
    assert isinstance(header, dict), "read_object checked it"
    at_ms = consensus_state(host, chain, height).block_time_ms
    require_certified_seals(host, chain, header, at_ms)


def require_clear(value: Json, search: Search) -> None:
    """Refuse what holds a number of a natural person in the clear, by its kind and place."""
    found = find_personal_data(value, search=search)
    if found is not None:
        raise Refusal("TIER_NONPUBLIC_ONCHAIN", kind=found.kind.value, place=found.path)


def _record(
    host: ObjectsHost,
    packet: Packet,
    source_height: int,
    value: dict[str, Json],
    header: ObjectHeader,
) -> dict[str, Json]:
    require_format(host, packet.source, header.model_version)
    transaction_id = source_transaction(header.object_id, packet.source, header.source_chain)
    check_part(host, header, value)
    snapshot = _next_snapshot(host, header, value)
    object_digest = data_object_digest(value).hex()
    facts: dict[str, Json] = {
        "object_id": header.object_id,
        "version": header.version,
        "digest": object_digest,
        "transaction_id": transaction_id,
    }
    origin: dict[str, Json] = {
        "source": packet.source,
        "source_height": source_height,
        "sequence": packet.sequence,
        "received_height": host.height(),
        "received_transaction_id": host.transaction_id(),
    }
    host.put(version_key(header.object_id, header.version), {**facts, **origin, "object": value})
    if snapshot is not None:
        host.put(snapshot_key(header.object_id), snapshot)
    status = DELETED if header.operation == "delete" else CURRENT
    host.put(latest_key(header.object_id), {"version": header.version, "status": status})
    kind: dict[str, Json] = {"type": header.content_type, "operation": header.operation}
    host.emit("object.recorded", {**facts, **origin, **kind})
    return {"code": "", **facts}


def record_exception(
    host: Host, packet: Packet, source_height: int, refusal: Refusal
) -> dict[str, Json]:
    """Keep why an object was refused (SM-11's exception log); return the error acknowledgement."""
    exception: dict[str, Json] = {
        "code": refusal.code,
        "detail": dict(refusal.fields),
        "source": packet.source,
        "source_height": source_height,
        "sequence": packet.sequence,
        "commitment": packet.commitment().hex(),
        "received_height": host.height(),
        "received_transaction_id": host.transaction_id(),
    }
    host.put(f"exception/{packet.source}/{packet.port}/{packet.sequence:020d}", exception)
    host.emit("object.refused", exception)
    return error_acknowledgement(refusal)


def parse(payload: bytes) -> dict[str, Json]:
    """The object in the payload of a packet; refuses what is none or is too large."""
    try:
        value = parse_json_strict(payload, depth_max=OBJECT_DEPTH_MAX, size_max=OBJECT_BYTES_MAX)
    except JsonError as error:
        raise Refusal("SCHEMA_FAILED", field="payload", fault=str(error)) from error
    if not isinstance(value, dict):
        raise Refusal("SCHEMA_FAILED", field="payload", fault="not an object")
    return value


def source_transaction(object_id: str, source: str, stated_source: str | None) -> str:
    """Return the operation's transaction, which the object's id names beside its chain.

    The chain that proved the packet is the source; whatever names another is refused (G2-19-4).
    """
    match = _OBJECT_ID.fullmatch(object_id)
    if match is None:
        raise Refusal("SOURCE_MISSING", object_id=object_id, source=source)
    if match[1] != source or stated_source not in (None, source):
        raise Refusal("SOURCE_MISSING", object_id=object_id, source=source, stated=stated_source)
    return match[2]


def check_part(host: Host, header: ObjectHeader, value: Json) -> None:
    """Check that a part is what its id says, and of an object that is here."""
    part = object_part_of(value)
    first = header.object_id if part is None else part.of
    suffix = "" if part is None or part.number == 1 else f":{part.number}"
    if first.count(":") != ID_SEPARATORS or header.object_id != first + suffix:
        raise Refusal("SCHEMA_FAILED", field=PART, fault="not that of the object's id")
    if part is None or part.number == 1:
        return
    record = host.get(version_key(first, header.version))
    known = object_part_of(record["object"]) if isinstance(record, dict) else None
    if known is None or (known.count, known.body_digest) != (part.count, part.body_digest):
        raise Refusal("SCHEMA_FAILED", field=PART, fault="of an object that is not recorded")


def object_part_of(value: Json) -> Part | None:
    """What an object says of being a part, or None; refuses what is malformed."""
    try:
        return part_of(value)
    except MalformedError as error:
        raise Refusal("SCHEMA_FAILED", field=PART, fault=str(error)) from error


def _next_snapshot(host: Host, header: ObjectHeader, value: Mapping[str, Json]) -> Json:
    """Check the life cycle; return the merged body where an update makes one."""
    latest = host.get(latest_key(header.object_id))
    body = value["body"]
    assert isinstance(body, dict)
    if latest is None:
        _require(header, header.operation == "create" and header.version == 0, "ABSENT", None)
        return None
    assert isinstance(latest, dict)
    version = latest["version"]
    assert isinstance(version, int)
    follows = header.operation in ("update", "delete") and header.version == version + 1
    allowed = follows and latest["status"] == CURRENT
    _require(header, allowed, str(latest["status"]), version)
    if header.operation == "delete":
        return None
    merged = merge(body_of(host, header.object_id, version), body)
    if not merged:
        raise Refusal("SCHEMA_FAILED", field="body", fault="the update leaves nothing")
    if len(canonical_json(merged)) > OBJECT_BYTES_MAX:
        raise Refusal(
            "SCHEMA_FAILED", field="body", fault=f"merged, more than {OBJECT_BYTES_MAX} bytes"
        )
    return merged


def _require(header: ObjectHeader, allowed: bool, state: str, version: int | None) -> None:
    if not allowed:
        raise Refusal(
            "ILLEGAL_TRANSITION",
            object_id=header.object_id,
            state=state,
            version=version,
            event=f"{header.operation} version {header.version}",
        )


def body_of(host: Host, object_id: str, version: int) -> dict[str, Json]:
    """The merged body so far: until the first update, that of the created object."""
    body = host.get(snapshot_key(object_id))
    if body is None:
        record = host.get(version_key(object_id, version))
        assert isinstance(record, dict)
        stored = record["object"]
        assert isinstance(stored, dict)
        body = stored["body"]
    assert isinstance(body, dict)
    return body


def merge(body: Mapping[str, Json], patch: Mapping[str, Json]) -> dict[str, Json]:
    """Merge an incremental body into the one before; null deletes. The parser bounds the depth."""
    merged = dict(body)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            before = merged.get(name)
            merged[name] = merge(before if isinstance(before, dict) else {}, value)
        else:
            merged[name] = value
    return merged


def version_key(object_id: str, version: int) -> str:
    """Where a version of an object is kept."""
    return f"{object_id}/{version}"


def snapshot_key(object_id: str) -> str:
    """Where the whole body of the latest version is kept, once that is not the first."""
    return f"{object_id}/snapshot"


def latest_key(object_id: str) -> str:
    """Where it is kept which version is the latest, and how the object stands."""
    return f"{object_id}/latest"
