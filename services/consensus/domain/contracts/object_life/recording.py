"""Takes a data object at the regulatory chain: version 2 of `objects`, `packets` from version 5 on.

An object names its source and is sealed, by two persons where it changes another one (G2-19-4,
G2-19-5). It takes a step of its life cycle; the whole body that comes of it is judged by the
interface that was described for its format, and refers to what is recorded. Whatever fails is kept
in the log of exceptions and acknowledged with its code.
"""

from __future__ import annotations

from typing import Any, Final

from guqiao_sdk.personal_data import Search
from guqiao_sdk.proof.data_object import data_object_digest
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Packet
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.notice.formats import described_part, require_format
from services.consensus.domain.contracts.object_life import exceptions
from services.consensus.domain.contracts.object_life.body_form import Reference, judge_body
from services.consensus.domain.contracts.object_life.cycle import (
    after,
    put_aside,
    snapshot_of,
    standing_of,
)
from services.consensus.domain.contracts.objects import (
    PART,
    check_part,
    latest_key,
    object_part_of,
    parse,
    require_clear,
    require_seals_of,
    snapshot_key,
    source_transaction,
    version_key,
)
from services.consensus.domain.contracts.objects_form import ObjectHeader, read_object
from services.consensus.domain.contracts.packets_host import SystemHost
from services.consensus.domain.contracts.source_mark import is_marked

SIGNERS_OF_A_CHANGE: Final = 2


def record_judged(host: SystemHost, packet: Packet, source_height: int) -> dict[str, Json]:
    """Keep the packet's object and return its acknowledgement, or refuse."""
    value = parse(packet.payload)
    require_clear(value, Search.ANY_WRITING)
    header = read_object(value)
    transaction_id = source_transaction(header.object_id, packet.source, header.source_chain)
    require_source(value, header)
    require_seals_of(host, packet.source, source_height, value)
    require_format(host, packet.source, header.model_version)
    first = exceptions.resubmitted_by(_members(value))
    if first is not None:
        exceptions.require_open(host, packet, first, header)
    revision = _keep(host, packet.source, value, header)
    facts: dict[str, Json] = {
        "object_id": header.object_id,
        "version": header.version,
        "digest": data_object_digest(value).hex(),
        "transaction_id": transaction_id,
    }
    origin: dict[str, Json] = {
        "source": packet.source,
        "source_height": source_height,
        "sequence": packet.sequence,
        "received_height": host.height(),
        "received_transaction_id": host.transaction_id(),
    }
    told: dict[str, Json] = {**facts, **origin, "revision": revision}
    host.put(version_key(header.object_id, header.version), {**told, "object": value})
    kind: dict[str, Json] = {"type": header.content_type, "operation": header.operation}
    host.emit("object.recorded", {**told, **kind})
    if first is not None:
        exceptions.accept(host, packet, first)
    return {"code": "", **facts}


def require_source(value: dict[str, Json], header: ObjectHeader) -> None:
    """Refuse an object without the mark of its source or without a seal (G2-19-4, G2-19-5), and a
    change of another one without the seals of two persons.
    """
    members = _members(value)
    if not is_marked(members):
        raise Refusal("SOURCE_MISSING", field="header.source")
    seals: Any = members["seal"]
    if not seals:
        raise Refusal("SOURCE_MISSING", field="header.seal")
    keys = {str(seal["pub_key"]["value"]) for seal in seals}
    if header.operation != "create" and len(keys) < SIGNERS_OF_A_CHANGE:
        raise Refusal("CHECKER_MISSING", field="header.seal")


def _keep(host: SystemHost, source: str, value: dict[str, Json], header: ObjectHeader) -> int:
    """Take the step, and keep what follows from it; return how often the version was rewritten."""
    body = value["body"]
    assert isinstance(body, dict), "read_object checked it"
    check_part(host, header, value)
    before = standing_of(host, header.object_id)
    standing = after(before, header)
    _require_whole(host, header, value)
    if header.operation != "delete":
        snapshot = snapshot_of(host, header, body, before)
        fields = described_part(host, source, header.model_version, header.content_type)
        if fields is not None:
            _require_recorded(host, header, value, judge_body(fields, snapshot))
        if standing.version == header.version > 0:
            host.put(snapshot_key(header.object_id), snapshot)
    host.put(latest_key(header.object_id), standing.to_json())
    return put_aside(host, header)


def _require_whole(host: SystemHost, header: ObjectHeader, value: dict[str, Json]) -> None:
    """An object in parts is created and never changed: one part alone would be of another whole."""
    if header.operation == "create":
        return
    record = host.get(version_key(header.object_id, 0))
    assert isinstance(record, dict), "its life has begun"
    if object_part_of(record["object"]) is not None or object_part_of(value) is not None:
        raise Refusal("SCHEMA_FAILED", field=PART, fault="a change of an object in parts")


def _require_recorded(
    host: SystemHost, header: ObjectHeader, value: dict[str, Json], named: list[Reference]
) -> None:
    """Refuse a reference to what is not recorded here. An object may name itself; a version that
    was there once may be named for ever (SM-11).
    """
    part = object_part_of(value)
    own = header.object_id if part is None else part.of
    known: dict[str, int] = {own: header.version}
    for reference in named:
        if reference.object_id not in known:
            known[reference.object_id] = standing_of(host, reference.object_id).version
        if reference.version > known[reference.object_id]:
            raise Refusal(
                exceptions.State.REF_MISSING.value,
                field=reference.field,
                object_id=reference.object_id,
                version=reference.version,
            )


def _members(value: dict[str, Json]) -> dict[str, Json]:
    header = value["header"]
    assert isinstance(header, dict), "read_object checked it"
    return header
