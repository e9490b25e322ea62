"""Messages over two hops, whose deliveries, time-outs and results come in any order: what the
sender learns in the end is what happened at the receiver.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.packet_link import messages
from tests.unit.xchain.ledger_chain import sent_packets
from tests.unit.xchain.link_ports import tell, time_out_body
from tests.unit.xchain.message_chains import CSRC, Messages

SHANDONG, BEIJING = "shandong", "beijing"
SEEDS = 6
MESSAGES = 10
STEPS = 90
ENDS = ("DELIVERED", "TIMED_OUT")


class Race:
    """Relayers that try anything with any packet that ever was on the way."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.link = Messages()
        self.packets: list[Packet] = []

    def write(self) -> None:
        within_ms = self.chance.randrange(20_000, 400_000)
        receipt = self.link.write(SHANDONG, BEIJING, deadline={"within_ms": within_ms})
        self._note(receipt)

    def step(self) -> None:
        """Time passes on all chains together, or somebody does something with a packet."""
        if self.chance.random() < 0.2:
            now = max(chain.header.block_time_ms for chain in self.link.chains.values())
            later = now + self.chance.randrange(1, 15_000)
            for chain in self.link.chains.values():
                chain.execute(time_ms=later)
            return
        packet = self.chance.choice(self.packets)
        self._note(self.chance.choice((self.link.deliver, self.link.bring_home, self.late))(packet))

    def late(self, packet: Packet) -> Receipt:
        """Try a time-out against the destination as it stands."""
        source, destination = self.link[packet.source], self.link[packet.destination]
        height = tell(source, destination)
        body = time_out_body(source, destination, [packet], height)
        return source.call("packets", "time_out", body)

    def settle(self) -> None:
        """In the end all deadlines are over, and every packet is tried every way."""
        for chain in self.link.chains.values():
            chain.execute(time_ms=chain.header.block_time_ms + 450_000)
        done = 0
        while done < len(self.packets):  # What is settled may send a result, which comes last.
            packet = self.packets[done]
            for attempt in (self.link.deliver, self.late, self.link.bring_home):
                self._note(attempt(packet))
            done += 1

    def _note(self, receipt: Receipt) -> None:
        self.packets += sent_packets(receipt)

    def received(self) -> Counter[int]:
        """How often the receiver keeps each message, by the sender's sequence."""
        kept: Counter[int] = Counter()
        count = self.link[BEIJING].value("packets/message/received_count") or 0
        assert isinstance(count, int)
        for number in range(1, count + 1):
            record = self.link[BEIJING].value(f"packets/{messages.received_key(number)}")
            assert isinstance(record, dict)
            mark = record["from"]
            assert isinstance(mark, dict)
            assert isinstance(mark["sequence"], int)
            kept[mark["sequence"]] += 1
        return kept


@pytest.mark.req("N0-07", "G2-03-1")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_g27_the_sender_learns_of_each_message_what_happened_and_it_happens_once(
    seed: int,
) -> None:
    race = Race(seed)
    for _ in range(MESSAGES):
        race.write()
    for _ in range(STEPS):
        race.step()
    race.settle()
    kept, ends = race.received(), Counter[str]()
    for sequence in range(1, MESSAGES + 1):
        state = race.link.sent(SHANDONG, CSRC, messages.MESSAGE, sequence)["state"]
        assert state == ("DELIVERED" if kept[sequence] else "TIMED_OUT"), sequence
        assert kept[sequence] <= 1
        ends[str(state)] += 1
    assert all(ends[end] for end in ENDS), f"the race never came to both ends: {ends}"
