"""What waits to be judged: one source's flood neither delays nor counts against the others."""

from __future__ import annotations

import asyncio

import pytest

from services.consensus.offered import (
    PEER_TRANSACTION_BYTES_MAX,
    PEER_TRANSACTIONS_MAX,
    Judgement,
    OfferedQueue,
)


def answer() -> Judgement:
    return asyncio.get_running_loop().create_future()


@pytest.mark.req("G2-07-1")
async def test_a_clients_transaction_does_not_wait_behind_a_peers_flood() -> None:
    queue = OfferedQueue()
    for number in range(PEER_TRANSACTIONS_MAX):
        assert queue.put_passed(3, b"%d" % number, 3)
    assert not queue.put_passed(3, b"one more", 3)
    assert queue.put_passed(2, b"honest", 2)
    queue.put_own(b"own", answer())
    taken = await queue.take(4)
    assert {entry.encoded for entry in taken} == {b"0", b"1", b"honest", b"own"}


async def test_each_source_keeps_its_order_and_nothing_is_lost() -> None:
    queue = OfferedQueue()
    for number in range(20):
        queue.put_passed(number % 3, b"%02d" % number, number % 3)
        queue.put_own(b"%02d" % number, answer())
    taken = [entry for _ in range(8) for entry in await queue.take(5)]
    assert len(taken) == 40
    for source in (None, 0, 1, 2):
        own = [entry.encoded for entry in taken if entry.sender == source]
        assert own == sorted(own)
    waiting = asyncio.ensure_future(queue.take(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.put_passed(1, b"last", 1)
    assert [entry.encoded for entry in await waiting] == [b"last"]


async def test_more_sources_than_are_taken_at_once_all_get_their_turn() -> None:
    queue = OfferedQueue()
    for sender in range(4):
        for _ in range(10):
            queue.put_passed(sender, b"x", sender)
    taken = [entry.sender for _ in range(4) for entry in await queue.take(2)]
    assert set(taken) == {0, 1, 2, 3}


async def test_what_a_peer_passes_on_is_bounded_by_size_too() -> None:
    queue = OfferedQueue()
    half = bytes(PEER_TRANSACTION_BYTES_MAX // 2)
    assert [queue.put_passed(1, half, 1) for _ in range(3)] == [True, True, False]
    await queue.take(1)
    assert queue.put_passed(1, half, 1)


async def test_a_liar_adds_no_more_to_the_backlog_than_honest_peers_do() -> None:
    queue = OfferedQueue()
    queue.put_own(b"own", answer())
    assert queue.backlog(1) == 1
    for _ in range(1_000):
        queue.put_passed(3, b"flood", 3)
    assert queue.backlog(1) == 1
    for _ in range(5):
        queue.put_passed(2, b"honest", 2)
    assert queue.backlog(1) == 1 + 5
    assert queue.backlog(0) == 1 + 5 + 1_000
