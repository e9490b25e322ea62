"""A projection follows the feed of certified blocks: no gap, no double, nothing unverified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from guqiao.consensus.v1 import consensus_events_pb2
from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.client.events import BLOCK_TOPIC, block_certified
from services.chassis.bus import ConsumerLimits
from services.chassis.bus.port import BusEvent, new_event
from services.chassis.postgres import Connection
from tests.integration.block_feed.feed_lab import Feed, note_height, running, up_to
from tests.plugins.flipping import flipped
from tests.plugins.link_lab import KEYS, link_chains
from tests.plugins.service_lab import wait_until
from tests.unit.proof.proof_keys import Replicas


@pytest.mark.req("G2-06-4")
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
        await feed.wait_height(1)
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
    receipts.receipts[0] = flipped(receipts.receipts[0])
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
