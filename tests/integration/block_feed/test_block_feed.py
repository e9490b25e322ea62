"""The feed of certified blocks: one publisher at a time, no gap, no double, nothing unverified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from guqiao.consensus.v1 import consensus_events_pb2
from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.client.events import BLOCK_TOPIC, block_certified
from guqiao_sdk.proof.header import Verify
from services.chassis.block_feed import (
    FeedState,
    follow_blocks,
    projected_height,
    publish_blocks,
    publisher,
)
from services.chassis.block_feed.follower import Apply
from services.chassis.bus import ConsumerLimits
from services.chassis.bus.port import BusEvent, Progress, Topic, new_event
from services.chassis.postgres import Connection, Pool
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.link_lab import KEYS, link_chains
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, open_lab, wait_until
from tests.unit.proof.proof_keys import Replicas


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


@pytest.fixture
async def feed(new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Feed]:
    monkeypatch.setattr(publisher, "ELECTION_POLL_SECONDS", 0.05)
    chain, _ = link_chains()
    node = LedgerNode(chain)
    await node.start()
    try:
        async with open_lab(
            new_database,
            node,
            identity_of(chain, KEYS),
            KEYS.provider,
            service="test",
            migrations=None,
        ) as lab:
            await lab.pool.execute(
                "CREATE TABLE seen (place bigint GENERATED ALWAYS AS IDENTITY, height bigint)"
            )
            yield Feed(lab)
    finally:
        await node.stop()


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
    await feed.pool.execute("UPDATE published_blocks SET height = 3")
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


async def test_a_bus_that_lost_its_last_events_is_filled_from_there(feed: Feed) -> None:
    """As a log that was not flushed before the machine's power went."""
    feed.grow(6)
    async with running(feed.publishing()):
        await feed.wait_published(6)
    await feed.lab.runtime.bus.delete_topic(BLOCK_TOPIC)
    await feed.publish(*(feed.event(height) for height in up_to(3)))
    async with running(feed.publishing(), feed.following()):
        await feed.wait_height(6)
    assert await feed.published() == [f"shandong/{height}" for height in up_to(6)]


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


async def test_what_a_stranger_wrote_at_the_end_of_the_feed_takes_no_block_away(feed: Feed) -> None:
    feed.grow(3)
    await feed.publish(
        feed.event(1),
        feed.event(2),
        new_event(BLOCK_TOPIC, "shandong", b"\xff\xff", event_id="garbage"),
    )
    await feed.pool.execute("INSERT INTO published_blocks VALUES ('shandong', 2)")
    async with running(feed.publishing(), feed.following()):
        await feed.wait_height(3)
    assert await feed.heights() == up_to(3)


async def test_the_chain_away_and_back_leaves_no_gap(feed: Feed) -> None:
    feed.grow(4)
    async with running(feed.publishing(), feed.following()):
        await feed.wait_height(4)
        await feed.lab.node.stop()
        feed.grow(4)
        assert await feed.heights() == up_to(4)
        await feed.lab.node.start()
        await feed.wait_height(8)
    assert await feed.heights() == up_to(8)


async def test_a_gap_is_waited_out_and_never_guessed_over(feed: Feed) -> None:
    feed.grow(4)
    await feed.publish(*(feed.event(height) for height in (1, 2, 4)))
    following = feed.following()
    async with running(following):
        await feed.lab.runtime.bus.delete_topic(BLOCK_TOPIC)
        await feed.publish(*(feed.event(height) for height in up_to(4)))
        await feed.wait_height(4)
    assert await feed.heights() == up_to(4)


async def test_behind_a_gap_nothing_is_applied_and_it_is_told(feed: Feed) -> None:
    feed.grow(3)
    await feed.publish(feed.event(1), feed.event(3))
    async with running(feed.following()):

        async def is_told() -> bool:
            return feed.state.stuck == "block 3 came, 2 was due"

        await wait_until("the gap is told", is_told)
        assert await feed.state.check() == (
            "PROJECTION_STUCK: The read model stands still: its next block is missing or cannot be "
            "applied. (block 3 came, 2 was due)"
        )
        assert await feed.heights() == [1]
        assert await feed.pool.fetchval("SELECT count(*) FROM bus_parked") == 0
        await feed.publish(feed.event(2), feed.event(3))
        await feed.wait_height(3)
    assert await feed.heights() == up_to(3)
    assert await feed.state.check() is None


async def test_a_block_from_the_future_holds_nobody_up(feed: Feed) -> None:
    """Whoever may write to the bus can put a true block, or a claim, before its time."""
    feed.grow(4)
    claim = consensus_events_pb2.BlockCertified(chain_id="shandong", height=1 << 60)
    await feed.publish(
        feed.event(4),
        new_event(BLOCK_TOPIC, "shandong", claim.SerializeToString(), event_id="claim"),
        *(feed.event(height) for height in up_to(4)),
    )
    async with running(feed.following()):
        await feed.wait_height(4)
    assert await feed.heights() == up_to(4)


async def test_a_block_that_comes_again_has_no_second_effect_whatever_its_name(feed: Feed) -> None:
    feed.grow(3)
    await feed.publish(
        feed.event(1), feed.event(1, "again"), feed.event(2), feed.event(1, "late"), feed.event(3)
    )
    async with running(feed.following()):
        await feed.wait_height(3)
    assert await feed.heights() == up_to(3)


@pytest.mark.req("G2-06-4")
async def test_a_forged_block_under_the_true_name_takes_no_block_away(feed: Feed) -> None:
    """A name is anybody's word: the true block of that name is applied when it comes."""
    feed.grow(2)
    forged = forgeries(feed)[0]
    lie = new_event(forged.topic, forged.key, forged.payload, event_id=feed.event(1).event_id)
    await feed.publish(lie, feed.event(1), feed.event(2))
    async with running(feed.following()):
        await feed.wait_height(2)
        await feed.wait_parked(1)
    assert await feed.heights() == [1, 2]


@pytest.mark.req("G2-06-4", "G2-16-4")
async def test_a_certified_block_that_does_not_follow_the_one_applied_is_set_aside(
    feed: Feed,
) -> None:
    """A quorum that signs two chains is not followed from one to the other."""
    chain = feed.lab.node.chain
    feed.grow(2)
    forked = replace(chain.blocks[2].header, parent=bytes(32))
    message = chain.block_message(2)
    message.certified_header.header = forked.encode()
    message.certified_header.certificate = chain.replicas.certify(forked).encode()
    made = block_certified("shandong", 2, message)
    fork = new_event(made.topic, made.key, made.payload, event_id=made.event_id)
    await feed.publish(feed.event(1), fork, feed.event(2))
    async with running(feed.following()):
        (cause,) = await feed.wait_parked(1)
        await feed.wait_height(2)
    assert "it does not follow the block applied before it" in cause
    assert await feed.heights() == [1, 2]


@pytest.mark.req("G2-06-4")
async def test_a_block_under_another_height_is_set_aside(feed: Feed) -> None:
    """Block 1, certified and true, in an envelope that calls it the next one."""
    feed.grow(2)
    made = block_certified("shandong", 2, feed.lab.node.chain.block_message(1))
    lie = new_event(made.topic, made.key, made.payload, event_id=made.event_id)
    await feed.publish(feed.event(1), lie, feed.event(2))
    async with running(feed.following()):
        (cause,) = await feed.wait_parked(1)
        await feed.wait_height(2)
    assert "its header is that of block 1" in cause
    assert await feed.heights() == [1, 2]


@pytest.mark.req("G2-13-2")
async def test_a_certified_block_is_never_given_up_however_often_it_cannot_be_applied(
    feed: Feed,
) -> None:
    """Longer than an event of another kind would be tried; then it is applied, once."""
    feed.grow(4)
    attempts = 0

    async def failing(connection: Connection, block: VerifiedBlock) -> None:
        nonlocal attempts
        if block.height == 3 and attempts < 2 * ConsumerLimits().attempts_max:
            attempts += 1
            await note_height(connection, block)
            if attempts % 2:
                raise ValueError("a bug that a new version mends")
            await connection.execute("SELECT 1 / 0")
        await note_height(connection, block)

    await feed.publish(*(feed.event(height) for height in up_to(4)))
    async with running(feed.following(apply=failing)):

        async def is_told() -> bool:
            return feed.state.stuck.startswith("block 3 cannot be applied (")

        await wait_until("the trouble is told", is_told)
        await feed.wait_height(4)
    assert attempts == 2 * ConsumerLimits().attempts_max
    assert await feed.heights() == up_to(4)
    assert feed.state.stuck == ""


@pytest.mark.req("G2-06-4")
async def test_forged_blocks_are_set_aside_with_their_cause(feed: Feed) -> None:
    """A certificate of two, one of other keys, changed receipts, bytes that are none; then the true
    block, which is applied: the bus is trusted with nothing."""
    feed.grow(1)
    await feed.publish(*forgeries(feed), feed.event(1))
    async with running(feed.following()):
        causes = await feed.wait_parked(4)
        await feed.wait_height(1)
    assert len(causes) == 4
    assert await feed.heights() == [1]
    assert any("no BlockCertified" in cause for cause in causes)
    assert sum("ProofError" in cause or "certificate" in cause for cause in causes) >= 2


def forgeries(feed: Feed) -> Sequence[BusEvent]:
    chain = feed.lab.node.chain
    header = chain.blocks[1].header

    def event(name: str, block: Any) -> BusEvent:
        message = consensus_events_pb2.BlockCertified(chain_id="shandong", height=1, block=block)
        payload = message.SerializeToString()
        return new_event(BLOCK_TOPIC, "shandong", payload, event_id=name)

    two, others, receipts = (chain.block_message(1) for _ in range(3))
    replicas = Replicas(KEYS, "shandong")
    two.certified_header.certificate = replicas.certify(header, [0, 1]).encode()
    strangers = Replicas(KEYS, "shandong", epoch=9)
    others.certified_header.certificate = strangers.certify(header).encode()
    receipts.receipts[0] = receipts.receipts[0][:-1] + b"\x00"
    return [
        event("two", two),
        event("others", others),
        event("receipts", receipts),
        new_event(BLOCK_TOPIC, "shandong", b"\xff\xff", event_id="garbage"),
    ]


@pytest.mark.req("G2-10-3", "G2-06-4")
async def test_after_a_set_change_blocks_of_the_new_set_are_applied_and_none_of_the_old_one(
    feed: Feed,
) -> None:
    """The old quorum signs a block above the end of its epoch: its keys may be anybody's by now."""
    chain = feed.lab.node.chain
    feed.grow(1)
    old = chain.replicas
    chain.execute(next_replicas=old.next_epoch())
    feed.grow(1)
    late = replace(chain.blocks[3].header, epoch=old.epoch, next_set_hash=old.set.hash())
    forged = chain.block_message(3)
    forged.certified_header.header = late.encode()
    forged.certified_header.certificate = old.certify(late).encode()
    made = block_certified("shandong", 3, forged)
    lie = new_event(made.topic, made.key, made.payload, event_id="late")
    await feed.publish(feed.event(1), feed.event(2), lie, feed.event(3))
    async with running(feed.following()):
        (cause,) = await feed.wait_parked(1)
        await feed.wait_height(3)
    assert "epoch 0 ended below it" in cause
    assert await feed.heights() == [1, 2, 3]


async def test_a_block_of_another_chain_on_the_same_bus_is_passed_over(feed: Feed) -> None:
    _, csrc = link_chains()
    csrc.execute()
    feed.grow(1)
    foreign = block_certified("csrc", 1, csrc.block_message(1))
    await feed.publish(
        new_event(foreign.topic, foreign.key, foreign.payload, event_id=foreign.event_id),
        feed.event(1),
    )
    async with running(feed.following()):
        await feed.wait_height(1)
    assert await feed.heights() == [1]
    assert await feed.pool.fetchval("SELECT count(*) FROM bus_parked") == 0


async def test_every_applied_block_has_a_span_that_names_it(feed: Feed) -> None:
    feed.grow(3)
    async with running(feed.publishing(), feed.following()):
        await feed.wait_height(3)
    spans = feed.lab.spans.get_finished_spans()
    named = [dict(span.attributes or {}).get("height") for span in spans]
    heights = [height for height in named if height is not None]
    assert heights == [1, 2, 3]
