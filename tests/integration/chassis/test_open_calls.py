"""Calls that are kept open, without a message or with one: they keep nobody else out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2

from services.chassis.grpc_server import ServerLimits
from tests.integration.chassis.kit import (
    DID,
    KEY_ID,
    ORGANISATION,
    World,
    code_of,
    key_record,
    path,
    raw_channel,
    send,
    serving,
    signed,
    status_of,
)
from tests.integration.chassis.test_rpc_refusals import line
from tests.integration.gm.gm_network import wait_until

ECHO, HANG = path("Echo"), path("Hang")
WATCH = "/grpc.health.v1.Health/Watch"
OTHER_DID = "did:rem:shandong:SD000002"


async def echo(world: World, did: str = DID) -> bytes:
    return await send(world.target, ECHO, b"body", signed(world, ECHO, b"body", did=did))


async def settled(call: Any) -> grpc.aio.AioRpcError:
    """How a call of headers alone ended."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(anext(aiter(call)), 20)
    return caught.value


def is_told_when_to_come_back(error: grpc.aio.AioRpcError) -> bool:
    return "google.rpc.RetryInfo" in [detail.TypeName() for detail in status_of(error).details]


@asynccontextmanager
async def headers_alone(world: World, count: int, *, each: int = 100) -> AsyncIterator[list[Any]]:
    """So many unary calls of a caller without a key, of which no message ever comes; at most `each`
    on a connection.
    """
    async with AsyncExitStack() as stack:
        calls: list[Any] = []
        for first in range(0, count, each):
            options = [("grpc.use_local_subchannel_pool", 1)]
            channel: Any = grpc.aio.insecure_channel(world.target, options=options)
            await stack.enter_async_context(channel)
            # Calls that had to wait for the connection would leave in any order.
            await channel.channel_ready()
            for _ in range(first, min(first + each, count)):
                calls.append(channel.stream_stream(ECHO)())
        yield calls


async def entered(world: World) -> None:
    await asyncio.wait_for(world.service.entered.wait(), 10)
    world.service.entered.clear()


@pytest.mark.req("G2-13-2")
async def test_calls_of_headers_alone_keep_no_caller_out() -> None:
    """As many as the bound of all, and a half more, from a stranger."""
    async with serving() as world, headers_alone(world, 1_536) as calls:
        await wait_until(lambda: sum(call.done() for call in calls) >= 512)
        for _ in range(3):
            assert (await echo(world)).endswith(b"body")


async def test_the_oldest_without_a_message_give_way_and_are_told_so() -> None:
    limits = ServerLimits(
        first_message_seconds=60,
        calls_without_message_max=4,
        calls_without_message_per_source_max=2,
    )
    async with serving(limits=limits) as world, headers_alone(world, 3, each=3) as calls:
        error = await settled(calls[0])
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert code_of(error) == "FIRST_MESSAGE_LATE"
        assert is_told_when_to_come_back(error)
        async with headers_alone(world, 3, each=1) as others:
            assert code_of(await settled(calls[1])) == "FIRST_MESSAGE_LATE"
            assert not any(call.done() for call in [calls[2], *others])
        text = world.telemetry.metrics.render().decode()
        assert line("unknown", "FIRST_MESSAGE_LATE", 2) in text


async def test_a_call_whose_message_does_not_come_is_ended() -> None:
    async with (
        serving(limits=ServerLimits(first_message_seconds=0.05)) as world,
        headers_alone(world, 1) as calls,
    ):
        assert code_of(await settled(calls[0])) == "FIRST_MESSAGE_LATE"
        assert world.audit.records[-1].code == "FIRST_MESSAGE_LATE"


async def test_a_call_that_ends_without_a_message_is_malformed() -> None:
    async with serving() as world, raw_channel(world.target) as channel:
        call = channel.stream_stream(ECHO)()
        await call.done_writing()
        assert code_of(await settled(call)) == "REQUEST_MALFORMED"


async def test_what_has_sent_its_message_may_take_longer() -> None:
    """A call at work and a stream of the server's, which has one message and says nothing for
    long, outlive a stranger's call that came after them.
    """
    message = health_pb2.HealthCheckRequest(service="").SerializeToString()
    async with (
        serving(limits=ServerLimits(first_message_seconds=0.2)) as world,
        raw_channel(world.target) as channel,
    ):
        watch = channel.unary_stream(WATCH)(message, metadata=signed(world, WATCH, message))
        await watch.read()
        hanging = channel.unary_unary(HANG)(b"", metadata=signed(world, HANG, b""))
        await entered(world)
        async with headers_alone(world, 1) as calls:
            await settled(calls[0])
        assert not watch.done()
        assert not hanging.done()
        await world.server.set_serving("", serving=False)
        await watch.read()
        hanging.cancel()
        watch.cancel()


@pytest.mark.req("G2-16-1")
async def test_an_identity_has_so_many_calls_open_and_the_others_have_theirs() -> None:
    async with (
        serving(limits=ServerLimits(calls_per_identity_max=2)) as world,
        raw_channel(world.target) as channel,
    ):
        world.keys.records[OTHER_DID, KEY_ID] = key_record(world.private)
        gather = path("Gather")
        stream = channel.stream_unary(gather)(metadata=signed(world, gather, b""))
        await stream.write(b"first")
        hanging = channel.unary_unary(HANG)(b"", metadata=signed(world, HANG, b""))
        await entered(world)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo(world)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert code_of(caught.value) == "TOO_MANY_CALLS"
        assert is_told_when_to_come_back(caught.value)
        text = world.telemetry.metrics.render().decode()
        assert line(ORGANISATION, "TOO_MANY_CALLS") in text
        assert (await echo(world, OTHER_DID)).endswith(b"body")
        hanging.cancel()
        await asyncio.wait_for(world.service.left.wait(), 10)
        assert (await echo(world)).endswith(b"body")
        stream.cancel()


@pytest.mark.req("G2-16-1")
async def test_an_organisation_has_so_many_calls_open_and_the_others_have_theirs() -> None:
    async with (
        serving(limits=ServerLimits(calls_per_organisation_max=1)) as world,
        raw_channel(world.target) as channel,
    ):
        record = key_record(world.private)
        world.keys.records[OTHER_DID, KEY_ID] = record
        hanging = channel.unary_unary(HANG)(b"", metadata=signed(world, HANG, b""))
        await entered(world)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo(world, OTHER_DID)
        assert code_of(caught.value) == "TOO_MANY_CALLS"
        elsewhere = key_record(world.private, organisation="another")
        world.keys.records[OTHER_DID, KEY_ID] = elsewhere
        assert (await echo(world, OTHER_DID)).endswith(b"body")
        hanging.cancel()


@pytest.mark.parametrize("method", ["Restricted", "Fail", "Bug"])
async def test_a_call_counts_until_it_ends_however_it_ends(method: str) -> None:
    async with serving(limits=ServerLimits(calls_per_identity_max=1)) as world:
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await send(world.target, path(method), b"x", signed(world, path(method), b"x"))
            assert code_of(caught.value) != "TOO_MANY_CALLS"
            assert (await echo(world)).endswith(b"body")
