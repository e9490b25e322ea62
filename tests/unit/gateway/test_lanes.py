"""Deliveries that arrive at once are ordered one behind the other, port by port."""

from __future__ import annotations

import asyncio

import pytest

from services.gateway.lanes import Lanes

FIRST, SECOND = b"\x01" * 32, b"\x02" * 32


@pytest.mark.req("N0-07")
async def test_each_goes_behind_the_one_that_came_before_it() -> None:
    lanes = Lanes()
    with lanes.place("shandong", "data_object") as first:
        assert await first.predecessor() is None
        with lanes.place("shandong", "data_object") as second:
            waiting = asyncio.ensure_future(second.predecessor())
            await asyncio.sleep(0)
            assert not waiting.done(), "the one before is not made yet"
            first.note_made(FIRST)
            assert await waiting == FIRST
            second.note_made(SECOND)
            with lanes.place("shandong", "data_object") as third:
                assert await third.predecessor() == SECOND


async def test_other_ports_and_other_chains_wait_for_nobody() -> None:
    lanes = Lanes()
    with lanes.place("shandong", "data_object"):
        for source, port in (("shandong", "market_message"), ("beijing", "data_object")):
            with lanes.place(source, port) as other:
                assert await other.predecessor() is None


async def test_nobody_waits_for_one_that_ended_before_it_made_anything() -> None:
    lanes = Lanes()
    first = lanes.place("shandong", "data_object")
    first.__enter__()
    with lanes.place("shandong", "data_object") as second:
        waiting = asyncio.ensure_future(second.predecessor())
        await asyncio.sleep(0)
        first.__exit__(None, None, None)
        assert await waiting is None


async def test_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    lanes = Lanes()
    with lanes.place("shandong", "data_object") as first:
        with lanes.place("shandong", "data_object") as second:
            waiting = asyncio.ensure_future(second.predecessor())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        first.note_made(FIRST)
    with lanes.place("shandong", "data_object") as third:
        assert await third.predecessor() is None, "all before it have ended"
    assert not lanes._last
