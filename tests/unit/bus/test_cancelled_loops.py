"""Loops that outlive lost connections end when cancelled, whatever their clean-up meets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, cast

import asyncpg
import pytest

from guqiao_sdk.client.chain import ChainClient
from services.chassis import outbox
from services.chassis.block_feed.publisher import publish_blocks
from services.chassis.bus.consumer import subscribe
from services.chassis.bus.postgres import PostgresBus, PostgresSource
from services.chassis.bus.transient import is_transient
from services.chassis.postgres.pool import Pool

END_SECONDS_MAX = 10.0


class LostConnectionPool:
    """A pool whose connections wait for ever, and are lost in the moment of a cancellation."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        try:
            self.waiting.set()
            await asyncio.Event().wait()
            yield None
        finally:
            raise asyncpg.InterfaceError("connection is closed")

    async def fetch(self, *_: object) -> Any:
        async with self.acquire():
            raise AssertionError("never acquired")


class Chain:
    chain_id = "shandong"


async def _handle(*_: object) -> None:
    raise AssertionError("nothing to handle")


LOOPS: dict[str, Callable[[Pool], Awaitable[None]]] = {
    "the bus's listener": lambda pool: PostgresBus(pool).listen(),
    "a consumer": lambda pool: subscribe(
        PostgresBus(pool), group="g", topics=["t"], pool=pool, handler=_handle
    ),
    "the outbox's relay": lambda pool: outbox.relay(pool, PostgresBus(pool)),
    "the publisher of blocks": lambda pool: publish_blocks(
        PostgresBus(pool), pool, cast(ChainClient, Chain())
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_cancelled_while_its_connection_is_lost_ends(name: str) -> None:
    async def scenario() -> bool:
        pool = LostConnectionPool()
        task = asyncio.ensure_future(LOOPS[name](cast(Pool, pool)))
        async with asyncio.timeout(END_SECONDS_MAX):
            await pool.waiting.wait()
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=END_SECONDS_MAX)
        if not done:
            task.cancel()
        return task in done and task.cancelled()

    assert asyncio.run(scenario())


class QuietPool:
    """A pool to a log in which nothing happens."""

    async def fetch(self, *_: object) -> list[dict[str, Any]]:
        return [{"topic": "t", "partition": 0, "generation": 1, "head": 0}]


class News(asyncio.Event):
    """Tells when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = asyncio.Event()

    async def wait(self) -> Literal[True]:
        self.awaited.set()
        return await super().wait()


@pytest.mark.parametrize("turns", range(4))
def test_a_source_cancelled_in_the_moment_that_news_comes_ends(turns: int) -> None:
    """A process that is asked to stop while blocks come must not wait for its time-out."""

    async def scenario() -> bool:
        news = News()
        source = PostgresSource(cast(Pool, QuietPool()), ("t",), news)
        for partition in await source.wait_for_news(0.0):
            source._seen[partition] = source._latest[partition]
        task = asyncio.ensure_future(source.wait_for_news(END_SECONDS_MAX))
        await news.awaited.wait()
        news.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=END_SECONDS_MAX / 2)
        return task in done and task.cancelled()

    assert asyncio.run(scenario())


def test_a_lost_connection_is_waited_for_by_a_task_that_nobody_cancels() -> None:
    async def scenario() -> bool:
        return is_transient(asyncpg.InterfaceError("connection is closed"))

    assert asyncio.run(scenario())
    assert is_transient(ConnectionRefusedError())
