"""Packets between guqiao chains: received with proof, acknowledged with proof, once in effect.

`receive` (destination) believes the commitment that the source's certified state holds, takes
sequences in order and without gap, and keeps a receipt for ever. `acknowledge` (source) believes
the receipt that the destination's certified state holds. The relayer is trusted with nothing. The
sending half is the host's `send_packet`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from guqiao_sdk.personal_data import Search
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.packet import Packet, acknowledgement_key, commitment_key, receipt_key
from guqiao_sdk.proof.state_proof import StateProof, verify_state_proof
from services.consensus.domain.contracts import objects
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.light_client import consensus_state
from services.consensus.domain.contracts.object_life.exceptions import record_exception
from services.consensus.domain.contracts.object_life.recording import record_judged
from services.consensus.domain.contracts.packets_host import (
    RELAYER,
    SystemHost,
    hex_bytes,
    natural,
    require_members,
    require_role,
    rows,
    system_host,
    text,
    this_chain,
)

NAME: Final = "packets"
PACKETS_MAX: Final = 50
PAYLOAD_LENGTH_MAX: Final = 262_144
LIMIT_EXCEEDED: Final = "LIMIT_EXCEEDED"
PROOF_BYTES_MAX: Final = 4 + 256 * 32 + 1 + 64

Record: TypeAlias = Callable[[SystemHost, Packet, int], dict[str, Json]]
RecordException: TypeAlias = Callable[[Host, Packet, int, Refusal], dict[str, Json]]


@dataclass(frozen=True, slots=True)
class Port:
    """Whose state a port writes, what takes its packets, and what keeps those it cannot take."""

    contract: str
    record: Record
    record_exception: RecordException


PORTS: Final[Mapping[str, Port]] = {
    "data_object": Port(objects.NAME, objects.record_object, objects.record_exception)
}
"""The allow-list: nothing else is reachable from another chain (reliability G28)."""


def _screened(search: Search) -> Mapping[str, Port]:
    record = partial(objects.record_screened, search=search)
    return {"data_object": Port(objects.NAME, record, objects.record_exception)}


SCREENED_PORTS: Final[Mapping[int, Mapping[str, Port]]] = {
    2: _screened(Search.GROUPS),
    3: _screened(Search.ANY_WRITING),
}
"""The same by version: no number of a person comes in (reliability G33)."""

CERTIFIED_PORT: Final = Port(
    objects.NAME,
    partial(objects.record_certified, search=Search.ANY_WRITING),
    objects.record_exception,
)
"""Version 4: what is sealed by a key without a certificate does not come in either (G31)."""

JUDGED_PORT: Final = Port(objects.NAME, record_judged, record_exception)
"""From version 5 on, with version 2 of `objects`: marked sources, judged bodies, all of SM-11."""

NOT_THE_PACKETS_FAULT: Final = frozenset({LIMIT_EXCEEDED, "CRL_MISSING", "CRL_STALE"})
"""Refusals of a handler that refuse the transaction: later, or with fewer packets, it is taken."""


@dataclass(frozen=True, slots=True)
class PacketsContract:
    """`packets`. Version 2 refuses objects that hold numbers of persons in the clear. Versions
    from 3 on are `LinkedPacketsContract`, which looks for them in whatever digits.
    """

    version: int = 1

    @property
    def name(self) -> str:
        """Return the namespace of the packets' keys."""
        return NAME

    def methods(self) -> Mapping[str, Method]:
        """`receive` at the destination, `acknowledge` at the source, both for relayers."""
        ports = SCREENED_PORTS.get(self.version, PORTS)
        return {"receive": partial(receive, ports=ports), "acknowledge": acknowledge}


def receive(host: Host, body: Mapping[str, Json], *, ports: Mapping[str, Port]) -> None:
    """Take up to 50 packets of one source, proven at one height; all guards hold or nothing is.

    A packet taken before is answered with the receipt it has.
    """
    require_role(host, RELAYER)
    require_members(body, "", "source height packets")
    system, source = system_host(host), text(body["source"], "source")
    height = natural(body["height"], "height")
    entries = rows(
        body["packets"], "packets", "destination port sequence payload proof", PACKETS_MAX
    )
    state_root = consensus_state(system, source, height).state_root
    for index, entry in enumerate(entries):
        packet, proof = _packet(entry, source, f"packets[{index}].")
        _receive_one(system, ports, packet, proof, _Proven(height, state_root))


def acknowledge(host: Host, body: Mapping[str, Json]) -> None:
    """Take the destination's receipts of up to 50 packets that this chain sent, proven at one
    height there. An acknowledgement is kept once; the same again changes nothing.
    """
    require_role(host, RELAYER)
    require_members(body, "", "destination height packets")
    system, destination = system_host(host), text(body["destination"], "destination")
    height = natural(body["height"], "height")
    entries = rows(body["packets"], "packets", "port sequence acknowledgement proof", PACKETS_MAX)
    state_root = consensus_state(system, destination, height).state_root
    for index, entry in enumerate(entries):
        path = f"packets[{index}]."
        receipt = _Acknowledged(
            destination=destination,
            port=text(entry["port"], f"{path}port"),
            sequence=natural(entry["sequence"], f"{path}sequence"),
            acknowledgement=acknowledgement_of(entry["acknowledgement"], f"{path}acknowledgement"),
            height=height,
        )
        _acknowledge_one(system, receipt, proof_of(entry["proof"], f"{path}proof"), state_root)


@dataclass(frozen=True, slots=True)
class _Proven:
    """A height of the source and the root that its certified header gives."""

    height: int
    state_root: bytes


@dataclass(frozen=True, slots=True)
class _Acknowledged:
    destination: str
    port: str
    sequence: int
    acknowledgement: Mapping[str, Json]
    height: int


def _receive_one(
    host: SystemHost,
    ports: Mapping[str, Port],
    packet: Packet,
    proof: StateProof,
    at: _Proven,
) -> None:
    if packet.destination != this_chain(host):
        raise Refusal("CHAIN_MISMATCH", chain=this_chain(host), stated=packet.destination)
    port = ports.get(packet.port)
    if port is None:
        raise Refusal("PACKET_PORT_FORBIDDEN", port=packet.port, allowed=[*sorted(ports)])
    last = host.get(last_key(packet)) or 0
    assert isinstance(last, int)
    if packet.sequence <= last:
        answer_again(host, packet, proof, at.state_root)
        return
    if packet.sequence != last + 1:
        raise Refusal("PACKET_OUT_OF_ORDER", **facts_of(packet), expected=last + 1)
    check_commitment(packet, proof, at.state_root)
    host.put(last_key(packet), packet.sequence)
    acknowledgement = dispatch(host, port, packet, at.height)
    receipt: dict[str, Json] = {
        "commitment": packet.commitment().hex(),
        "acknowledgement": acknowledgement,
    }
    host.put(own_key(receipt_key(packet.source, packet.port, packet.sequence)), receipt)
    host.emit("packet.received", {**facts_of(packet), **receipt, "source_height": at.height})


def dispatch(host: SystemHost, port: Port, packet: Packet, height: int) -> dict[str, Json]:
    """Run the port's handler; its refusal undoes its effects and becomes the acknowledgement.

    A limit of the transaction is not the packet's fault: it refuses the whole, and a relayer tries
    again with fewer packets. Nor is a revocation list that nobody brought.
    """
    acknowledgements: list[dict[str, Json]] = []

    def record() -> None:
        acknowledgements.append(port.record(host, packet, height))

    refusal = host.attempt(lambda: host.within(port.contract, record))
    if refusal is None:
        return acknowledgements[0]
    if refusal.code in NOT_THE_PACKETS_FAULT:
        raise refusal

    def keep_exception() -> None:
        acknowledgements.append(port.record_exception(host, packet, height, refusal))

    host.within(port.contract, keep_exception)
    return acknowledgements[0]


def answer_again(host: SystemHost, packet: Packet, proof: StateProof, state_root: bytes) -> None:
    """The same packet again has the receipt it had; another under its sequence is a conflict, and
    where the source's own state proves it, the source contradicts itself (reliability G23, G24).
    """
    receipt = host.get(own_key(receipt_key(packet.source, packet.port, packet.sequence)))
    assert isinstance(receipt, dict)
    commitment = packet.commitment().hex()
    if receipt["commitment"] != commitment:
        raise Refusal(
            "PACKET_CONFLICT",
            **facts_of(packet),
            received=receipt["commitment"],
            commitment=commitment,
            proven=_is_committed(packet, proof, state_root),
        )
    host.emit("packet.received_again", {**facts_of(packet), **receipt})


def check_commitment(packet: Packet, proof: StateProof, state_root: bytes) -> None:
    verify_or_refuse(
        piece=f"commitment of {packet.source} port {packet.port} sequence {packet.sequence}",
        root=state_root,
        key=commitment_key(packet.destination, packet.port, packet.sequence),
        value=packet.commitment().hex(),
        proof=proof,
    )


def _is_committed(packet: Packet, proof: StateProof, state_root: bytes) -> bool:
    try:
        check_commitment(packet, proof, state_root)
    except Refusal:
        return False
    return True


def _acknowledge_one(
    host: SystemHost, receipt: _Acknowledged, proof: StateProof, state_root: bytes
) -> None:
    port, sequence = receipt.port, receipt.sequence
    facts: dict[str, Json] = {
        "destination": receipt.destination,
        "port": port,
        "sequence": sequence,
    }
    commitment = host.get(own_key(commitment_key(receipt.destination, port, sequence)))
    if commitment is None:
        raise Refusal("PACKET_UNKNOWN", **facts)
    value: dict[str, Json] = {
        "commitment": commitment,
        "acknowledgement": dict(receipt.acknowledgement),
    }
    key = own_key(acknowledgement_key(receipt.destination, port, sequence))
    known = host.get(key)
    if known is not None:
        assert isinstance(known, dict)
        if known["acknowledgement"] != value["acknowledgement"]:
            raise Refusal("PACKET_CONFLICT", **facts, commitment=commitment)
        return
    verify_or_refuse(
        piece=f"receipt of {receipt.destination} port {port} sequence {sequence}",
        root=state_root,
        key=receipt_key(this_chain(host), port, sequence),
        value=value,
        proof=proof,
    )
    host.put(key, {**value, "destination_height": receipt.height})
    outcome: dict[str, Json] = {
        name: receipt.acknowledgement.get(name)
        for name in ("code", "object_id", "version", "transaction_id")
    }
    host.emit("packet.acknowledged", {**facts, **outcome, "destination_height": receipt.height})


def verify_or_refuse(*, piece: str, root: bytes, key: str, value: Json, proof: StateProof) -> None:
    """Refuse with PROOF_INVALID unless the state under `root` holds `value` at `key`."""
    try:
        verify_state_proof(
            piece=piece, root=root, key=key.encode(), value=canonical_json(value), proof=proof
        )
    except ProofError as error:
        raise Refusal("PROOF_INVALID", piece=error.piece, detail=error.detail) from error


def _packet(entry: Mapping[str, Json], source: str, path: str) -> tuple[Packet, StateProof]:
    packet = Packet(
        source=source,
        destination=text(entry["destination"], f"{path}destination"),
        port=text(entry["port"], f"{path}port"),
        sequence=natural(entry["sequence"], f"{path}sequence"),
        payload=text(entry["payload"], f"{path}payload", PAYLOAD_LENGTH_MAX).encode(),
    )
    return packet, proof_of(entry["proof"], f"{path}proof")


def proof_of(value: Json, field: str) -> StateProof:
    try:
        return StateProof.decode(hex_bytes(value, field, PROOF_BYTES_MAX))
    except MalformedError as error:
        raise Refusal("PROOF_INVALID", piece=field, detail=str(error)) from error


def acknowledgement_of(value: Json, field: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise Refusal("BODY_MALFORMED", field=field, fault="not an object")
    return value


def facts_of(packet: Packet) -> dict[str, Json]:
    return {
        "source": packet.source,
        "destination": packet.destination,
        "port": packet.port,
        "sequence": packet.sequence,
    }


def last_key(packet: Packet) -> str:
    return f"received/{packet.source}/{packet.port}"


def own_key(key: str) -> str:
    """The key inside this contract's namespace of a key that proofs name whole."""
    assert key.startswith(f"{NAME}/")
    return key.removeprefix(f"{NAME}/")
