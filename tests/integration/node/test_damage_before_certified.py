"""A block that was executed before a restart, and damaged since, ends nothing when it is certified
(docs/protocol/ledger.md): the replica goes on, and fetches the block.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from guqiao.consensus.v1 import peer_pb2
from services.consensus.domain.codec import decode_message
from services.consensus.domain.messages import Checkpoint
from tests.integration.node.memory_chain import Member, MemoryChain
from tests.integration.node.test_driver_in_memory import transaction
from tests.integration.node.test_repair import content, spoil_block
from tests.plugins.chain_network import PARAMETERS, ChainNetwork


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Nothing moves by itself while a test holds something back."""
    slow = {"heartbeat_ms": 60_000, "view_timeout_ms": 60_000, "view_timeout_max_ms": 60_000}
    return ChainNetwork.create(tmp_path / "network", parameters={**PARAMETERS, **slow})


def is_checkpoint(data: bytes) -> bool:
    frame = peer_pb2.PeerFrame.FromString(data)
    if frame.WhichOneof("content") != "message":
        return False
    return isinstance(decode_message(frame.message), Checkpoint)


def is_blocks(data: bytes) -> bool:
    return peer_pb2.PeerFrame.FromString(data).WhichOneof("content") == "block_response"


async def damaged_in_the_last(chain: MemoryChain, network: ChainNetwork) -> None:
    """Block 1 is executed everywhere and certified nowhere; on replica 3, which stopped, its record
    is damaged.
    """
    chain.loses = is_checkpoint
    members = [await chain.start(number) for number in range(4)]
    await members[0].submissions.submit(transaction(network, "one"), wait_final=False)
    await chain.wait_for(lambda: all(each.ledger.store.last_height == 1 for each in members))
    await chain.stop(3)
    spoil_block(chain.folder_of(3), 1)


async def submit(member: Member, network: ChainNetwork, text: str) -> int:
    result = await member.submissions.submit(transaction(network, text), wait_final=True)
    assert result is not None
    return int(result.height)


async def check_that_it_goes_on(chain: MemoryChain) -> None:
    member = chain.members[3]
    await chain.wait_for(lambda: b"repaired_blocks_total 1.0" in member.metrics.render())
    other = chain.members[0]
    await chain.wait_for(lambda: other.ledger.store.last_certified >= 1)
    assert content(member, 1) == content(other, 1)
    assert not any(task.done() for task in member.tasks)


@pytest.mark.req("G2-07-3", "G2-13-2")
async def test_it_is_certified_by_the_replicas_own_counting(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    await damaged_in_the_last(chain, network)
    member = await chain.start(3)
    assert member.ledger.store.last_certified == 0 < member.ledger.store.last_height
    waiting = asyncio.create_task(submit(member, network, "two"))
    await chain.wait_for(lambda: member.ledger.store.last_height == 2)
    chain.loses = None
    assert await waiting == 2
    await check_that_it_goes_on(chain)


@pytest.mark.req("G2-07-3", "G2-13-2")
async def test_it_comes_certified_from_others(chain: MemoryChain, network: ChainNetwork) -> None:
    await damaged_in_the_last(chain, network)
    chain.loses = None
    await submit(chain.members[0], network, "two")
    chain.loses = is_blocks
    member = await chain.start(3)
    waiting = asyncio.create_task(submit(member, network, "three"))
    await chain.wait_for(lambda: len(member.driver.mempool) > 0)
    chain.loses = None
    assert await waiting == 3
    await check_that_it_goes_on(chain)
