"""Delivery and time-out race (reliability G27): whatever the order, exactly one of them wins."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Deadline, Packet, PacketClass
from guqiao_sdk.proof.receipt import Receipt
from tests.unit.xchain.ledger_chain import LedgerChain, receive_body_at, update_body
from tests.unit.xchain.link_ports import (
    ORDERED,
    UNORDERED,
    acknowledge_body,
    count,
    counting_ports,
    deliver,
    linked_pair,
    send,
    tell,
    time_out_body,
)

pytestmark = pytest.mark.usefixtures(counting_ports.__name__)

SEEDS = 10
ROUNDS = 2
PACKETS = 26
STEPS = 9
RACES = 2 * PACKETS * ROUNDS * SEEDS
"""Each packet of each class and round has an interleaving of its own."""


@dataclass
class Race:
    """Two chains, the heights that each knows of the other, and what became of every try."""

    chance: random.Random
    market: LedgerChain
    csrc: LedgerChain
    market_heights: list[int] = field(default_factory=list)
    csrc_heights: list[int] = field(default_factory=list)
    tries: Counter[tuple[str, str]] = field(default_factory=Counter)

    def deadline(self) -> Deadline:
        """Some blocks from now, some seconds from now, or both; blocks are a second apart."""
        blocks, seconds = self.chance.randrange(1, STEPS), self.chance.randrange(0, STEPS)
        height = self.csrc.header.height + blocks
        time_ms = self.csrc.header.block_time_ms + 1_000 * seconds
        kind = self.chance.randrange(3)
        return Deadline(height if kind != 1 else 0, time_ms if kind != 0 else 0)

    def step(self, packets: list[Packet]) -> None:
        """A block of each chain, in which relayers try what they like with each packet."""
        self._block_of_market(packets)
        self._block_of_csrc(packets)

    def _block_of_market(self, packets: list[Packet]) -> None:
        transactions, names = [], []
        if self.chance.random() < 0.7:
            body = update_body(self.csrc)
            transactions.append(self.market.transaction("light_client", "update", body))
            names.append("update")
            self.csrc_heights.append(self.csrc.header.height)
        for packet in packets:
            if not self.csrc_heights or self.chance.random() < 0.4:
                continue
            height = self.chance.choice(self.csrc_heights[-4:])
            for _ in range(self.chance.choice((1, 1, 2))):  # One relayer, or two at once.
                name = self.chance.choice(("time_out", "acknowledge"))
                body = (
                    time_out_body(self.market, self.csrc, [packet], height)
                    if name == "time_out"
                    else acknowledge_body(self.csrc, [packet], height)
                )
                transactions.append(self.market.transaction("packets", name, body))
                names.append(name)
        self._note(names, self.market.execute(*transactions).receipts)

    def _block_of_csrc(self, packets: list[Packet]) -> None:
        transactions, names = [], []
        if self.chance.random() < 0.7:
            body = update_body(self.market)
            transactions.append(self.csrc.transaction("light_client", "update", body))
            names.append("update")
            self.market_heights.append(self.market.header.height)
        for packet in packets:
            if not self.market_heights or self.chance.random() < 0.75:
                continue
            height = self.chance.choice(self.market_heights[-4:])
            body = receive_body_at(self.market, [packet], height)
            for _ in range(self.chance.choice((1, 1, 2))):
                transactions.append(self.csrc.transaction("packets", "receive", body))
                names.append("receive")
        still = self.chance.random() < 0.3
        time_ms = self.csrc.header.block_time_ms if still else None
        self._note(names, self.csrc.execute(*transactions, time_ms=time_ms).receipts)

    def _note(self, names: list[str], receipts: tuple[Receipt, ...]) -> None:
        for name, receipt in zip(names, receipts, strict=True):
            self.tries[name, receipt.code] += 1

    def settle(self, packets: list[Packet]) -> None:
        """In the end the destination is past every deadline, and a relayer brings what it has."""
        for _ in range(STEPS):
            self.csrc.execute()
        height = tell(self.market, self.csrc)
        for name, bodies in (
            ("time_out", [time_out_body(self.market, self.csrc, [x], height) for x in packets]),
            ("acknowledge", [acknowledge_body(self.csrc, [x], height) for x in packets]),
        ):
            last = [self.market.transaction("packets", name, body) for body in bodies]
            names = [f"last {name}"] * len(last)
            self._note(names, self.market.execute(*last).receipts)


def judge(race: Race, packets: list[Packet]) -> Counter[str]:
    """Exactly one end a packet, told to its sender once."""
    ends: Counter[str] = Counter()
    for packet in packets:
        effects = count(race.csrc, "effect", packet)
        acknowledged = count(race.market, "heard/acknowledged", packet)
        timed_out = count(race.market, "heard/timed_out", packet)
        assert (effects, acknowledged, timed_out) in ((1, 1, 0), (0, 0, 1)), packet
        ends["effect" if effects else "timed out"] += 1
    return ends


@pytest.mark.req("G2-16-1", "N0-07")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_g27_of_a_delivery_and_a_time_out_that_race_exactly_one_wins(seed: int) -> None:
    """Goal: over all seeds at least 1,000 interleavings of delivery, expiry, proofs of several
    heights and two relayers, each with exactly one end. Method: in each round packets of both
    classes with deadlines around the present block; relayers try anything at any time, with true
    proofs.
    """
    assert RACES >= 1_000
    market, csrc = linked_pair()
    csrc.execute()
    race, ends = Race(random.Random(seed), market, csrc), Counter[str]()
    for number in range(ROUNDS):
        packets: list[Packet] = []
        for packet_class in PacketClass:
            deadlines = [race.deadline() for _ in range(PACKETS)]
            packets += send(market, csrc, *deadlines, packet_class=packet_class)
        for _ in range(STEPS):
            race.step(packets)
        pass_over(race, [each for each in packets if each.packet_class is ORDERED])
        race.settle(packets)
        ends += judge(race, packets)
        assert ends.total() == 2 * PACKETS * (number + 1)
    assert min(ends["effect"], ends["timed out"]) > RACES // SEEDS // 10, ends
    for seen in SEEN:
        assert race.tries[seen] > 0, f"the race never came to {seen}"


SEEN = (
    ("time_out", ""),
    ("time_out", "PACKET_NOT_EXPIRED"),
    ("time_out", "PROOF_INVALID"),
    ("acknowledge", ""),
    ("acknowledge", "PROOF_INVALID"),
    ("receive", ""),
    ("receive", "PACKET_EXPIRED"),
    ("receive", "PACKET_OUT_OF_ORDER"),
    ("last time_out", "PROOF_INVALID"),
    ("last acknowledge", "PROOF_INVALID"),
)
"""Each of these has to come up, or the race shows less than it says."""


def pass_over(race: Race, packets: list[Packet]) -> None:
    """A channel in order goes on, whatever expired in it: all of it is delivered in the end."""
    height = tell(race.csrc, race.market)
    receipt = deliver(race.market, race.csrc, packets, height)
    assert receipt.accepted, receipt


def test_a_source_that_believed_forged_absences_would_lose_the_race(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The race above can fail: without the proof of absence both ends happen."""
    monkeypatch.setattr(
        "services.consensus.domain.contracts.packet_link.settling._verify_absence",
        lambda *_: None,
    )
    market, csrc = linked_pair()
    (packet,) = send(market, csrc, Deadline(height=csrc.header.height + 3), packet_class=UNORDERED)
    tell(csrc, market)
    assert deliver(market, csrc, [packet], market.header.height).accepted
    for _ in range(3):
        csrc.execute()
    height = tell(market, csrc)
    forged: dict[str, Json] = time_out_body(market, csrc, [packet], height)
    assert market.call("packets", "time_out", forged).accepted
    with pytest.raises(AssertionError):
        judge(Race(random.Random(0), market, csrc), [packet])
