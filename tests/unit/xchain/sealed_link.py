"""A registered market and the regulatory chain, which judges what the market's objects are sealed
with.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from guqiao_sdk.gm.certificates import CertificateAuthority
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Packet, receipt_key
from guqiao_sdk.proof.receipt import Receipt
from tests.unit.xchain.ledger_chain import (
    LedgerChain,
    events,
    receive_body,
    receive_body_at,
    sent_packets,
    update_body,
)
from tests.unit.xchain.registered_chains import (
    BY_OPERATOR,
    KEYS,
    NOW,
    TECH_SIDE,
    Registry,
    authority,
    crl,
    nodes,
)

MAKER_DID = "did:rem:shandong:91370000MA0000000X"
"""Who signs on the market's chain."""


def sealing(
    *,
    identity: str = MAKER_DID,
    key: str = MAKER_DID,
    issuer: str = "",
    days: int = 365,
    since: int = -20,
    by: CertificateAuthority | None = None,
) -> str:
    signer = by or (authority(issuer) if issuer else authority())
    return signer.issue(
        identity,
        KEYS.public_key(key),
        organisation="演示经办机构",
        common_name="maker",
        not_before=NOW + timedelta(days=since),
        not_after=NOW + timedelta(days=days),
    ).decode()


@dataclass
class Link:
    """A registered market and the regulatory chain, and what goes from one to the other."""

    registry: Registry
    market: LedgerChain

    @staticmethod
    def make(*, is_registered: bool = True) -> Link:
        registry = Registry.make(version=3, packets_version=4)
        registry.must("publish_crl", (TECH_SIDE,), crl=crl())
        registry.bring("ACTIVE" if is_registered else "SUBMITTED")
        market = LedgerChain("shandong", KEYS, destination="csrc", remotes={})
        market.replicas = nodes()
        market.execute()
        return Link(registry, market)

    def file(self, pem: str, who: Any = BY_OPERATOR) -> Receipt:
        return self.registry.act("file_certificate", who, chain_id="shandong", certificate=pem)

    def publish(self, pem: str) -> Receipt:
        return self.registry.act("publish_crl", (TECH_SIDE,), crl=pem)

    def send(self) -> Packet:
        sent = self.market.call("reports", "report", {"count": 1, "broken": False})
        (packet,) = sent_packets(sent)
        told = self.registry.csrc.call("light_client", "update", update_body(self.market))
        assert told.accepted, told
        return packet

    def receive(self, packet: Packet) -> Receipt:
        csrc = self.registry.csrc
        return csrc.call("packets", "receive", receive_body(self.market, [packet]))

    def pass_days(self, days: float) -> None:
        """Let both chains make a block so long after the beginning."""
        at_ms = int((NOW + timedelta(days=days)).timestamp() * 1_000)
        for chain in (self.market, self.registry.csrc):
            chain.execute(time_ms=at_ms)

    def deliver(self, packet: Packet, height: int) -> Receipt:
        """Receive it by the proof of an earlier block of the market's."""
        body = receive_body_at(self.market, [packet], height)
        return self.registry.csrc.call("packets", "receive", body)

    def answer(self) -> dict[str, Json]:
        """What the regulatory chain says of the next object."""
        packet = self.send()
        receipt = self.receive(packet)
        assert receipt.accepted, receipt
        kept = self.registry.csrc.value(receipt_key("shandong", packet.port, packet.sequence))
        assert isinstance(kept, dict)
        acknowledgement = kept["acknowledgement"]
        assert isinstance(acknowledgement, dict)
        return acknowledgement


def refused_with(receipt: Receipt) -> str:
    """The code with which the object of a delivery was refused; empty where it was recorded."""
    assert receipt.accepted, receipt
    told = events(receipt, "object.refused")
    assert len(told) + len(events(receipt, "object.recorded")) == 1
    return str(told[0]["code"]) if told else ""
