"""The cross-chain log of exceptions: why an object was not taken, and what became of it (SM-11).

    SCHEMA_FAILED | REF_MISSING | PROOF_FAILED  -> RESUBMITTED, still refused | ACCEPTED
    RESUBMITTED                                 -> RESUBMITTED, once more     | ACCEPTED

The source sends the object again with `header.metadata.resubmits`, the sequence of the packet that
was refused first, under which all of it is kept. What is refused again has an exception of its own,
which names the first. The market knows each code by the acknowledgement of its packet, and finds
the log under `objects/exception/<source>/<port>/<sequence>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Packet
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.objects import parse, source_transaction
from services.consensus.domain.contracts.objects_form import ObjectHeader, read_object
from services.consensus.domain.contracts.packets_host import error_acknowledgement

RESUBMITS: Final = "resubmits"
CHANGED: Final = "object.exception_changed"
_NUMBER_BOUND: Final = 1 << 53
_OF_PROOF: Final = frozenset(
    {
        "SOURCE_MISSING",
        "SEAL_UNCERTIFIED",
        "CHECKER_MISSING",
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_REVOKED",
        "CERTIFICATE_UNTRUSTED",
        "CRL_TOO_LATE",
    }
)
"""Refusals of where an object is from and who sealed it."""


class State(StrEnum):
    """How an exception stands."""

    SCHEMA_FAILED = "SCHEMA_FAILED"
    """Its form, its body, its format or its step in the life cycle."""
    REF_MISSING = "REF_MISSING"
    PROOF_FAILED = "PROOF_FAILED"
    RESUBMITTED = "RESUBMITTED"
    ACCEPTED = "ACCEPTED"


@dataclass(frozen=True, slots=True)
class _Stated:
    """What a payload says of itself, as far as that can be read and kept."""

    object_id: str | None = None
    version: int | None = None
    resubmits: int | None = None


def state_of(code: str) -> State:
    """As what an object is kept that was refused with this code."""
    if code == State.REF_MISSING:
        return State.REF_MISSING
    return State.PROOF_FAILED if code in _OF_PROOF else State.SCHEMA_FAILED


def resubmitted_by(header: Mapping[str, Json]) -> int | None:
    """The sequence that an object says it resubmits, or None; refuses what is no sequence."""
    metadata = header["metadata"]
    assert isinstance(metadata, dict), "read_object checked it"
    value = metadata.get(RESUBMITS)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value < _NUMBER_BOUND:
        field = f"header.metadata.{RESUBMITS}"
        raise Refusal("SCHEMA_FAILED", field=field, fault="not the sequence of a packet")
    return value


def require_open(host: Host, packet: Packet, first: int, header: ObjectHeader) -> None:
    """Refuse a resubmission unless an exception of this object is open under that sequence."""
    entry = _entry(host, packet, first)
    if entry is None or entry.get(RESUBMITS) is not None:
        raise Refusal("ILLEGAL_TRANSITION", state="ABSENT", event="resubmit", sequence=first)
    if entry.get("state") == State.ACCEPTED:
        raise Refusal("ILLEGAL_TRANSITION", state="ACCEPTED", event="resubmit", sequence=first)
    if not _is_same(entry, header.object_id, header.version):
        raise Refusal(
            "SCHEMA_FAILED", field=f"header.metadata.{RESUBMITS}", fault="of another object"
        )


def accept(host: Host, packet: Packet, first: int) -> None:
    """Close the exception that `require_open` found: the object is recorded now."""
    _move(host, packet, first, State.ACCEPTED)


def record_exception(
    host: Host, packet: Packet, source_height: int, refusal: Refusal
) -> dict[str, Json]:
    """Keep why an object was refused; return the error acknowledgement."""
    stated = _stated(host, packet, refusal)
    exception: dict[str, Json] = {
        "state": state_of(refusal.code).value,
        "code": refusal.code,
        "detail": dict(refusal.fields),
        "object_id": stated.object_id,
        "version": stated.version,
        RESUBMITS: stated.resubmits,
        "resubmitted_as": None,
        "source": packet.source,
        "source_height": source_height,
        "sequence": packet.sequence,
        "commitment": packet.commitment().hex(),
        "received_height": host.height(),
        "received_transaction_id": host.transaction_id(),
    }
    host.put(exception_key(packet.source, packet.port, packet.sequence), exception)
    host.emit("object.refused", exception)
    if stated.resubmits is not None:
        _move(host, packet, stated.resubmits, State.RESUBMITTED)
    return error_acknowledgement(refusal)


def _stated(host: Host, packet: Packet, refusal: Refusal) -> _Stated:
    """Nothing of an object in which the number of a person stands: an id may hold it as well."""
    if refusal.code == "TIER_NONPUBLIC_ONCHAIN":
        return _Stated()
    try:
        value = parse(packet.payload)
        header = read_object(value)
        source_transaction(header.object_id, packet.source, header.source_chain)
    except Refusal:
        return _Stated()
    return _Stated(header.object_id, header.version, _open_for(host, packet, value, header))


def _open_for(
    host: Host, packet: Packet, value: Mapping[str, Json], header: ObjectHeader
) -> int | None:
    """The open exception that an object resubmits; None for one of its own."""
    members = value["header"]
    assert isinstance(members, dict), "read_object checked it"
    try:
        first = resubmitted_by(members)
        if first is not None:
            require_open(host, packet, first, header)
    except Refusal:
        return None
    return first


def _is_same(entry: Mapping[str, Json], object_id: str, version: int) -> bool:
    """An exception whose object could not be read is of whatever comes in its place."""
    known = entry.get("object_id")
    return known is None or (known, entry["version"]) == (object_id, version)


def _entry(host: Host, packet: Packet, sequence: int) -> dict[str, Json] | None:
    entry = host.get(exception_key(packet.source, packet.port, sequence))
    assert entry is None or isinstance(entry, dict), "the contract wrote it"
    return entry


def _move(host: Host, packet: Packet, first: int, state: State) -> None:
    entry = _entry(host, packet, first)
    assert entry is not None, "require_open found it"
    after = {**entry, "state": state.value, "resubmitted_as": packet.sequence}
    host.put(exception_key(packet.source, packet.port, first), after)
    told: dict[str, Json] = {"source": packet.source, "port": packet.port, "sequence": first}
    host.emit(CHANGED, {**told, "state": state.value, "resubmitted_as": packet.sequence})


def exception_key(source: str, port: str, sequence: int) -> str:
    """Where the exception of a packet is kept."""
    return f"exception/{source}/{port}/{sequence:020d}"
