"""Whose state is taken, which head, and when a state that is being taken is given up (pbft.md, T1
to T7): a real `StateTransfer` over a ledger and links by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.state_proof import key_hash, value_hash
from services.consensus.domain.ledger.state_parts import Prefix, StatePart
from services.consensus.domain.ledger.tree_page import subtree_hash
from services.consensus.jobs import Pause
from services.consensus.refusals import Reason
from services.consensus.set_paths import Head
from services.consensus.state_transfer import StateTransfer
from services.consensus.store.state_intake import Snapshot
from tests.simulation.keys import replica_set

LAST_HEIGHT, HEIGHT, FAR = 20, 24, 1_000
ENTRY = (b"key", b"value")
ROOT = subtree_hash([(key_hash(ENTRY[0]), value_hash(ENTRY[1]))], 0)
PART = StatePart(Prefix(b""), (), (ENTRY,)).encode()


def head(height: int = HEIGHT, size: int = 4) -> Head:
    """A head whose certificate was found to hold."""
    header = BlockHeader(
        "chain", 0, height, bytes(32), bytes(32), 1, bytes(32), bytes(32), ROOT, bytes(32)
    )
    return Head(header, FinalityCertificate(header.hash(), ()), (), replica_set(size))


class Restoring:
    """A replica that restores, is at `LAST_HEIGHT`, and waits for blocks no longer, or so many
    steps; the others are far ahead.
    """

    def __init__(self, size: int = 4, *, waits: int = 0) -> None:
        self.size = size
        self.adopted: list[Snapshot] = []
        self.asked: list[int] = []
        self.refused: list[tuple[int, Reason]] = []
        self.kept: list[object] = []
        self.meanwhile: Callable[[], None] = lambda: None
        """Happens while the ledger's thread is at work."""
        self.store = SimpleNamespace(last_height=LAST_HEIGHT, last_certified=LAST_HEIGHT)
        self.offered = head(size=size)
        ledger = SimpleNamespace(
            store=self.store,
            genesis=SimpleNamespace(parameters=SimpleNamespace(snapshot_interval=4, window=4)),
            set_at=lambda height: replica_set(size),
            read=self._judge_head,
            keep_state_part=self._keep,
        )
        links = SimpleNamespace(
            connected=lambda: frozenset(), send=lambda to, frame: self.asked.append(to)
        )
        refusals = SimpleNamespace(count=lambda sender, why, *_: self.refused.append((sender, why)))
        self.driver = SimpleNamespace(pause=Pause.RESTORING, adopt_state=self._adopt)
        self.transfer = StateTransfer(
            driver=cast(Any, self.driver),
            ledger=cast(Any, ledger),
            links=cast(Any, links),
            metrics=cast(Any, SimpleNamespace(refusals=refusals)),
            verify=lambda key, message, signature: True,
            without_blocks_steps=waits,
        )
        self.step()

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.transfer.step(wanted=True, there=FAR)

    def blocks_come(self, count: int) -> None:
        self.store.last_height += count
        self.store.last_certified += count
        self.step()

    async def offer(self, senders: Iterable[int]) -> None:
        """These peers offer the head."""
        height = self.offered.header.height
        certified = ledger_pb2.CertifiedHeader(header=b"judged by the test")
        for sender in senders:
            answer = peer_pb2.StateResponse(height=height, certified_header=certified)
            await self.transfer._take(sender, answer)
        self.step()

    async def part_comes(self, sender: int) -> None:
        await self.transfer._take(sender, peer_pb2.StateResponse(height=HEIGHT, part=PART))

    async def _judge_head(self, question: object) -> Head:
        self.meanwhile()
        return self.offered

    async def _keep(self, entries: object) -> object:
        self.kept.append(entries)
        self.meanwhile()
        return len(self.kept)

    def _adopt(self, snapshot: Snapshot) -> None:
        self.adopted.append(snapshot)


@pytest.mark.req("G2-10-3")
@pytest.mark.parametrize("size", [4, 7])
async def test_a_state_is_asked_for_once_f_plus_one_offer_its_head(size: int) -> None:
    replica, faulty_max = Restoring(size), replica_set(size).faulty_max
    await replica.offer(range(faulty_max))
    await replica.offer([faulty_max - 1])
    assert replica.asked == [], "all who offered it may be liars"
    await replica.offer([faulty_max])
    assert len(replica.asked) == 1
    await replica.part_comes(replica.asked[0])
    assert [each.header.height for each in replica.adopted] == [HEIGHT]
    assert replica.kept == [(ENTRY,)]
    assert replica.refused == []


async def test_an_offer_of_one_who_has_no_vote_in_the_set_of_the_head_does_not_count() -> None:
    replica = Restoring()
    await replica.offer([0, 4])
    assert replica.asked == []


async def test_a_part_of_one_who_offered_no_such_state_is_not_taken() -> None:
    replica = Restoring()
    await replica.offer([0, 2])
    await replica.part_comes(3)
    assert replica.refused == [(3, Reason.UNASKED)]
    assert (replica.kept, replica.adopted) == ([], [])


@pytest.mark.req("G2-10-3")
async def test_a_state_that_blocks_overtake_while_its_last_part_is_stored_is_dropped() -> None:
    """T1."""
    replica = Restoring()
    await replica.offer([0, 2])
    replica.meanwhile = lambda: replica.blocks_come(HEIGHT - LAST_HEIGHT)
    await replica.part_comes(replica.asked[0])
    assert replica.kept == [(ENTRY,)]
    assert replica.adopted == [], "blocks give the whole history, a state does not"


@pytest.mark.req("G2-10-3", "G2-13-2")
async def test_a_block_that_comes_meanwhile_ends_neither_the_search_nor_the_taking() -> None:
    """T1: else who gives a block now and then keeps the replica from the state for ever."""
    replica = Restoring()
    await replica.offer([0])
    replica.blocks_come(1)
    await replica.offer([2])
    replica.blocks_come(1)
    await replica.part_comes(replica.asked[0])
    assert [each.header.height for each in replica.adopted] == [HEIGHT]
    replica.blocks_come(1)
    asked = len(replica.asked)
    await replica.offer([0, 2])
    assert len(replica.asked) == asked, "the state that is to be adopted comes next"


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize(("blocks", "adopted"), [(0, True), (1, True), (2, False)])
async def test_t1_a_fair_pace_ends_the_search_for_a_state_and_a_slow_one_does_not(
    blocks: int, adopted: bool
) -> None:
    """Two blocks in ten steps are as many as sixteen in a hundred."""
    replica = Restoring(waits=10)
    await replica.offer([0, 2])
    assert replica.asked == [], "nothing is looked for as yet"
    replica.step(9)
    await replica.offer([0])
    replica.blocks_come(blocks)
    replica.step(9)
    await replica.offer([0, 2])
    for source in replica.asked[:1]:
        await replica.part_comes(source)
    assert bool(replica.adopted) == adopted


@pytest.mark.req("G2-13-2")
async def test_t1_a_fair_pace_does_not_end_the_taking() -> None:
    """Else who gives blocks at one time and none at another keeps the replica from the state."""
    replica = Restoring(waits=10)
    replica.step(10)
    await replica.offer([0, 2])
    replica.blocks_come(2)
    replica.step(10)
    await replica.part_comes(replica.asked[0])
    assert [each.header.height for each in replica.adopted] == [HEIGHT]


async def test_a_head_that_blocks_overtake_while_it_is_judged_counts_for_nothing() -> None:
    replica = Restoring()
    await replica.offer([0])

    def blocks_come() -> None:
        replica.store.last_height = HEIGHT

    replica.meanwhile = blocks_come
    await replica.offer([2])
    assert replica.asked == []
    assert replica.refused == [], "it was of use when it was sent"


@pytest.mark.req("G2-13-2")
async def test_while_the_disk_is_full_neither_a_head_nor_a_part_is_taken() -> None:
    """pbft.md, C4: it restores, and has no room for it."""
    replica = Restoring()
    await replica.offer([0, 2])
    replica.driver.pause = Pause.DISK_FULL
    await replica.part_comes(replica.asked[0])
    await replica.offer([1])
    assert replica.kept == []
    assert replica.refused == [(replica.asked[0], Reason.UNASKED), (1, Reason.UNASKED)]


@pytest.mark.req("G2-13-2")
async def test_a_state_whose_last_part_fills_the_disk_is_not_adopted() -> None:
    replica = Restoring()
    await replica.offer([0, 2])

    def disk_fills() -> None:
        replica.driver.pause = Pause.DISK_FULL

    replica.meanwhile = disk_fills
    await replica.part_comes(replica.asked[0])
    assert (replica.kept, replica.adopted) == ([(ENTRY,)], [])
