"""Three chains: two markets that know the regulatory chain alone, and it, which knows both."""

from __future__ import annotations

from collections.abc import Iterable

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.packet import Deadline, Packet, PacketClass, Terms, receipt_key
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.working_days import published
from services.consensus.domain.contracts.calendar import CalendarContract
from services.consensus.domain.contracts.host import Contract
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from tests.unit.proof.proof_keys import FakeKeys, Replicas
from tests.unit.xchain.ledger_chain import (
    LedgerChain,
    events,
    receive_body,
    sent_packets,
)
from tests.unit.xchain.link_ports import acknowledge_body, tell, time_out_body

MARKETS = ("shandong", "beijing")
CSRC = "csrc"
ROLES = {
    CSRC: ("csrc_market", "csrc_tech"),
    **dict.fromkeys(MARKETS, ("operator_maker", "operator_checker")),
}
CONTENT: Json = {"notice": {"title": "股权质押信息核对", "lines": [1, 2, 3]}}


class Messages:
    """The chains, and a relayer between each market and the regulatory chain."""

    def __init__(self, *, packets_version: int = 3, further: Iterable[Contract] = ()) -> None:
        keys = FakeKeys()
        self.people = {
            chain: [self._person(keys, chain, role) for role in ROLES[chain]]
            for chain in (CSRC, *MARKETS)
        }
        hashes = {chain: Replicas(keys, chain).set.hash() for chain in self.people}
        self.chains = {
            chain: LedgerChain(
                chain,
                keys,
                destination=None if chain == CSRC else CSRC,
                remotes={
                    remote: hashes[remote] for remote in (MARKETS if chain == CSRC else (CSRC,))
                },
                others=self.people[chain],
                contracts=[CalendarContract(2), *further],
                packets_version=packets_version,
            )
            for chain in self.people
        }
        for chain in self.chains.values():
            for number, year in published().years.items():
                chain.state.values[f"calendar/year/{number:04d}".encode()] = _kept(year.to_json())
            chain.execute()

    @staticmethod
    def _person(keys: FakeKeys, chain: str, role: str) -> IdentityRecord:
        organisation = f"did:rem:{chain}:ORGANISATION"
        did = f"{organisation}.{role}"
        key = KeyRecord(keys.public_key(did), 0, 1 << 52, False)
        return IdentityRecord(did, organisation, frozenset({role}), True, {"key-1": key})

    def __getitem__(self, chain: str) -> LedgerChain:
        return self.chains[chain]

    def write(self, source: str, to: str, **change: Json) -> Receipt:
        """Two persons of the source's organisation send a message."""
        body: dict[str, Json] = {
            "to": to,
            "type": "notice",
            "content": CONTENT,
            "deadline": {"within_ms": 600_000},
            **change,
        }
        chain = self[source]
        signed = tuple(self.people[source])
        transaction = chain.transaction("packets", "send_message", body, signers=signed)
        return chain.execute(transaction).receipts[0]

    def carry(self, packets: Iterable[Packet]) -> list[Packet]:
        """Deliver packets one by one; returns what the receiving chains sent on by that."""
        onward = []
        for packet in packets:
            receipt = self.deliver(packet)
            assert receipt.accepted, receipt
            onward += sent_packets(receipt)
        return onward

    def deliver(self, packet: Packet) -> Receipt:
        source, destination = self[packet.source], self[packet.destination]
        tell(destination, source)
        return destination.call("packets", "receive", receive_body(source, [packet]))

    def bring_home(self, packet: Packet) -> Receipt:
        """Acknowledge a packet at its source."""
        source, destination = self[packet.source], self[packet.destination]
        height = tell(source, destination)
        body = acknowledge_body(destination, [packet], height)
        return source.call("packets", "acknowledge", body)

    def time_out(self, packet: Packet) -> Receipt:
        """Let the destination go past the deadline, and prove there that nothing came."""
        source, destination = self[packet.source], self[packet.destination]
        destination.execute(time_ms=packet.deadline.time_ms + 1)
        height = tell(source, destination)
        body = time_out_body(source, destination, [packet], height)
        return source.call("packets", "time_out", body)

    def acknowledgement(self, packet: Packet) -> dict[str, Json]:
        """What the destination answered to a packet."""
        key = receipt_key(packet.source, packet.port, packet.sequence)
        receipt = self[packet.destination].value(key)
        assert isinstance(receipt, dict)
        acknowledgement = receipt["acknowledgement"]
        assert isinstance(acknowledgement, dict)
        return acknowledgement

    def sent(self, source: str, destination: str, port: str, sequence: int = 1) -> dict[str, Json]:
        """How a message stands at its sender."""
        found = self[source].value(f"packets/message/sent/{destination}/{port}/{sequence:020d}")
        assert isinstance(found, dict)
        return found

    def forge(
        self, source: str, destination: str, port: str, payload: Json, deadline: Deadline
    ) -> Packet:
        """A packet that no honest contract of the source would send: that chain proves it."""
        terms = Terms(PacketClass.UNORDERED, deadline)
        entry: dict[str, Json] = {"destination": destination, "port": port, "payload": payload}
        sent = self[source].call("reports", "send", {"packets": [{**entry, **terms.to_json()}]})
        assert sent.accepted, sent
        (packet,) = sent_packets(sent)
        return packet


def states(receipt: Receipt) -> list[Json]:
    """How the messages stand that a transaction moved."""
    return [body["state"] for body in events(receipt, "message.state_changed")]


def _kept(year: Json) -> bytes:
    assert isinstance(year, dict)
    return canonical_json({"version": 1, **year})
