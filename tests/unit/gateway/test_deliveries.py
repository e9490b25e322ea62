"""Deliveries of one port under way at once: bounded, in order, and begun anew after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from opentelemetry.context import Context

from guqiao_sdk.proof.packet import Packet
from services.gateway.deliveries import (
    DELIVERIES_AT_ONCE_MAX,
    Deliveries,
    Delivery,
    OvertookError,
)
from services.gateway.domain.errors import LinkBrokenError
from services.gateway.domain.relay import PacketState, ProvenHeader, ProvenPacket
from services.gateway.store import SentPacket

PORT = "data_object"
HEADER = ProvenHeader("shandong", 1, b"", b"")


def delivery_of(sequences: Sequence[int]) -> Delivery:
    pairs = []
    for sequence in sequences:
        packet = Packet("shandong", "csrc", PORT, sequence, b"{}")
        sent = SentPacket(packet, bytes(32), 1, PacketState.SENT, b"", b"", b"")
        pairs.append((sent, ProvenPacket(packet, b"")))
    return Delivery(HEADER, pairs, Context(), [])


@dataclass
class Desk:
    """Packets that wait, and a destination that answers each delivery when it is told to."""

    open: list[int]
    each: int = 2
    """Packets in a delivery."""

    sent: list[tuple[int, bool]] = field(default_factory=list)
    """First sequence of every delivery that began, and whether it was called the first."""

    most: int = 0
    _answers: dict[int, asyncio.Future[int]] = field(default_factory=dict)

    async def prepare(self, port: str, under_way: Sequence[int]) -> Delivery | None:
        assert port == PORT
        found = [sequence for sequence in self.open if sequence not in under_way][: self.each]
        return delivery_of(found) if found else None

    async def send(self, delivery: Delivery, *, is_first: bool) -> int:
        first = delivery.sequences[0]
        self.sent.append((first, is_first))
        self._answers[first] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self._answers))
        try:
            await self._answers[first]
        finally:
            del self._answers[first]
        for sequence in delivery.sequences:
            self.open.remove(sequence)
        return len(delivery.sequences)

    async def begun(self, *firsts: int) -> None:
        """Until these are under way, and no others."""
        async with asyncio.timeout(20):
            while set(self._answers) != set(firsts):  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0)

    def take(self, first: int) -> None:
        self._answers[first].set_result(0)

    def fail(self, first: int, error: Exception) -> None:
        self._answers[first].set_exception(error)


@dataclass
class Carrying:
    """What a relay does: one turn after another."""

    deliveries: Deliveries
    tasks: asyncio.TaskGroup

    def turn(self) -> asyncio.Task[int]:
        return asyncio.ensure_future(self.deliveries.carry(self.tasks, PORT))


@asynccontextmanager
async def carrying(desk: Desk) -> AsyncIterator[Carrying]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        yield Carrying(Deliveries(desk.prepare, desk.send), tasks)


@pytest.mark.req("N0-07")
async def test_the_next_ones_are_under_way_before_the_first_is_taken_and_not_too_many() -> None:
    desk = Desk(list(range(1, 2 * (DELIVERIES_AT_ONCE_MAX + 2) + 1)))
    async with carrying(desk) as relay:
        turn = relay.turn()
        at_once = [1 + 2 * number for number in range(DELIVERIES_AT_ONCE_MAX)]
        await desk.begun(*at_once)
        desk.take(1)
        assert await turn == 2
        turn = relay.turn()
        await desk.begun(*at_once[1:], at_once[-1] + 2)
        for first in (*at_once[1:], at_once[-1] + 2):
            desk.take(first)
        assert await turn == 2 * DELIVERIES_AT_ONCE_MAX
        turn = relay.turn()
        await desk.begun(at_once[-1] + 4)
        desk.take(at_once[-1] + 4)
        assert await turn == 2
        assert await relay.turn() == 0
    firsts = [first for first, _ in desk.sent]
    assert firsts == sorted(set(firsts)), "each once, in order"
    assert desk.most == DELIVERIES_AT_ONCE_MAX


async def test_packets_that_come_meanwhile_do_not_wait_for_what_is_under_way() -> None:
    desk = Desk([1, 2])
    async with carrying(desk) as relay:
        turn = relay.turn()
        await desk.begun(1)
        desk.open.append(3)
        await desk.begun(1, 3)
        desk.take(3)
        assert await turn == 1
        desk.take(1)
        assert await relay.turn() == 2
    assert desk.sent == [(1, True), (3, False)]


@pytest.mark.req("N0-07")
async def test_after_a_failure_nothing_is_sent_until_all_has_ended_and_then_the_first() -> None:
    desk = Desk([1, 2, 3, 4, 5, 6])
    async with carrying(desk) as relay:
        turn = relay.turn()
        await desk.begun(1, 3, 5)
        desk.fail(5, LinkBrokenError("the third"))
        await desk.begun(1, 3)
        desk.open += [7]
        desk.fail(3, LinkBrokenError("the second"))
        await desk.begun(1)
        desk.take(1)
        with pytest.raises(LinkBrokenError, match="the second"):
            await turn
        assert desk.sent == [(1, True), (3, False), (5, False)]
        turn = relay.turn()
        assert await turn == 2, "what was taken beside the failure is counted"
        turn = relay.turn()
        await desk.begun(3, 5, 7)
        for first in (3, 5, 7):
            desk.take(first)
        assert await turn == 5
    assert desk.sent[3:] == [(3, True), (5, False), (7, False)]


@pytest.mark.req("N0-07")
async def test_what_overtook_another_one_is_sent_again_and_is_no_failure() -> None:
    desk = Desk([1, 2, 3, 4])
    async with carrying(desk) as relay:
        turn = relay.turn()
        await desk.begun(1, 3)
        desk.fail(3, OvertookError())
        await desk.begun(1)
        desk.take(1)
        assert await turn == 2
        turn = relay.turn()
        await desk.begun(3)
        desk.take(3)
        assert await turn == 2
    assert desk.sent == [(1, True), (3, False), (3, True)]


async def test_where_the_one_before_failed_too_its_failure_is_the_one_that_counts() -> None:
    desk = Desk([1, 2, 3, 4])
    async with carrying(desk) as relay:
        turn = relay.turn()
        await desk.begun(1, 3)
        desk.fail(3, OvertookError())
        desk.fail(1, LinkBrokenError("the first"))
        with pytest.raises(LinkBrokenError, match="the first"):
            await turn


async def test_where_the_next_cannot_be_prepared_what_is_under_way_goes_on() -> None:
    desk = Desk([1])

    async def fails(port: str, under_way: Sequence[int]) -> Delivery | None:
        if under_way:
            raise LinkBrokenError("the own chain")
        return await desk.prepare(port, under_way)

    async with carrying(desk) as relay:
        relay.deliveries.prepare = fails
        with pytest.raises(LinkBrokenError):
            await relay.turn()
        await desk.begun(1)
        relay.deliveries.prepare = desk.prepare
        turn = relay.turn()
        await asyncio.sleep(0)
        desk.take(1)
        assert await turn == 1
    assert desk.sent == [(1, True)]


async def test_a_bug_in_one_delivery_ends_all_however_many_failures_came_before_it() -> None:
    desk = Desk([1, 2, 3, 4])

    async def work() -> None:
        async with carrying(desk) as relay:
            await relay.turn()

    working = asyncio.ensure_future(work())
    await desk.begun(1, 3)
    desk.fail(3, ZeroDivisionError())
    desk.fail(1, LinkBrokenError("the first"))
    with pytest.raises(BaseExceptionGroup) as caught:
        await working
    assert caught.group_contains(ZeroDivisionError)


async def test_a_relay_that_ends_leaves_no_delivery_behind() -> None:
    desk = Desk([1, 2, 3])

    async def work() -> None:
        async with carrying(desk) as relay:
            await relay.turn()

    working = asyncio.ensure_future(work())
    await desk.begun(1, 3)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await desk.begun()
