"""The queue between peers and the threads that judge them: bounded for each peer, fair to all."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consensus.fair_queue import FairQueue

PUTS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50)), max_size=60)


@pytest.mark.req("G2-07-1")
async def test_p23_a_flood_of_one_peer_neither_delays_nor_drops_another_peers_message() -> None:
    queue: FairQueue[str] = FairQueue(count_max=100, bytes_max=10_000)
    for number in range(1_000):
        queue.put(3, f"flood {number}", 10)
    queue.put(1, "vote", 10)
    assert (1, "vote") in await queue.take(5)


async def test_taking_waits_until_something_came() -> None:
    queue: FairQueue[str] = FairQueue(count_max=2, bytes_max=100)
    taking = asyncio.ensure_future(queue.take(1))
    await asyncio.sleep(0)
    assert not taking.done()
    queue.put(2, "late", 1)
    assert await taking == [(2, "late")]


async def test_of_a_slow_peer_fewer_are_taken_at_once() -> None:
    queue: FairQueue[int] = FairQueue(count_max=100, bytes_max=10_000)
    for number in range(30):
        queue.put(3, number, 10)
        queue.put(1, number, 10)
    taken = await queue.take(20, slow={3}, slow_max=4)
    assert [item for peer, item in taken if peer == 3] == list(range(4))
    assert [item for peer, item in taken if peer == 1] == list(range(20))


@given(PUTS)
def test_the_newest_within_the_bounds_come_out_in_order(puts: list[tuple[int, int]]) -> None:
    async def play() -> None:
        queue: FairQueue[int] = FairQueue(count_max=5, bytes_max=100)
        sent: dict[int, list[tuple[int, int]]] = {}
        dropped = 0
        for number, (sender, size) in enumerate(puts):
            dropped += queue.put(sender, number, size)
            sent.setdefault(sender, []).append((number, size))
        taken = await queue.take(5) if puts else []
        assert len(taken) + dropped == len(puts)
        for sender, entries in sent.items():
            got = [item for peer, item in taken if peer == sender]
            kept = entries[-len(got) :]
            assert got == [number for number, _ in kept]
            assert len(got) == 1 or sum(size for _, size in kept) <= 100
            if len(got) < len(entries):  # What gave way had to.
                more = entries[-len(got) - 1 :]
                assert len(got) == 5 or sum(size for _, size in more) > 100

    asyncio.run(play())


async def test_one_item_larger_than_the_bound_still_passes() -> None:
    queue: FairQueue[str] = FairQueue(count_max=5, bytes_max=100)
    assert queue.put(0, "large", 1_000) == 0
    assert await queue.take(1) == [(0, "large")]
