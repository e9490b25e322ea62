"""What waits to be judged: one source's flood neither delays nor counts against the others."""

from __future__ import annotations

import asyncio

import pytest

from services.consensus.credit import SHARE
from services.consensus.offered import (
    CLIENT_BYTES_MAX,
    CLIENTS_BYTES_MAX,
    CREDIT_SECONDS,
    PEER_TRANSACTION_BYTES_MAX,
    PEER_TRANSACTIONS_MAX,
    Judgement,
    OfferedQueue,
)

ROOM = 1_000_000


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
    taken = await queue.take(4, ROOM)
    assert {entry.encoded for entry in taken} == {b"0", b"1", b"honest", b"own"}


async def test_each_source_keeps_its_order_and_nothing_is_lost() -> None:
    queue = OfferedQueue()
    for number in range(20):
        queue.put_passed(number % 3, b"%02d" % number, number % 3)
        queue.put_own(b"%02d" % number, answer())
    taken = [entry for _ in range(8) for entry in await queue.take(5, ROOM)]
    assert len(taken) == 40
    for source in (None, 0, 1, 2):
        own = [entry.encoded for entry in taken if entry.sender == source]
        assert own == sorted(own)
    waiting = asyncio.ensure_future(queue.take(1, ROOM))
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.put_passed(1, b"last", 1)
    assert [entry.encoded for entry in await waiting] == [b"last"]


async def test_more_sources_than_are_taken_at_once_all_get_their_turn() -> None:
    queue = OfferedQueue()
    for sender in range(4):
        for _ in range(10):
            queue.put_passed(sender, b"x", sender)
    taken = [entry.sender for _ in range(4) for entry in await queue.take(2, ROOM)]
    assert set(taken) == {0, 1, 2, 3}


async def test_what_a_peer_passes_on_is_bounded_by_size_too() -> None:
    queue = OfferedQueue()
    half = bytes(PEER_TRANSACTION_BYTES_MAX // 2)
    assert [queue.put_passed(1, half, 1) for _ in range(3)] == [True, True, False]
    await queue.take(1, ROOM)
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


async def passed(queue: OfferedQueue, bytes_max: int = ROOM) -> list[bytes] | None:
    """What is taken next; None: nothing yet."""
    taking = asyncio.ensure_future(queue.take(3, bytes_max))
    for _ in range(5):
        await asyncio.sleep(0)
    if taking.done():
        return [entry.encoded for entry in taking.result()]
    taking.cancel()
    return None


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_a_piece_is_bounded_by_bytes_and_what_had_no_room_is_first_in_the_next() -> None:
    queue = OfferedQueue()
    for size in (5, 90, 5):
        queue.put_passed(3, b"x" * size, 3)
        queue.put_passed(2, b"y" * size, 2)
    pieces = [await passed(queue, 100) for _ in range(4)]
    assert pieces == [
        [b"x" * 5, b"y" * 5, b"x" * 90],
        [b"y" * 90, b"x" * 5, b"y" * 5],
        None,
        None,
    ]
    queue.put_passed(3, b"x" * 101, 3)
    queue.put_passed(3, b"x", 3)
    assert await passed(queue, 100) == [b"x" * 101], "a larger one is a piece of its own"
    assert await passed(queue, 100) == [b"x"]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0


@pytest.mark.req("G2-07-1", "G2-13-2")
@pytest.mark.parametrize("flooder", [3, "broker"])
async def test_a_source_rests_after_what_its_refusals_cost_and_the_others_do_not(
    flooder: int | str,
) -> None:
    clock = Clock()
    queue = OfferedQueue(lambda: clock.now)

    def flood(encoded: bytes) -> None:
        if isinstance(flooder, int):
            queue.put_passed(flooder, encoded, flooder)
        else:
            queue.put_own(encoded, answer(), client=flooder)

    flood(b"bad")
    [entry] = await queue.take(1, ROOM)
    queue.charge(entry, CREDIT_SECONDS + 1.0)
    flood(b"later")
    assert await passed(queue) is None
    queue.put_own(b"own", answer(), client="exchange")
    queue.put_own(b"mine", answer())
    queue.put_passed(2, b"honest", 2)
    assert await passed(queue) == [b"own", b"mine", b"honest"]
    assert await passed(queue) is None
    clock.now += 1.0 / SHARE
    assert await passed(queue) == [b"later"]


async def test_a_source_is_taken_when_its_rest_is_over_without_anything_new() -> None:
    queue = OfferedQueue()
    queue.put_passed(3, b"bad", 3)
    [entry] = await queue.take(1, ROOM)
    queue.charge(entry, CREDIT_SECONDS + 0.005)
    queue.put_passed(3, b"later", 3)
    async with asyncio.timeout(20):
        assert [each.encoded for each in await queue.take(1, ROOM)] == [b"later"]


async def test_what_all_clients_sent_counts_until_it_is_taken() -> None:
    queue = OfferedQueue()
    for client in ("broker", "exchange", ""):
        queue.put_own(b"own", answer(), client=client)
    assert queue.backlog(1) == 3
    await queue.take(2, ROOM)
    assert queue.backlog(1) == 1


@pytest.mark.req("G2-13-2")
async def test_what_one_organisations_clients_keep_waiting_is_bounded_in_bytes() -> None:
    queue = OfferedQueue()
    piece = bytes(CLIENT_BYTES_MAX // 4)
    assert all(queue.put_own(piece, answer(), "broker", client="broker") for _ in range(4))
    assert not queue.put_own(b"x", answer(), "broker", client="broker")
    assert queue.put_own(piece, answer(), client="exchange"), "others have room of their own"
    assert (queue.backlog(1), queue.count_of("broker")) == (5, 4), "what is refused leaves no trace"
    await queue.take(1, ROOM)
    assert queue.put_own(piece, answer(), client="broker")


@pytest.mark.req("G2-13-2")
async def test_what_all_clients_keep_waiting_is_bounded_in_bytes() -> None:
    queue = OfferedQueue()
    clients = CLIENTS_BYTES_MAX // CLIENT_BYTES_MAX
    for number in range(clients):
        assert queue.put_own(bytes(CLIENT_BYTES_MAX), answer(), client=f"broker{number}")
    assert not queue.put_own(b"x", answer(), client="another")
    assert queue.put_passed(3, b"passed on", 3), "peers have room of their own"
    await queue.take(1, ROOM)
    assert queue.put_own(b"x", answer(), client="another")
