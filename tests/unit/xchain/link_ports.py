"""Two chains that run version 3 of `packets`, with a port of each class that counts its effects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Deadline, Packet, PacketClass, Terms, receipt_key
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.packet_link import receiving, settling
from services.consensus.domain.contracts.packet_link.ports import LinkPort
from services.consensus.domain.contracts.packet_link.settled import Settled
from services.consensus.domain.contracts.packets import Port
from services.consensus.domain.contracts.packets_host import LinkHost, SystemHost
from tests.unit.proof.proof_keys import FakeKeys
from tests.unit.xchain.ledger_chain import (
    LedgerChain,
    events,
    make_pair,
    receive_body_at,
    sent_packets,
    update_body,
)

ORDERED, UNORDERED = PacketClass.ORDERED, PacketClass.UNORDERED
PORT_OF = {ORDERED: "queue", UNORDERED: "notice"}


@dataclass
class Heard:
    """What handlers of both ends did, refused transactions included."""

    effects: list[tuple[str, int]] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)


def record(host: SystemHost, packet: Packet, height: int) -> dict[str, Json]:
    """An effect that shows in the state: one more of this packet."""
    key = f"effect/{packet.port}/{packet.sequence}"
    if packet.payload == b'"refused"':
        raise Refusal("SCHEMA_FAILED", field="payload")
    count = host.get(key) or 0
    assert isinstance(count, int)
    host.put(key, count + 1)
    return {"code": "", "object_id": None, "version": None, "transaction_id": None}


def refuse(host: Host, packet: Packet, height: int, refusal: Refusal) -> dict[str, Json]:
    return {"code": refusal.code}


def hear(host: LinkHost, settled: Settled) -> None:
    """What the sender does: one more settlement of this packet, by its end."""
    end = "timed_out" if settled.acknowledgement is None else "acknowledged"
    key = f"{end}/{settled.port}/{settled.sequence}"
    count = host.get(f"heard/{key}") or 0
    assert isinstance(count, int)
    host.put(f"heard/{key}", count + 1)


@pytest.fixture
def counting_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plug in the two ports, at both ends."""
    ports: Mapping[str, LinkPort] = {
        PORT_OF[each]: LinkPort(Port("packets", record, refuse), each) for each in PORT_OF
    }
    monkeypatch.setattr(receiving, "ports_of", lambda host, source, certified: ports)
    monkeypatch.setattr(settling, "SENDERS", dict.fromkeys(PORT_OF.values(), hear))


def linked_pair() -> tuple[LedgerChain, LedgerChain]:
    """A market's chain and the regulatory one."""
    return make_pair(FakeKeys(), packets_version=3)


def send(
    source: LedgerChain,
    destination: LedgerChain,
    *deadlines: Deadline,
    packet_class: PacketClass = UNORDERED,
    payload: Json = "甲",
) -> list[Packet]:
    """Let `source` send one packet for each deadline."""
    entries: list[Json] = [
        {
            "destination": destination.header.chain_id,
            "port": PORT_OF[packet_class],
            "payload": payload,
            **Terms(packet_class, deadline).to_json(),
        }
        for deadline in deadlines
    ]
    receipt = source.call("reports", "send", {"packets": entries})
    assert receipt.accepted, receipt
    return sent_packets(receipt)


def tell(knower: LedgerChain, known: LedgerChain) -> int:
    """Bring the latest header of a chain to another one's light client; returns its height."""
    receipt = knower.call("light_client", "update", update_body(known))
    assert receipt.accepted, receipt
    return known.header.height


def deliver(
    source: LedgerChain, destination: LedgerChain, packets: list[Packet], height: int | None = None
) -> Receipt:
    """Deliver with proofs at a height of the source that the destination knows."""
    at = source.header.height if height is None else height
    return destination.call("packets", "receive", receive_body_at(source, packets, at))


def time_out_body(
    source: LedgerChain, destination: LedgerChain, packets: list[Packet], height: int
) -> dict[str, Json]:
    """`packets.time_out` with what a height of the destination shows of the receipts."""
    return {
        "destination": destination.header.chain_id,
        "height": height,
        "packets": [
            {
                "port": packet.port,
                "sequence": packet.sequence,
                "proof": receipt_proof(destination, packet, height),
            }
            for packet in packets
        ],
    }


def acknowledge_body(
    destination: LedgerChain,
    packets: list[Packet],
    height: int,
    acknowledgements: Mapping[int, Json] | None = None,
) -> dict[str, Json]:
    """`packets.acknowledge` with the receipts that the destination has now, proven at `height`;
    `acknowledgements` by sequence stand in for them.
    """
    entries: list[Json] = []
    for packet in packets:
        receipt = destination.value(receipt_key(packet.source, packet.port, packet.sequence))
        kept: Json = receipt["acknowledgement"] if isinstance(receipt, dict) else {"code": ""}
        entries.append(
            {
                "port": packet.port,
                "sequence": packet.sequence,
                "acknowledgement": (acknowledgements or {}).get(packet.sequence, kept),
                "proof": receipt_proof(destination, packet, height),
            }
        )
    name = destination.header.chain_id
    return {"destination": name, "height": height, "packets": entries}


def receipt_proof(destination: LedgerChain, packet: Packet, height: int) -> str:
    key = receipt_key(packet.source, packet.port, packet.sequence).encode()
    return destination.prove_at(key, height).encode().hex()


def count(chain: LedgerChain, what: str, packet: Packet) -> int:
    """How often the handlers wrote `effect`, `heard/timed_out` or `heard/acknowledged` of it."""
    found = chain.value(f"packets/{what}/{packet.port}/{packet.sequence}") or 0
    assert isinstance(found, int)
    return found


def codes(receipt: Receipt, topic: str) -> list[Json]:
    """The codes in a receipt's events of one topic."""
    found = []
    for body in events(receipt, topic):
        acknowledgement = body.get("acknowledgement", body)
        assert isinstance(acknowledgement, dict)
        found.append(acknowledgement["code"])
    return found
