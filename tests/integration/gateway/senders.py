"""Chains that send packets with terms, and how those ended, for the tests of relays."""

from __future__ import annotations

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Deadline, Packet, PacketClass, Terms
from services.consensus.domain.contracts.packet_link.messages import MESSAGE
from tests.plugins.service_lab import Lab
from tests.unit.xchain.ledger_chain import data_object, sent_packets

SENT, RECEIVED, ACKNOWLEDGED, TIMED_OUT = 1, 2, 3, 4
ORDERED, UNORDERED = PacketClass.ORDERED, PacketClass.UNORDERED


def send(
    source: Lab,
    destination: Lab,
    *deadlines: Deadline,
    port: str = MESSAGE,
    packet_class: PacketClass = UNORDERED,
) -> list[Packet]:
    """Let a chain send packets; what they say is refused by the port, which is an end too."""
    entries: list[Json] = [
        {
            "destination": destination.node.chain.header.chain_id,
            "port": port,
            "payload": data_object("shandong:subject:" + "0" * 64),
            **Terms(packet_class, deadline).to_json(),
        }
        for deadline in deadlines
    ]
    receipt = source.node.chain.call("reports", "send", {"packets": entries})
    assert receipt.accepted, receipt
    return sent_packets(receipt)


def height_of(lab: Lab) -> int:
    return lab.node.chain.header.height


def time_of(lab: Lab) -> int:
    return lab.node.chain.header.block_time_ms


def pass_blocks(lab: Lab, number: int) -> None:
    for _ in range(number):
        lab.node.chain.execute()


def ended(lab: Lab, topic: str) -> int:
    """How many packets of a chain ended so."""
    return sum(
        event.topic == topic
        for block in lab.node.chain.blocks.values()
        for receipt in block.receipts
        for event in receipt.events
    )


def refusals(lab: Lab) -> list[str]:
    """The codes with which a chain refused transactions, in order."""
    blocks = lab.node.chain.blocks.values()
    return [receipt.code for block in blocks for receipt in block.receipts if receipt.code]
