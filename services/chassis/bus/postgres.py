"""The bus of one machine: an event log in PostgreSQL.

A writer locks the rows of its partitions until it commits, and takes positions from them, so
positions appear in commit order and without gaps: a reader that has seen position p will never see
a smaller one appear. NOTIFY is only a hint; reading the partitions' heads is the truth.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
import structlog

from services.chassis.bus.port import (
    FETCH_BYTES_MAX,
    FETCH_EVENTS_MAX,
    PUBLISH_EVENTS_MAX,
    BusEvent,
    EventsExpiredError,
    Partition,
    Position,
    Progress,
    Record,
    Topic,
    TopicMismatchError,
    TopicMissingError,
    checked,
    partition_of,
)
from services.chassis.bus.transient import is_transient
from services.chassis.postgres.migrations import migrate
from services.chassis.postgres.pool import Connection, Pool, session

COMPONENT: Final = "chassis.bus.event_log"
MIGRATIONS: Final = Path(__file__).parent / "migrations" / "event_log"
CHANNEL: Final = "guqiao_bus"
RECHECK_SECONDS: Final = 2.0
PRUNE_SECONDS: Final = 60.0
HEAD_POLL_SECONDS_MAX: Final = 0.5

log = structlog.get_logger(__name__)


class PostgresBus:
    """An adapter of `Bus` over the domain's bus database. Open it with `open_postgres_bus`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._news = asyncio.Event()
        self._next_prune = 0.0

    async def reach(self) -> None:
        await self._pool.fetchval("SELECT 1")

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            for topic in topics:
                await _ensure_topic(connection, topic)

    async def delete_topic(self, name: str) -> None:
        async with self._pool.acquire() as connection:
            await connection.execute("DELETE FROM bus_topics WHERE name = $1", name)

    async def publish(self, events: Sequence[BusEvent]) -> Mapping[Partition, Position]:
        assert len(events) <= PUBLISH_EVENTS_MAX, "publish in bounded batches"
        async with self._pool.acquire() as connection:
            async with connection.transaction():
                places = await append_events(connection, events)
            now = asyncio.get_running_loop().time()
            if now >= self._next_prune:
                self._next_prune = now + PRUNE_SECONDS
                await prune(connection)
        return places

    async def event_at(self, partition: Partition, position: Position) -> BusEvent | None:
        row = await self._pool.fetchrow(
            """
            SELECT position, key, payload, headers FROM bus_events
            WHERE topic = $1 AND partition = $2 AND position = $3
            """,
            partition.topic,
            partition.number,
            position,
        )
        return None if row is None else _record(partition, row).event

    @asynccontextmanager
    async def open_source(self, group: str, topics: Sequence[str]) -> AsyncIterator[PostgresSource]:
        # Members need not know each other: the claim on a position row shares out the partitions.
        del group
        yield PostgresSource(self._pool, tuple(topics), self._news)

    async def listen(self) -> None:
        """Wake the sources when somebody publishes, until cancelled; renew a lost connection."""
        while True:
            try:
                await self._listen_once()
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("bus.listener_lost", error=repr(error))
            await asyncio.sleep(RECHECK_SECONDS)

    async def _listen_once(self) -> None:
        ended = asyncio.Event()
        async with session(self._pool) as connection:
            connection.add_termination_listener(lambda _: ended.set())
            await connection.add_listener(CHANNEL, self._hear)
            await ended.wait()

    def _hear(self, *_: object) -> None:
        self._news.set()


@asynccontextmanager
async def open_postgres_bus(pool: Pool) -> AsyncIterator[PostgresBus]:
    """The bus over a pool to its database, whose tables are brought up to date first."""
    async with session(pool) as connection:
        await migrate(connection, COMPONENT, MIGRATIONS)
    bus = PostgresBus(pool)
    listener = asyncio.ensure_future(bus.listen())
    try:
        yield bus
    finally:
        listener.cancel()
        with suppress(asyncio.CancelledError):
            await listener


class _Head(NamedTuple):
    """Where a partition ends. A rebuilt partition has another generation."""

    generation: int
    position: int


@dataclass(slots=True)
class PostgresSource:
    """Reads the log for one member of a group."""

    pool: Pool
    topics: tuple[str, ...]
    news: asyncio.Event
    _seen: dict[Partition, _Head] = field(default_factory=dict)
    _latest: dict[Partition, _Head] = field(default_factory=dict)
    _next_recheck: float = 0.0

    async def wait_for_news(self, seconds: float) -> Sequence[Partition]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            self.news.clear()
            self._latest = await self._heads()
            if loop.time() >= self._next_recheck:
                self._next_recheck = loop.time() + RECHECK_SECONDS
                return list(self._latest)
            moved = [at for at, head in self._latest.items() if self._seen.get(at) != head]
            remaining = deadline - loop.time()
            if moved or remaining <= 0:
                return moved
            with suppress(TimeoutError):
                async with asyncio.timeout(min(remaining, HEAD_POLL_SECONDS_MAX)):
                    await self.news.wait()

    async def fetch(self, partition: Partition, after: Progress | None) -> Sequence[Record]:
        async with self.pool.acquire() as connection:
            records = await self._read_after(connection, partition, after)
        head = self._latest.get(partition)
        if head is not None and not records:
            self._seen[partition] = head  # Nothing new until the head moves again.
        else:
            self._seen.pop(partition, None)  # What we hand out may yet be rolled back.
        return records

    async def _heads(self) -> dict[Partition, _Head]:
        rows = await self.pool.fetch(
            """
            SELECT topic, partition, generation, head FROM bus_partitions
            WHERE topic = ANY($1) ORDER BY topic, partition
            """,
            self.topics,
        )
        return {
            Partition(row["topic"], row["partition"]): _Head(row["generation"], row["head"])
            for row in rows
        }

    async def _read_after(
        self, connection: Connection, partition: Partition, after: Progress | None
    ) -> Sequence[Record]:
        if after is None:
            return await self._read_from_start(connection, partition)
        # One event back: its name tells whether this is still the topic that we know.
        records = await _read(connection, partition, after.position)
        if records and records[0].position == after.position:
            if records[0].event.event_id == after.event_id:
                return records[1:]
        elif records and records[0].position == after.position + 1:
            return records
        elif records:
            raise EventsExpiredError(partition, handled=after.position, first=records[0].position)
        elif await _head_position(connection, partition) == after.position + 1:
            return []  # Retention removed everything, and all of it was handled.
        log.warning("bus.topic_rebuilt", topic=partition.topic, partition=partition.number)
        return await self._read_from_start(connection, partition)

    async def _read_from_start(
        self, connection: Connection, partition: Partition
    ) -> Sequence[Record]:
        return await _read(connection, partition, 0)


async def append_events(
    connection: Connection, events: Sequence[BusEvent]
) -> Mapping[Partition, Position]:
    """Write the events in the caller's transaction, which other writers then wait for; returns
    where the last one of each partition lies.
    """
    counts = await _partition_counts(connection, {event.topic for event in events})
    by_partition: dict[Partition, list[BusEvent]] = defaultdict(list)
    for event in events:
        number = partition_of(event.key, counts[event.topic])
        by_partition[Partition(event.topic, number)].append(checked(event))
    places: dict[Partition, Position] = {}
    for partition, part in sorted(by_partition.items()):  # One order for all: no deadlock.
        first = await _append_to_partition(connection, partition, part)
        places[partition] = Position(first + len(part) - 1)
    await connection.execute("SELECT pg_notify($1, '')", CHANNEL)
    return places


async def prune(connection: Connection) -> None:
    """Delete what is older than its topic's retention."""
    topics = await connection.fetch(
        "SELECT name, retention_seconds FROM bus_topics WHERE retention_seconds IS NOT NULL"
    )
    for topic in topics:
        await connection.execute(
            """
            DELETE FROM bus_events e
            USING bus_partitions p
            WHERE p.topic = $1 AND e.topic = p.topic AND e.partition = p.partition
              AND e.position < coalesce(
                (SELECT k.position FROM bus_events k
                 WHERE k.topic = p.topic AND k.partition = p.partition
                   AND k.published_at >= clock_timestamp() - $2::interval
                 ORDER BY k.position LIMIT 1),
                p.head)
            """,
            topic["name"],
            timedelta(seconds=topic["retention_seconds"]),
        )


async def _ensure_topic(connection: Connection, topic: Topic) -> None:
    retention = None if topic.retention is None else int(topic.retention.total_seconds())
    await connection.execute(
        """
        INSERT INTO bus_topics (name, partitions, retention_seconds) VALUES ($1, $2, $3)
        ON CONFLICT (name) DO NOTHING
        """,
        topic.name,
        topic.partitions,
        retention,
    )
    found = await connection.fetchval(
        "SELECT partitions FROM bus_topics WHERE name = $1", topic.name
    )
    if found != topic.partitions:
        raise TopicMismatchError(topic.name, found=found, wanted=topic.partitions)
    await connection.execute(
        """
        INSERT INTO bus_partitions (topic, partition)
        SELECT $1, number FROM generate_series(0, $2 - 1) AS number
        ON CONFLICT DO NOTHING
        """,
        topic.name,
        topic.partitions,
    )


async def _partition_counts(connection: Connection, topics: set[str]) -> dict[str, int]:
    rows = await connection.fetch(
        "SELECT name, partitions FROM bus_topics WHERE name = ANY($1)", list(topics)
    )
    counts = {row["name"]: row["partitions"] for row in rows}
    for topic in topics - counts.keys():
        raise TopicMissingError(topic)
    return counts


async def _append_to_partition(
    connection: Connection, partition: Partition, events: Sequence[BusEvent]
) -> int:
    # The update's row lock is what puts positions in commit order: the next writer waits here.
    first = await connection.fetchval(
        """
        UPDATE bus_partitions SET head = head + $3 WHERE topic = $1 AND partition = $2
        RETURNING head - $3
        """,
        partition.topic,
        partition.number,
        len(events),
    )
    if first is None:
        raise TopicMissingError(partition.topic)  # Deleted since its partitions were counted.
    await connection.execute(
        """
        INSERT INTO bus_events (topic, partition, position, key, payload, headers)
        SELECT $1, $2, $3 + ordinality - 1, key, payload, headers::jsonb
        FROM unnest($4::text[], $5::bytea[], $6::text[])
            WITH ORDINALITY AS event (key, payload, headers, ordinality)
        """,
        partition.topic,
        partition.number,
        first,
        [event.key for event in events],
        [event.payload for event in events],
        [json.dumps(dict(event.headers)) for event in events],
    )
    return int(first)


async def _read(connection: Connection, partition: Partition, start: int) -> list[Record]:
    """From a position on, bounded in number and bytes, but at least two: one may be known."""
    rows = await connection.fetch(
        """
        SELECT position, key, payload, headers FROM (
            SELECT position, key, payload, headers,
                   row_number() OVER rows_before AS number,
                   sum(octet_length(payload)) OVER rows_before AS bytes
            FROM (
                SELECT position, key, payload, headers FROM bus_events
                WHERE topic = $1 AND partition = $2 AND position >= $3
                ORDER BY position LIMIT $4
            ) AS next
            WINDOW rows_before AS (ORDER BY position)
        ) AS counted
        WHERE bytes <= $5 OR number <= 2
        ORDER BY position
        """,
        partition.topic,
        partition.number,
        start,
        FETCH_EVENTS_MAX,
        FETCH_BYTES_MAX,
    )
    return [_record(partition, row) for row in rows]


async def _head_position(connection: Connection, partition: Partition) -> int | None:
    head: int | None = await connection.fetchval(
        "SELECT head FROM bus_partitions WHERE topic = $1 AND partition = $2",
        partition.topic,
        partition.number,
    )
    return head


def _record(partition: Partition, row: asyncpg.Record) -> Record:
    event = BusEvent(partition.topic, row["key"], row["payload"], json.loads(row["headers"]))
    return Record(partition, Position(row["position"]), event)
