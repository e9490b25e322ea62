"""The destination's half from version 3 on: packets of both formats and classes, until they expire.

What an ordered packet would have done counts for nothing once its deadline has passed, and the
packet is answered with PACKET_EXPIRED so that those behind it go on. An unordered one is refused:
its source proves that it was never received.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Packet, PacketClass, Terms, receipt_key
from guqiao_sdk.proof.state_proof import StateProof
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.light_client import consensus_state
from services.consensus.domain.contracts.packet_link import breaker
from services.consensus.domain.contracts.packet_link.ports import LinkPort, ports_of
from services.consensus.domain.contracts.packets import (
    PACKETS_MAX,
    PAYLOAD_LENGTH_MAX,
    answer_again,
    check_commitment,
    dispatch,
    facts_of,
    last_key,
    own_key,
    proof_of,
)
from services.consensus.domain.contracts.packets_host import (
    RELAYER,
    LinkHost,
    error_acknowledgement,
    link_host,
    natural,
    require_members,
    require_role,
    rows,
    text,
    this_chain,
)

PACKET_EXPIRED: Final = "PACKET_EXPIRED"
_TERMS: Final = ("class", "deadline")


def receive(host: Host, body: Mapping[str, Json], *, version: int) -> None:
    """Take up to 50 packets of one source, proven at one height; all guards hold or nothing is.

    A packet taken before is answered with the receipt it has.
    """
    require_role(host, RELAYER)
    require_members(body, "", "source height packets")
    link, source = link_host(host), text(body["source"], "source")
    height = natural(body["height"], "height")
    entries = _entries(body["packets"], source)
    state_root = consensus_state(link, source, height).state_root
    breaker.require_running(link, source)
    ports = ports_of(link, source, version)
    taken = [
        packet
        for packet, proof in entries
        if _receive_one(link, ports, packet, proof, height, state_root)
    ]
    breaker.count(link, taken)


def _receive_one(
    host: LinkHost,
    ports: Mapping[str, LinkPort],
    packet: Packet,
    proof: StateProof,
    height: int,
    state_root: bytes,
) -> bool:
    """Whether the packet was taken now; one that was taken before has its receipt."""
    port = _port_of(host, ports, packet)
    receipt = own_key(receipt_key(packet.source, packet.port, packet.sequence))
    if host.get(receipt) is not None:
        answer_again(host, packet, proof, state_root)
        return False
    breaker.require_closed(host, packet)
    _require_turn(host, packet)
    check_commitment(packet, proof, state_root)
    commitment = packet.commitment().hex()
    # Marked before anything is called (G29): nothing that follows finds the packet open.
    if packet.packet_class is PacketClass.ORDERED:
        host.put(last_key(packet), packet.sequence)
    else:
        host.put(receipt, {"commitment": commitment, "acknowledgement": {}})
    if _has_expired(host, packet):
        acknowledgement = _expired(host, packet)
    else:
        acknowledgement = dispatch(host, port.port, packet, height)
    kept: dict[str, Json] = {"commitment": commitment, "acknowledgement": acknowledgement}
    host.put(receipt, kept)
    host.emit("packet.received", {**facts_of(packet), **kept, "source_height": height})
    return True


def _port_of(host: LinkHost, ports: Mapping[str, LinkPort], packet: Packet) -> LinkPort:
    if packet.destination != this_chain(host):
        raise Refusal("CHAIN_MISMATCH", chain=this_chain(host), stated=packet.destination)
    port = ports.get(packet.port)
    if port is None:
        raise Refusal("PACKET_PORT_FORBIDDEN", port=packet.port, allowed=[*sorted(ports)])
    if packet.packet_class is not port.packet_class:
        wanted, stated = port.packet_class.value, packet.packet_class.value
        raise Refusal("PACKET_CLASS_WRONG", **facts_of(packet), wanted=wanted, stated=stated)
    return port


def _require_turn(host: LinkHost, packet: Packet) -> None:
    """An ordered packet is the next one; an unordered one is in time."""
    if packet.packet_class is PacketClass.ORDERED:
        last = host.get(last_key(packet)) or 0
        assert isinstance(last, int)
        if packet.sequence != last + 1:
            raise Refusal("PACKET_OUT_OF_ORDER", **facts_of(packet), expected=last + 1)
    elif _has_expired(host, packet):
        raise Refusal(PACKET_EXPIRED, **facts_of(packet), **_times(host, packet))


def _has_expired(host: Host, packet: Packet) -> bool:
    return packet.deadline.has_passed(host.height(), host.block_time_ms())


def _times(host: Host, packet: Packet) -> dict[str, Json]:
    return {
        "deadline": packet.deadline.to_json(),
        "height": host.height(),
        "block_time_ms": host.block_time_ms(),
    }


def _expired(host: Host, packet: Packet) -> dict[str, Json]:
    """The acknowledgement of a packet whose turn came too late."""
    return error_acknowledgement(Refusal(PACKET_EXPIRED, **_times(host, packet)))


def _entries(value: Json, source: str) -> Sequence[tuple[Packet, StateProof]]:
    """The packets of a body with their proofs; those of format 2 have class and deadline."""
    terms, plain = _terms_apart(value)
    checked = rows(plain, "packets", "destination port sequence payload proof", PACKETS_MAX)
    found = []
    for index, (entry, given) in enumerate(zip(checked, terms, strict=True)):
        path = f"packets[{index}]."
        packet = Packet(
            source=source,
            destination=text(entry["destination"], f"{path}destination"),
            port=text(entry["port"], f"{path}port"),
            sequence=natural(entry["sequence"], f"{path}sequence"),
            payload=text(entry["payload"], f"{path}payload", PAYLOAD_LENGTH_MAX).encode(),
            terms=_terms_of(given, path),
        )
        found.append((packet, proof_of(entry["proof"], f"{path}proof")))
    return found


def _terms_apart(value: Json) -> tuple[list[dict[str, Json]], Json]:
    """What only format 2 has, by row, and the rows without it."""
    if not isinstance(value, list):
        return [], value
    terms: list[dict[str, Json]] = []
    plain: list[Json] = []
    for row in value:
        members = row if isinstance(row, dict) else {}
        terms.append({name: each for name, each in members.items() if name in _TERMS})
        rest: dict[str, Json] = {n: each for n, each in members.items() if n not in _TERMS}
        plain.append(rest if isinstance(row, dict) else row)
    return terms, plain


def _terms_of(given: Mapping[str, Json], path: str) -> Terms | None:
    try:
        return Terms.from_json(given)
    except MalformedError as error:
        raise Refusal("BODY_MALFORMED", field=f"{path}class", fault=str(error)) from error
