"""A market believes the seals of what another market sent because the regulatory chain judged them:
what that chain refuses is never sent on, and nothing else is believed to come from it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.receipt import Receipt
from tests.unit.proof.proof_keys import Replicas
from tests.unit.xchain.ledger_chain import LedgerChain, events, receive_body, sent_packets
from tests.unit.xchain.link_ports import tell
from tests.unit.xchain.registered_chains import KEYS, NOW, crl, revoked
from tests.unit.xchain.sealed_link import Link, sealing

pytestmark = pytest.mark.req("G2-19-5")

DEADLINE_MS = int(NOW.timestamp() * 1_000) + 3_600_000


@dataclass
class Delivered:
    """A registered market that sends, the regulatory chain, and a market that receives."""

    link: Link
    beijing: LedgerChain

    @staticmethod
    def make() -> Delivered:
        link = Link.make()
        csrc = link.registry.csrc
        known = {"csrc": csrc.replicas.set.hash()}
        beijing = LedgerChain("beijing", KEYS, destination="csrc", remotes=known, packets_version=4)
        beijing.execute()
        members = [
            {
                "entity_id": each.entity_id,
                "entity_name": each.entity_name,
                "vote_key": each.public_key.hex(),
            }
            for each in Replicas(KEYS, "beijing").set.members
        ]
        trust: dict[str, Any] = {
            "chain_id": "beijing",
            "genesis_hash": "cd" * 32,
            "epoch": 0,
            "replicas": members,
        }
        assert csrc.call("light_client", "register_chain", trust).accepted
        return Delivered(link, beijing)

    def message(self) -> Receipt:
        """What the regulatory chain does with a message to the other market."""
        value: Any = json.loads(self.link.send().payload)
        entry: dict[str, Json] = {
            "destination": "csrc",
            "port": "market_message",
            "class": "unordered",
            "deadline": {"height": 0, "time_ms": DEADLINE_MS},
            "payload": {"to": "beijing", "object": value},
        }
        sent = self.link.market.call("reports", "send", {"packets": [entry]})
        (packet,) = sent_packets(sent)
        tell(self.link.registry.csrc, self.link.market)
        return self.link.receive(packet)

    def deliver(self, packet: Packet, shown_by: Packet | None = None) -> Receipt:
        """Bring a packet to the other market, by the proof of `shown_by` where it has none."""
        csrc = self.link.registry.csrc
        tell(self.beijing, csrc)
        body: Any = receive_body(csrc, [shown_by or packet])
        body["packets"][0]["payload"] = packet.payload.decode()
        return self.beijing.call("packets", "receive", body)

    @property
    def received(self) -> Json | None:
        return self.beijing.value("packets/message/received_count")


def test_what_the_regulatory_chain_judged_arrives_with_the_seals_that_it_judged() -> None:
    chains = Delivered.make()
    assert chains.link.file(sealing()).accepted
    relayed = chains.message()
    (onward,) = sent_packets(relayed)
    assert (onward.destination, onward.port) == ("beijing", "market_delivery")
    receipt = chains.deliver(onward)
    assert receipt.accepted, receipt
    (told,) = events(receipt, "message.received")
    source: Any = told["from"]
    assert source["chain"] == "shandong"
    kept: Any = chains.beijing.value(f"packets/message/received/{1:020d}")
    judged: Any = chains.link.registry.csrc.value(f"packets/message/relayed/shandong/{1:020d}")
    assert kept["object"] == judged["object"]
    assert kept["object"]["header"]["seal"]


def test_what_it_refused_for_its_seals_is_never_sent_on() -> None:
    chains = Delivered.make()
    receipt = chains.message()
    (told,) = events(receipt, "message.refused")
    assert told["code"] == "SEAL_UNCERTIFIED"
    assert sent_packets(receipt) == []
    pem = sealing()
    assert chains.link.file(pem).accepted
    assert chains.link.publish(crl(revoked(pem), number=2)).accepted
    receipt = chains.message()
    (told,) = events(receipt, "message.refused")
    assert (told["code"], sent_packets(receipt)) == ("CERTIFICATE_REVOKED", [])
    assert chains.received is None


def test_a_relayer_cannot_change_the_seals_or_bring_what_was_not_sent_on() -> None:
    chains = Delivered.make()
    assert chains.link.file(sealing()).accepted
    (onward,) = sent_packets(chains.message())
    value: Any = json.loads(onward.payload)
    value["object"]["header"]["seal"] = []
    bare = replace(onward, payload=canonical_json(value))
    value = json.loads(onward.payload)
    value["object"]["header"]["seal"][0]["pub_key"]["value"] = KEYS.public_key("mallory").hex()
    other = replace(onward, payload=canonical_json(value))
    for spoiled in (bare, other):
        assert chains.deliver(spoiled, shown_by=onward).code == "PROOF_INVALID"
    unsent: Any = receive_body(chains.link.registry.csrc, [onward])
    unsent["packets"][0]["sequence"] = 2
    assert chains.beijing.call("packets", "receive", unsent).code == "PROOF_INVALID"
    assert chains.received is None
    assert chains.deliver(onward).accepted
    assert chains.received == 1
