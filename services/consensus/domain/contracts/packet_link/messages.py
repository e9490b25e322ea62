"""Messages from market to market, through the regulatory chain, and from it to a market.

A market sends a data object to the regulatory chain, which keeps it, so that the regulator sees
every step, and sends it on with the mark of its source. What became of it there comes back to the
sender. No market takes anything of another directly: each port of a message is open to one side.

    market_message   market -> regulator  {"to", "object"}
    market_delivery  regulator -> market  {"from": {"chain", "sequence", "height"}, "object"}
    market_result    regulator -> market  {"sequence", "to", "code", "digest", "height"}

Kept by the contract `packets`:

    message/sent/<destination>/<port>/<sequence>   at the sender: what it is and how it stands
    message/relayed/<source>/<sequence>            at the regulatory chain: what a market sent
    message/onward/<destination>/<sequence>        there: whose message a delivery carries
    message/received/<number>                      at the receiver: the object and where it is from
    message/received_count                         there: how many there are
    message/refused/<source>/<port>/<sequence>     where one could not be taken: why
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from guqiao_sdk.personal_data import Search, find_personal_data
from guqiao_sdk.proof.data_object import data_object_digest
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.packet import DELIVERY_PORT, Deadline, Packet, PacketClass, Terms
from services.consensus.domain.contracts.chain_registry.drift import require_provable
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.light_client_registration import known_trust
from services.consensus.domain.contracts.notice.formats import require_format
from services.consensus.domain.contracts.objects import (
    ID_SEPARATORS,
    OBJECT_BYTES_MAX,
    OBJECT_DEPTH_MAX,
    require_seals_of,
    source_transaction,
)
from services.consensus.domain.contracts.objects_form import PROTOCOL, ObjectHeader, read_object
from services.consensus.domain.contracts.packet_link.deadlines import read_deadline
from services.consensus.domain.contracts.packet_link.settled import Settled
from services.consensus.domain.contracts.packets_host import (
    CHAIN_LENGTH_MAX,
    LinkHost,
    SystemHost,
    error_acknowledgement,
    link_host,
    natural,
    regulatory_chain,
    require_members,
    text,
    this_chain,
)
from services.consensus.domain.contracts.signers import require_csrc, require_operator
from services.consensus.domain.contracts.source_mark import is_marked, source_mark

MESSAGE: Final = "market_message"
DELIVERY: Final = DELIVERY_PORT
RESULT: Final = "market_result"

CONTENT_BYTES_MAX: Final = 220_000
"""With header, seals and source mark a packet has room for it, on both hops."""

MESSAGE_BYTES_MAX: Final = 236_000
"""An object with its header and seals: the rest of a packet is for the marks of the hops."""

CODE_LENGTH_MAX: Final = 64
DIGEST_LENGTH_MAX: Final = 64
EXPIRED: Final = "PACKET_EXPIRED"
RECEIVED_COUNT: Final = "message/received_count"
MODEL_VERSION: Final = "guqiao-1"
_UNORDERED: Final = PacketClass.UNORDERED
_TYPE: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")

SENT, RELAYED, DELIVERED = "SENT", "RELAYED", "DELIVERED"
REFUSED, TIMED_OUT = "REFUSED", "TIMED_OUT"


# --- Sending --------------------------------------------------------------------------------------


def send_message(host: Host, body: Mapping[str, Json], *, version: int | None) -> None:
    """Send a data object of `type` with `content` as its body to the chain `to`, for which two
    persons of the operator sign, on the regulatory chain both sides of the CSRC. With the version
    of the contract it bears the mark of its source.
    """
    link, regulator = link_host(host), regulatory_chain(host)
    if regulator is None:
        require_csrc(host)
    else:
        require_operator(host)
    require_members(body, "", "to type content deadline")
    to = text(body["to"], "to")
    if to == this_chain(host):
        raise Refusal("BODY_MALFORMED", field="to", fault="this chain itself")
    destination, port = (to, DELIVERY) if regulator is None else (regulator, MESSAGE)
    deadline = read_deadline(link, body["deadline"], destination)
    message = _object_of(host, body, version)
    if to not in (destination, regulator) and not deadline.time_ms:
        raise Refusal("BODY_MALFORMED", field="deadline", fault="no time, which both hops keep")
    _require_known(link, destination)
    own = _mark(this_chain(host), None, host.height())
    payload: dict[str, Json] = {"from": own} if regulator is None else {"to": to}
    sequence = link.send_to(
        destination,
        port,
        {**payload, "object": message},
        Terms(_UNORDERED, deadline),
        sealing="object",
    )
    record: dict[str, Json] = {
        "to": to,
        "object_id": f"{this_chain(host)}:{body['type']}:{host.transaction_id()}",
        "deadline": deadline.to_json(),
        "height": host.height(),
        "transaction_id": host.transaction_id(),
    }
    place: dict[str, Json] = {"destination": destination, "port": port, "sequence": sequence}
    _stand(host, sent_key(destination, port, sequence), record, SENT, place)


def _object_of(host: Host, body: Mapping[str, Json], version: int | None) -> dict[str, Json]:
    """The data object; what names its source is the contract's own (G2-19-4)."""
    content = body["content"]
    if not isinstance(content, dict) or not content:
        raise Refusal("BODY_MALFORMED", field="content", fault="not an object with members")
    if len(canonical_json(content)) > CONTENT_BYTES_MAX:
        raise Refusal("LIMIT_EXCEEDED", limit="content_bytes", maximum=CONTENT_BYTES_MAX)
    _require_clear(content)
    kind = body["type"]
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise Refusal("BODY_MALFORMED", field="type", fault=f"not {_TYPE.pattern}")
    mark: dict[str, Json] = {}
    if version is not None:
        chain = this_chain(host)
        mark["source"] = source_mark(host, chain=chain, contract="packets", version=version)
    message: dict[str, Json] = {
        "header": {
            **mark,
            "model": {"protocol": PROTOCOL, "version": MODEL_VERSION},
            "content": {
                "type": kind,
                "object_id": f"{this_chain(host)}:{kind}:{host.transaction_id()}",
                "version": 0,
                "operation": "create",
                "timestamp": host.block_time_ms() // 1_000,
            },
            "remark": "",
            "seal": [],
            "metadata": {},
        },
        "body": content,
    }
    _read_message(message, this_chain(host))
    return message


def _require_known(host: SystemHost, chain: str) -> None:
    """A chain sends where it can verify what became of it, and the registration is in force."""
    if known_trust(host, chain) is None:
        raise Refusal("CLIENT_UNKNOWN", chain=chain)
    require_provable(host, chain)


# --- What arrives ---------------------------------------------------------------------------------


def relay_message(host: SystemHost, packet: Packet, source_height: int) -> dict[str, Json]:
    """At the regulatory chain: keep a market's message, and send it on unless it is for here."""
    payload = _payload(packet, "to object")
    to = payload["to"]
    if not isinstance(to, str) or not 1 <= len(to) <= CHAIN_LENGTH_MAX:
        raise Refusal("SCHEMA_FAILED", field="to", fault="not a chain")
    facts = _accept(host, payload["object"], packet.source)
    record: dict[str, Json] = {
        **facts,
        "to": to,
        "object": payload["object"],
        "source_height": source_height,
        "received_height": host.height(),
    }
    if to != this_chain(host):
        record["onward"] = _send_on(link_host(host), packet, to, payload, source_height)
    host.put(_relayed_key(packet.source, packet.sequence), record)
    kept = {name: record[name] for name in record if name != "object"}
    host.emit("message.relayed", {"source": packet.source, "sequence": packet.sequence, **kept})
    return {"code": "", **facts}


def relay_certified_message(
    host: SystemHost, packet: Packet, source_height: int
) -> dict[str, Json]:
    """The same, if a certificate stands for each of its seals (version 4). Numbers of persons are
    looked for first: a refusal of a seal says what stands in it.
    """
    value = _payload(packet, "to object")["object"]
    if isinstance(value, dict):
        _require_clear(value)
        read_object(value)
        require_seals_of(host, packet.source, source_height, value)
    return relay_message(host, packet, source_height)


def relay_marked_message(host: SystemHost, packet: Packet, source_height: int) -> dict[str, Json]:
    """The same, if it bears the mark of its source (version 5)."""
    match _payload(packet, "to object")["object"]:
        case {"header": dict(header)} if not is_marked(header):
            raise Refusal("SOURCE_MISSING", field="header.source")
    return relay_certified_message(host, packet, source_height)


def _send_on(
    host: LinkHost, packet: Packet, to: str, payload: Mapping[str, Json], source_height: int
) -> int:
    """The second hop, with the source's mark, and a deadline no later than the first's."""
    if to == packet.source:
        raise Refusal("SCHEMA_FAILED", field="to", fault="the chain that sent it")
    if not packet.deadline.time_ms:
        raise Refusal("PACKET_DEADLINE_NONE", source=packet.source, sequence=packet.sequence)
    _require_known(host, to)
    mark = _mark(packet.source, packet.sequence, source_height)
    terms = Terms(_UNORDERED, Deadline(time_ms=packet.deadline.time_ms))
    body: dict[str, Json] = {"from": mark, "object": payload["object"]}
    sequence = host.send_to(to, DELIVERY, body, terms)
    onward: dict[str, Json] = {"source": packet.source, "sequence": packet.sequence}
    host.put(_onward_key(to, sequence), onward)
    return sequence


def keep_message(host: SystemHost, packet: Packet, source_height: int) -> dict[str, Json]:
    """At a market: keep what the regulatory chain sent or sent on."""
    payload = _payload(packet, "from object")
    source = _require_mark(host, packet, payload["from"])
    facts = _accept(host, payload["object"], source)
    count = host.get(RECEIVED_COUNT) or 0
    assert isinstance(count, int)
    number = count + 1
    record: dict[str, Json] = {
        **facts,
        "sequence": packet.sequence,
        "from": payload["from"],
        "object": payload["object"],
        "source_height": source_height,
        "received_height": host.height(),
    }
    host.put(RECEIVED_COUNT, number)
    host.put(received_key(number), record)
    kept = {name: record[name] for name in record if name != "object"}
    host.emit("message.received", {"source": packet.source, "number": number, **kept})
    return {"code": "", **facts}


def keep_result(host: SystemHost, packet: Packet, source_height: int) -> dict[str, Json]:
    """At the market that sent it: what became of a message on its second hop."""
    payload = _payload(packet, "sequence to code digest height")
    sequence, code = natural(payload["sequence"], "sequence"), payload["code"]
    digest = payload["digest"]
    if not _is_text(code, CODE_LENGTH_MAX) or not (
        digest is None or _is_text(digest, DIGEST_LENGTH_MAX)
    ):
        raise Refusal("SCHEMA_FAILED", field="payload", fault="not a code and a digest")
    assert isinstance(code, str)
    key = sent_key(packet.source, MESSAGE, sequence)
    record = _record(host, key)
    if record is None or record["to"] != payload["to"]:
        raise Refusal("PACKET_UNKNOWN", port=MESSAGE, sequence=sequence)
    if record["state"] not in (SENT, RELAYED):
        raise Refusal("ILLEGAL_TRANSITION", state=record["state"], event=RESULT)
    stands = {**record, "code": code, "digest": digest, "result": packet.sequence}
    place: dict[str, Json] = {"destination": packet.source, "port": MESSAGE, "sequence": sequence}
    _stand(host, key, stands, _state_of(code), place)
    return {"code": "", "object_id": record["object_id"], "version": 0, "transaction_id": None}


def refuse_message(
    host: Host, packet: Packet, source_height: int, refusal: Refusal
) -> dict[str, Json]:
    """Keep why a packet of a message was not taken; return the error acknowledgement."""
    facts: dict[str, Json] = {
        "source": packet.source,
        "port": packet.port,
        "sequence": packet.sequence,
        "code": refusal.code,
        "detail": dict(refusal.fields),
        "source_height": source_height,
        "received_height": host.height(),
    }
    host.put(f"message/refused/{packet.source}/{packet.port}/{packet.sequence:020d}", facts)
    host.emit("message.refused", facts)
    return error_acknowledgement(refusal)


# --- What became of what was sent -----------------------------------------------------------------


def hear_of_message(host: LinkHost, settled: Settled) -> None:
    """At a market, of the first hop: whether the regulatory chain took its message. The result of
    the second hop may be there already, and stands.
    """
    key = sent_key(settled.destination, settled.port, settled.sequence)
    record = _record(host, key)
    assert record is not None, "send_message wrote it"
    if record["state"] != SENT:
        return
    code = _code_of(settled)
    is_over = code != "" or record["to"] == settled.destination
    state = _state_of(code) if is_over else RELAYED
    _stand(host, key, {**record, "code": code}, state, _place(settled))


def hear_of_delivery(host: LinkHost, settled: Settled) -> None:
    """At the regulatory chain, of the second hop: tell the market whose message it was; one of the
    regulator's own stands in its record.
    """
    origin: Any = host.get(_onward_key(settled.destination, settled.sequence))
    code, digest = _code_of(settled), (settled.acknowledgement or {}).get("digest")
    told = digest if _is_text(digest, DIGEST_LENGTH_MAX) else None
    if origin is None:
        key = sent_key(settled.destination, settled.port, settled.sequence)
        record = _record(host, key)
        assert record is not None, "send_message wrote it"
        stands = {**record, "code": code, "digest": told}
        _stand(host, key, stands, _state_of(code), _place(settled))
        return
    result: dict[str, Json] = {
        "sequence": origin["sequence"],
        "to": settled.destination,
        "code": code,
        "digest": told,
        "height": settled.height,
    }
    host.send_to(origin["source"], RESULT, result, Terms(_UNORDERED))


def _code_of(settled: Settled) -> str:
    """With which code it ended; what a destination says is bounded here."""
    if settled.acknowledgement is None:
        return EXPIRED
    code = settled.acknowledgement.get("code")
    return str(code) if _is_text(code, CODE_LENGTH_MAX) else "SCHEMA_FAILED"


def _state_of(code: str) -> str:
    if code == EXPIRED:
        return TIMED_OUT
    return DELIVERED if code == "" else REFUSED


def _is_text(value: Json, length_max: int) -> bool:
    return isinstance(value, str) and len(value) <= length_max


def _place(settled: Settled) -> dict[str, Json]:
    return {
        "destination": settled.destination,
        "port": settled.port,
        "sequence": settled.sequence,
    }


def _stand(
    host: Host, key: str, record: Mapping[str, Json], state: str, place: Mapping[str, Json]
) -> None:
    """Keep how a message stands, and announce it."""
    host.put(key, {**record, "state": state})
    told = {name: record.get(name) for name in ("to", "object_id", "code")}
    host.emit("message.state_changed", {**place, **told, "state": state})


# --- Forms ----------------------------------------------------------------------------------------


def _payload(packet: Packet, wanted: str) -> dict[str, Json]:
    """The members of a payload, which are exactly those wanted."""
    try:
        value = parse_json_strict(
            packet.payload, depth_max=OBJECT_DEPTH_MAX + 1, size_max=OBJECT_BYTES_MAX
        )
    except JsonError as error:
        raise Refusal("SCHEMA_FAILED", field="payload", fault=str(error)) from error
    if not isinstance(value, dict) or value.keys() != set(wanted.split()):
        raise Refusal("SCHEMA_FAILED", field="payload", fault=f"not an object of {wanted}")
    return value


def _accept(host: SystemHost, value: Json, source: str) -> dict[str, Json]:
    """The facts of a sealed message of `source` that may be kept here, or a refusal."""
    if not isinstance(value, dict):
        raise Refusal("SCHEMA_FAILED", field="object", fault="not an object")
    if len(canonical_json(value)) > MESSAGE_BYTES_MAX:
        fault = f"more than {MESSAGE_BYTES_MAX} bytes"
        raise Refusal("SCHEMA_FAILED", field="object", fault=fault)
    header, transaction_id = _read_message(value, source)
    require_format(host, source, header.model_version)
    _require_sealed(value)
    _require_clear(value["body"])
    _require_clear(_free(value))
    return {
        "object_id": header.object_id,
        "version": header.version,
        "digest": data_object_digest(value).hex(),
        "transaction_id": transaction_id,
    }


def _read_message(value: Mapping[str, Json], source: str) -> tuple[ObjectHeader, str]:
    """The header, and the transaction that made the message; its id names `source`."""
    header = read_object(value)
    transaction_id = source_transaction(header.object_id, source, header.source_chain)
    if header.operation != "create" or header.version != 0:
        raise Refusal("SCHEMA_FAILED", field="header.content.operation", fault="not a creation")
    if header.object_id.count(":") != ID_SEPARATORS:
        raise Refusal("SCHEMA_FAILED", field="header.content.object_id", fault="that of a part")
    return header, transaction_id


def _require_sealed(value: Mapping[str, Json]) -> None:
    """The source's host seals every message with the signatures under it (G31)."""
    match value:
        case {"header": {"seal": [_, *_]}}:
            return
    raise Refusal("SOURCE_MISSING", field="header.seal")


def _free(value: Mapping[str, Json]) -> dict[str, Json]:
    """What of a message's header its sender words: all else is fixed by other rules."""
    header = value["header"]
    assert isinstance(header, dict), "read_object checked it"
    return {"header": {name: header[name] for name in ("remark", "metadata") if name in header}}


def _require_clear(content: Json) -> None:
    found = find_personal_data(content, search=Search.ANY_WRITING)
    if found is not None:
        raise Refusal("TIER_NONPUBLIC_ONCHAIN", kind=found.kind.value, place=found.path)


def _require_mark(host: SystemHost, packet: Packet, mark: Json) -> str:
    """The chain that a message is from; the regulatory chain's own has no sequence there."""
    match mark:
        case {"chain": str(source), "sequence": sequence, "height": int(height), **rest}:
            is_own = source == packet.source and sequence is None
            is_numbered = source != packet.source and type(sequence) is int and sequence > 0
            if not rest and height > 0 and source != this_chain(host) and is_own | is_numbered:
                return source
    raise Refusal("SOURCE_MISSING", field="from")


def _mark(chain: str, sequence: int | None, height: int) -> dict[str, Json]:
    return {"chain": chain, "sequence": sequence, "height": height}


def _record(host: Host, key: str) -> dict[str, Json] | None:
    record = host.get(key)
    assert record is None or isinstance(record, dict)
    return record


def sent_key(destination: str, port: str, sequence: int) -> str:
    """Where a sender keeps how its message stands."""
    return f"message/sent/{destination}/{port}/{sequence:020d}"


def _relayed_key(source: str, sequence: int) -> str:
    return f"message/relayed/{source}/{sequence:020d}"


def _onward_key(destination: str, sequence: int) -> str:
    return f"message/onward/{destination}/{sequence:020d}"


def received_key(number: int) -> str:
    """Where a market keeps the message that it received as number `number`, from 1."""
    return f"message/received/{number:020d}"
