"""What only the PostgreSQL event log must show: commit order, retention, members, outages."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta
from functools import partial

import pytest
from pydantic import SecretStr

from services.chassis.bus import EventsExpiredError, Topic, subscribe
from services.chassis.bus.port import Partition, Position, Progress
from services.chassis.bus.postgres import append_events, prune
from services.chassis.postgres import EmbeddedPostgres, PostgresSettings, open_pool
from tests.integration.bus.contract import QUICK, consumer, texts
from tests.integration.bus.lab import (
    Desk,
    Lab,
    numbered,
    open_desk,
    running,
    wait_until,
    write_effect,
)


async def test_writers_that_would_commit_in_reverse_take_positions_in_commit_order(
    lab: Lab, desk: Desk
) -> None:
    """The second writer starts while the first is uncommitted: it must wait, not pass the first.

    Otherwise a reader could see position 1, store it, and never see position 0 that commits later.
    """
    topic = await lab.topic()
    assert lab.settings.kind == "postgres"
    async with open_pool(lab.settings.database) as pool, running(consumer(lab, desk, topic)):
        async with pool.acquire() as first, pool.acquire() as second:
            transaction = first.transaction()
            await transaction.start()
            await append_events(first, numbered(topic, [0]))

            async def write_second() -> None:
                async with second.transaction():
                    await append_events(second, numbered(topic, [1]))

            writing = asyncio.ensure_future(write_second())

            async def second_waits() -> bool:
                found: int = await pool.fetchval(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
                return found == 1

            await wait_until(second_waits, "the second writer to wait for the first")
            assert not writing.done()
            assert await desk.effects() == []
            await transaction.commit()
            await writing
        assert await desk.wait_effects(2) == ["0", "1"]


async def test_a_writer_that_rolls_back_leaves_no_gap(lab: Lab, desk: Desk) -> None:
    topic = await lab.topic()
    assert lab.settings.kind == "postgres"
    async with open_pool(lab.settings.database) as pool, pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await append_events(connection, numbered(topic, range(5)))
        await transaction.rollback()
        await lab.bus.publish(numbered(topic, [7]))
        places = await connection.fetch("SELECT position FROM bus_events WHERE topic = $1", topic)
    assert [row["position"] for row in places] == [0]


async def test_many_writers_to_crossed_partitions_lose_nothing_and_do_not_deadlock(
    lab: Lab, desk: Desk
) -> None:
    topic = await lab.topic(partitions=4)
    batches = [numbered(topic, range(start, start + 10), keys=8) for start in range(0, 400, 10)]
    async with running(consumer(lab, desk, topic)):
        await asyncio.gather(*(lab.bus.publish(batch) for batch in batches))
        assert sorted(await desk.wait_effects(400), key=int) == texts(range(400))


async def age_all(lab: Lab, topic: str) -> None:
    assert lab.settings.kind == "postgres"
    async with open_pool(lab.settings.database) as pool:
        await pool.execute(
            "UPDATE bus_events SET published_at = published_at - interval '2 hours'"
            " WHERE topic = $1",
            topic,
        )


async def prune_now(lab: Lab) -> None:
    assert lab.settings.kind == "postgres"
    async with open_pool(lab.settings.database) as pool, pool.acquire() as connection:
        await prune(connection)


async def test_retention_removes_what_is_old_and_a_group_that_had_it_all_goes_on(
    lab: Lab, desk: Desk
) -> None:
    topic = "test.retained"
    await lab.bus.ensure_topics([Topic(topic, retention=timedelta(hours=1))])
    await lab.bus.publish(numbered(topic, range(5)))
    async with running(consumer(lab, desk, topic)):
        await desk.wait_effects(5)
        await age_all(lab, topic)
        await prune_now(lab)
        await lab.bus.publish(numbered(topic, range(5, 8)))
        assert await desk.wait_effects(8) == texts(range(8))
    async with lab.bus.open_source("another", [topic]) as source:
        records = await source.fetch(Partition(topic, 0), None)
    assert [record.position for record in records] == [5, 6, 7]


async def test_a_group_that_missed_expired_events_stops_instead_of_going_on(
    lab: Lab, desk: Desk
) -> None:
    topic = "test.expired"
    await lab.bus.ensure_topics([Topic(topic, retention=timedelta(hours=1))])
    await lab.bus.publish(numbered(topic, range(3)))
    async with running(consumer(lab, desk, topic)):
        await desk.wait_effects(3)
    await lab.bus.publish(numbered(topic, range(3, 6)))
    await age_all(lab, topic)
    await prune_now(lab)
    await lab.bus.publish(numbered(topic, range(6, 8)))
    with pytest.raises(EventsExpiredError) as stopped:
        async with asyncio.timeout(60):
            await subscribe(
                lab.bus,
                group="group",
                topics=[topic],
                pool=desk.pool,
                handler=write_effect,
                limits=QUICK,
            )
    assert (stopped.value.handled, stopped.value.first) == (2, 6)
    assert await desk.effects() == texts(range(3))


async def test_a_position_beyond_the_log_is_taken_for_another_topic(lab: Lab) -> None:
    topic = await lab.topic()
    await lab.bus.publish(numbered(topic, range(3)))
    async with lab.bus.open_source("group", [topic]) as source:
        records = await source.fetch(Partition(topic, 0), Progress(Position(40), "event-40"))
    assert [record.event.event_id for record in records] == ["event-0", "event-1", "event-2"]


async def test_two_members_at_one_partition_never_handle_an_event_together(
    lab: Lab, desk: Desk
) -> None:
    """Each handler yields in the middle, so that a missing claim would show as a double."""
    topic = await lab.topic()
    inside = 0
    most = 0

    async def handler(connection, event) -> None:  # type: ignore[no-untyped-def]
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await connection.execute("SELECT pg_sleep(0.002)")
        await write_effect(connection, event)
        inside -= 1

    members = [consumer(lab, desk, topic, handler=handler) for _ in range(3)]
    async with running(*members):
        for start in range(0, 60, 5):
            await lab.bus.publish(numbered(topic, range(start, start + 5)))
        assert await desk.wait_effects(60) == texts(range(60))
    assert most == 1


async def test_a_consumer_whose_database_is_killed_under_load_loses_and_doubles_nothing(
    lab: Lab, own_server: EmbeddedPostgres
) -> None:
    topic = await lab.topic(partitions=2)
    server = own_server
    server.start()
    total = 400
    try:
        url = SecretStr(await server.create_database("desk"))
        async with open_desk(PostgresSettings(url=url)) as desk:

            async def has(count: int) -> bool:
                return len(await desk.effects()) >= count

            async with running(consumer(lab, desk, topic)):
                for start in range(0, total, 10):
                    await lab.bus.publish(numbered(topic, range(start, start + 10), keys=3))
                    if start in (100, 250):
                        await wait_until(partial(has, start // 2), "some effects")
                        os.kill(server.server_pid, signal.SIGKILL)
                        await asyncio.to_thread(server.stop)
                        await asyncio.to_thread(server.start)
                effects = await desk.wait_effects(total)
            assert sorted(effects, key=int) == texts(range(total))
            assert await desk.pool.fetchval("SELECT count(*) FROM bus_parked") == 0
    finally:
        server.stop()
