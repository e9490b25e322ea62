"""A projection follows a restart from the first block behind it: pbft.md, Q8 and Q9."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.client.events import block_certified
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, checkpoint_sign_bytes
from guqiao_sdk.proof.merkle import merkle_root
from guqiao_sdk.proof.quorum import Member
from guqiao_sdk.proof.restart import Restart, restarted_set
from services.chassis.block_feed import follow_blocks
from services.chassis.bus.port import BusEvent, new_event
from tests.integration.block_feed.feed_lab import Feed, note_height, running
from tests.unit.proof.proof_keys import Replicas
from tests.unit.proof.restart_case import GENESIS_HASH, HEIGHT, RestartCase

CASE = RestartCase()
RESTART = CASE.restart()
TRUST = ChainTrust("shandong", GENESIS_HASH, CASE.old.set, CASE.authorities)


def restarted_again() -> Restart:
    """The set that the restart brought certified nothing, and is replaced in its turn."""
    first = RESTART.statement
    others = Replicas(CASE.keys, epoch=2).set.members
    members = (
        *first.new_set.members[:2],
        *(Member(at, others[at].public_key, f"third-{at}", f"第三{at}") for at in (2, 3)),
    )
    new_set = restarted_set(first.header, first.new_set, members)
    statement = replace(first, old_set=first.new_set, new_set=new_set)
    return CASE.approve(statement)


def event(
    restarts: Sequence[Restart],
    name: str,
    *,
    last: Restart = RESTART,
    parent: BlockHeader = RESTART.statement.header,
) -> BusEvent:
    """The first block of the epoch that `last` begins, an empty one, with these restarts."""
    new_set = last.statement.new_set
    batch = Batch(parent.block_time_ms + 1, ())
    header = replace(
        Replicas(CASE.keys, epoch=new_set.epoch).header(parent.height + 1),
        parent=parent.hash(),
        block_time_ms=batch.block_time_ms,
        batch_digest=batch.digest(),
        transactions_root=batch.transactions_root(),
        receipts_root=merkle_root(()),
        next_set_hash=new_set.hash(),
    )
    message = checkpoint_sign_bytes(header, new_set.lineage)
    signers = ("shandong/0/0", "shandong/0/1", f"shandong/{new_set.epoch}/2")
    signatures = tuple((at, CASE.keys.sign(key, message)) for at, key in enumerate(signers))
    block = ledger_pb2.Block(
        certified_header=ledger_pb2.CertifiedHeader(
            header=header.encode(),
            certificate=FinalityCertificate(header.hash(), signatures).encode(),
        ),
        batch=batch.encode(),
        restarts=[each.encode() for each in restarts],
    )
    made = block_certified("shandong", header.height, block)
    return new_event(made.topic, made.key, made.payload, event_id=name)


@asynccontextmanager
async def following(
    feed: Feed, trust: ChainTrust, at: BlockHeader = RESTART.statement.header
) -> AsyncIterator[None]:
    """A projection that stands at the header of the restart, or at another."""
    await feed.pool.execute(
        "INSERT INTO projected_blocks (chain_id, height, header_hash) VALUES ($1, $2, $3)",
        "shandong",
        at.height,
        at.hash(),
    )
    runtime = feed.lab.runtime
    job = follow_blocks(
        runtime.bus,
        runtime.pool,
        group="test.heights",
        trust=trust,
        verify=CASE.verify,
        apply=note_height,
        state=feed.state,
    )
    async with running(job):
        yield


@pytest.mark.req("G2-10-3", "G2-13-2")
async def test_an_approved_restart_is_followed_and_one_that_lacks_an_approval_is_set_aside(
    feed: Feed,
) -> None:
    lacking = replace(RESTART, approvals=RESTART.approvals[1:])
    await feed.publish(event((), "none"), event([lacking], "lacking"), event([RESTART], "whole"))
    async with following(feed, TRUST):
        await feed.wait_height(HEIGHT + 1)
        causes = await feed.wait_parked(2)
    assert "no block before it names a set of epoch 1" in causes[0]
    assert "not approved by csrc" in causes[1]
    assert await feed.heights() == [HEIGHT + 1]


@pytest.mark.req("G2-10-3", "G2-13-2")
async def test_a_set_that_certified_nothing_is_replaced_at_the_header_where_it_began(
    feed: Feed,
) -> None:
    """Q9: no certificate of it says so; the header that stands is known by its hash alone."""
    again = restarted_again()
    await feed.publish(event([RESTART, again], "both", last=again))
    async with following(feed, TRUST):
        await feed.wait_height(HEIGHT + 1)
    assert await feed.heights() == [HEIGHT + 1]


@pytest.mark.req("G2-10-3", "G2-13-2")
async def test_a_restart_below_what_is_applied_is_set_aside(feed: Feed) -> None:
    """Its new set would otherwise go on behind a block that the restart drops."""
    applied = replace(CASE.old.header(HEIGHT + 1), parent=RESTART.statement.header.hash())
    await feed.publish(event([RESTART], "below", parent=applied))
    async with following(feed, TRUST, applied):
        (cause,) = await feed.wait_parked(1)
    assert f"block {HEIGHT + 1} is final above it" in cause
    assert await feed.heights() == []
    assert await feed.pool.fetchval("SELECT count(*) FROM followed_sets") == 0


@pytest.mark.req("G2-16-4", "G2-06-4")
async def test_who_was_given_no_authorities_does_not_follow(feed: Feed) -> None:
    await feed.publish(event([RESTART], "whole"))
    async with following(feed, replace(TRUST, authorities=None)):
        (cause,) = await feed.wait_parked(1)
    assert "take a new trust file" in cause
    assert await feed.heights() == []


@pytest.mark.req("G2-10-3")
async def test_who_was_given_the_set_of_the_new_epoch_needs_no_approvals(feed: Feed) -> None:
    """A new trust file anchors him anew."""
    anchored = replace(TRUST, replica_set=RESTART.statement.new_set, authorities=None)
    await feed.publish(event([RESTART], "whole"))
    async with following(feed, anchored):
        await feed.wait_height(HEIGHT + 1)
    assert await feed.heights() == [HEIGHT + 1]
