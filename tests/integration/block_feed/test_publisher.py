"""One publisher at a time, no gap, and a bus that lost something is filled again."""

from __future__ import annotations

import asyncio

import pytest

from guqiao.consensus.v1 import consensus_events_pb2
from guqiao_sdk.client.events import BLOCK_TOPIC
from services.chassis.block_feed import publisher
from services.chassis.bus.port import Topic, new_event
from tests.integration.block_feed.feed_lab import Feed, running, up_to


async def test_two_publishers_elect_one_and_the_other_takes_over(feed: Feed) -> None:
    """One publishes; when it dies the other goes on at its place: no gap and nothing twice."""
    feed.grow(10)
    async with running(feed.publishing(), feed.publishing(), feed.following()) as tasks:
        await feed.wait_height(10)
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        assert await feed.pool.fetchval(locks) == 1
        assert await feed.published() == [f"shandong/{height}" for height in up_to(10)]
        for publisher_task in tasks[:2]:
            publisher_task.cancel()
            await asyncio.gather(publisher_task, return_exceptions=True)
            if publisher_task is tasks[0]:
                feed.grow(10)
                await feed.wait_height(20)
        feed.grow(1)
    assert await feed.heights() == up_to(20)
    assert await feed.published() == [f"shandong/{height}" for height in up_to(20)]


async def test_a_publisher_killed_before_it_notes_its_place_repeats_without_effect(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability D4: the block was published, the position was not kept."""
    feed.grow(5)
    async with running(feed.publishing(), feed.following()):
        await feed.wait_height(5)
    await feed.pool.execute("UPDATE published_blocks SET height = 3, position = 2")
    feed.grow(2)
    async with running(feed.publishing(), feed.following()):
        await feed.wait_height(7)
    assert await feed.heights() == up_to(7)
    assert await feed.published() == [f"shandong/{height}" for height in (*up_to(5), 4, 5, 6, 7)]


async def test_a_bus_that_was_deleted_is_rebuilt_and_nothing_is_applied_twice(feed: Feed) -> None:
    """Kafka and the event log are feeds: gone, published again from the chain, no effect twice."""
    feed.grow(6)
    async with running(feed.publishing(), feed.following()):
        await feed.wait_height(6)
        await feed.lab.runtime.bus.delete_topic(BLOCK_TOPIC)
        feed.grow(3)
        await feed.wait_height(9)
    assert await feed.heights() == up_to(9)
    assert await feed.published() == [f"shandong/{height}" for height in up_to(9)]


async def test_who_was_behind_when_the_bus_was_deleted_gets_every_block(feed: Feed) -> None:
    """The publisher had noted block 6; the feed itself tells it that nothing is there."""
    feed.grow(6)
    async with running(feed.publishing()):
        await feed.wait_published(6)
    await feed.lab.runtime.bus.delete_topic(BLOCK_TOPIC)
    async with running(feed.publishing(), feed.following()):
        await feed.wait_height(6)
    assert await feed.heights() == up_to(6)


async def test_a_bus_that_lost_its_last_events_is_filled_again(feed: Feed) -> None:
    """As a log that was not flushed before the machine's power went."""
    feed.grow(6)
    async with running(feed.publishing()):
        await feed.wait_published(6)
    await feed.lab.runtime.bus.delete_topic(BLOCK_TOPIC)
    await feed.publish(*(feed.event(height) for height in up_to(3)))
    async with running(feed.publishing(), feed.following()):
        await feed.wait_height(6)
    assert await feed.heights() == up_to(6)


async def test_a_topic_made_anew_behind_the_publishers_back_is_noticed(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could go on publishing into the new one, where nothing that came before is."""
    monkeypatch.setattr(publisher, "LOOK_SECONDS", 0.0)
    feed.grow(4)
    async with running(feed.publishing()):
        await feed.wait_published(4)
        await feed.lab.runtime.bus.delete_topic(BLOCK_TOPIC)
        await feed.lab.runtime.bus.ensure_topics([Topic(BLOCK_TOPIC)])
        feed.grow(1)
        await feed.wait_published(5)
    assert await feed.published() == [f"shandong/{height}" for height in up_to(5)]


async def test_what_strangers_write_makes_the_publisher_begin_nothing_again(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Garbage, a claim, a true old block, twenty of another key: at each look, and at a restart."""
    monkeypatch.setattr(publisher, "LOOK_SECONDS", 0.0)
    claim = consensus_events_pb2.BlockCertified(chain_id="shandong", height=1 << 60)
    feed.grow(3)
    async with running(feed.publishing()):
        await feed.wait_published(3)
    for height, written in enumerate(
        (
            [new_event(BLOCK_TOPIC, "shandong", b"\xff\xff", event_id="garbage")],
            [new_event(BLOCK_TOPIC, "shandong", claim.SerializeToString(), event_id="claim")],
            [feed.event(1)],
            [new_event(BLOCK_TOPIC, "another", b"x", event_id=f"x{n}") for n in range(20)],
        ),
        start=4,
    ):
        await feed.publish(*written)
        async with running(feed.publishing()):
            feed.grow(1)
            await feed.wait_published(height)
    blocks = [name for name in await feed.published() if name.startswith("shandong/")]
    assert blocks == [f"shandong/{height}" for height in (1, 2, 3, 4, 5, 1, 6, 7)]
