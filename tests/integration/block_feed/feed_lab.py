"""What tests of the feed work with: a chain, the domain's bus, a projection that only counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.client.events import BLOCK_TOPIC, block_certified
from guqiao_sdk.proof.header import Verify
from services.chassis.block_feed import FeedState, follow_blocks, projected_height, publish_blocks
from services.chassis.block_feed.follower import Apply
from services.chassis.bus.port import BusEvent, Progress, Topic, new_event
from services.chassis.postgres import Connection, Pool
from tests.plugins.link_lab import KEYS
from tests.plugins.service_lab import Lab, wait_until


@dataclass
class Feed:
    """A chain, the domain's bus, and a projection that only counts."""

    lab: Lab
    state: FeedState = field(default_factory=FeedState)

    @property
    def pool(self) -> Pool:
        return self.lab.pool

    def grow(self, blocks: int) -> None:
        """Blocks with one operation each."""
        for _ in range(blocks):
            self.lab.node.chain.call("reports", "report", {"count": 1, "broken": False})

    def publishing(self) -> Coroutine[Any, Any, None]:
        runtime = self.lab.runtime
        return publish_blocks(runtime.bus, runtime.pool, runtime.client)

    def following(
        self, verify: Verify = KEYS.provider.verify, apply: Apply | None = None
    ) -> Coroutine[Any, Any, None]:
        runtime = self.lab.runtime
        return follow_blocks(
            runtime.bus,
            runtime.pool,
            group="test.heights",
            trust=runtime.client.trust,
            verify=verify,
            apply=apply or note_height,
            state=self.state,
            tracer=runtime.telemetry.tracer,
        )

    async def heights(self) -> list[int]:
        """What was applied, in order; nothing in the table forbids a double."""
        return [row["height"] for row in await self.pool.fetch("SELECT * FROM seen ORDER BY place")]

    async def wait_height(self, height: int) -> None:
        async def reached() -> bool:
            async with self.pool.acquire() as connection:
                return await projected_height(connection, "shandong") >= height

        await wait_until(f"height {height} is projected", reached)

    async def wait_published(self, height: int) -> None:
        async def reached() -> bool:
            noted = await self.pool.fetchval("SELECT height FROM published_blocks")
            return bool(noted == height)

        await wait_until(f"block {height} is published", reached)

    async def wait_parked(self, count: int) -> list[str]:
        """The causes of the events that were set aside, once there are so many."""

        async def reached() -> bool:
            return bool(await self.pool.fetchval("SELECT count(*) FROM bus_parked") >= count)

        await wait_until(f"{count} parked events", reached)
        return [row["cause"] for row in await self.pool.fetch("SELECT * FROM bus_parked")]

    async def publish(self, *events: BusEvent) -> None:
        bus = self.lab.runtime.bus
        await bus.ensure_topics([Topic(BLOCK_TOPIC)])
        await bus.publish(list(events))

    def event(self, height: int, name: str = "") -> BusEvent:
        """A block's event as a publisher makes it."""
        made = block_certified("shandong", height, self.lab.node.chain.block_message(height))
        return new_event(made.topic, made.key, made.payload, event_id=name or made.event_id)

    async def published(self) -> list[str]:
        """The ids of all events on the bus, in order."""
        async with self.lab.runtime.bus.open_source("test.reader", [BLOCK_TOPIC]) as source:
            (partition,) = set(await source.wait_for_news(5.0))
            records: list[str] = []
            progress = None
            while batch := await source.fetch(partition, progress):
                records += [record.event.event_id for record in batch]
                progress = Progress(batch[-1].position, batch[-1].event.event_id)
            return records


async def note_height(connection: Connection, block: VerifiedBlock) -> None:
    await connection.execute("INSERT INTO seen (height) VALUES ($1)", block.height)


@asynccontextmanager
async def running(*jobs: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """The jobs at work inside the block; one that ends by itself fails the test."""
    async with AsyncExitStack() as stack:
        tasks = [asyncio.ensure_future(job) for job in jobs]

        async def end() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        stack.push_async_callback(end)
        yield tasks
        for task in tasks:
            assert task.cancelled() or not task.done(), task.exception()


def up_to(height: int) -> list[int]:
    return list(range(1, height + 1))
