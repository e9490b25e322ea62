"""Large messages in hand: a source has a part of the room and no more, and gets it back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from services.chassis.errors import ExhaustedError
from services.chassis.grpc_server import ServerLimits
from services.chassis.grpc_server.bytes_held import BytesHeld
from tests.integration.chassis.kit import World, code_of, path, serving, signed
from tests.integration.chassis.test_open_calls import is_told_when_to_come_back
from tests.integration.chassis.test_rpc_refusals import line

ECHO, HANG, GATHER = path("Echo"), path("Hang"), path("Gather")
LIMITS = ServerLimits(bytes_held_per_source_max=10_000, bytes_held_max=15_000)


@asynccontextmanager
async def connection(world: World) -> AsyncIterator[Any]:
    """A connection of its own, so a source of its own: channels share them otherwise."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel: Any = grpc.aio.insecure_channel(world.target, options=options)
    async with channel:
        yield channel


def call(world: World, channel: Any, method: str, size: int) -> Any:
    message = bytes(size)
    metadata = signed(world, method, message)
    return channel.unary_unary(method)(message, metadata=metadata, timeout=20)


async def hanging(world: World, channel: Any, size: int) -> Any:
    hung = call(world, channel, HANG, size)
    await asyncio.wait_for(world.service.entered.wait(), 10)
    world.service.entered.clear()
    return hung


async def refused(answer: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert code_of(caught.value) == "QUEUE_FULL"
    return caught.value


@pytest.mark.req("G2-16-1")
async def test_a_source_has_so_many_bytes_in_hand_and_the_others_have_theirs() -> None:
    async with (
        serving(limits=LIMITS) as world,
        connection(world) as channel,
        connection(world) as other,
    ):
        hung = await hanging(world, channel, 6_000)
        error = await refused(call(world, channel, ECHO, 5_000))
        assert is_told_when_to_come_back(error)
        assert line("unknown", "QUEUE_FULL") in world.telemetry.metrics.render().decode()
        assert len(await call(world, channel, ECHO, 4_000)) > 4_000
        assert len(await call(world, other, ECHO, 5_000)) > 5_000
        hung.cancel()
        await asyncio.wait_for(world.service.left.wait(), 10)
        assert len(await call(world, channel, ECHO, 9_000)) > 9_000


@pytest.mark.req("G2-13-2")
async def test_all_together_have_so_many_bytes_in_hand() -> None:
    async with (
        serving(limits=LIMITS) as world,
        connection(world) as first,
        connection(world) as second,
        connection(world) as third,
    ):
        held = [await hanging(world, each, 7_000) for each in (first, second)]
        await refused(call(world, third, ECHO, 2_000))
        assert len(await call(world, third, ECHO, 500)) > 500
        for each in held:
            each.cancel()


async def test_an_item_of_a_stream_counts_until_the_next_is_asked_for() -> None:
    async with serving(limits=LIMITS) as world, connection(world) as channel:
        stream = channel.stream_unary(GATHER)(metadata=signed(world, GATHER, b""))
        for _ in range(4):
            await stream.write(bytes(6_000))
        await stream.done_writing()
        assert len(await stream) == 4 * 6_000 + 3
        hung = await hanging(world, channel, 6_000)
        stream = channel.stream_unary(GATHER)(metadata=signed(world, GATHER, b""))
        await stream.write(bytes(6_000))
        await refused(stream)
        hung.cancel()


@pytest.mark.parametrize("method", ["Restricted", "Fail", "Bug"])
async def test_a_message_counts_until_its_call_ends_however_it_ends(method: str) -> None:
    async with serving(limits=LIMITS) as world, connection(world) as channel:
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(world, channel, path(method), 9_000)
            assert code_of(caught.value) != "QUEUE_FULL"
        assert len(await call(world, channel, ECHO, 9_000)) > 9_000


def test_what_was_given_back_is_forgotten() -> None:
    held = BytesHeld(LIMITS)
    held.take("a", 9_000)
    held.take("b", 6_000)
    with pytest.raises(ExhaustedError, match="QUEUE_FULL"):
        held.take("c", 15_001 - len(held))
    held.give_back("a", 9_000)
    held.give_back("b", 6_000)
    assert len(held) == 0
    held.take("c", 20_000)  # Alone, whatever its size.
