"""What the bus contract tests work with: a bus, a way to break it, and a consumer's database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, SecretStr

from services.chassis.bus import Bus, BusEvent, Topic, migrate_consumer, new_event
from services.chassis.bus.settings import KafkaBusSettings, PostgresBusSettings
from services.chassis.outbox import migrate_outbox
from services.chassis.postgres import Connection, Pool, PostgresSettings, open_pool

WAIT_SECONDS_MAX = 180.0
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Lab:
    """A bus under test, its settings, and its server's power switch."""

    bus: Bus
    settings: PostgresBusSettings | KafkaBusSettings
    kill_server: Callable[[], Awaitable[None]]
    start_server: Callable[[], Awaitable[None]]
    topics: list[str] = field(default_factory=list)
    """Those that `topic` has made."""

    async def topic(self, partitions: int = 1) -> str:
        """A new topic of its own."""
        name = f"test.numbers.{uuid4().hex}"
        await self.bus.ensure_topics([Topic(name, partitions)])
        self.topics.append(name)
        return name


@dataclass(frozen=True, slots=True)
class Desk:
    """The consumer's database, with a table of effects that would show any double or loss."""

    settings: PostgresSettings
    pool: Pool

    async def effects(self, group: str = "") -> list[str]:
        """What the handlers wrote, in the order of their commits."""
        rows = await self.pool.fetch(
            "SELECT value FROM effects WHERE group_name = $1 ORDER BY place", group
        )
        return [row["value"] for row in rows]

    async def effects_of_key(self, key: str) -> list[str]:
        """The same, of one key."""
        rows = await self.pool.fetch("SELECT value FROM effects WHERE key = $1 ORDER BY place", key)
        return [row["value"] for row in rows]

    async def wait_effects(self, count: int, group: str = "") -> list[str]:
        """The effects, once there are at least so many."""
        await wait_until(lambda: self._has(count, group), f"{count} effects of {group!r}")
        return await self.effects(group)

    async def _has(self, count: int, group: str) -> bool:
        found: int = await self.pool.fetchval(
            "SELECT count(*) FROM effects WHERE group_name = $1", group
        )
        return found >= count


@asynccontextmanager
async def open_desk(settings: PostgresSettings) -> AsyncIterator[Desk]:
    """The desk over an empty database."""
    async with open_pool(settings) as pool:
        async with pool.acquire() as connection:
            await migrate_consumer(connection)
            await migrate_outbox(connection)
            await connection.execute(CREATE_EFFECTS)
        yield Desk(settings, pool)


CREATE_EFFECTS = """
CREATE TABLE effects (
    place      bigint GENERATED ALWAYS AS IDENTITY,
    group_name text NOT NULL,
    key        text NOT NULL,
    value      text NOT NULL
)
"""


async def write_effect(connection: Connection, event: BusEvent, group: str = "") -> None:
    """The plainest handler: one row an event. Nothing in the table forbids a double."""
    await connection.execute(
        "INSERT INTO effects (group_name, key, value) VALUES ($1, $2, $3)",
        group,
        event.key,
        event.payload[:100].decode(),
    )


def numbered(topic: str, numbers: Iterable[int], keys: int = 1) -> list[BusEvent]:
    """Events whose id and payload are their number."""
    return [
        new_event(topic, f"key-{number % keys}", str(number).encode(), event_id=f"event-{number}")
        for number in numbers
    ]


@asynccontextmanager
async def running(*jobs: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run the jobs while the block runs; a job that fails fails the test."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        yield tasks
    except BaseException as error:
        failed = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        if any(failed):
            raise AssertionError(f"{error}, after a job had failed: {failed!r}") from failed[0]
        raise
    else:
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def wait_until(
    condition: Callable[[], Awaitable[bool]], what: str, seconds: float = WAIT_SECONDS_MAX
) -> None:
    """Wait for the condition; a bound far beyond what it takes turns a hang into a failure."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - the condition is remote
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"waited {seconds} s in vain for {what}") from None


def unmasked(settings: object) -> object:
    """Settings as JSON with their secrets, for a child process of the test."""
    if isinstance(settings, SecretStr):
        return settings.get_secret_value()
    if isinstance(settings, BaseModel):
        return {name: unmasked(value) for name, value in settings}
    return settings
