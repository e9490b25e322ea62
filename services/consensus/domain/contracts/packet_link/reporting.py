"""How a market reports again: an object that was refused once more, one that was taken corrected.

Two persons of the operator sign, and the host seals the object with their signatures. Nothing here
makes up an object: what is sent again is shown to be what this chain sent, by its commitment, and
what is corrected was taken by the regulatory chain, as its proven acknowledgement says. Whether the
step fits the object's life is judged there (`object_life/cycle.py`).

    resubmitted/<sequence>   of an object that was refused first under that sequence: under which it
                             was sent last
    resubmits/<sequence>     of one that was sent again under it: under which it was refused first
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from guqiao_sdk.personal_data import Search
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Packet, acknowledgement_key
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.object_life.exceptions import RESUBMITS
from services.consensus.domain.contracts.objects import (
    ID_SEPARATORS,
    object_part_of,
    parse,
    require_clear,
)
from services.consensus.domain.contracts.objects_form import PROTOCOL, read_object
from services.consensus.domain.contracts.packet_link.messages import MODEL_VERSION
from services.consensus.domain.contracts.packets_host import (
    natural,
    regulatory_chain,
    require_members,
    text,
    this_chain,
)
from services.consensus.domain.contracts.signers import require_operator
from services.consensus.domain.contracts.source_mark import source_mark

PACKETS: Final = "packets"
PORT: Final = "data_object"
AMENDMENTS: Final = ("update", "overwrite", "delete")
PAYLOAD_LENGTH_MAX: Final = 262_144
REMARK_LENGTH_MAX: Final = 2_048
VERSION_BOUND: Final = 1 << 31


def resubmit_object(host: Host, body: Mapping[str, Json], *, version: int) -> None:
    """Send an object again that the regulatory chain refused under `sequence`. `payload` is the
    text of that packet, `body` the corrected body, or null where it stays as it was.
    """
    require_operator(host)
    require_members(body, "", "sequence payload body")
    sequence = natural(body["sequence"], "sequence")
    known = _acknowledged(host, sequence)
    code = known["acknowledgement"]["code"]
    if code == "":
        raise Refusal("ILLEGAL_TRANSITION", state="ACCEPTED", event="resubmit")
    before = _sent(host, sequence, text(body["payload"], "payload", PAYLOAD_LENGTH_MAX), known)
    header: Any = before["header"]
    first = host.get(_first_key(sequence)) or sequence
    assert isinstance(first, int), "the contract wrote it"
    if (host.get(_latest_key(first)) or first) != sequence:
        raise Refusal("ILLEGAL_TRANSITION", state="RESUBMITTED", event="resubmit")
    metadata: dict[str, Json] = {**header["metadata"], RESUBMITS: first}
    value: dict[str, Json] = {
        "header": {
            **header,
            "model": {"protocol": PROTOCOL, "version": MODEL_VERSION},
            "source": _mark(host, version),
            "seal": [],
            "metadata": metadata,
        },
        "body": _corrected(before, body["body"]),
    }
    last = _send(host, value)
    host.put(_latest_key(first), last)
    host.put(_first_key(last), first)
    told: dict[str, Json] = {"port": PORT, "sequence": first, "resubmitted_as": last, "code": code}
    host.emit("object.resubmitted", told)


def amend_object(host: Host, body: Mapping[str, Json], *, version: int) -> None:
    """Correct an object that the regulatory chain took under `sequence`: `update`, `overwrite` or
    `delete` it as `version`, with the reason in `remark`.
    """
    require_operator(host)
    require_members(body, "", "sequence operation version body remark")
    sequence = natural(body["sequence"], "sequence")
    acknowledgement = _acknowledged(host, sequence)["acknowledgement"]
    if acknowledgement["code"] != "":
        raise Refusal("ILLEGAL_TRANSITION", state="REFUSED", event="amend")
    operation, number = body["operation"], body["version"]
    if operation not in AMENDMENTS:
        fault = "not one of " + ", ".join(AMENDMENTS)
        raise Refusal("BODY_MALFORMED", field="operation", fault=fault)
    if type(number) is not int or not 0 <= number < VERSION_BOUND:
        raise Refusal("BODY_MALFORMED", field="version", fault="not an integer from 0")
    object_id = str(acknowledgement["object_id"])
    if object_id.count(":") != ID_SEPARATORS:
        raise Refusal("BODY_MALFORMED", field="sequence", fault="of a part of an object")
    value: dict[str, Json] = {
        "header": {
            "model": {"protocol": PROTOCOL, "version": MODEL_VERSION},
            "content": {
                "type": object_id.split(":")[1],
                "object_id": object_id,
                "version": number,
                "operation": operation,
                "timestamp": host.block_time_ms() // 1_000,
            },
            "source": _mark(host, version),
            "remark": text(body["remark"], "remark", REMARK_LENGTH_MAX),
            "seal": [],
            "metadata": {},
        },
        "body": body["body"],
    }
    last = _send(host, value)
    told: dict[str, Json] = {"object_id": object_id, "version": number, "operation": operation}
    host.emit("object.amended", {**told, "port": PORT, "sequence": last})


def _acknowledged(host: Host, sequence: int) -> dict[str, Any]:
    """What the regulatory chain proved of a packet; refuses one that it did not answer."""
    destination = regulatory_chain(host)
    if destination is None:
        raise Refusal("PACKET_DESTINATION_NONE", chain=this_chain(host), port=PORT)
    known = host.get(_own(acknowledgement_key(destination, PORT, sequence)))
    if known is None:
        raise Refusal("PACKET_UNKNOWN", destination=destination, port=PORT, sequence=sequence)
    assert isinstance(known, dict), "the contract wrote it"
    return known


def _sent(host: Host, sequence: int, payload: str, known: Mapping[str, Any]) -> dict[str, Json]:
    """The object that this chain sent under a sequence: no other has that commitment."""
    destination = regulatory_chain(host)
    assert destination is not None, "a packet went there"
    packet = Packet(this_chain(host), destination, PORT, sequence, payload.encode())
    if packet.commitment().hex() != known["commitment"]:
        raise Refusal("BODY_MALFORMED", field="payload", fault="not what was sent under sequence")
    value = parse(packet.payload)
    read_object(value)
    return value


def _corrected(before: Mapping[str, Json], body: Json) -> Json:
    """A part goes as it was: its digest is that of the whole body."""
    if body is None:
        return before["body"]
    if object_part_of(dict(before)) is not None:
        raise Refusal("BODY_MALFORMED", field="body", fault="of a part, which stays as it was")
    return body


def _mark(host: Host, version: int) -> dict[str, Json]:
    return source_mark(host, chain=this_chain(host), contract=PACKETS, version=version)


def _send(host: Host, value: dict[str, Json]) -> int:
    """Send an object of good form without anybody's number; return its sequence."""
    require_clear(value, Search.ANY_WRITING)
    read_object(value)
    host.send_packet(PORT, value)
    destination = regulatory_chain(host)
    last = host.get(f"sequence/{destination}/{PORT}")
    assert isinstance(last, int), "the host counts what is sent"
    return last


def _own(key: str) -> str:
    return key.removeprefix(f"{PACKETS}/")


def _first_key(last: int) -> str:
    return f"{RESUBMITS}/{last:020d}"


def _latest_key(first: int) -> str:
    return f"resubmitted/{first:020d}"
